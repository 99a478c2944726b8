//! The boot ledger: which boot a record is of, how the boot before ended, and what is taken when it ended badly.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use collector::agent::{self, Config, Ground, Summary};
use collector::disk::System;
use collector::exit::Exit;
use handover::boot::{BootRecord, Ending};

use crate::node::{DIED, Node, OOPS, PANIC, Still, random};
use crate::service::Service;

const FIRST: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const SECOND: &str = "550e8400-e29b-41d4-a716-446655440000";

fn id(text: &str) -> handover::BootId {
    text.replace('-', "").parse().unwrap()
}

/// The node as it runs in a boot that began at a second.
fn boot(node: &Node, id: &str, began: u64) {
    node.file("proc/sys/kernel/random/boot_id", id);
    node.file("proc/stat", &format!("cpu 1 2 3\nbtime {began}\n"));
}

fn mark(node: &Node, ending: bool) {
    let clock = Still::default();
    let ground = Ground { disk: &System, clock: &clock, random: &random };
    agent::mark(&node.config(None), ending, &ground).unwrap();
}

/// A boot that began 27 s before the records' time, with the marking unit; then the next one.
fn node() -> Node {
    let node = Node::new();
    boot(&node, FIRST, DIED - 27);
    node.file("proc/sys/kernel/osrelease", "6.1.0-of-the-dead-boot");
    mark(&node, false);
    node
}

fn next(node: &Node, service: &Service) -> (Summary, BootRecord) {
    boot(node, SECOND, DIED + 30);
    node.file("proc/sys/kernel/osrelease", "6.12.0-of-the-next-boot");
    let config =
        Config { tell_boot: true, journalctl: Some(node.path("journalctl")), ..node.config(Some(service)) };
    let summary = node.run(&config);
    assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    let record = service.boots().pop().unwrap();
    (summary, record)
}

