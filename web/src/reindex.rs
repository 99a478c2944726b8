//! Names all evidence again after the rules changed. States, names and what people decided stay; counts follow.
//!
//! 1. Dumps that an older reader read are read again, unless the run is dry. Then everything stale is, and what each
//!    title would become is counted. A dry run ends here.
//! 2. A new title inherits the signature that gives it most crashes, unless a larger new title already took that:
//!    so a fault that is only called something else keeps its history. The old title stays an alias.
//! 3. Crash rows are rewritten, some evidence at a time; at the end the counts of the signatures concerned are made
//!    anew.
//!
//! Placement asks only what the third step does not change, so that a second run finds everything in place, and one
//! that was killed goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sqlx::SqliteConnection;

use crate::app::App;
use crate::count::{self, Arrived, Counting};
use crate::dump;
use crate::problem::Error;
use crate::reading::{self, Reading};
use crate::store::crash_evidence::{self, Linked};
use crate::store::{alias, custody, evidence, rollup};

/// Pieces of evidence of one transaction.
const BATCH: u32 = 16;

/// A title that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The title as it is; none for a report that is new.
    pub old: Option<String>,
    /// The title by the rules of now; none for a report that is gone.
    pub new: Option<String>,
}

/// What a reindex did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Dumps that a newer reader read again.
    pub dumps: u64,
    /// Pieces of evidence that were read.
    pub read: u64,
    /// Crashes whose title changes, by change.
    pub changes: BTreeMap<Change, u64>,
}

/// Reads again what older rules named, or `all`, and rewrites it unless `dry`.
pub async fn run(app: &Arc<App>, all: bool, dry: bool) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    if !dry {
        outcome.dumps = dump::renew(app).await?;
    }
    let mut moves: BTreeMap<alias::Named, BTreeMap<i64, u64>> = BTreeMap::new();
    let mut after = 0;
    while let Some(batch) = next(app, all, &mut after).await? {
        for (arrived, reading) in &batch {
            outcome.read += 1;
            weigh(app, arrived, reading, &mut outcome, &mut moves).await?;
        }
    }
    if dry {
        return Ok(outcome);
    }
    inherit(app, moves).await?;
    let mut after = 0;
    let mut concerned = BTreeSet::new();
    while let Some(batch) = next(app, all, &mut after).await? {
        let mut transaction = app.store.write().await?;
        for (arrived, reading) in &batch {
            rewrite(&mut transaction, arrived, reading, &mut concerned).await?;
        }
        transaction.commit().await?;
    }
    // Those that a killed run left behind show in the differences.
    concerned.extend(rollup::differences(app.store.read()).await?.into_iter().map(|found| found.signature));
    let mut transaction = app.store.write().await?;
    for signature in concerned {
        rollup::rebuild(&mut transaction, signature).await?;
    }
    rollup::rebuild_days(&mut transaction).await?;
    transaction.commit().await?;
    Ok(outcome)
}

type Batch = Vec<(Arrived, Reading)>;

/// The next pieces of evidence, read.
async fn next(app: &Arc<App>, all: bool, after: &mut i64) -> Result<Option<Batch>, Error> {
    let ids = evidence::stale(app.store.read(), all, *after, BATCH).await?;
    let Some(last) = ids.last() else { return Ok(None) };
    *after = *last;
    let mut batch = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(evidence) = custody::by_id(app.store.custody(), id).await? else { continue };
        let arrived = Arrived { id, key: evidence.evidence_id, received_us: evidence.received_us };
        batch.push((arrived, reading::read(app, evidence).await?));
    }
    Ok(Some(batch))
}

/// Counts what the titles of one piece of evidence become.
async fn weigh(
    app: &Arc<App>,
    arrived: &Arrived,
    reading: &Reading,
    outcome: &mut Outcome,
    moves: &mut BTreeMap<alias::Named, BTreeMap<i64, u64>>,
) -> Result<(), Error> {
    let linked = crash_evidence::linked(app.store.read(), arrived.id).await?;
    let (pairs, gone) = pair(arrived, reading, linked);
    for (number, old) in pairs {
        let report = &reading.parsed.reports[number];
        let named = count::named(&reading.manifest, report);
        if let Some(old) = &old
            && alias::by_title(app.store.read(), &named).await?.is_none()
        {
            *moves.entry(named).or_default().entry(old.signature_row).or_default() += 1;
        }
        let change = Change { old: old.map(|old| old.title), new: Some(report.title.clone()) };
        if change.old != change.new {
            *outcome.changes.entry(change).or_default() += 1;
        }
    }
    for old in gone {
        *outcome.changes.entry(Change { old: Some(old.title), new: None }).or_default() += 1;
    }
    Ok(())
}

/// Leads each new title to the signature that gives it most crashes.
async fn inherit(app: &App, moves: BTreeMap<alias::Named, BTreeMap<i64, u64>>) -> Result<(), Error> {
    let mut titles: Vec<_> =
        moves.into_iter().map(|(named, from)| (from.values().sum::<u64>(), named, from)).collect();
    titles.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    let mut taken = BTreeSet::new();
    let mut transaction = app.store.write().await?;
    for (_, named, from) in titles {
        let heir =
            from.into_iter().max_by_key(|(signature, crashes)| (*crashes, std::cmp::Reverse(*signature)));
        if let Some((signature, _)) = heir
            && taken.insert(signature)
        {
            alias::lead(&mut transaction, &named, signature, crate::clock::now_us()).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Rewrites the crashes of one piece of evidence, and notes whose counts change.
async fn rewrite(
    db: &mut SqliteConnection,
    arrived: &Arrived,
    reading: &Reading,
    concerned: &mut BTreeSet<i64>,
) -> Result<(), Error> {
    let linked = crash_evidence::linked(&mut *db, arrived.id).await?;
    let (pairs, gone) = pair(arrived, reading, linked);
    let mut kept = BTreeMap::new();
    for (number, old) in pairs {
        if let Some(old) = old {
            concerned.insert(old.signature_row);
            kept.insert(number, old.crash_row);
        }
    }
    for old in gone {
        concerned.insert(old.signature_row);
        crash_evidence::unlink(db, old.crash_row, arrived.id).await?;
    }
    let placed = count::count(db, arrived, reading, Counting::Again(&kept)).await?;
    concerned.extend(placed);
    Ok(())
}

/// Reports beside the crashes that they were: by the crash's id, else by their number in the evidence. What is left
/// of the old ones is gone.
fn pair(
    arrived: &Arrived,
    reading: &Reading,
    mut old: Vec<Linked>,
) -> (Vec<(usize, Option<Linked>)>, Vec<Linked>) {
    let mut pairs: Vec<(usize, Option<Linked>)> = Vec::new();
    let keys: Vec<_> = reading
        .parsed
        .reports
        .iter()
        .enumerate()
        .map(|(number, report)| count::crash_id(&reading.manifest, &arrived.key, report, number))
        .collect();
    for (number, key) in keys.iter().enumerate() {
        let at = old.iter().position(|old| old.crash_id == *key);
        pairs.push((number, at.map(|at| old.swap_remove(at))));
    }
    for (number, found) in pairs.iter_mut().filter(|(_, found)| found.is_none()) {
        let at = old.iter().position(|old| usize::try_from(old.report_no) == Ok(*number));
        *found = at.map(|at| old.swap_remove(at));
    }
    (pairs, old)
}
