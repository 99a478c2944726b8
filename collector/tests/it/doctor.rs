//! Each check of the doctor, on a machine that is well and on one with one thing wrong.

use std::fs;
use std::time::Duration;

use collector::agent::{self, Config, Ground};
use collector::clock::Clock;
use collector::config::Forget;
use collector::disk::System;
use collector::doctor;
use collector::exit::Exit;
use handover::readiness::{Readiness, Verdict};

use crate::node::{DIED, Node, OOPS, PANIC, random};
use crate::service::Service;

/// An hour after the boot.
struct Later;

impl Clock for Later {
    fn wall_us(&self) -> i64 {
        (DIED as i64 + 3600) * 1_000_000
    }

    fn since_boot(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn sleep(&self, _: Duration) {}
}

const MOUNTS: &str = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:26 / /sys/fs/pstore rw,nosuid - pstore pstore rw
31 22 0:27 / /run rw - tmpfs tmpfs rw";

fn ground() -> Ground<'static> {
    Ground { disk: &System, clock: &Later, random: &random }
}

/// A machine on which everything is well: its boots are marked, the one before ended in order, a drill was proven.
fn well() -> Node {
    let node = Node::new();
    for (path, text) in [
        ("proc/1/mountinfo", MOUNTS),
        ("proc/self/mountinfo", MOUNTS),
        ("proc/sys/kernel/panic", "10\n"),
        ("proc/sys/kernel/panic_on_oops", "1\n"),
        ("proc/sys/kernel/nmi_watchdog", "1\n"),
        ("proc/meminfo", "MemTotal:        1024 kB\nMemFree: 1 kB\n"),
        ("proc/cmdline", "root=/dev/vda1 crashkernel=256M quiet\n"),
        ("sys/module/pstore/parameters/backend", "efi_pstore\n"),
        ("sys/module/kernel/parameters/crash_kexec_post_notifiers", "Y\n"),
        ("sys/kernel/kexec_crash_loaded", "1\n"),
        ("sys/kernel/kexec_crash_size", "268435456\n"),
        ("sys/firmware/efi/efivars/Boot0000-8be4df61", "x"),
        ("sys/class/watchdog/watchdog0/state", "active\n"),
        ("usr/lib/systemd/system/systemd-pstore.service", "[Unit]\n"),
        ("run/systemd/timesync/synchronized", ""),
        ("boot/initrd.img-6.12.117+deb12-cloud-amd64", "an initramfs"),
    ] {
        node.file(path, text);
    }
    fs::create_dir_all(node.path("root/sys/fs/pstore")).unwrap();
    fs::create_dir_all(node.path("root/var/crash")).unwrap();
    let config = node.config(None);
    for (boot, began) in [
        ("7c9e6679-7425-40de-944b-e07fc1f90ae7", DIED - 27),
        ("550e8400-e29b-41d4-a716-446655440000", DIED + 30),
    ] {
        node.file("proc/sys/kernel/random/boot_id", boot);
        node.file("proc/stat", &format!("btime {began}\n"));
        agent::mark(&config, false, &ground()).unwrap();
        if began < DIED {
            agent::mark(&config, true, &ground()).unwrap();
        }
    }
    let initramfs = handover::Sha256::of(b"an initramfs");
    let drill = format!(
        r#"{{"at_us": 1, "boot": "7c9e6679742540de944be07fc1f90ae7", "kernel": "6.12.117+deb12-cloud-amd64",
            "initramfs_sha256": "{initramfs}", "result": "proven"}}"#
    );
    fs::write(node.spool().join("drill.json"), drill).unwrap();
    fs::write(node.spool().join("receipts.log"), "a receipt\n").unwrap();
    node
}

fn examine(node: &Node, forget: bool) -> Readiness {
    let forget = if forget { Forget::Receipted } else { Forget::Never };
    agent::examine(&Config { forget, ..node.config(None) }, &ground())
}

/// Everything passes, then one thing is changed and exactly one check says so.
#[track_caller]
fn check(id: &str, verdict: Verdict, change: impl Fn(&Node)) {
    let node = well();
    change(&node);
    let readiness = examine(&node, false);
    let changed: Vec<_> = readiness.checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    let [found] = changed.as_slice() else { panic!("{id}: {changed:#?}") };
    assert_eq!((found.id.as_str(), found.verdict), (id, verdict), "{found:?}");
    assert!(!found.fix.is_empty() && !found.evidence.is_empty(), "{found:?}");
    assert_eq!(readiness.summary, verdict);
}