fn journalctl(node: &Node, lines: &str) {
    let path = node.path("journalctl");
    fs::write(
        &path,
        format!("#!/bin/sh\necho \"$@\" > {}\ncat <<'END'\n{lines}\nEND\n", node.path("asked").display()),
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_crash_is_of_the_boot_that_died() {
    let (node, service) = (node(), Service::start());
    node.crash();
    let (summary, record) = next(&node, &service);
    let manifest = service.manifest(&summary.found[0].evidence);
    assert_eq!((manifest.dead_boot.id, manifest.dead_boot.basis.as_str()), (id(FIRST), "ledger"));
    assert_eq!(manifest.host.kernel, "6.1.0-of-the-dead-boot");
    assert_eq!(manifest.notes, []);
    let previous = record.previous.unwrap();
    assert_eq!((previous.ending, previous.boot_id), (Ending::Crash, id(FIRST)));
    assert_eq!(previous.evidence, [summary.found[0].evidence]);
    assert_eq!((record.ordinal, record.boot_id), (2, id(SECOND)));
}

#[test]
fn a_boot_that_no_run_saw_is_not_taken_for_the_one_before_it() {
    let (node, service) = (node(), Service::start());
    // Died a day later, 27 s after a start that is in no ledger.
    node.record("dmesg-ramoops-0", DIED + 86_400, PANIC);
    let (summary, record) = next(&node, &service);
    let manifest = service.manifest(&summary.found[0].evidence);
    assert_eq!(manifest.dead_boot.basis, "derived");
    assert_eq!(manifest.notes[0].code, "host-of-finding-boot");
    assert_eq!(record.previous.unwrap().ending, Ending::Silent);
}

#[test]
fn a_boot_that_began_before_its_clock_was_set_is_known_by_its_crash() {
    let (node, service) = (Node::new(), Service::start());
    boot(&node, FIRST, 5);
    mark(&node, false);
    // The clock is set; the next run sees when the boot really began, and whose end is marked.
    boot(&node, FIRST, DIED - 27);
    node.run(&node.config(None));
    node.crash();
    let (summary, record) = next(&node, &service);
    let manifest = service.manifest(&summary.found[0].evidence);
    assert_eq!((manifest.dead_boot.id, manifest.dead_boot.basis.as_str()), (id(FIRST), "ledger"));
    assert_eq!((record.ordinal, record.previous.unwrap().ending), (2, Ending::Crash));

    let boots = fs::read_to_string(node.spool().join(format!("boots/{}.json", id(FIRST)))).unwrap();
    assert!(boots.contains("\"marks\": true"), "{boots}");
}

#[test]
fn a_marked_end_is_clean_and_nothing_is_asked() {
    let (node, service) = (node(), Service::start());
    node.record("console-ramoops-0", DIED, "[   20.000000] all went well\n");
    journalctl(&node, "");
    mark(&node, true);
    let (summary, record) = next(&node, &service);
    assert_eq!(record.previous.unwrap().ending, Ending::Clean);
    assert_eq!(summary.found.len(), 0);
    assert!(!node.path("asked").exists());
}

#[test]
fn without_the_marking_unit_nobody_knows() {
    let (node, service) = (Node::new(), Service::start());
    boot(&node, FIRST, DIED - 27);
    node.run(&node.config(None));
    let (_, record) = next(&node, &service);
    assert_eq!(record.previous.unwrap().ending, Ending::Unknown);
}

#[test]
fn a_silent_end_brings_console_and_journal() {
    let (node, service) = (node(), Service::start());
    node.record("console-ramoops-0", DIED, "[   20.000000] the last words\n");
    node.record("pmsg-ramoops-0", DIED, b"\x01\x02\x03");
    journalctl(
        &node,
        r#"{"MESSAGE":"watchdog: BUG: soft lockup","PRIORITY":"0","_SOURCE_MONOTONIC_TIMESTAMP":"27100776"}
{"MESSAGE":[104,105,255],"PRIORITY":"6","__MONOTONIC_TIMESTAMP":"28000001"}
not json"#,
    );
    let (summary, record) = next(&node, &service);
    let previous = record.previous.unwrap();
    assert_eq!((previous.ending, previous.evidence.len()), (Ending::Silent, 3));
    let kinds: Vec<&str> = summary.found.iter().map(|seen| seen.kind.as_str()).collect();
    assert_eq!(kinds, ["console-log", "user-log", "kernel-log"]);
    let journal = summary.found[2].evidence;
    assert_eq!(
        String::from_utf8(service.bytes(&journal)).unwrap(),
        "<0>[   27.100776] watchdog: BUG: soft lockup\n<6>[   28.000001] hi\u{fffd}\n"
    );
    assert_eq!(service.manifest(&journal).dead_boot.id, id(FIRST));
    let asked = fs::read_to_string(node.path("asked")).unwrap();
    assert!(asked.contains(&id(FIRST).to_string()), "{asked}");
    assert!(asked.starts_with(&format!("--root {} ", node.path("root").display())), "{asked}");

    fs::remove_file(node.path("asked")).unwrap();
    let (summary, record) = next(&node, &service);
    assert_eq!(summary.receipts.len(), 0, "{summary:?}");
    assert_eq!(record.previous.unwrap().ending, Ending::Silent);
    assert!(!node.path("asked").exists());
}

#[test]
fn a_watchdog_reset_is_told() {
    let (node, service) = (node(), Service::start());
    node.file("sys/class/watchdog/watchdog0/bootstatus", "32\n");
    journalctl(&node, "");
    assert_eq!(next(&node, &service).1.previous.unwrap().ending, Ending::Watchdog);
}

#[test]
fn the_console_of_a_crash_is_of_the_same_boot() {
    let (node, service) = (node(), Service::start());
    node.record("dmesg-ramoops-0", DIED, OOPS);
    node.record("console-ramoops-0", DIED + 30, OOPS);
    let (summary, _) = next(&node, &service);
    assert_eq!(summary.found.len(), 2);
    for seen in &summary.found {
        assert_eq!(service.manifest(&seen.evidence).dead_boot.id, id(FIRST));
    }
}

/// Reports and dumps that stay in `/var/crash` are of boots that no ledger knows, for ever.
#[test]
fn an_old_crash_that_stays_does_not_silence_the_next_boots_console() {
    let (node, service) = (Node::new(), Service::start());
    let old = node.path("crash/202601010000/dmesg.202601010000");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, "[   31.000000] long ago\n").unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(DIED - 9_000_000);
    fs::File::options().write(true).open(&old).unwrap().set_modified(time).unwrap();
    let config = Config { crash: vec![node.path("crash")], tell_boot: true, ..node.config(Some(&service)) };

    // Two boots with a run in each, the clock at DIED + 60; the second ends silently and leaves its console.
    boot(&node, FIRST, DIED - 27);
    mark(&node, false);
    assert_eq!(node.run(&config).found.len(), 1);
    node.record("console-ramoops-0", DIED, "[   20.000000] the last words\n");
    boot(&node, SECOND, DIED + 61);
    let summary = node.run(&config);
    let kinds: Vec<&str> = summary.found.iter().map(|seen| seen.kind.as_str()).collect();
    assert_eq!(kinds, ["kernel-log", "console-log"], "{summary:?}");
}
