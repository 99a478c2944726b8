//! The crash-point matrix: the agent is stopped at every system call that changes something, in every way the
//! model knows, and started again. Nothing is lost, nothing is doubled, nothing is erased without a receipt.

use std::path::{Path, PathBuf};

use collector::agent::Config;
use collector::config::Forget;
use collector::disk::Disk;
use collector::exit::Exit;
use collector::memory::Core;
use collector::receipts::Log;
use handover::manifest::Kind;
use handover::{EvidenceId, parcel};
use nix::errno::Errno;

use crate::memory::dump;
use crate::model::{Fault, Left, Model, PSTORE};
use crate::node::{Node, OOPS, PANIC, run_on};
use crate::service::{Service, TOKEN};

/// Two crashes: an oops with its panic in ramoops, and one of three parts in UEFI variables.
const RECORDS: [(&str, &str); 5] = [
    ("dmesg-ramoops-0", OOPS),
    ("dmesg-ramoops-1", PANIC),
    ("dmesg-efi-179537990001001", "Panic#1 Part1\n<0>[ 9.3] newest\n"),
    ("dmesg-efi-179537990002001", "Panic#1 Part2\n<0>[ 9.2] middle\n"),
    ("dmesg-efi-179537990003001", "Panic#1 Part3\n<0>[ 9.1] oldest\n"),
];

const CRASH: &str = "/crash/202611220800";

/// A dump; where the whole is wanted, one that goes in parts.
fn of_memory(core: Core) -> Vec<u8> {
    let noise = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(n).to_le_bytes();
    let words = if core == Core::Full { (1 << 17) + 999 } else { 0 };
    dump(&(1..=words).flat_map(noise).collect::<Vec<u8>>())
}

struct Case {
    node: Node,
    model: Model,
    service: Service,
    config: Config,
}

impl Case {
    fn new() -> Case {
        let (node, model, service) = (Node::new(), Model::new(), Service::start());
        model.put("/token", TOKEN.as_bytes());
        for (name, text) in RECORDS {
            model.put(&format!("{PSTORE}/{name}"), text.as_bytes());
        }
        let config = Config {
            root: node.path("root"),
            pstore: vec![PSTORE.into()],
            spool: PathBuf::from("/var/spool"),
            token_file: Some("/token".into()),
            forget: Forget::Receipted,
            deadline: std::time::Duration::ZERO,
            ..node.config(Some(&service))
        };
        Case { node, model, service, config }
    }

    /// The same, with a crash folder of a log and a dump, of which an extract is wanted, or the whole.
    fn with_dump(core: Core) -> Case {
        let mut case = Case::new();
        case.model.put(&format!("{CRASH}/dmesg.202611220800"), b"[   31.000000] the log of a dump\n");
        case.model.put(&format!("{CRASH}/dump.202611220800"), &of_memory(core));
        (case.config.crash, case.config.core) = (vec!["/crash".into()], core);
        case
    }

    /// Invariant 2: every record is still there, or in a sound parcel, or with the service. Invariant 1: what is
    /// no longer there is with the service.
    fn check_custody(&self, what: &str) {
        let _ = &self.node;
        for (name, text) in RECORDS {
            let at_source = self.model.stat(&Path::new(PSTORE).join(name)).is_ok();
            let stored = self.service.stored().iter().any(|id| holds(&self.service.bytes(id), text));
            assert!(at_source || stored, "{what}: {name} was erased, and the service does not have it");
        }
        for folder in ["ready", "sent", "held"] {
            let folder = format!("/var/spool/{folder}");
            for name in self.model.names(&folder) {
                let bytes = self.model.read(&Path::new(&folder).join(&name), u64::MAX).unwrap().bytes;
                let sound = parcel::open(&bytes)
                    .is_ok_and(|parcel| parcel.manifest.withheld.is_some() || parcel.decode().is_ok());
                assert!(sound, "{what}: {folder}/{name} is not whole");
            }
        }
    }