fn remove(node: &Node, path: &str) {
    let path = node.path("root").join(path);
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

#[test]
fn a_machine_that_is_well_passes_everything() {
    let readiness = examine(&well(), false);
    let ill: Vec<_> = readiness.checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    assert!(ill.is_empty(), "{ill:#?}");
    assert_eq!((readiness.summary, doctor::exit(&readiness)), (Verdict::Pass, Exit::Done));
    assert_eq!(readiness.checks.len(), 20);
    // As the service reads it, which recomputes the summary.
    Readiness::read(&serde_json::to_vec(&readiness).unwrap()).unwrap();
}

#[test]
fn a_machine_that_cannot_be_seen_is_unknown_or_worse() {
    let node = Node::new();
    let readiness = examine(&node, false);
    let passes: Vec<_> = readiness.checks.iter().filter(|check| check.verdict == Verdict::Pass).collect();
    // No variables of UEFI to crowd without an EFI backend, no crash kernel that would write, and the program itself.
    let ids: Vec<&str> = passes.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ["pstore-space", "kdump-target", "self-test"]);
}

#[test]
fn last_receipt() {
    check("last-receipt", Verdict::Unknown, |node| {
        fs::remove_file(node.spool().join("receipts.log")).unwrap();
    });
    check("last-receipt", Verdict::Fail, |node| {
        fs::write(node.spool().join("ready/waits.parcel"), "").unwrap();
        let log = fs::File::options().write(true).open(node.spool().join("receipts.log")).unwrap();
        let long_ago = Duration::from_secs(DIED - 90_000);
        log.set_modified(std::time::SystemTime::UNIX_EPOCH + long_ago).unwrap();
    });
}

#[test]
fn panic_policy() {
    check("panic-policy", Verdict::Fail, |node| node.file("proc/sys/kernel/panic", "0\n"));
    check("panic-policy", Verdict::Unknown, |node| remove(node, "proc/sys/kernel/panic"));
}

#[test]
fn watchdog() {
    check("watchdog", Verdict::Fail, |node| {
        node.file("sys/class/watchdog/watchdog0/state", "inactive\n");
        node.file("proc/sys/kernel/nmi_watchdog", "0\n");
    });
}

#[test]
fn pstore_mounted() {
    check("pstore-mounted", Verdict::Fail, |node| {
        node.file("proc/1/mountinfo", MOUNTS.lines().next().unwrap());
    });
}

#[test]
fn pstore_backend() {
    check("pstore-backend", Verdict::Fail, |node| {
        node.file("sys/module/pstore/parameters/backend", "(null)\n");
    });
    check("pstore-backend", Verdict::Fail, |node| remove(node, "sys/module/pstore"));
}

#[test]
fn pstore_written() {
    let notifiers = "sys/module/kernel/parameters/crash_kexec_post_notifiers";
    check("pstore-written", Verdict::Fail, |node| node.file(notifiers, "N\n"));
    check("pstore-written", Verdict::Unknown, |node| remove(node, notifiers));
}

#[test]
fn pstore_space() {
    check("pstore-space", Verdict::Fail, |node| {
        node.file("sys/firmware/efi/efivars/dump-type0-1-1-1795376475-C", &"x".repeat(64 * 1024));
    });
    check("pstore-space", Verdict::Unknown, |node| remove(node, "sys/firmware/efi/efivars"));
}

#[test]
fn pstore_leftovers() {
    check("pstore-leftovers", Verdict::Fail, |node| node.file("sys/fs/pstore/dmesg-ramoops-0", PANIC));
    check("pstore-leftovers", Verdict::Unknown, |node| remove(node, "sys/fs/pstore"));
}

#[test]
fn one_eraser() {
    check("one-eraser", Verdict::Fail, |node| remove(node, "usr/lib/systemd"));
    check("one-eraser", Verdict::Unknown, |node| remove(node, "usr"));
    let verdict = |node: &Node, forget| {
        examine(node, forget).checks.into_iter().find(|check| check.id == "one-eraser").unwrap().verdict
    };
    let node = well();
    assert_eq!(verdict(&node, true), Verdict::Fail);
    node.file("etc/systemd/pstore.conf", "[PStore]\nUnlink=no\n");
    assert_eq!(verdict(&node, true), Verdict::Pass);
}

#[test]
fn archive_durable() {
    check("archive-durable", Verdict::Fail, |node| {
        // Of the spool this tells nothing: what the agent sees itself is what it writes to.
        node.file("proc/1/mountinfo", &format!("{MOUNTS}\n40 22 0:30 / /var rw - tmpfs tmpfs rw"));
    });
}

