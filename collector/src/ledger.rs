//! The boot ledger: every boot that the agent saw, and how the one before ended.
//!
//! `boots/<boot id>.json` is written at the first run in a boot, and again when the clock was set since: records have the
//! time of their death, and a machine without a clock begins in 1970. `boots/<boot id>.clean` is written by the stopping
//! unit and by nothing else, so that a clean end is never guessed; and a missing one says something only
//! of a boot in which that unit was armed. Wall time alone decides nothing: boots are ordered by their number.

use std::io;
use std::path::{Path, PathBuf};

use handover::boot::Ending;
use handover::manifest::{Host as Machine, Kind};
use handover::{BootId, EvidenceId};
use serde::{Deserialize, Serialize};

use crate::custody::Entry;
use crate::disk::{self, Disk};
use crate::error::{Doing, Error};
use crate::host::{Host, Root};

/// A boot's file is some 400 bytes.
const FILE: u64 = 16 * 1024;

/// Boots that are kept; the oldest go first. A machine that boots every hour keeps a fortnight.
const BOOTS: usize = 400;

/// By how much the start of a boot, reckoned back from a record's wall time and kernel time, may miss the start in
/// the ledger: a clock that was set late in the boot, and the seconds between a panic and its record.
const SLACK_US: i64 = 300_000_000;

/// A start that moved by more, µs, says that the clock was set: `btime` has whole seconds, and a clock is steered slowly.
const STEP_US: u64 = 10_000_000;

/// `WDIOF_CARDRESET` of `include/uapi/linux/watchdog.h`: the watchdog caused the last reset.
const CARDRESET: u64 = 0x20;

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Its id.
    pub id: BootId,
    /// Counts from 1 over the boots that the agent saw.
    pub ordinal: u64,
    /// When it began, by the clock as it was set last, µs since 1970 UTC.
    pub started_us: i64,
    /// The machine in it.
    pub machine: Machine,
    /// Whether the unit that marks a clean end was started in it.
    pub marks: bool,
}

/// The boots that are known.
#[derive(Clone, Debug)]
pub struct Ledger {
    boots: Vec<Boot>,
    current: BootId,
    previous_is_clean: bool,
    watchdog: bool,
}

impl Ledger {
    /// Reads the ledger and enters nothing, for those who only look.
    pub fn look(disk: &dyn Disk, spool: &Path, root: &Root, boot: BootId) -> Result<Ledger, Error> {
        let folder = spool.join("boots");
        let boots = read(disk, &folder)?;
        Ok(Ledger::at(disk, &folder, root, boot, boots))
    }

    /// Reads the ledger and enters the running boot, if it is new or its clock was set since. `marks` says that the
    /// stopping unit runs us.
    pub fn open(
        disk: &dyn Disk,
        spool: &Path,
        root: &Root,
        host: &Host,
        started_us: i64,
        marks: bool,
    ) -> Result<Ledger, Error> {
        let folder = spool.join("boots");
        let mut boots = read(disk, &folder)?;
        let known = boots.iter().position(|boot| boot.id == host.boot);
        let news = |boot: &Boot| marks && !boot.marks || boot.started_us.abs_diff(started_us) > STEP_US;
        if host.boot != BootId::ZERO && known.is_none_or(|n| news(&boots[n])) {
            let (ordinal, marks) = match known.map(|n| boots.remove(n)) {
                Some(boot) => (boot.ordinal, marks || boot.marks),
                None => (boots.last().map_or(1, |boot| boot.ordinal + 1), marks),
            };
            let boot = Boot { id: host.boot, ordinal, started_us, machine: host.machine.clone(), marks };
            enter(disk, spool, &folder, &boot)?;
            boots.push(boot);
            forget_old(disk, &folder, &boots)?;
        }
        Ok(Ledger::at(disk, &folder, root, host.boot, boots))
    }

    fn at(disk: &dyn Disk, folder: &Path, root: &Root, current: BootId, boots: Vec<Boot>) -> Ledger {
        let mut ledger =
            Ledger { boots, current, previous_is_clean: false, watchdog: reset_by_watchdog(root) };
        if let Some(previous) = ledger.previous() {
            ledger.previous_is_clean = disk.stat(&marker(folder, &previous.id)).is_ok();
        }
        ledger
    }

    /// Whether a boot was marked when it ended in order.
    pub fn is_clean(disk: &dyn Disk, spool: &Path, boot: &BootId) -> bool {
        disk.stat(&marker(&spool.join("boots"), boot)).is_ok()
    }

    /// Marks durably that this boot ends in order.
    pub fn mark_clean(disk: &dyn Disk, spool: &Path, boot: BootId, now_us: i64) -> Result<(), Error> {
        let folder = spool.join("boots");
        let (target, tmp) = (marker(&folder, &boot), folder.join("clean.tmp"));
        disk::write_whole(disk, &tmp, &target, format!("{now_us}\n").as_bytes()).doing("writing", &target)
    }

    /// The running boot.
    pub fn current(&self) -> Option<&Boot> {
        self.get(&self.current)
    }

    /// A boot by its id.
    pub fn get(&self, id: &BootId) -> Option<&Boot> {
        self.boots.iter().find(|boot| boot.id == *id)
    }

    /// The boot before the running one.
    pub fn previous(&self) -> Option<&Boot> {
        let ordinal = self.current()?.ordinal;
        self.boots.iter().rev().find(|boot| boot.ordinal < ordinal)
    }

