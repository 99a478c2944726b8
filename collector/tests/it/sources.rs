//! Sources beside the pstore itself.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use collector::agent::Config;
use collector::config::Forget;
use collector::exit::Exit;

use crate::node::{DIED, Node, OOPS, PANIC};
use crate::service::Service;

fn file(path: &Path, text: impl AsRef<[u8]>, seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn config(node: &Node, service: &Service) -> Config {
    Config {
        pstore: vec![],
        systemd_archive: vec![node.path("archive")],
        crash: vec![node.path("crash")],
        must_exist: false,
        ..node.config(Some(service))
    }
}

#[test]
fn parts_in_two_folders_of_the_archive_are_one_crash() {
    let (node, service) = (Node::new(), Service::start());
    let archive = node.path("archive");
    // The clock ticked between part 2 and part 3.
    for (path, text) in [
        ("1795376475/001/dmesg-efi_pstore-179537647501001", "Panic#1 Part1\nnewest\n"),
        ("1795376475/001/dmesg-efi_pstore-179537647502001", "Panic#1 Part2\nmiddle\n"),
        ("1795376475/001/dmesg.txt", "joined by systemd"),
        ("1795376476/001/dmesg-efi_pstore-179537647603001", "Panic#1 Part3\noldest\n"),
    ] {
        file(&archive.join(path), text, DIED);
    }
    let summary = node.run(&config(&node, &service));
    assert_eq!((summary.exit, summary.found.len()), (Exit::Done, 1), "{summary:?}");
    let id = summary.found[0].evidence;
    assert_eq!(service.pieces(&id).len(), 3);
    assert!(String::from_utf8(service.bytes(&id)).unwrap().starts_with("Panic#1 Part3\noldest"));
    assert_eq!(service.manifest(&id).source.kind, "systemd-archive");
}

#[test]
fn flat_records_and_lone_texts_of_the_archive_are_found() {
    let (node, service) = (Node::new(), Service::start());
    let archive = node.path("archive");
    file(&archive.join("dmesg-ramoops-0"), OOPS, DIED);
    file(&archive.join("dmesg-ramoops-1"), PANIC, DIED);
    file(&archive.join("1795300000/001/dmesg.txt"), "Panic#1 Part1\nall that is left\n", DIED - 5000);
    let summary = node.run(&config(&node, &service));
    assert_eq!(summary.found.len(), 2, "{summary:?}");
}

#[test]
fn what_systemd_moved_after_we_saw_it_is_the_same_evidence() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = Config { pstore: vec![node.pstore()], ..config(&node, &service) };
    node.run(&config);
    for name in ["dmesg-ramoops-0", "dmesg-ramoops-1"] {
        let text = fs::read(node.pstore().join(name)).unwrap();
        file(&node.path("archive").join(name), text, DIED);
        fs::remove_file(node.pstore().join(name)).unwrap();
    }
    let again = node.run(&Config { forget: Forget::Receipted, ..config });
    assert_eq!((again.found.len(), again.receipts.len(), again.erased), (1, 0, 0), "{again:?}");
    assert!(!again.found[0].new);
    assert_eq!(crate::node::names(&node.path("archive")).len(), 2);
}

#[test]
fn each_distributions_crash_folders_are_read_once_they_are_complete() {
    let (node, service) = (Node::new(), Service::start());
    let crash = node.path("crash");
    for (path, text) in [
        ("202611220800/dmesg.202611220800", "[    1.0] debian\n"),
        ("127.0.0.1-2026-11-22-08:01:00/vmcore-dmesg.txt", "[    1.0] rhel\n"),
        ("127.0.0.1-2026-11-22-08:01:00/kexec-dmesg.log", "[    0.5] the crash kernel\n"),
        ("2026-11-22-08-02/dmesg", "[    1.0] suse\n"),
        // The dump was never finished; its log was.
        ("202611220900/dmesg.202611220900", "[    1.0] cut\n"),
        ("202611220900/dump-incomplete", "…"),
        ("2026-11-22-09-01/vmcore", "…"),
        ("2026-11-22-09-01/README.txt", "Kernel crashdump\nvmcore status: likely incomplete\n"),
        ("127.0.0.1-2026-11-22-09:02:00/vmcore-dmesg-incomplete.txt", "[    1.0] half\n"),
        ("127.0.0.1-2026-11-22-09:03:00/vmcore.bz2", "…"),
    ] {
        file(&crash.join(path), text, DIED);
    }
    // Changed ten seconds ago.
    file(&crash.join("202611221000/dmesg.202611221000"), "[    1.0] being written\n", DIED + 50);
    file(&crash.join("202611221001/dmesg.202611221001"), "[    1.0] whole\n", DIED);
    file(&crash.join("202611221001/dump-incomplete"), "being written", DIED + 50);
    let summary = node.run(&config(&node, &service));
    assert_eq!((summary.exit, summary.found.len()), (Exit::Done, 4), "{summary:?}");
    for seen in &summary.found {
        let text = String::from_utf8(service.bytes(&seen.evidence)).unwrap();
        assert!(["debian", "rhel", "suse", "cut"].iter().any(|word| text.contains(word)), "{text}");
        let incomplete =
            service.manifest(&seen.evidence).notes.iter().any(|note| note.code == "part-missing");
        assert_eq!(incomplete, text.contains("cut"), "{seen:?}");
    }
    let told = |of: &str| summary.troubles.iter().filter(|line| line.contains(of)).count();
    assert_eq!((told("dump is incomplete"), told("is not read here")), (3, 1), "{summary:?}");
}

#[test]
fn a_dump_without_its_text_gives_its_log() {
    let dump = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/artifacts/vmcore/6.12.117+deb12-cloud-amd64-sysrq.zlib"
    ));
    if !dump.exists() {
        println!("skipped: no dump at {}", dump.display());
        return;
    }
    let (node, service) = (Node::new(), Service::start());
    fs::create_dir_all(node.path("crash/202611220800")).unwrap();
    fs::copy(dump, node.path("crash/202611220800/dump.202611220800")).unwrap();
    // The dump's own text is compared, byte for byte.
    let redact_off =
        ["uuid", "mac", "ipv4", "ipv6", "serial", "hostname", "secret"].map(str::to_owned).into();
    let summary = node.run(&Config {
        must_exist: true,
        systemd_archive: vec![],
        redact_off,
        ..config(&node, &service)
    });
    assert_eq!((summary.exit, summary.receipts.len()), (Exit::Done, 2), "{summary:?}");
    let text = fs::read(dump.with_extension("dmesg.txt"))
        .unwrap_or_else(|_| fs::read(dump.to_str().unwrap().replace(".zlib", ".dmesg.txt")).unwrap());
    assert!(service.bytes(&summary.found[0].evidence) == text, "the log differs from makedumpfile's");
}

#[test]
fn what_is_named_like_a_dump_and_is_none_is_handed_over_as_it_is() {
    let (node, service) = (Node::new(), Service::start());
    for name in ["202611220800/vmcore.202611220800", "by-hand/vmcore.dmesg.txt"] {
        file(&node.path("crash").join(name), format!("[    1.0] {name}\n"), DIED);
    }
    let summary = node.run(&config(&node, &service));
    assert_eq!((summary.exit, summary.receipts.len()), (Exit::Done, 2), "{summary:?}");
    for seen in &summary.found {
        assert!(service.bytes(&seen.evidence).starts_with(b"[    1.0] "), "{seen:?}");
    }
}
