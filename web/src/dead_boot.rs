//! Which boot a piece of evidence is about: the one that its node names, unless the evidence shows it to be another.
//!
//! An agent that was installed after the crash knows no boots, and derives one from the bytes of each record: the
//! same death in pstore and in kdump's log then seems to be of two. What both tell gives them away: the same report
//! at the same microsecond of the kernel's clock, in the same process.

use report::KernelTime;
use sqlx::SqliteConnection;
use vmcore::Facts;

use crate::problem::Error;
use crate::reading::Reading;
use crate::store::{boot, crash, evidence, rollup};

/// How far two sources may differ in when they say that a machine died: a dump folder has the time of its last file,
/// a record that nothing dates the time when it was found.
const APART_US: i64 = rollup::DAY_US;
/// A memory names no report, only second, process and time since boot: that is less, and must be nearer.
const NEAR_US: i64 = 15 * 60 * 1_000_000;

/// Some evidence whose boot is asked for.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Row of the evidence.
    pub evidence: i64,
    /// Row of its node.
    pub node: i64,
    /// Row of the kernel that died.
    pub release: i64,
    /// When the machine died, µs since 1970.
    pub died_us: i64,
    /// When the evidence came.
    pub received_us: i64,
}

/// The row of the boot that died, made if need be.
pub async fn of(db: &mut SqliteConnection, about: &About, reading: &Reading) -> Result<i64, Error> {
    let About { evidence, node, release, died_us, received_us } = *about;
    let dead = &reading.manifest.dead_boot;
    // Evidence stays where it was put once: the boot that its node derived may be gone.
    let key = evidence::boot_of(&mut *db, evidence).await?.unwrap_or(dead.id);
    let fatal = reading.parsed.cause().is_some();
    let ended_us = reading.manifest.crash_time.as_ref().map(|time| time.us);
    let basis = basis(&dead.basis);
    let said = boot::Dead { node, key: &key, basis, release, seen_us: received_us, fatal, ended_us };
    let boot = boot::upsert(db, &said).await?;
    let mut twin = None;
    for report in &reading.parsed.reports {
        let (Some(KernelTime(us)), Some(pid)) = (report.at, report.pid) else { continue };
        let same = crash::Moment {
            node,
            not_in: boot,
            kernel_us: i64::try_from(us).unwrap_or(i64::MAX),
            pid: pid.into(),
            comm: report.comm.as_deref().unwrap_or_default(),
            around_us: died_us,
            within_us: APART_US,
        };
        twin = crash::elsewhere(&mut *db, &same).await?;
        if twin.is_some() {
            break;
        }
    }
    if let Some(facts) = reading.memory.as_ref().map(|memory| &memory.facts)
        && let Some(ended) = ended(facts)
    {
        twin = crash::ended_elsewhere(&mut *db, node, boot, &ended, NEAR_US).await?;
    }
    match twin {
        Some(other) => Ok(boot::unite(db, boot, other).await?),
        None => Ok(boot),
    }
}

/// What the memory of a dead kernel tells of its death; none if it lacks the half of it.
fn ended(facts: &Facts) -> Option<crash::Ended<'_>> {
    Some(crash::Ended {
        at_us: i64::try_from(facts.crash_time?).ok()?.checked_mul(1_000_000)?,
        uptime_us: i64::try_from(facts.uptime?).ok()?.checked_mul(1_000_000)?,
        pid: facts.pid?.into(),
        comm: facts.comm.as_deref()?,
    })
}

fn basis(word: &str) -> i64 {
    match word {
        "ledger" => 0,
        "journal" => 1,
        "record" => 2,
        _ => boot::DERIVED,
    }
}
