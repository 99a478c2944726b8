//! Dumps of memory: what of them is handed over, and what when that is too much.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use collector::agent::{Config, Summary};
use collector::exit::Exit;
use collector::memory::Core;
use handover::manifest::Kind;

use crate::node::{DIED, Node};
use crate::service::{Fault, Service};

/// The smallest ELF core that is a kernel's: one note, VMCOREINFO, and behind it bytes that nobody reads.
pub fn dump(behind: &[u8]) -> Vec<u8> {
    let info = format!("OSRELEASE=6.12.117\nPAGESIZE=4096\nCRASHTIME={DIED}\n");
    let mut note = Vec::new();
    for word in [11u32, info.len() as u32, 0] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    for part in [b"VMCOREINFO\0".as_slice(), info.as_bytes()] {
        note.extend_from_slice(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    // e_ident, ET_CORE, EM_X86_64, one program header of 56 bytes at 64; then PT_NOTE.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0\x01\0\0\0".to_vec();
    for long in [0u64, 64, 0] {
        elf.extend_from_slice(&long.to_le_bytes());
    }
    elf.extend_from_slice(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
    for long in [120u64, 0, 0, note.len() as u64, note.len() as u64, 4] {
        elf.extend_from_slice(&long.to_le_bytes());
    }
    [&elf, note.as_slice(), behind].concat()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(DIED + 20);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

struct Case {
    node: Node,
    service: Service,
    config: Config,
}

impl Case {
    fn new(core: Core) -> Case {
        let (node, service) = (Node::new(), Service::start());
        write(&node.path("crash/202611220800/dmesg.202611220800"), b"[   27.100000] a log\n");
        write(&node.path("crash/202611220800/dump.202611220800"), &dump(b""));
        let config =
            Config { pstore: vec![], crash: vec![node.path("crash")], core, ..node.config(Some(&service)) };
        Case { node, service, config }
    }

    fn run(&self) -> Summary {
        self.node.run(&self.config)
    }

    /// What the service has, but the log.
    fn kinds(&self) -> Vec<String> {
        let kinds = self.service.stored().into_iter().map(|id| self.service.manifest(&id).kind.to_string());
        let mut kinds: Vec<String> = kinds.filter(|kind| kind != "kernel-log").collect();
        kinds.sort();
        kinds
    }
}

#[test]
fn of_a_dump_goes_what_is_asked_for() {
    for (core, kinds) in [
        (Core::None, &[][..]),
        (Core::Summary, &["vmcore-summary"]),
        (Core::Extract, &["vmcore-extract"]),
        (Core::Full, &["vmcore"]),
    ] {
        let case = Case::new(core);
        let summary = case.run();
        assert_eq!((summary.exit, summary.troubles.len()), (Exit::Done, 0), "{summary:?}");
        assert_eq!(case.kinds(), kinds);
        // Log and memory are of one boot, whoever knows it.
        let boots: Vec<_> =
            case.service.stored().iter().map(|id| case.service.manifest(id).dead_boot.id).collect();
        assert!(boots.windows(2).all(|two| two[0] == two[1]), "{boots:?}");

        let again = case.run();
        assert_eq!((again.exit, again.receipts.len(), again.found.len()), (Exit::Done, 0, 1 + kinds.len()));
        assert!(again.found.iter().all(|seen| !seen.new), "{again:?}");
        assert!(case.node.spooled("tmp").is_empty());
    }
}

#[test]
fn the_log_is_with_the_service_before_memory_is_read() {
    let case = Case::new(Core::Extract);
    case.run();
    let requests = case.service.requests();
    // Two lots: the log alone, then what is made of memory.
    let lots = |start: &str| requests.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((lots("post"), lots("put")), (2, 2), "{requests:#?}");

    // With the service away nobody waits for it twice.
    let away = Case::new(Core::Extract);
    away.service.fail_offer(Fault::RetryAfter(503, 3600));
    let summary = away.run();
    assert_eq!((summary.exit, summary.waiting), (Exit::Later, 2), "{summary:?}");
    assert_eq!(away.service.requests().iter().filter(|line| line.starts_with("post")).count(), 1);
}

#[test]
fn what_a_dump_says_is_dated_by_the_kernel_that_died() {
    let case = Case::new(Core::Summary);
    case.run();
    let of_memory = |id: &_| case.service.manifest(id).kind == Kind::VmcoreSummary;
    let id = case.service.stored().into_iter().find(of_memory).unwrap();
    let time = case.service.manifest(&id).crash_time.unwrap();
    assert_eq!((time.us, time.basis.as_str()), (DIED as i64 * 1_000_000, "vmcore"));
    let read = vmcore::Summary::read(&case.service.bytes(&id)).unwrap();
    assert_eq!(read.facts.kernel_release.as_deref(), Some("6.12.117"));
}

#[test]
fn what_is_larger_than_the_cap_gives_way() {
    let mut case = Case::new(Core::Full);
    case.config.core_bytes = 100;
    let summary = case.run();
    assert_eq!((summary.exit, case.kinds()), (Exit::Done, vec!["vmcore-summary".to_owned()]), "{summary:?}");
    assert!(summary.troubles.iter().any(|line| line.contains("no vmcore is made of")), "{summary:?}");
    // It is not tried again, until something else is asked for.
    assert_eq!(case.run().troubles, [""; 0]);
    case.config.core_bytes = 1 << 20;
    case.config.core = Core::Extract;
    case.run();
    assert_eq!(case.kinds(), ["vmcore-extract", "vmcore-summary"]);
}

#[test]
fn what_the_service_does_not_take_gives_way() {
    let case = Case::new(Core::Full);
    for (held, kinds) in [(1, 0), (1, 0), (0, 1)] {
        // The first upload is that of the log, or of nothing.
        if case.service.stored().is_empty() {
            case.service.fail_upload(Fault::Nothing);
        }
        if kinds == 0 {
            case.service.fail_upload(Fault::Status(413, "evidence-too-large"));
        }
        let summary = case.run();
        assert_eq!((case.kinds().len(), case.node.spooled("held").len()), (kinds, held), "{summary:?}");
    }
    assert_eq!(case.kinds(), ["vmcore-summary"]);
    assert_eq!(case.run().exit, Exit::Done);
}

#[test]
fn a_whole_dump_goes_in_parts_and_its_bytes_arrive() {
    let case = Case::new(Core::Full);
    let mut seed = 7u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 56) as u8
    })
    .take(9 << 20)
    .collect();
    let whole = dump(&noise);
    write(&case.node.path("crash/202611220800/dump.202611220800"), &whole);
    let summary = case.run();
    assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    let patches = case.service.requests().iter().filter(|line| line.starts_with("patch")).count();
    assert_eq!(patches, 2);
    assert!(case.service.stored().iter().any(|id| case.service.bytes(id) == whole));
}

#[test]
fn a_summary_names_neither_host_nor_secret() {
    let of = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/artifacts/vmcore/6.1.0-56-cloud-amd64-null_deref.zlib"
    ));
    if !of.exists() {
        println!("skipped: no dump at {}", of.display());
        return;
    }
    let case = Case::new(Core::Summary);
    write(&case.node.path("crash/202611220800/dump.202611220800"), &fs::read(of).unwrap());
    assert_eq!(case.run().exit, Exit::Done);
    let of_memory = |id: &_| case.service.manifest(id).kind == Kind::VmcoreSummary;
    let id = case.service.stored().into_iter().find(of_memory).unwrap();
    let read = vmcore::Summary::read(&case.service.bytes(&id)).unwrap();
    let told = vmcore::Summary::of(&vmcore::open(of).unwrap());
    assert!(read.facts.hostname.is_none() && told.facts.hostname.is_some());
    assert_eq!(read.facts.command_line, told.facts.command_line);
    assert_eq!(read.tasks, told.tasks);
}