#[test]
fn kdump() {
    check("kdump-armed", Verdict::Fail, |node| node.file("sys/kernel/kexec_crash_loaded", "0\n"));
    check("kdump-reservation", Verdict::Fail, |node| node.file("sys/kernel/kexec_crash_size", "0\n"));
    check("kdump-reservation", Verdict::Unknown, |node| remove(node, "sys/kernel/kexec_crash_size"));
    check("kdump-target", Verdict::Fail, |node| node.file("proc/meminfo", "MemTotal: 99999999999999 kB\n"));
    check("kdump-target", Verdict::Unknown, |node| remove(node, "var/crash"));
}

#[test]
fn spool_durable() {
    check("spool-durable", Verdict::Fail, |node| {
        let mount = format!("50 22 0:31 / {} rw - tmpfs tmpfs rw", node.dir.path().display());
        node.file("proc/self/mountinfo", &format!("{MOUNTS}\n{mount}"));
    });
    check("spool-durable", Verdict::Fail, |node| fs::remove_dir(node.spool().join("tmp")).unwrap());
}

#[test]
fn spool_content() {
    check("spool-content", Verdict::Fail, |node| fs::write(node.spool().join("held/x.parcel"), "").unwrap());
    check("spool-content", Verdict::Fail, |node| {
        let path = node.spool().join("ready/x.parcel");
        fs::write(&path, "").unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_secs(DIED - 90_000);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    });
    check("spool-content", Verdict::Unknown, |node| fs::remove_dir(node.spool().join("held")).unwrap());
}

#[test]
fn clock() {
    check("clock", Verdict::Unknown, |node| remove(node, "run/systemd/timesync/synchronized"));
}

#[test]
fn boot_marked() {
    check("boot-marked", Verdict::Fail, |node| {
        let path = node.spool().join("boots/550e8400e29b41d4a716446655440000.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"marks\": true", "\"marks\": false")).unwrap();
    });
}

#[test]
fn previous_boot() {
    let marker = "boots/7c9e6679742540de944be07fc1f90ae7.clean";
    check("previous-boot", Verdict::Fail, |node| fs::remove_file(node.spool().join(marker)).unwrap());
    check("previous-boot", Verdict::Unknown, |node| {
        fs::remove_file(node.spool().join(marker)).unwrap();
        fs::remove_file(node.spool().join(marker.replace("clean", "json"))).unwrap();
    });
}

