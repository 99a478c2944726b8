//! Sources beside the pstore itself.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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

#[test]
fn a_folder_that_a_user_made_is_left_alone() {
    let (node, service) = (Node::new(), Service::start());
    let folder = node.path("crash/202611220800");
    file(&folder.join("dmesg.202611220800"), "[    1.0] forged\n", DIED);
    if std::os::unix::fs::chown(&folder, Some(1000), None).is_err() {
        println!("skipped: only root can give a folder away");
        return;
    }
    let summary = node.run(&config(&node, &service));
    assert_eq!((summary.exit, summary.found.len()), (Exit::Done, 0), "{summary:?}");
    assert!(summary.troubles[0].contains("belongs to a user"), "{summary:?}");
}

/// A report as apport's `kernel_crashdump` writes it.
fn report(kind: &str, log: &str) -> String {
    let mut packed = flate2::GzBuilder::new().filename("VmCoreDmesg").write(vec![], Default::default());
    packed.write_all(log.as_bytes()).unwrap();
    let lines: Vec<String> = packed.finish().unwrap().chunks(30).map(|part| STANDARD.encode(part)).collect();
    format!(
        "ProblemType: {kind}\nDate: Sun Nov 22 08:05:00 2026\nUname: Linux 6.8.0-31-generic x86_64\n\
         VmCoreDmesg: base64\n {}\n",
        lines.join("\n ")
    )
}

#[test]
fn a_crash_in_a_folder_and_in_apports_report_is_one() {
    let (node, service) = (Node::new(), Service::start());
    let (crash, log) = (node.path("crash"), "[   27.100776] the same log\n".repeat(20));
    file(&crash.join("202611220800/dmesg.202611220800"), &log, DIED);
    file(&crash.join("linux-image-6.8.0-31-generic.202611220800.crash"), report("KernelCrash", &log), DIED);
    let summary = node.run(&config(&node, &service));
    assert_eq!(
        (summary.exit, summary.found.len(), summary.receipts.len()),
        (Exit::Done, 2, 1),
        "{summary:?}"
    );
    assert_eq!(summary.found[0].evidence, summary.found[1].evidence);
    assert_eq!(service.bytes(&summary.found[0].evidence), log.as_bytes());

    // Of the folder nothing is left: the report still is the same crash.
    fs::remove_dir_all(crash.join("202611220800")).unwrap();
    let again = node.run(&Config { forget: Forget::Receipted, ..config(&node, &service) });
    assert_eq!((again.found.len(), again.receipts.len(), again.erased), (1, 0, 0), "{again:?}");
    assert!(!again.found[0].new);
}

#[test]
fn of_apports_reports_only_the_kernels_that_are_written_are_taken() {
    let (node, service) = (Node::new(), Service::start());
    let crash = node.path("crash");
    file(&crash.join("linux-image-6.8.0-31-generic.1.crash"), report("KernelCrash", "[ 1.0] alone\n"), DIED);
    let oops =
        "ProblemType: KernelOops\nFailure: oops\nOopsText:\n [    9.000000] BUG: bad\n of all\nTags: x\n";
    file(&crash.join("linux-image-6.8.0-31-generic.5f3a.crash"), oops, DIED);
    file(
        &crash.join("linux-image-6.8.0-31-generic.2.crash"),
        report("KernelCrash", "being written"),
        DIED + 50,
    );
    file(&crash.join("_usr_bin_gedit.1000.crash"), report("Crash", "[ 1.0] a program\n"), DIED);
    file(&crash.join("_usr_bin_vi.1000.crash"), "x".repeat(4000) + "\nProblemType: KernelCrash\n", DIED);
    let secret = node.path("secret");
    file(&secret, report("KernelCrash", "[ 1.0] elsewhere\n"), DIED);
    std::os::unix::fs::symlink(&secret, crash.join("link.crash")).unwrap();
    // Everybody may write there. Only root can give a file away.
    let forged = crash.join("linux-image-6.8.0-31-generic.3.crash");
    file(&forged, report("KernelCrash", "[ 1.0] forged\n"), DIED);
    if std::os::unix::fs::chown(&forged, Some(1000), None).is_err() {
        fs::remove_file(&forged).unwrap();
    }
    let summary = node.run(&config(&node, &service));
    assert_eq!((summary.exit, summary.troubles.len()), (Exit::Done, 0), "{summary:?}");
    let mut texts: Vec<Vec<u8>> = summary.found.iter().map(|seen| service.bytes(&seen.evidence)).collect();
    texts.sort();
    assert_eq!(texts, [&b"[    9.000000] BUG: bad\nof all"[..], b"[ 1.0] alone\n"]);
    assert!(summary.found.iter().all(|seen| service.manifest(&seen.evidence).source.kind == "apport"));

    // What is known is not unpacked again: nobody looks at these bytes.
    let alone = crash.join("linux-image-6.8.0-31-generic.1.crash");
    file(&alone, report("KernelCrash", "[ 1.0] alonf\n"), DIED);
    let again = node.run(&config(&node, &service));
    assert!(again.receipts.is_empty() && again.found.iter().all(|seen| !seen.new), "{again:?}");
}
