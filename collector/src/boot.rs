//! The boot record: what this node says of the boot it is in, and of how the one before ended.

use std::collections::BTreeMap;
use std::time::Duration;

use handover::boot::{self, BootRecord, Previous, SpoolState, Started};
use serde::Serialize;

use crate::agent::Config;
use crate::error::Error;
use crate::gather;
use crate::host::{Host, Root};
use crate::http::{Client, NoAnswer};
use crate::ledger::Ledger;
use crate::spool::Spool;

/// How long a service may take to answer; the next run says it again.
const ANSWER: Duration = Duration::from_secs(30);

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
        // Listing them takes bpf(2) with CAP_SYS_ADMIN, which the agent does not ask for.
        bpf: Vec::new(),
        labels: labels.clone(),
        agent: gather::agent(),
        previous,
        ended: None,
        spool: state(spool)?,
    }))
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
        emergency_erases: 0,
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
