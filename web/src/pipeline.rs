//! From evidence in custody to counted crashes: read outside any transaction, counted in one.
//!
//! The cursor is moved by the transaction that counts, and a crash is unique by its id: killed anywhere, or run
//! twice, nothing is counted twice and nothing is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use handover::manifest::{Class, Manifest};
use handover::{CrashId, EvidenceId};
use report::{KernelTime, Parsed, Report};
use serde::Serialize;
use sqlx::SqliteConnection;
use tokio::sync::watch;

use crate::app::App;
use crate::clock::now_us;
use crate::problem::{Chain, Error};
use crate::reading::{self, Reading};
use crate::store::signature::Opening;
use crate::store::{
    alias, boot, crash, crash_evidence, cursor, custody, evidence, job, node, release, rollup, variant,
};

/// Pieces of evidence of one counting transaction: about 40 ms of the write lock.
const BATCH: u32 = 64;
/// Bytes of logs that are held at once, but for the last one.
const READ: i64 = 32 * 1024 * 1024;
/// How long to wait after a failure of the database before trying again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is said when nothing tells the kernel's release.
const UNKNOWN: &str = "unknown";

/// Reads and counts what comes, until told to stop.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match step(&app).await {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = app.writer.committed() => {}
                _ = stopped.changed() => {}
            },
            Err(error) => {
                tracing::error!(error = %Chain(&error), "reading and counting");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = stopped.changed() => {}
                }
            }
        }
    }
}

/// Counts the next pieces of evidence; false when there are none.
pub async fn step(app: &Arc<App>) -> Result<bool, Error> {
    let from = cursor::get(app.store.read(), cursor::READ).await?;
    let arrived = custody::after(app.store.custody(), from, BATCH).await?;
    let mut readings = Vec::with_capacity(arrived.len());
    let (mut last, mut bytes) = (None, 0);
    for evidence in arrived {
        let (id, key, received_us) = (evidence.id, evidence.evidence_id, evidence.received_us);
        last = Some(id);
        bytes += evidence.size;
        match reading::read(app, evidence).await {
            Ok(reading) => readings.push((Arrived { id, key, received_us }, reading)),
            // It stays in custody; what comes behind it must not wait for somebody to look.
            Err(error) => tracing::error!(evidence = %key, error = %Chain(&error), "left unread"),
        }
        if bytes > READ {
            break;
        }
    }
    let Some(last) = last else { return Ok(false) };
    let mut transaction = app.store.write().await?;
    for (arrived, reading) in &readings {
        count(&mut transaction, arrived, reading, Counting::First).await?;
    }
    cursor::set(&mut transaction, cursor::READ, last).await?;
    transaction.commit().await?;
    app.jobs_due.notify_one();
    Ok(true)
}

/// The evidence a reading is of.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// Row id.
    pub id: i64,
    /// Public id.
    pub key: EvidenceId,
    /// When it came.
    pub received_us: i64,
}

/// Whether evidence is counted for the first time.
#[derive(Clone, Copy, Debug)]
pub enum Counting<'a> {
    /// It is: roll-ups are raised for every crash that is new.
    First,
    /// It was counted under older rules: these reports are these crash rows, which are rewritten. The caller makes
    /// the roll-ups anew.
    Again(&'a BTreeMap<usize, i64>),
}

/// Enters what a piece of evidence says. Returns the signatures of its crashes.
pub async fn count(
    db: &mut SqliteConnection,
    arrived: &Arrived,
    reading: &Reading,
    counting: Counting<'_>,
) -> Result<Vec<i64>, Error> {
    let Reading { manifest, parsed, notes } = reading;
    let Arrived { id, key, received_us } = *arrived;
    let kernel = parsed.kernel.release.as_deref().unwrap_or(&manifest.host.kernel);
    let build_id = build_id(manifest, parsed, kernel);
    let arch =
        Some(parsed.kernel.arch.as_str()).filter(|arch| !arch.is_empty()).unwrap_or(&manifest.host.arch);
    let kernel = if kernel.is_empty() { UNKNOWN } else { kernel };
    let release = release::Release { kernel, build_id: build_id.as_deref(), arch };
    let release = release::upsert(db, &release, received_us).await?;
    let of_node = class(manifest.class);
    let said = node::Word {
        node_id: &manifest.node_id,
        class: of_node,
        name: &manifest.host.name,
        incarnation: &manifest.incarnation,
        agent_version: &manifest.agent.version,
        release,
        labels: &manifest.labels,
        received_us,
    };
    let node = node::upsert(db, &said).await?;
    let dead = &manifest.dead_boot;
    let fatal = parsed.cause().is_some();
    let boot = boot::upsert(db, node, &dead.id, basis(&dead.basis), release, received_us, fatal).await?;
    let new = evidence::New {
        id,
        key: &key,
        node,
        boot,
        kind: manifest.kind.as_str(),
        class: of_node,
        received_us,
        crashes: index(parsed.reports.len()),
        weight: i64::try_from(manifest.weight).unwrap_or(i64::MAX),
        notes: &serde_json::to_string(notes).expect("notes are plain data"),
    };
    evidence::upsert(db, &new).await?;
    let (died_us, at_basis) = died(manifest, received_us);
    let mut signatures = Vec::with_capacity(parsed.reports.len());
    for (number, report) in parsed.reports.iter().enumerate() {
        let names = report.variant_names();
        let variant_key = variant::key(arch, &names);
        let variant = variant::upsert(db, &variant_key, arch, &names).await?;
        let class = if report.intentional { of_node.max(1) } else { of_node };
        let at_us = (died_us - before_the_end(parsed, report)).min(received_us);
        let place = place(db, manifest, report, class, &variant_key, at_us).await?;
        signatures.push(place.signature);
        let new = crash::New {
            key: crash_id(manifest, &key, report, number),
            class,
            signature: place.signature,
            variant,
            title: place.title,
            node,
            boot,
            release,
            at_us,
            at_basis,
            kernel_us: report.at.and_then(|at| i64::try_from(at.0).ok()),
            received_us,
            fatal: report.fatal,
            corrupted: &report.corrupted.map(|why| word(&why)).unwrap_or_default(),
            cpu: report.cpu.map(i64::from),
            pid: report.pid.map(i64::from),
            comm: report.comm.as_deref().unwrap_or_default(),
            module: blamed(report).1,
            taint: report.taint.as_ref().map(|taint| taint.letters.as_str()).unwrap_or_default(),
        };
        let known = match counting {
            Counting::First => None,
            Counting::Again(known) => known.get(&number).copied(),
        };
        if let Some(crash) = known {
            crash::rewrite(db, crash, &new).await?;
            crash_evidence::renumber(db, crash, id, index(number)).await?;
            job::ask(db, job::LOCATE, crash, now_us()).await?;
            continue;
        }
        let (crash, inserted) = crash::insert(db, &new).await?;
        crash_evidence::link(db, crash, id, index(number)).await?;
        if !inserted {
            continue;
        }
        if class == 0 && matches!(counting, Counting::First) {
            let counted = rollup::Counted {
                signature: place.signature,
                node,
                release,
                variant,
                at_us,
                fatal: report.fatal,
            };
            rollup::count(db, &counted).await?;
        }
        job::ask(db, job::LOCATE, crash, now_us()).await?;
    }
    Ok(signatures)
}

