//! The drill on a node whose agent is split in two: one half finds the crash, the other hands it over, and what the
//! drill came to is noted by whichever knows.

use std::fs;

use collector::agent::{self, Config, Ground};
use collector::disk::System;
use collector::drill::{Drill, Standing};
use collector::host::{Host, Root};
use handover::manifest::Class;
use handover::readiness::Verdict;

use crate::node::{DIED, Node, OOPS, Still, random};
use crate::service::Service;

const NEXT: &str = "11111111-2222-4333-8444-555555555555";

fn mark(node: &Node, ending: bool) {
    let clock = Still::default();
    agent::mark(&node.config(None), ending, &Ground { disk: &System, clock: &clock, random: &random })
        .unwrap();
}

/// A machine as `lastwords-agent drill` leaves it, in a boot that began 27 s before the records' time.
fn drilled() -> Node {
    let node = Node::new();
    node.file("proc/stat", &format!("btime {}\n", DIED - 27));
    node.file("boot/initrd.img-6.12.117+deb12-cloud-amd64", "an initramfs");
    mark(&node, false);
    let root = Root::new(node.path("root"));
    let host = Host::look(&root, "", &handover::Incarnation::ZERO, false);
    Drill::begin(&root, &host, 0).save(&System, &node.spool()).unwrap();
    node
}

fn boot_again(node: &Node) {
    node.file("proc/sys/kernel/random/boot_id", NEXT);
    node.file("proc/stat", &format!("btime {}\n", DIED + 30));
    mark(node, false);
}

/// What the half with privileges does, and says that it found.
fn collect(node: &Node) -> Vec<Class> {
    node.run(&node.config(None)).found.iter().map(|seen| seen.class).collect()
}

fn deliver(node: &Node, service: &Service) {
    node.run(&node.config(Some(service)).without_sources());
}

fn standing(node: &Node) -> Standing {
    Drill::load(&System, &node.spool()).unwrap().result
}

#[test]
fn the_half_that_hands_over_proves_what_the_other_found() {
    let (node, service) = (drilled(), Service::start());
    boot_again(&node);
    // It may be first, and sees no record because it looks for none.
    deliver(&node, &service);
    assert_eq!(standing(&node), Standing::Pending);
    node.record("dmesg-ramoops-0", DIED, OOPS);
    assert_eq!(collect(&node), [Class::Drill]);
    assert_eq!(standing(&node), Standing::Pending);
    deliver(&node, &service);
    assert_eq!(standing(&node), Standing::Proven);
    // The record lies there still, and another drill was not held.
    assert_eq!(collect(&node), [Class::Field]);
    assert_eq!(standing(&node), Standing::Proven);
}

#[test]
fn a_crash_that_is_found_late_proves_it_still() {
    let (node, service) = (drilled(), Service::start());
    boot_again(&node);
    assert_eq!((collect(&node), standing(&node)), (vec![], Standing::NotCaptured));
    // A backend that was loaded late.
    node.record("dmesg-ramoops-0", DIED, OOPS);
    assert_eq!((collect(&node), standing(&node)), (vec![Class::Drill], Standing::Pending));
    deliver(&node, &service);
    assert_eq!(standing(&node), Standing::Proven);
}

#[test]
fn a_drill_whose_boot_ended_in_order_was_not_held() {
    let (node, service) = (drilled(), Service::start());
    mark(&node, true);
    boot_again(&node);
    collect(&node);
    assert_eq!(standing(&node), Standing::NotHeld);
    deliver(&node, &service);
    assert_eq!(standing(&node), Standing::NotHeld);
}

#[test]
fn runs_in_the_boot_that_is_to_panic_judge_nothing() {
    let (node, service) = (drilled(), Service::start());
    assert_eq!((collect(&node), standing(&node)), (vec![], Standing::Pending));
    deliver(&node, &service);
    assert_eq!(standing(&node), Standing::Pending);
}

#[test]
fn an_initramfs_that_cannot_be_read_is_told_from_one_that_changed() {
    let node = drilled();
    Drill { result: Standing::Proven, ..Drill::load(&System, &node.spool()).unwrap() }
        .save(&System, &node.spool())
        .unwrap();
    let told = |config: &Config| {
        let clock = Still::default();
        let readiness = agent::examine(config, &Ground { disk: &System, clock: &clock, random: &random });
        let check = readiness.checks.into_iter().find(|check| check.id == "proven").unwrap();
        (check.verdict, check.evidence)
    };
    let config = node.config(None);
    let (verdict, evidence) = told(&config);
    assert_eq!(verdict, Verdict::Pass);
    assert!(
        evidence.starts_with("proven on 1970-01-01 with 6.12.117+deb12-cloud-amd64, initramfs "),
        "{evidence}"
    );

    let initramfs = node.path("root/boot/initrd.img-6.12.117+deb12-cloud-amd64");
    for (change, expected) in [
        ("another", "the initramfs changed since"),
        ("a link to itself", "its initramfs cannot be read: "),
        ("none", "its initramfs cannot be seen: there is none below /boot"),
    ] {
        fs::remove_file(&initramfs).unwrap();
        match change {
            "another" => fs::write(&initramfs, "another initramfs").unwrap(),
            "none" => {}
            _ => std::os::unix::fs::symlink(&initramfs, &initramfs).unwrap(),
        }
        let (verdict, evidence) = told(&config);
        assert_eq!(verdict, Verdict::Unknown, "{change}");
        assert!(evidence.starts_with("armed, not proven: proven on 1970-01-01"), "{evidence}");
        assert!(evidence.contains(expected), "{evidence}");
    }
}
