//! The boot record: what this node says of the boot it is in, and of how the one before ended.

use std::collections::BTreeMap;
use std::time::Duration;

use handover::boot::{self, BootRecord, BpfProgram, Previous, SpoolState, Started};
use serde::{Deserialize, Serialize};

use crate::agent::Config;
use crate::error::Error;
use crate::gather;
use crate::host::{Host, Root};
use crate::http::{Client, NoAnswer};
use crate::kernel;
use crate::ledger::Ledger;
use crate::spool::Spool;

/// How long a service may take to answer; the next run says it again.
const ANSWER: Duration = Duration::from_secs(30);

/// Name of the file in the spool that lists BPF programs, and the most that is read of it: 256 of some 80 bytes.
const PROGRAMS: &str = "bpf.json";
const PROGRAMS_SIZE: u64 = 64 * 1024;

/// Live patches that are told; a kernel has a few.
const PATCHES: usize = 64;

/// Writes the record of the running boot; `None` where the boot is not known.
pub fn record(
    config: &Config,
    labels: &BTreeMap<String, String>,
    host: &Host,
    ledger: &Ledger,
    spool: &Spool<'_>,
    now_us: i64,
    since_boot: Duration,
) -> Result<Option<BootRecord>, Error> {
    let Some(current) = ledger.current() else { return Ok(None) };
    let previous =
        ledger.previous().zip(ledger.ending(spool.entries())).map(|(boot, (ending, basis, evidence))| {
            let basis = basis.into_iter().map(str::to_owned).collect();
            Previous { boot_id: boot.id, ending, basis, evidence }
        });
    let (bpf, unread) = match Programs::load(spool) {
        Some(Programs { loaded, unread }) => {
            (loaded, unread.map(|why| format!("bpf: {why}")).into_iter().collect())
        }
        None => (Vec::new(), vec!["bpf: nobody looked".to_owned()]),
    };
    Ok(Some(BootRecord {
        schema: boot::SCHEMA.to_owned(),
        node_id: host.node,
        incarnation: spool.incarnation(),
        boot_id: host.boot,
        // The time since boot rises within a boot and needs no file to count in.
        rev: u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX),
        ordinal: current.ordinal,
        started: Started { us: current.started_us, basis: "btime".to_owned() },
        seen_us: now_us,
        uptime_us: i64::try_from(since_boot.as_micros()).unwrap_or(i64::MAX),
        clock: host.clock.clone(),
        host: host.machine.clone(),
        livepatches: livepatches(&Root::new(&config.root)),
        bpf,
        unread,
        labels: labels.clone(),
        agent: gather::agent(),
        previous,
        ended: None,
        spool: state(spool)?,
    }))
}

/// `bpf.json` in the spool: the BPF programs that the half with privileges saw at its last look, for the half that
/// tells of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// In the order of their numbers.
    loaded: Vec<BpfProgram>,
    /// Why they could not be listed.
    unread: Option<String>,
}

impl Programs {
    /// Looks, and notes what changed.
    pub fn look(spool: &Spool<'_>) -> Result<(), Error> {
        let now = match kernel::bpf_programs() {
            Ok(loaded) => Programs { loaded, unread: None },
            Err(error) => Programs { loaded: Vec::new(), unread: Some(gather::reason(&error)) },
        };
        if Programs::load(spool).as_ref() == Some(&now) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&now).expect("names and tags are texts");
        spool.write_file(PROGRAMS, &bytes)
    }

    fn load(spool: &Spool<'_>) -> Option<Programs> {
        let contents = spool.disk().read(&spool.folder().join(PROGRAMS), PROGRAMS_SIZE).ok()?;
        serde_json::from_slice(&contents.bytes).ok()
    }
}

/// Hands a document over that is state, not evidence: a failure is a line, and the next run says it again.
pub fn put(client: &Client, path: &str, document: &impl Serialize) -> Result<(), String> {
    let body = serde_json::to_vec(document).expect("our documents are texts and numbers");
    match client.put_json(path, ANSWER, &body) {
        // A service of an earlier version has no place for it.
        Ok(answer) if answer.is_ok() || answer.status == 404 || answer.status == 405 => Ok(()),
        Ok(answer) => {
            let problem = answer.problem();
            Err(format!("the service does not take {path}: {} {}", answer.status, problem.code))
        }
        Err(NoAnswer::Away(why) | NoAnswer::Tls(why)) => Err(why),
    }
}

fn state(spool: &Spool<'_>) -> Result<SpoolState, Error> {
    let ready = spool.ready()?;
    Ok(SpoolState {
        files: ready.len() as u64,
        bytes: ready.iter().map(|parcel| parcel.total).sum(),
        oldest_us: ready.first().map(|parcel| parcel.manifest.found_us),
        withheld: spool.entries().filter(|entry| entry.withheld).count() as u64,
        emergency_erases: spool.entries().filter(|entry| entry.emergency).count() as u64,
    })
}

/// The live patches that are loaded, by name: the folders of `/sys/kernel/livepatch`.
fn livepatches(root: &Root) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.path("/sys/kernel/livepatch")) else { return Vec::new() };
    let names = entries.take(PATCHES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}