/// The public id of a report: its node, the boot that died, the kernel's time; without one its number in the
/// evidence.
pub fn crash_id(manifest: &Manifest, evidence: &EvidenceId, report: &Report, number: usize) -> CrashId {
    let dead = &manifest.dead_boot.id;
    match report.at {
        Some(KernelTime(us)) => CrashId::at(&manifest.node_id, dead, us),
        None => CrashId::numbered(&manifest.node_id, dead, evidence, number),
    }
}

/// The title of a report and where it holds: one that names nothing certain stays on its own node.
pub fn named(manifest: &Manifest, report: &Report) -> alias::Named {
    let nameless = report.title.ends_with(" in corrupted");
    let scope = if nameless { manifest.node_id.as_bytes().to_vec() } else { Vec::new() };
    alias::Named { title: report.title.clone(), scope }
}

/// Places a report among the signatures.
async fn place(
    db: &mut SqliteConnection,
    manifest: &Manifest,
    report: &Report,
    class: i64,
    variant_key: &[u8; 16],
    at_us: i64,
) -> Result<alias::Place, Error> {
    let alias::Named { title, scope } = &named(manifest, report);
    let (function, module) = blamed(report);
    let new = Opening {
        title,
        scope,
        kind: report.kind.as_str(),
        severity: &word(&report.severity),
        corrupted: report.corrupted.is_some(),
        function,
        module,
        subsystem: report.subsystem.as_deref().unwrap_or_default(),
        class,
        at_us,
    };
    // A damaged text may have lost the part that tells two faults apart: it joins by its own title only.
    let alts: &[String] = if report.corrupted.is_some() { &[] } else { &report.alts };
    Ok(alias::place(db, &new, alts, variant_key, now_us()).await?)
}

fn blamed(report: &Report) -> (&str, &str) {
    match &report.guilty {
        Some(function) => (&function.name, function.module.as_deref().unwrap_or_default()),
        None => ("", ""),
    }
}

/// The build-id of the kernel that died: the log's own, or the manifest's if it speaks of that kernel and not of
/// the one that found the record.
fn build_id(manifest: &Manifest, parsed: &Parsed, kernel: &str) -> Option<Vec<u8>> {
    if let Some(build_id) = &parsed.kernel.build_id {
        return Some(build_id.as_bytes().to_vec());
    }
    let found_later = manifest.notes.iter().any(|note| note.code == "host-of-finding-boot");
    let host = &manifest.host;
    let same = host.kernel == kernel && !found_later && !host.build_id.is_empty();
    if same { hex::decode(&host.build_id).ok() } else { None }
}

/// When the machine died, and what tells.
fn died(manifest: &Manifest, received_us: i64) -> (i64, &str) {
    match &manifest.crash_time {
        Some(time) => (time.us, &time.basis),
        None if manifest.clock.synced => (manifest.found_us, "found"),
        None => (received_us, "received"),
    }
}

/// How long before the machine's death a report was printed, µs, by the kernel's clock.
fn before_the_end(parsed: &Parsed, report: &Report) -> i64 {
    let cause = parsed.cause().and_then(|cause| parsed.reports.get(cause));
    let end = cause.or(parsed.reports.last()).and_then(|report| report.at);
    match (end, report.at) {
        (Some(KernelTime(end)), Some(KernelTime(at))) => i64::try_from(end.saturating_sub(at)).unwrap_or(0),
        _ => 0,
    }
}

fn class(class: Class) -> i64 {
    match class {
        Class::Field => 0,
        Class::Drill => 1,
        Class::Canary => 2,
    }
}

fn basis(word: &str) -> i64 {
    match word {
        "ledger" => 0,
        "journal" => 1,
        "record" => 2,
        _ => 3,
    }
}

fn index(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The word that an enumeration is written as.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
