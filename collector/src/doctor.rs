//! The doctor: would a crash of this machine be kept and told? It looks, exercises, and never assumes.
//!
//! A check passes only on what was seen; what cannot be seen is unknown, which is worse than well. Each says what
//! it saw, where, how long that holds, and what mends it. A check without a test that makes it flip is not here.

use std::path::Path;
use std::time::Duration;

use handover::readiness::{self, Check, Readiness, Verdict};
use handover::{BootId, NodeId};

use crate::disk::Disk;
use crate::drill::{Drill, Standing};
use crate::exit::Exit;
use crate::host::Root;
use crate::ledger::Ledger;

mod boots;
mod certificate;
mod erasers;
mod kdump;
mod machine;
pub mod note;
mod pstore;
mod reading;
mod spool;
mod target;
mod units;

/// What the checks look at.
pub struct Patient<'a> {
    /// Below which `/proc`, `/sys`, `/etc` and `/usr` lie.
    pub root: &'a Root,
    /// The file system of the spool.
    pub disk: &'a dyn Disk,
    /// The spool's folder.
    pub spool: &'a Path,
    /// Wall clock, µs since 1970 UTC.
    pub now_us: i64,
    /// Whether the kernel says that the clock is synchronised.
    pub clock_is_synced: Option<bool>,
    /// Time since the machine booted.
    pub since_boot: Duration,
    /// Whether the agent erases records after a receipt.
    pub forget: bool,
    /// Bytes that the agent leaves free on the file system of the spool.
    pub keep_free: u64,
    /// Whether there is a service to hand over to.
    pub has_server: bool,
    /// The certificates that the service is known by, where the settings name them.
    pub ca_file: Option<&'a Path>,
    /// The boots; `None` where the spool cannot be read.
    pub ledger: Option<&'a Ledger>,
    /// The last drill.
    pub drill: Option<&'a Drill>,
}

impl Patient<'_> {
    /// Whether a drill proved the way of a crash, with the kernel and the initramfs of now.
    fn is_proven(&self) -> bool {
        self.drill.is_some_and(|drill| drill.result == Standing::Proven && drill.changed(self.root).is_none())
    }
}

/// What one check saw.
struct Finding {
    verdict: Verdict,
    evidence: String,
    fix: &'static str,
}

fn pass(evidence: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Pass, evidence: evidence.into(), fix: "" }
}

fn unknown(evidence: impl Into<String>, fix: &'static str) -> Finding {
    Finding { verdict: Verdict::Unknown, evidence: evidence.into(), fix }
}

fn fail(evidence: impl Into<String>, fix: &'static str) -> Finding {
    Finding { verdict: Verdict::Fail, evidence: evidence.into(), fix }
}

/// A check: its name, how long its finding holds in seconds, where it looks, and the look.
type Entry = (&'static str, u64, &'static str, fn(&Patient<'_>) -> Finding);

/// Every check, in the order of a crash: written, kept over the reboot, found, handed over.
const CHECKS: [Entry; 22] = [
    ("panic-policy", 3600, "/proc/sys/kernel/panic*", machine::panic_policy),
    ("watchdog", 3600, "/sys/class/watchdog, /proc/sys/kernel/nmi_watchdog", machine::watchdog),
    ("pstore-mounted", 3600, "/proc/1/mountinfo", pstore::mounted),
    ("pstore-backend", 3600, "/sys/module/pstore/parameters/backend", pstore::backend),
    ("pstore-written", 3600, "/sys/kernel/kexec_crash_loaded, crash_kexec_post_notifiers", pstore::written),
    ("pstore-space", 3600, "/sys/firmware/efi/efivars/dump-type0-*", pstore::space),
    ("pstore-leftovers", 3600, "/sys/fs/pstore", pstore::leftovers),
    ("one-eraser", 86_400, "systemd's units, /etc/systemd/pstore.conf", erasers::one_eraser),
    ("archive-durable", 86_400, "/proc/1/mountinfo", pstore::archive_durable),
    ("kdump-armed", 3600, "/sys/kernel/kexec_crash_loaded, /sys/kernel/fadump, kdump.service", kdump::armed),
    ("kdump-reservation", 86_400, "/sys/kernel/kexec_crash_size, /proc/meminfo", kdump::reservation),
    ("kdump-target", 3600, "/etc/kdump.conf or /etc/default/kdump-tools, statvfs(3)", target::target),
    ("spool-durable", 3600, "a file written, synced and read back", spool::durable),
    ("spool-content", 3600, "the spool's folders", spool::content),
    ("last-receipt", 3600, "receipts.log in the spool", spool::last_receipt),
    ("attempts", 3600, "attempts.json in the spool", spool::attempts),
    ("certificate", 86_400, "the settings' ca_file", certificate::expiry),
    ("clock", 3600, "adjtimex(2), /run/systemd/timesync/synchronized", machine::clock),
    ("self-test", 86_400, "samples in this program", reading::self_test),
    ("boot-marked", 86_400, "boots/ in the spool", boots::marked),
    ("previous-boot", 86_400, "boots/ in the spool", boots::previous),
    ("proven", 86_400, "drill.json in the spool, /boot", boots::proven),
];

/// Runs every check.
pub fn examine(patient: &Patient<'_>, node_id: NodeId, boot_id: BootId) -> Readiness {
    let checks: Vec<Check> = CHECKS
        .iter()
        .map(|&(id, max_age_s, how, look)| {
            let Finding { verdict, evidence, fix } = look(patient);
            Check {
                id: id.to_owned(),
                verdict,
                observed_us: patient.now_us,
                max_age_s,
                evidence,
                how: how.to_owned(),
                fix: fix.to_owned(),
            }
        })
        .collect();
    Readiness {
        schema: readiness::SCHEMA.to_owned(),
        node_id,
        boot_id,
        checked_us: patient.now_us,
        summary: readiness::summary(&checks),
        proven: patient.drill.map(|drill| drill.proven(patient.root)),
        checks,
    }
}

/// How a doctor's run ends: 0 when all is well, 74 when something is not, 75 when it cannot be seen.
pub fn exit(readiness: &Readiness) -> Exit {
    match readiness.summary {
        Verdict::Pass => Exit::Done,
        Verdict::Unknown => Exit::Later,
        Verdict::Fail => Exit::Io,
    }
}

/// A number in a file; `None` if it cannot be read.
fn number(root: &Root, path: &str) -> Option<i64> {
    root.text(path)?.parse().ok()
}

/// `MemTotal` in bytes.
fn memory(root: &Root) -> Option<u64> {
    let text = root.text("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// How long, as people say it.
fn span(us: i64) -> String {
    match us / 3_600_000_000 {
        0 => format!("{} min", us / 60_000_000),
        hours @ 1..48 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}