    /// The boot in which a text ended that was written at `died_us`: the one that began when the text's last
    /// kernel time was zero. A boot that ended before any run of ours is in no ledger, and must not be taken for
    /// the one before it; nor is it the running one.
    pub fn of_text(&self, text: &[u8], died_us: i64) -> Option<&Boot> {
        let began_us = died_us.checked_sub(last_kernel_us(text)?)?;
        let miss = |boot: &&Boot| boot.started_us.abs_diff(began_us);
        let ended = self.boots.iter().filter(|boot| boot.id != self.current);
        ended.min_by_key(miss).filter(|boot| miss(boot) <= SLACK_US.unsigned_abs())
    }

    /// How the boot before ended, and what tells so.
    pub fn ending<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Option<(Ending, Vec<&'static str>, Vec<EvidenceId>)> {
        let previous = self.previous()?;
        let about: Vec<&Entry> = entries.filter(|entry| entry.dead_boot == Some(previous.id)).collect();
        let ids = about.iter().map(|entry| entry.evidence_id).collect();
        // A journal is there for every boot, and apport's report of an oops is written by a machine that lives on; a log
        // that outlived the machine is there for a death.
        let of_the_living = |entry: &Entry| matches!(entry.source.as_str(), "journal" | "apport");
        let has = |kind: Kind| about.iter().any(|entry| entry.kind == kind && !of_the_living(entry));
        let (ending, basis) = if has(Kind::KernelLog) {
            (Ending::Crash, vec!["kernel-log"])
        } else if [Kind::Vmcore, Kind::VmcoreExtract, Kind::VmcoreSummary].into_iter().any(has) {
            (Ending::Crash, vec!["dump"])
        } else if has(Kind::HardwareError) {
            (Ending::Hardware, vec!["hardware-error"])
        } else if self.previous_is_clean {
            (Ending::Clean, vec!["clean-marker"])
        } else if self.watchdog {
            (Ending::Watchdog, vec!["watchdog-reset"])
        } else if previous.marks {
            (Ending::Silent, vec!["no-clean-marker", "no-artifact"])
        } else {
            (Ending::Unknown, vec!["not-marked"])
        };
        Some((ending, basis, ids))
    }
}

/// The kernel time of a text's last line that has one, µs: `[   27.101902]` behind an optional `<5>`.
pub fn last_kernel_us(text: &[u8]) -> Option<i64> {
    text.rsplit(|&byte| byte == b'\n').find_map(|line| {
        let open = line.iter().take(8).position(|&byte| byte == b'[')?;
        let close = line.iter().take(open + 24).position(|&byte| byte == b']')?;
        let time = std::str::from_utf8(line.get(open + 1..close)?).ok()?;
        // `[  T123]` and `[ C1]`, the caller, stand behind the time.
        let (seconds, micros) = time.trim_start().split_once('.')?;
        let micros: i64 = micros.parse().ok().filter(|_| micros.len() == 6)?;
        seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)
    })
}

/// When the running boot began, µs since 1970: `btime` of `/proc/stat`, to the second.
pub fn started_us(root: &Root) -> Option<i64> {
    let stat = root.text("/proc/stat")?;
    let seconds: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    seconds.checked_mul(1_000_000)
}

fn reset_by_watchdog(root: &Root) -> bool {
    let status = root.text("/sys/class/watchdog/watchdog0/bootstatus");
    status.and_then(|text| text.parse::<u64>().ok()).is_some_and(|bits| bits & CARDRESET != 0)
}

fn read(disk: &dyn Disk, folder: &Path) -> Result<Vec<Boot>, Error> {
    let mut boots = Vec::new();
    for name in disk.list(folder).doing("reading", folder)? {
        if !name.ends_with(".json") {
            continue;
        }
        let path = folder.join(name);
        let contents = disk.read(&path, FILE).doing("reading", &path)?;
        // One that cannot be read is a boot that was not seen.
        boots.extend(serde_json::from_slice::<Boot>(&contents.bytes));
    }
    boots.sort_by_key(|boot| boot.ordinal);
    Ok(boots)
}

fn marker(folder: &Path, boot: &BootId) -> PathBuf {
    folder.join(format!("{boot}.clean"))
}

fn enter(disk: &dyn Disk, spool: &Path, folder: &Path, boot: &Boot) -> Result<(), Error> {
    let path = folder.join(format!("{}.json", boot.id));
    let mut bytes = serde_json::to_vec_pretty(boot).expect("a boot is texts and numbers");
    bytes.push(b'\n');
    disk::write_whole(disk, &spool.join("tmp").join("boot"), &path, &bytes).doing("writing", &path)
}

fn forget_old(disk: &dyn Disk, folder: &Path, boots: &[Boot]) -> Result<(), Error> {
    for boot in boots.iter().take(boots.len().saturating_sub(BOOTS)) {
        for path in [folder.join(format!("{}.json", boot.id)), marker(folder, &boot.id)] {
            match disk.unlink(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).doing("removing", &path);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_kernel_time_is_found_behind_priorities_and_before_callers() {
        for (text, expected) in [
            ("<0>[   27.101902] Kernel panic\n", Some(27_101_902)),
            ("[    1.000001] a\n[ 3600.000002][  T12] b\nECC: No errors detected\n", Some(3_600_000_002)),
            ("<6>[12345.678901] [C1] x", Some(12_345_678_901)),
            ("no time at all\n", None),
            ("[  T12] only a caller\n", None),
            ("<0>[99999999999999999999.000000] absurd\n", None),
            ("", None),
        ] {
            assert_eq!(last_kernel_us(text.as_bytes()), expected, "{text:?}");
        }
    }
}