    /// A healthy run brings everything to its end, each crash once.
    fn check_recovery(&self, what: &str) {
        self.model.arm(None);
        let summary = run_on(&self.config, &self.model).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((summary.exit, summary.waiting), (Exit::Done, 0), "{what}: {summary:?}");
        assert_eq!(self.model.names(PSTORE), [""; 0], "{what}: records are left");
        assert_eq!(self.service.stored().len(), 2, "{what}: each crash is stored once");
        assert_eq!(self.service.receipts("stored"), 2, "{what}");
        assert_eq!(self.model.names("/var/spool/held"), [""; 0], "{what}");
        assert_eq!(self.model.names("/var/spool/sent").len(), 2, "{what}");

        let text = self.model.read(&self.config.spool.join("receipts.log"), u64::MAX).unwrap().bytes;
        let (length, (log, whole)) = (text.len(), Log::read(text));
        assert_eq!((whole, log.damaged()), (length, 0), "{what}: the log is whole");
        assert!(self.service.stored().iter().all(|id| log.get(id).is_some()), "{what}: a receipt was lost");

        let again = run_on(&self.config, &self.model).unwrap();
        assert_eq!(
            (again.exit, again.found.len(), again.receipts.len()),
            (Exit::Done, 0, 0),
            "{what}: {again:?}"
        );
    }
}

/// Every way at every call takes minutes in a debug build; CI asks for it.
fn full() -> bool {
    std::env::var_os("LASTWORDS_FULL_MATRIX").is_some()
}

