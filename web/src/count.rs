//! Enters what a piece of evidence says: its node, its boot, its crashes. The same report met in a second source is
//! the same crash, which may gain by it a better name, or the knowledge that it was fatal.

use std::collections::BTreeMap;

use handover::manifest::{Class, Manifest};
use handover::{CrashId, EvidenceId};
use report::{KernelTime, Parsed, Report};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::clock::now_us;
use crate::dead_boot::{self, About};
use crate::problem::Error;
use crate::reading::Reading;
use crate::store::signature::Opening;
use crate::store::{alias, crash, crash_evidence, evidence, job, node, release, rollup, variant};

/// What is said when nothing tells the kernel's release.
const UNKNOWN: &str = "unknown";

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
    let Reading { manifest, parsed, notes, .. } = reading;
    let Arrived { id, key, received_us } = *arrived;
    let (release, arch) = release(db, reading, received_us).await?;
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
    let (died_us, at_basis) = died(manifest, received_us);
    let about = About { evidence: id, node, release, died_us, received_us };
    let boot = dead_boot::of(db, &about, reading).await?;
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
    if reading.waits_for_dump() {
        job::ask(db, job::READ_DUMP, id, now_us()).await?;
    }
    let mut signatures = Vec::with_capacity(parsed.reports.len());
    for (number, report) in parsed.reports.iter().enumerate() {
        let known = match counting {
            Counting::First => None,
            Counting::Again(known) => known.get(&number).copied(),
        };
        let kernel_us = report.at.and_then(|at| i64::try_from(at.0).ok());
        let met = match (known, kernel_us) {
            // Of several sources the first one names, and the others may better it.
            (Some(row), _) if crash_evidence::is_first(&mut *db, row, id).await? => None,
            (Some(row), _) => crash::met(&mut *db, row).await?,
            (None, Some(us)) => crash::at(&mut *db, boot, us).await?,
            (None, None) => None,
        };
        if let Some(met) = met
            && (!met.corrupted || report.corrupted.is_some())
        {
            crash_evidence::link(db, met.id, id, index(number)).await?;
            signatures.push(met.signature_id);
            if report.fatal && !met.fatal {
                crash::set_fatal(db, met.id).await?;
                recount(db, &counting, &met, &[]).await?;
            }
            continue;
        }
        let names = report.variant_names();
        let variant_key = variant::key(&arch, &names);
        let variant = variant::upsert(db, &variant_key, &arch, &names).await?;
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
            kernel_us,
            received_us,
            fatal: report.fatal || met.is_some_and(|met| met.fatal),
            corrupted: &report.corrupted.map(|why| word(&why)).unwrap_or_default(),
            cpu: report.cpu.map(i64::from),
            pid: report.pid.map(i64::from),
            comm: report.comm.as_deref().unwrap_or_default(),
            module: blamed(report).1,
            taint: report.taint.as_ref().map(|taint| taint.letters.as_str()).unwrap_or_default(),
        };
        let row = match known.or(met.map(|met| met.id)) {
            Some(row) => {
                crash::rewrite(db, row, &new).await?;
                row
            }
            None => {
                let (row, inserted) = crash::insert(db, &new).await?;
                if inserted && class == 0 && matches!(counting, Counting::First) {
                    rollup::count(db, &counted(&new)).await?;
                }
                row
            }
        };
        if let Some(met) = met {
            signatures.push(met.signature_id);
            recount(db, &counting, &met, &[new]).await?;
        }
        crash_evidence::link(db, row, id, index(number)).await?;
        job::ask(db, job::LOCATE, row, now_us()).await?;
    }
    if let Some(crash) = crash_evidence::attach_memory(db, boot).await? {
        job::ask(db, job::LOCATE, crash, now_us()).await?;
    }
    Ok(signatures)
}

/// Makes the counts anew that a crash was in before a further source bettered it, and is in now.
async fn recount(
    db: &mut SqliteConnection,
    counting: &Counting<'_>,
    met: &crash::Met,
    now: &[crash::New<'_>],
) -> Result<(), Error> {
    if matches!(counting, Counting::Again(_)) {
        return Ok(());
    }
    let signatures = std::iter::once(met.signature_id).chain(now.iter().map(|new| new.signature));
    for signature in std::collections::BTreeSet::from_iter(signatures) {
        rollup::rebuild(db, signature).await?;
    }
    for release in std::iter::once(met.release_id).chain(now.iter().map(|new| new.release)) {
        rollup::rebuild_day(db, release, met.at_us).await?;
    }
    Ok(())
}

fn counted(new: &crash::New<'_>) -> rollup::Counted {
    let &crash::New { signature, node, release, variant, at_us, fatal, .. } = new;
    rollup::Counted { signature, node, release, variant, at_us, fatal }
}

/// The row of the kernel that died, and its architecture.
async fn release(
    db: &mut SqliteConnection,
    reading: &Reading,
    received_us: i64,
) -> Result<(i64, String), Error> {
    let Reading { manifest, parsed, .. } = reading;
    let facts = reading.memory.as_ref().map(|memory| &memory.facts);
    let of_memory = facts.and_then(|facts| facts.kernel_release.as_deref());
    let kernel = parsed.kernel.release.as_deref().or(of_memory).unwrap_or(&manifest.host.kernel);
    let build_id = match facts.and_then(|facts| facts.build_id.as_ref()) {
        Some(build_id) => Some(build_id.as_bytes().to_vec()),
        None => build_id(manifest, parsed, kernel),
    };
    let arch =
        Some(parsed.kernel.arch.as_str()).filter(|arch| !arch.is_empty()).unwrap_or(&manifest.host.arch);
    let kernel = if kernel.is_empty() { UNKNOWN } else { kernel };
    let release = release::Release { kernel, build_id: build_id.as_deref(), arch };
    Ok((release::upsert(db, &release, received_us).await?, arch.to_owned()))
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
