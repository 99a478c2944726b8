//! Each check of the doctor, on a machine that is well and on one with one thing wrong.

use std::fs;
use std::time::Duration;

use collector::agent::{self, Config, Ground};
use collector::clock::Clock;
use collector::config::Forget;
use collector::disk::System;
use collector::doctor;
use collector::exit::Exit;
use collector::spool::caps::Caps;
use handover::readiness::{Check, Readiness, Verdict};

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
        ("etc/systemd/system/sysinit.target.wants/systemd-pstore.service", "[Unit]\n"),
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
    assert_eq!(readiness.checks.len(), 22);
    // As the service reads it, which recomputes the summary.
    Readiness::read(&serde_json::to_vec(&readiness).unwrap()).unwrap();
}

#[test]
fn a_machine_that_cannot_be_seen_is_unknown_or_worse() {
    let node = Node::new();
    let readiness = examine(&node, false);
    let passes: Vec<_> = readiness.checks.iter().filter(|check| check.verdict == Verdict::Pass).collect();
    // No variables of UEFI to crowd without an EFI backend, no crash kernel that would write, no server and no certificate
    // of one, and the program itself.
    let ids: Vec<&str> = passes.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ["pstore-space", "kdump-target", "attempts", "certificate", "self-test"]);
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
    check("watchdog", Verdict::Unknown, |node| {
        remove(node, "sys/class/watchdog");
        remove(node, "proc/sys/kernel/nmi_watchdog");
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
    let node = well();
    node.file(notifiers, "N\n");
    let seen = found(&node, false, "pstore-written");
    assert!(seen.verdict == Verdict::Pass && seen.evidence.starts_with("kdump only"), "{seen:?}");
    // Kdump alone is as good as its proof.
    fs::remove_file(node.spool().join("drill.json")).unwrap();
    assert_eq!(found(&node, false, "pstore-written").verdict, Verdict::Fail);
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
    let node = well();
    node.file("sys/fs/pstore/dmesg-ramoops-0", PANIC);
    node.file("sys/fs/pstore/dmesg-ramoops-1.enc.z", "x");
    let old = fs::File::options().write(true).open(node.path("root/sys/fs/pstore/dmesg-ramoops-0")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(DIED - 3 * 86_400)).unwrap();
    let seen = found(&node, false, "pstore-leftovers").evidence;
    assert_eq!(
        seen,
        "2 dumps are left in pstore, 1 of them .enc.z, which the kernel could not decompress, the oldest of 3 days ago"
    );
    check("pstore-leftovers", Verdict::Unknown, |node| remove(node, "sys/fs/pstore"));
}

const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

/// Another program that erases records.
fn eraser(node: &Node, unit: &str) {
    node.file(&format!("usr/lib/systemd/system/{unit}"), "[Unit]\n");
    node.file(&format!("{WANTS}/{unit}"), "[Unit]\n");
}

fn found(node: &Node, forget: bool, id: &str) -> Check {
    examine(node, forget).checks.into_iter().find(|check| check.id == id).unwrap()
}

#[test]
fn one_eraser() {
    check("one-eraser", Verdict::Fail, |node| remove(node, "usr/lib/systemd"));
    check("one-eraser", Verdict::Fail, |node| remove(node, "etc/systemd/system/sysinit.target.wants"));
    let node = well();
    remove(&node, "usr");
    // Nor can be seen what a distribution reserves and where dumps go.
    for id in ["one-eraser", "kdump-reservation", "kdump-target"] {
        assert_eq!(found(&node, false, id).verdict, Verdict::Unknown, "{id}");
    }
    for unit in ["abrt-pstoreoops.service", "pstore-probe.service", "pstore-clean.service"] {
        check("one-eraser", Verdict::Fail, |node| eraser(node, unit));
    }
    let verdict = |node: &Node, forget| found(node, forget, "one-eraser").verdict;
    let node = well();
    assert_eq!(verdict(&node, true), Verdict::Fail);
    node.file("etc/systemd/pstore.conf", "[PStore]\nUnlink=no\n");
    assert_eq!(verdict(&node, true), Verdict::Pass);
    assert_eq!(found(&node, true, "one-eraser").evidence, "only this agent erases, after a receipt");
    // One that is masked does not run, whoever wants it.
    let node = well();
    let unit = node.path("root/etc/systemd/system/systemd-pstore.service");
    std::os::unix::fs::symlink("/dev/null", unit).unwrap();
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
fn kdump_armed() {
    check("kdump-armed", Verdict::Fail, |node| node.file("sys/kernel/kexec_crash_loaded", "0\n"));
    let node = well();
    node.file("sys/kernel/kexec_crash_loaded", "0\n");
    let seen = |node: &Node| found(node, false, "kdump-armed").evidence;
    assert!(!seen(&node).contains("lockdown") && !seen(&node).contains("Secure Boot"), "{}", seen(&node));
    node.file("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    node.file(
        "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
        "\u{6}\u{0}\u{0}\u{0}\u{1}",
    );
    assert!(seen(&node).contains("lockdown is integrity") && seen(&node).contains("Secure Boot"));
    node.file("proc/sys/kernel/kexec_load_disabled", "1\n");
    assert!(seen(&node).contains("kexec_load_disabled"));
    remove(&node, "sys/kernel/kexec_crash_loaded");
    let verdict = |node: &Node| found(node, false, "kdump-armed").verdict;
    assert_eq!(verdict(&node), Verdict::Unknown);
    // A kernel without kexec loads none.
    node.file("sys/kernel/mm/hugepages", "");
    assert_eq!(verdict(&node), Verdict::Fail);
    node.file("proc/cmdline", "quiet\n");
    assert_eq!(verdict(&node), Verdict::Pass);
}

/// A machine on which firmware assists a dump: there is no crash kernel beside it.
fn assisted(node: &Node, folder: &str) {
    for (name, value) in [
        ("kexec_crash_loaded", "0"),
        (&format!("{folder}enabled"), "1"),
        (&format!("{folder}registered"), "1"),
    ] {
        node.file(&format!("sys/kernel/{name}"), &format!("{value}\n"));
    }
    node.file("sys/kernel/fadump/mem_reserved", "268435456\n");
    node.file("usr/lib/systemd/system/kdump.service", "[Unit]\n");
    node.file(&format!("{WANTS}/kdump.service"), "[Unit]\n");
    node.file("run/systemd/units/invocation:kdump.service", "6f9619ff8b86d011b42d00c04fc964ff");
}

#[test]
fn kdump_by_firmware() {
    for folder in ["fadump/", "fadump_"] {
        let node = well();
        assisted(&node, folder);
        let seen = examine(&node, false);
        assert_eq!(seen.summary, Verdict::Pass, "{seen:#?}");
        assert!(found(&node, false, "kdump-armed").evidence.contains("fadump"));
        check("kdump-armed", Verdict::Fail, |node| {
            assisted(node, folder);
            node.file(&format!("sys/kernel/{folder}registered"), "0\n");
        });
    }
    check("kdump-armed", Verdict::Fail, |node| {
        assisted(node, "fadump/");
        remove(node, "run/systemd/units/invocation:kdump.service");
    });
    check("kdump-armed", Verdict::Unknown, |node| {
        assisted(node, "fadump/");
        remove(node, "run/systemd/units");
    });
    check("kdump-reservation", Verdict::Fail, |node| {
        assisted(node, "fadump/");
        node.file("sys/kernel/fadump/mem_reserved", "0\n");
    });
}

#[test]
fn kdump_reservation() {
    check("kdump-reservation", Verdict::Fail, |node| node.file("sys/kernel/kexec_crash_size", "0\n"));
    check("kdump-reservation", Verdict::Unknown, |node| remove(node, "sys/kernel/kexec_crash_size"));
    // 256 MiB are reserved; the machine is large enough in free bytes of its disk for neither check to be in the way.
    for (settings, arch, mib, verdict) in [
        ("etc/kdump.conf", "x86_64", 65_535, Verdict::Pass),
        ("etc/kdump.conf", "x86_64", 65_536, Verdict::Fail),
        ("etc/kdump.conf", "aarch64", 4095, Verdict::Pass),
        ("etc/kdump.conf", "aarch64", 4096, Verdict::Fail),
        ("etc/kdump.conf", "ppc64le", 2048, Verdict::Fail),
        ("etc/kdump.conf", "riscv64", 65_536, Verdict::Pass),
        ("etc/default/kdump-tools", "x86_64", 65_536, Verdict::Pass),
        ("etc/nothing", "x86_64", 65_536, Verdict::Pass),
    ] {
        let node = well();
        node.file(settings, "# nothing\n");
        node.file("proc/sys/kernel/arch", &format!("{arch}\n"));
        node.file("proc/meminfo", &format!("MemTotal: {} kB\n", mib * 1024));
        let seen = found(&node, false, "kdump-reservation");
        assert_eq!(seen.verdict, verdict, "{settings} {arch} {mib}: {seen:?}");
    }
    // Firmware's dumps want more than a crash kernel: 600 MiB are enough for one of a machine of 8 GiB, 768 for the other.
    let node = well();
    for (path, text) in [
        ("etc/kdump.conf", "# nothing\n"),
        ("proc/sys/kernel/arch", "ppc64le\n"),
        ("proc/meminfo", "MemTotal: 8388608 kB\n"),
        ("sys/kernel/kexec_crash_size", "629145600\n"),
    ] {
        node.file(path, text);
    }
    assert_eq!(found(&node, false, "kdump-reservation").verdict, Verdict::Pass);
    assisted(&node, "fadump/");
    node.file("sys/kernel/fadump/mem_reserved", "629145600\n");
    assert_eq!(found(&node, false, "kdump-reservation").verdict, Verdict::Fail);
    check("kdump-reservation", Verdict::Fail, |node| {
        node.file("etc/default/kdump-tools", "USE_KDUMP=1\n");
        node.file("proc/meminfo", "MemTotal: 524288 kB\n");
        node.file("sys/kernel/kexec_crash_size", "67108864\n");
    });
}

#[test]
fn kdump_target() {
    check("kdump-target", Verdict::Fail, |node| node.file("proc/meminfo", "MemTotal: 99999999999999 kB\n"));
    check("kdump-target", Verdict::Unknown, |node| remove(node, "proc/meminfo"));
    check("kdump-target", Verdict::Unknown, |node| remove(node, "var/crash"));
    for (settings, text) in [
        ("etc/kdump.conf", "path /var/crash\nnfs 192.0.2.1:/dumps # away\n"),
        ("etc/kdump.conf", "ssh kdump@192.0.2.1\n"),
        ("etc/kdump.conf", "raw /dev/sdb\n"),
        ("etc/kdump.conf", "dracut_args --mount \"192.0.2.1:/dumps /mnt nfs defaults\"\n"),
        ("etc/kdump.conf", "path /not/there\n"),
        ("etc/default/kdump-tools", "NFS=\"192.0.2.1:/dumps\"\n"),
        ("etc/default/kdump-tools", "SSH=kdump@192.0.2.1\n"),
        ("etc/default/kdump-tools", "FTP='192.0.2.1:/dumps'\n"),
        ("etc/default/kdump-tools", "KDUMP_COREDIR=\"/not/there\"\n"),
        ("etc/sysconfig/kdump", "KDUMP_SAVEDIR=\"ssh://kdump@192.0.2.1/dumps\"\n"),
        ("etc/sysconfig/kdump", "KDUMP_SAVEDIR=\"file:///not/there\"\n"),
    ] {
        check("kdump-target", Verdict::Unknown, |node| {
            node.file(settings, text);
            // Where it is, the service is not told.
            let seen = found(node, false, "kdump-target").evidence;
            assert!(seen.contains(settings) && !seen.contains("192.0.2.1"), "{seen}");
        });
    }
    // Encrypted, two layers below the file system.
    check("kdump-target", Verdict::Unknown, |node| {
        node.file("sys/dev/block/8:1/dm/uuid", "LVM-x\n");
        node.file("sys/dev/block/8:1/slaves/dm-0/dm/uuid", "CRYPT-LUKS2-x\n");
    });
    let node = well();
    let text = "#NFS=\"x\"\nSSH=\"\"\nKDUMP_COREDIR=\"/srv/dumps\"\nKDUMP_NUM_DUMPS=3\n";
    node.file("etc/default/kdump-tools", text);
    fs::create_dir_all(node.path("root/srv/dumps")).unwrap();
    let seen = found(&node, false, "kdump-target");
    assert_eq!(seen.verdict, Verdict::Pass, "{seen:?}");
    assert!(seen.evidence.contains("/srv/dumps") && seen.evidence.contains("the newest 3"), "{seen:?}");
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
    // A crash loop, of which the spool keeps the ends.
    let node = well();
    for n in 0..8 {
        node.record("dmesg-ramoops-0", DIED + n, format!("{PANIC}<0>[   28.{n:06}] again\n"));
        node.run(&Config { caps: Caps { bytes: 1, ..Caps::default() }, ..node.config(None) });
    }
    let seen = found(&node, false, "spool-content");
    assert!(seen.verdict == Verdict::Fail && seen.evidence.contains("were given up for room"), "{seen:?}");
    check("spool-content", Verdict::Unknown, |node| fs::remove_dir(node.spool().join("held")).unwrap());
}

#[test]
fn spool_without_room() {
    let node = well();
    let caps = Caps { free: u64::MAX, ..Caps::default() };
    let readiness = agent::examine(&Config { caps, ..node.config(None) }, &ground());
    let ill: Vec<_> = readiness.checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    assert!(
        matches!(ill[..], [check] if check.id == "spool-content" && check.verdict == Verdict::Fail),
        "{ill:#?}"
    );
}

#[test]
fn attempts() {
    let (node, service) = (well(), Service::start());
    node.crash();
    let seen = |server: &str| {
        let config = Config { servers: vec![server.to_owned()], ..node.config(None) };
        agent::examine(&config, &ground()).checks.into_iter().find(|check| check.id == "attempts").unwrap()
    };
    let away = "http://127.0.0.1:1";
    let config = Config { servers: vec![away.to_owned()], deadline: Duration::ZERO, ..node.config(None) };
    assert_eq!(seen(away).verdict, Verdict::Pass);
    for told in ["the last attempt", "2 attempts failed"] {
        assert_eq!(node.run(&config).exit, Exit::Later);
        let seen = seen(away);
        assert!(seen.verdict == Verdict::Unknown && seen.evidence.starts_with(told), "{seen:?}");
    }
    // Something that has failed for a day does not mend itself, and neither does a token.
    let note = node.spool().join("attempts.json");
    let text = fs::read_to_string(&note).unwrap();
    let mut long: serde_json::Value = serde_json::from_str(&text).unwrap();
    long["since_us"] = ((DIED as i64 - 90_000) * 1_000_000).into();
    fs::write(&note, long.to_string()).unwrap();
    assert_eq!(seen(away).verdict, Verdict::Fail);
    fs::write(&note, "damaged").unwrap();
    assert_eq!(seen(away).verdict, Verdict::Unknown);
    fs::write(&note, text.replace("\"is_final\":false", "\"is_final\":true")).unwrap();
    assert_eq!(seen(away).verdict, Verdict::Fail);

    assert_eq!(node.run(&node.config(Some(&service))).exit, Exit::Done);
    assert_eq!(seen(&service.url()).verdict, Verdict::Pass);
    assert!(!note.exists());
}

#[test]
fn certificate() {
    let pem = |years: &[i32]| -> String {
        let one = |year: &i32| {
            let mut params = rcgen::CertificateParams::new(vec!["crash.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(*year, 12, 1);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        years.iter().map(one).collect()
    };
    // The machine is in November 2026.
    for (text, verdict) in [
        (pem(&[2027]), Verdict::Pass),
        (pem(&[2026]), Verdict::Fail),
        (pem(&[2020]), Verdict::Fail),
        // One replaces the other.
        (pem(&[2026, 2030]), Verdict::Pass),
        ("no certificate".to_owned(), Verdict::Fail),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(), Verdict::Unknown),
    ] {
        let node = well();
        let path = node.path("ca.pem");
        fs::write(&path, &text).unwrap();
        let config = Config { ca_file: Some(path.clone()), ..node.config(None) };
        let readiness = agent::examine(&config, &ground());
        let seen = readiness.checks.iter().find(|check| check.id == "certificate").unwrap();
        assert_eq!((seen.verdict, readiness.summary), (verdict, verdict), "{seen:?}");
        fs::remove_file(path).unwrap();
        assert_eq!(agent::examine(&config, &ground()).summary, Verdict::Unknown);
    }
}

#[test]
fn a_clock_before_this_program() {
    struct Long;
    impl Clock for Long {
        fn wall_us(&self) -> i64 {
            1_000_000
        }
        fn since_boot(&self) -> Duration {
            Duration::from_secs(3600)
        }
        fn sleep(&self, _: Duration) {}
    }
    let node = well();
    let readiness = agent::examine(&node.config(None), &Ground { clock: &Long, ..ground() });
    let seen = readiness.checks.iter().find(|check| check.id == "clock").unwrap();
    assert_eq!(seen.verdict, Verdict::Fail, "{seen:?}");
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
    // The first boot that the agent sees has none before it.
    let node = well();
    fs::remove_dir_all(node.spool().join("boots")).unwrap();
    fs::create_dir(node.spool().join("boots")).unwrap();
    agent::mark(&node.config(None), false, &ground()).unwrap();
    assert_eq!(found(&node, false, "previous-boot").evidence, "no earlier boot is known");
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