#[test]
fn proven() {
    let drill = |node: &Node, from: &str, to: &str| {
        let path = node.spool().join("drill.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
    };
    check("proven", Verdict::Unknown, |node| fs::remove_file(node.spool().join("drill.json")).unwrap());
    check("proven", Verdict::Unknown, |node| drill(node, "6.12.117", "6.12.110"));
    check("proven", Verdict::Unknown, |node| {
        node.file("boot/initrd.img-6.12.117+deb12-cloud-amd64", "another initramfs");
    });
    check("proven", Verdict::Unknown, |node| {
        fs::remove_file(node.path("root/boot/initrd.img-6.12.117+deb12-cloud-amd64")).unwrap();
    });
    check("proven", Verdict::Unknown, |node| {
        let initramfs = format!("\"{}\"", handover::Sha256::of(b"an initramfs"));
        drill(node, &initramfs, "null");
        fs::remove_file(node.path("root/boot/initrd.img-6.12.117+deb12-cloud-amd64")).unwrap();
    });
    check("proven", Verdict::Unknown, |node| drill(node, "\"proven\"", "\"handed-over\""));
    check("proven", Verdict::Fail, |node| drill(node, "\"proven\"", "\"not-captured\""));
}

#[test]
fn a_machine_that_does_not_panic_is_not_drilled() {
    let node = well();
    let noted = |node: &Node| fs::read_to_string(node.spool().join("drill.json")).ok();
    let before = noted(&node);
    node.file("proc/sysrq-trigger/is-a-folder", "");
    let told = agent::drill(&node.config(None), false, &ground()).unwrap_err();
    assert!(told.to_string().starts_with("writing to"), "{told}");
    // What was proven before is noted still, and a crash of this boot would be one of the field.
    let result =
        |noted: Option<String>| noted.unwrap().parse::<serde_json::Value>().unwrap()["result"].clone();
    assert_eq!(result(noted(&node)), result(before));
    fs::remove_file(node.spool().join("drill.json")).unwrap();
    agent::drill(&node.config(None), false, &ground()).unwrap_err();
    assert_eq!(noted(&node), None);
}

#[test]
fn a_synthetic_drill_proves_the_handing_over() {
    let (node, service) = (well(), Service::start());
    fs::remove_file(node.spool().join("drill.json")).unwrap();
    let summary = agent::drill(&node.config(Some(&service)), true, &ground()).unwrap();
    assert_eq!((summary.exit, summary.receipts.len()), (Exit::Done, 1), "{summary:?}");
    let manifest = service.manifest(&summary.found[0].evidence);
    assert_eq!((manifest.class, manifest.source.kind.as_str()), (handover::manifest::Class::Drill, "drill"));
    let readiness = examine(&node, false);
    assert_eq!(readiness.proven.unwrap().result, "handed-over");
}

#[test]
fn a_synthetic_drill_that_does_not_arrive_proves_nothing() {
    let node = well();
    fs::remove_file(node.spool().join("drill.json")).unwrap();
    let config =
        Config { servers: vec!["http://127.0.0.1:1".into()], deadline: Duration::ZERO, ..node.config(None) };
    let summary = agent::drill(&config, true, &ground()).unwrap();
    assert_eq!((summary.exit, summary.waiting), (Exit::Later, 1));
    assert!(!node.spool().join("drill.json").exists());
}

/// The machine panics on demand, boots again, and the next run judges.
fn real_drill(leaves: impl Fn(&Node)) -> (Readiness, Service) {
    let (node, service) = (well(), Service::start());
    let config = Config { journalctl: None, ..node.config(Some(&service)) };
    // The agent waits in front of the trigger until somebody reads it: the spool is then as the panic leaves it.
    let (trigger, noted) = (node.path("root/proc/sysrq-trigger"), node.spool().join("drill.json"));
    nix::unistd::mkfifo(&trigger, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let kernel = std::thread::spawn({
        let noted = noted.clone();
        move || {
            let at_death = loop {
                let now = fs::read_to_string(&noted).unwrap();
                if now.contains("\"pending\"") {
                    break now;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            let mut pipe = fs::File::open(trigger).unwrap();
            let mut asked = String::new();
            std::io::Read::read_to_string(&mut pipe, &mut asked).unwrap();
            (asked, at_death)
        }
    });
    let told = agent::drill(&config, false, &ground()).unwrap_err();
    assert!(told.to_string().contains("did not panic"), "{told}");
    let (asked, at_death) = kernel.join().unwrap();
    assert_eq!(asked, "c");
    fs::write(noted, at_death).unwrap();
    leaves(&node);
    node.file("proc/sys/kernel/random/boot_id", "11111111-2222-4333-8444-555555555555");
    node.file("proc/stat", &format!("btime {}\n", DIED + 100));
    node.run(&config);
    (examine(&node, false), service)
}

#[test]
fn a_real_drill_is_proven_by_its_receipt() {
    // 27 s after the boot that began at DIED + 30.
    let (readiness, service) = real_drill(|node| drop(node.record("dmesg-ramoops-0", DIED + 57, OOPS)));
    let proven = readiness.proven.unwrap();
    assert_eq!((proven.result.as_str(), proven.still), ("proven", true));
    assert_eq!(service.manifest(&service.stored()[0]).class, handover::manifest::Class::Drill);
}

#[test]
fn a_real_drill_that_left_nothing_is_told() {
    let (readiness, _) = real_drill(|_| {});
    assert_eq!(readiness.proven.unwrap().result, "not-captured");
}

#[test]
fn what_one_half_notes_the_other_tells_once() {
    let (node, service) = (well(), Service::start());
    let config = Config { tell_boot: true, ..node.config(Some(&service)) };
    // Since it was asked last.
    let told = || service.requests().iter().filter(|line| line.contains("/readiness")).count();
    let deliver = || node.run(&config.clone().without_sources());
    agent::note_readiness(&config, &examine(&node, false), &ground()).unwrap();
    assert_eq!((deliver().exit, told()), (Exit::Done, 1));
    assert_eq!((deliver().exit, told()), (Exit::Done, 0));

    // A service that is away hears it later; what was found in a boot before is not told in the next.
    agent::note_readiness(&config, &examine(&node, false), &ground()).unwrap();
    let away =
        Config { servers: vec!["http://127.0.0.1:1".into()], deadline: Duration::ZERO, ..config.clone() };
    node.run(&away.without_sources());
    node.file("proc/sys/kernel/random/boot_id", "11111111-2222-4333-8444-555555555555");
    assert_eq!((deliver().exit, told()), (Exit::Done, 0));
    node.file("proc/sys/kernel/random/boot_id", "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!((deliver().exit, told()), (Exit::Done, 1));
}