/// What is left after a stop at a call: always the durable only, and another way in turn.
fn lefts(number: usize) -> Vec<Left> {
    let others = [Left::Everything, Left::Names, Left::Bytes];
    if full() {
        [&[Left::Durable], others.as_slice()].concat()
    } else {
        vec![Left::Durable, others[number % 3]]
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn calls() -> Vec<String> {
    let case = Case::new();
    case.model.arm(None);
    run_on(&case.config, &case.model).unwrap();
    case.model.calls()
}

#[test]
fn stopped_after_any_call_nothing_is_lost_or_doubled() {
    let calls = calls();
    let mut runs = 0;
    for (number, call) in calls.iter().enumerate() {
        for fault in [Fault::StopAfter, Fault::StopHalfway] {
            if fault == Fault::StopHalfway && !call.starts_with("write") {
                continue;
            }
            for left in lefts(number) {
                let what = format!("{fault:?} at {number} ({call}), {left:?} left");
                let case = Case::new();
                case.model.arm(Some((number, fault)));
                // What a process that is gone returns is nothing to look at.
                let _ = run_on(&case.config, &case.model);
                case.model.restart(left);
                case.check_custody(&what);
                case.check_recovery(&what);
                runs += 1;
            }
        }
    }
    println!("crash points: {} calls, {runs} runs, nothing lost, nothing doubled", calls.len());
    assert!(calls.len() > 50, "{calls:#?}");
}

#[test]
fn a_call_that_fails_loses_nothing() {
    let calls = calls();
    let mut runs = 0;
    for (number, call) in calls.iter().enumerate() {
        let faults = [Fault::Fail(Errno::EIO), Fault::FailOn(Errno::ENOSPC), Fault::Fail(Errno::ENOSPC)];
        for fault in if full() { faults.to_vec() } else { vec![faults[number % 2]] } {
            let what = format!("{fault:?} at {number} ({call})");
            let case = Case::new();
            case.model.arm(Some((number, fault)));
            let exit = match run_on(&case.config, &case.model) {
                Ok(summary) => summary.exit,
                Err(error) => error.exit(),
            };
            let tells = matches!(fault, Fault::Fail(_));
            assert!(!tells || exit == Exit::Io, "{what}: {exit:?}");
            case.check_custody(&what);
            case.check_recovery(&what);
            runs += 1;
        }
    }
    println!("failing calls: {} calls, {runs} runs, nothing lost, nothing doubled", calls.len());
}

/// A dump's log and its memory: whenever the agent is stopped or a call fails, both arrive in the end, once.
#[test]
fn evidence_made_of_a_dump_is_neither_lost_nor_doubled() {
    let cores = if full() { &[Core::Summary, Core::Extract, Core::Full][..] } else { &[Core::Extract] };
    for &core in cores {
        let healthy = Case::with_dump(core);
        healthy.model.arm(None);
        run_on(&healthy.config, &healthy.model).unwrap();
        let (calls, mut runs) = (healthy.model.calls(), 0);
        for (number, call) in calls.iter().enumerate() {
            let stops = lefts(number).into_iter().skip(1).map(|left| (Fault::StopAfter, left));
            let halves = call.starts_with("write").then_some((Fault::StopHalfway, Left::Durable));
            let fails = [Fault::Fail(Errno::EIO), Fault::FailOn(Errno::ENOSPC)][number % 2];
            for (fault, left) in stops.chain(halves).chain([(fails, Left::Everything)]) {
                let what = format!("{core:?}: {fault:?} at {number} ({call}), {left:?} left");
                let case = Case::with_dump(core);
                case.model.arm(Some((number, fault)));
                let _ = run_on(&case.config, &case.model);
                case.model.restart(left);
                case.check_custody(&what);
                let summary = run_on(&case.config, &case.model).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!((summary.exit, summary.waiting), (Exit::Done, 0), "{what}: {summary:?}");
                let of_folder = |id: &EvidenceId| case.service.manifest(id).source.kind == "kdump";
                let stored = case.service.stored().into_iter().filter(of_folder);
                let mut kinds: Vec<Kind> = stored.map(|id| case.service.manifest(&id).kind).collect();
                kinds.sort();
                assert_eq!(kinds, [Kind::KernelLog, core.ladder()[0].clone()], "{what}");
                assert_eq!(case.service.receipts("stored"), 4, "{what}");
                let again = run_on(&case.config, &case.model).unwrap();
                assert_eq!((again.receipts.len(), again.found.len()), (0, 2), "{what}: {again:?}");
                runs += 1;
            }
        }
        println!("{core:?} of a dump: {} calls, {runs} runs, nothing lost, nothing doubled", calls.len());
    }
}

/// Wherever the disk is full for a moment, something smaller may go first, and what is wanted still follows.
#[test]
fn what_was_made_for_want_of_room_is_bettered_once_there_is_some() {
    let kinds = |case: &Case| {
        let stored = case.service.stored();
        stored.into_iter().map(|id| case.service.manifest(&id).kind).collect::<Vec<Kind>>()
    };
    let healthy = Case::with_dump(Core::Extract);
    healthy.model.arm(None);
    run_on(&healthy.config, &healthy.model).unwrap();
    let mut gave_way = 0;
    for (number, call) in
        healthy.model.calls().iter().enumerate().filter(|(_, call)| call.starts_with("write"))
    {
        let case = Case::with_dump(Core::Extract);
        case.model.arm(Some((number, Fault::Fail(Errno::ENOSPC))));
        let _ = run_on(&case.config, &case.model);
        gave_way += usize::from(kinds(&case).contains(&Kind::VmcoreSummary));
        case.model.restart(Left::Everything);
        for _ in 0..2 {
            run_on(&case.config, &case.model).unwrap();
        }
        let kinds = kinds(&case);
        let extracts = kinds.iter().filter(|kind| **kind == Kind::VmcoreExtract).count();
        assert_eq!(extracts, 1, "{call}: {kinds:?}");
        let again = run_on(&case.config, &case.model).unwrap();
        assert_eq!((again.receipts.len(), again.troubles.len()), (0, 0), "{call}: {again:?}");
    }
    assert!(gave_way > 0, "the smaller one goes first");
}

/// A loop of six deaths with room for four: two are given up. Stopped anywhere on the way, each is still told
/// once, and what was not given up arrives whole.
#[test]
fn giving_up_bytes_can_be_stopped_anywhere() {
    let case = || {
        let mut case = Case::new();
        case.config.caps.files = 4;
        for n in 1..5 {
            let name = format!("{PSTORE}/dmesg-erst-{}", 1000 + 2 * n);
            case.model.put(&name, PANIC.replace("27.1", &format!("{n}.1")).as_bytes());
        }
        case
    };
    let healthy = case();
    healthy.model.arm(None);
    run_on(&healthy.config, &healthy.model).unwrap();
    let calls = healthy.model.calls();
    for (number, call) in calls.iter().enumerate() {
        for left in lefts(number).into_iter().skip(1) {
            let what = format!("stopped at {number} ({call}), {left:?} left");
            let case = case();
            case.model.arm(Some((number, Fault::StopAfter)));
            let _ = run_on(&case.config, &case.model);
            case.model.restart(left);
            let summary = run_on(&case.config, &case.model).unwrap();
            assert_eq!((summary.exit, summary.waiting), (Exit::Done, 0), "{what}: {summary:?}");
            assert_eq!(case.service.evidence_receipted(), 6, "{what}");
            assert!(case.service.stored().len() >= 4, "{what}");
            case.check_custody(&what);
        }
    }
    println!("giving up: {} calls, nothing doubled", calls.len());
}

#[test]
fn the_power_cut_is_seen_by_the_model() {
    // The model itself must be able to lose things, or the matrix proves nothing.
    let model = Model::new();
    let mut file = model.create(Path::new("/file")).unwrap();
    file.write_all(b"text").unwrap();
    model.restart(Left::Durable);
    assert!(model.stat(Path::new("/file")).is_err());

    let mut file = model.create(Path::new("/file")).unwrap();
    file.write_all(b"text").unwrap();
    model.restart(Left::Names);
    assert_eq!(model.read(Path::new("/file"), 9).unwrap().bytes, b"");
}
