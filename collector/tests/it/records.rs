//! Odd records: all of them become evidence, with a note where something is wrong.

use std::path::Path;

use collector::config::Forget;
use collector::exit::Exit;
use collector::source::PIECE;
use handover::manifest::{Kind, Manifest};

use crate::node::{DIED, Node, PANIC};
use crate::service::Service;

/// Collects one record and returns its manifest as the service got it.
fn collect(name: &str, bytes: &[u8]) -> Manifest {
    let (node, service) = (Node::new(), Service::start());
    node.record(name, DIED, bytes);
    let mut config = node.config(Some(&service));
    config.forget = Forget::Receipted;
    let summary = node.run(&config);
    assert_eq!(summary.receipts.len(), 1, "{name}: {summary:?}");
    service.manifest(&service.stored()[0])
}

fn codes(manifest: &Manifest) -> Vec<&str> {
    let codes = manifest.notes.iter().map(|note| note.code.as_str());
    codes.filter(|code| *code != "host-of-finding-boot").collect()
}

#[test]
fn damage_is_noted_and_nothing_is_lost() {
    let mut torn = PANIC.as_bytes().to_vec();
    torn.extend_from_slice(b"\xff\xfe\x00 tail");
    for (name, bytes, expected) in [
        ("dmesg-ramoops-0", b"".as_slice(), vec!["empty"]),
        ("dmesg-ramoops-0", &torn, vec!["not-utf-8"]),
        ("dmesg-ramoops-0", b"Panic#1 Part1\n\0\0\0", vec!["holds-zeros"]),
        ("dmesg-ramoops-0.enc.z", &[0x78, 0x9c, 0xff, 0x00], vec!["not-redacted", "not-utf-8"]),
        ("dmesg-pstore_blk-3", PANIC.as_bytes(), vec![]),
        ("dmesg-nvram-1", PANIC.as_bytes(), vec![]),
        ("dmesg-erst-7340032", PANIC.as_bytes(), vec![]),
        ("dmesg-somethingnew-1", PANIC.as_bytes(), vec![]),
    ] {
        let manifest = collect(name, bytes);
        assert_eq!(codes(&manifest), expected, "{name}");
        assert_eq!(manifest.size, bytes.len() as u64, "{name}");
        assert_eq!(manifest.kind, Kind::KernelLog);
    }
    assert_eq!(collect("mce-erst-1", b"\x01\x02").kind, Kind::HardwareError);
}

#[test]
fn of_a_record_above_the_cap_the_end_is_kept_and_it_is_never_erased() {
    let (node, service) = (Node::new(), Service::start());
    let log = "[    1.000000] nothing happened\n";
    let huge = format!("Panic#1 Part1\n{}{PANIC}", log.repeat(PIECE as usize / log.len()));
    let path = node.record("dmesg-ramoops-0", DIED, &huge);
    let mut config = node.config(Some(&service));
    config.forget = Forget::Receipted;
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.receipts.len(), summary.erased), (Exit::Io, 1, 0), "{summary:?}");
    assert!(path.exists());
    let manifest = service.manifest(&service.stored()[0]);
    assert_eq!(codes(&manifest), ["cut"]);
    assert!(manifest.size <= PIECE && manifest.size > PIECE - 100, "{}", manifest.size);
    let kept = service.bytes(&manifest.evidence_id);
    assert!(huge.as_bytes().ends_with(&kept), "the end is kept, where the panic is");
    assert!(kept.starts_with(b"[ "), "it begins at a line");
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_stays() {
    let (node, service) = (Node::new(), Service::start());
    let path = node.record("dmesg-ramoops-0", DIED, PANIC);
    let disk = crate::disk::Unreadable(path.clone());
    let mut config = node.config(Some(&service));
    config.forget = Forget::Receipted;
    let summary = crate::node::run_on(&config, &disk).unwrap();
    assert_eq!((summary.exit, summary.receipts.len(), summary.erased), (Exit::Io, 1, 0), "{summary:?}");
    assert!(path.exists());
    let manifest = service.manifest(&service.stored()[0]);
    assert_eq!(codes(&manifest), ["unreadable"]);
    // Readable again, it is evidence of its own.
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.receipts.len(), summary.erased), (Exit::Done, 1, 1), "{summary:?}");
}

#[test]
fn links_and_foreign_files_are_left_alone() {
    let (node, service) = (Node::new(), Service::start());
    node.record("truth.json", DIED, "{}");
    node.record("console-ramoops-0", DIED, "a boot that went well");
    std::os::unix::fs::symlink("/etc/passwd", node.pstore().join("dmesg-ramoops-0")).unwrap();
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.found.len(), summary.troubles.len()), (0, 1), "{summary:?}");
    assert_eq!(service.requests(), [""; 0]);
}

#[test]
fn a_pstore_that_is_not_there_is_an_error_of_one_line() {
    let node = Node::new();
    let mut config = node.config(None);
    config.pstore = vec![node.path("nowhere")];
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.troubles.len()), (Exit::Io, 1));
}

#[test]
fn a_missing_part_is_noted() {
    let (node, service) = (Node::new(), Service::start());
    node.record("dmesg-efi-179537647501001", DIED, "Panic#1 Part1\nnewest\n");
    node.record("dmesg-efi-179537647503001", DIED, "Panic#1 Part3\noldest\n");
    node.run(&node.config(Some(&service)));
    let manifest = service.manifest(&service.stored()[0]);
    assert_eq!(codes(&manifest), ["part-missing"]);
    assert_eq!(manifest.crash_time.unwrap().basis, "pstore-name");
    let id = service.stored()[0];
    assert_eq!(service.pieces(&id), ["dmesg-efi-179537647503001", "dmesg-efi-179537647501001"]);
}

#[test]
fn the_real_records_are_one_crash_each() {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures"));
    let mut cases = 0;
    for family in ["pstore", "efi"] {
        for case in crate::node::names(&fixtures.join(family)) {
            let folder = fixtures.join(family).join(&case);
            if !folder.is_dir() {
                continue;
            }
            let (node, service) = (Node::new(), Service::start());
            let mut records = 0;
            for name in crate::node::names(&folder).iter().filter(|name| *name != "truth.json") {
                node.record(name, DIED, std::fs::read(folder.join(name)).unwrap());
                records += 1;
            }
            let summary = node.run(&node.config(Some(&service)));
            assert_eq!((summary.exit, summary.found.len()), (Exit::Done, 1), "{case}: {summary:?}");
            assert_eq!(service.pieces(&summary.found[0].evidence).len(), records, "{case}");
            cases += 1;
        }
    }
    assert!(cases >= 12, "{cases} cases");
}
