//! Keeping what a dump of memory says, behind the log of the same crash.

use handover::EvidenceId;
use handover::manifest::Kind;

use super::keep::Scene;
use super::{Seen, Summary};
use crate::custody::State;
use crate::error::Error;
use crate::memory::{self, Failure, Making};
use crate::source::{Find, Record};
use crate::spool::Spool;

/// Takes into the spool what is wanted of a find's dump, or the most that is less: what is larger than its cap, cannot
/// be made, or was not taken by the service gives way to something smaller.
pub(super) fn keep_memory(
    on: &Scene<'_>,
    find: &Find,
    log: &EvidenceId,
    spool: &mut Spool<'_>,
    summary: &mut Summary,
) {
    let ladder = on.config.core.ladder();
    let (Some(record), Some(wanted)) = (&find.dump, ladder.first()) else { return };
    let (mut rest, mut held, mut no_room) = (ladder, None, false);
    if let Some(entry) = memory::made(spool, record, ladder) {
        let below = ladder.iter().position(|kind| *kind == entry.kind).map_or(0, |at| at + 1);
        rest = &ladder[below..];
        summary.found.push(Seen::of_entry(entry));
        if spool.state(&entry.evidence_id) != State::Held {
            return;
        }
        held = Some(entry.evidence_id);
    }
    for kind in rest {
        let folder = spool.folder().to_owned();
        // What is made for want of room answers no wish but its own: the next run looks again.
        let wanted = if no_room { kind } else { wanted };
        let making = || make(on, find, record, kind, wanted, log, spool);
        let Some(made) = on.attempt(record, &folder, summary, making) else { return };
        match made {
            Ok(seen) => {
                summary.found.push(seen);
                if let Some(held) = held
                    && let Err(error) = spool.commit().and_then(|()| spool.let_go(&held))
                {
                    summary.fail("letting go of what the service does not take", &error);
                }
                return;
            }
            Err(Failure::NoDump) => return,
            Err(why @ (Failure::NotThis(_) | Failure::NoRoom)) => {
                no_room |= matches!(why, Failure::NoRoom);
                summary.troubles.push(format!("no {kind} is made of {}: {why}", record.path.display()));
            }
            Err(Failure::Own(error)) => {
                return summary.fail(&format!("keeping the {kind} of {}", record.path.display()), &error);
            }
        }
    }
}

fn make(
    on: &Scene<'_>,
    find: &Find,
    record: &Record,
    kind: &Kind,
    wanted: &Kind,
    log: &EvidenceId,
    spool: &mut Spool<'_>,
) -> Result<Seen, Failure> {
    let none = || Error::Setting("the log of the dump is not in the spool".to_owned());
    let log = spool.entry(log).cloned().ok_or_else(none)?;
    let (boot, class) = memory::as_in_log(&log);
    let at = on.circumstances(class, boot, spool)?;
    let tell_host_name = on.config.tell_host_name;
    let making = Making { find, record, log: &log, at: &at, tell_host_name, most: on.config.core_bytes };
    let mut evidence = making.evidence(on.ground.disk, spool, kind)?;
    evidence.entry.wanted = Some(wanted.clone());
    spool.keep(&evidence)?;
    // The same bytes may have been made for another wish before.
    spool.wish(&evidence.entry.evidence_id, wanted)?;
    Ok(Seen { new: true, ..Seen::of_entry(&evidence.entry) })
}
