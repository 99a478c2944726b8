//! Verifying receipts offline.

use std::fs;

use collector::agent::{self, Ground};
use collector::disk::System;
use collector::exit::Exit;
use collector::receipts::verify::{Findings, verify};
use collector::trust::Trust;
use handover::key::{Keyring, SigningKey};

use crate::node::{DIED, Node, PANIC, Still, random};
use crate::service::{Fault, Service};

/// A node with three receipts.
fn node() -> Node {
    let (node, service) = (Node::new(), Service::start());
    for n in 0..3 {
        node.record(&format!("dmesg-ramoops-{n}"), DIED + 1000 * n, PANIC.replace("27.1", &format!("{n}.1")));
    }
    assert_eq!(node.run(&node.config(Some(&service))).receipts.len(), 3);
    node
}

fn check(node: &Node) -> Findings {
    let keys = Trust::load(&System, &node.spool()).unwrap().unwrap().keys;
    verify(&System, &node.spool(), &keys).unwrap()
}

/// Changes the log and verifies it again.
fn check_changed(change: impl Fn(Vec<String>) -> Vec<String>) -> Findings {
    let node = node();
    let log = node.spool().join("receipts.log");
    let lines = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    fs::write(&log, change(lines).iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    check(&node)
}

#[test]
fn a_whole_log_verifies() {
    let findings = check(&node());
    assert_eq!(findings, Findings { verified: 3, ..Findings::default() });
}

#[test]
fn a_lost_receipt_is_a_gap() {
    let findings = check_changed(|mut lines| {
        lines.remove(1);
        lines
    });
    assert_eq!((findings.verified, findings.gaps.len(), findings.faults.len()), (2, 1, 0), "{findings:?}");
}

#[test]
fn a_flipped_bit_is_a_damaged_line() {
    let findings = check_changed(|mut lines| {
        lines[1] = lines[1].replace("\"weight\":1", "\"weight\":3");
        lines
    });
    assert_eq!((findings.verified, findings.faults.len()), (2, 1), "{findings:?}");
}

#[test]
fn a_receipt_signed_by_nobody_known_is_a_fault() {
    let node = node();
    let mut stranger = Keyring::default();
    stranger.pin(SigningKey::from_seed(&[8; 32]).public());
    let findings = verify(&System, &node.spool(), &stranger).unwrap();
    assert_eq!((findings.verified, findings.faults.len()), (0, 3), "{findings:?}");
}

#[test]
fn a_receipt_that_contradicts_the_spool_is_a_fault() {
    let node = node();
    let name = &node.spooled("sources")[0];
    let path = node.spool().join("sources").join(name);
    let entry = fs::read_to_string(&path).unwrap();
    let at = entry.find("\"size\": ").unwrap() + 8;
    fs::write(&path, format!("{}9{}", &entry[..at], &entry[at..])).unwrap();
    let findings = check(&node);
    assert_eq!((findings.verified, findings.faults.len()), (3, 1), "{findings:?}");
}

#[test]
fn a_receipt_whose_answer_was_cut_off_is_fetched() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    service.fail_upload(Fault::CutAfter);
    assert_eq!(node.run(&node.config(Some(&service))).receipts.len(), 1);
    let findings = check(&node);
    assert_eq!((findings.verified, findings.gaps.len(), findings.faults.len()), (2, 0, 0), "{findings:?}");
}

#[test]
fn receipts_that_were_lost_are_fetched() {
    let (node, service) = (Node::new(), Service::start());
    let config = node.config(Some(&service));
    for n in 0..3 {
        node.record(&format!("dmesg-ramoops-{n}"), DIED + 1000 * n, PANIC.replace("27.1", &format!("{n}.1")));
        node.run(&config);
    }
    // The middle line is gone, as if its answer had never come; its evidence too, so that it is not offered again.
    let log = node.spool().join("receipts.log");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&log, format!("{}\n{}\n", lines[0], lines[2])).unwrap();
    fs::remove_file(node.pstore().join("dmesg-ramoops-1")).unwrap();
    let keys = || Trust::load(&System, &node.spool()).unwrap().unwrap().keys;
    assert_eq!(verify(&System, &node.spool(), &keys()).unwrap().gaps.len(), 1);

    node.record("dmesg-ramoops-3", DIED + 9000, PANIC.replace("27.1", "3.1"));
    assert_eq!(node.run(&config).exit, Exit::Done);
    let findings = verify(&System, &node.spool(), &keys()).unwrap();
    assert_eq!((findings.verified, findings.gaps.len(), findings.faults.len()), (4, 0, 0), "{findings:?}");
    let fetched = |line: &String| line.contains("/receipts?epoch=1&after=1&limit=1");
    assert_eq!(service.requests().iter().filter(|line| fetched(line)).count(), 1);
}

#[test]
fn a_log_that_is_too_long_is_told_and_not_cut() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    node.run(&config);
    let log = node.spool().join("receipts.log");
    let receipts = fs::read(&log).unwrap();
    let long = (64 << 20) + 1;
    fs::File::options().write(true).open(&log).unwrap().set_len(long).unwrap();
    let clock = Still::default();
    let ground = Ground { disk: &System, clock: &clock, random: &random };
    let error = agent::collect_on(&config, &ground).unwrap_err();
    assert_eq!((fs::metadata(&log).unwrap().len(), error.exit()), (long, Exit::Io), "{error}");
    assert!(verify(&System, &node.spool(), &Keyring::default()).is_err(), "nothing is said of half a log");

    // What it says to do: the evidence at hand is not handed over twice.
    fs::remove_file(&log).unwrap();
    let stored = service.stored();
    assert_eq!(node.run(&config).exit, Exit::Done);
    assert_eq!(service.stored(), stored);
    assert_eq!(check(&node).faults, [""; 0]);
    let (then, again) = (String::from_utf8(receipts).unwrap(), fs::read_to_string(&log).unwrap());
    assert!(then.lines().all(|receipt| again.contains(receipt)), "the receipts come again");
}
