//! Ubuntu's apport: what it reports of the kernel, `/var/crash/linux-image-*.crash`.
//!
//! `kernel_crashdump` writes the log of a crash that kdump-tools left in a folder, which is often there as well: equal
//! bytes are one evidence. `kernel_oops` writes what a machine said that lived on. A dump of memory in a report
//! (`VmCore`) is left: kdump-tools moves its own into a folder, and this one is some GB behind base64, and
//! `apport-unpack` takes it out for those who want it. Reports on programs are passed over. Nothing is erased; the marks
//! of what apport uploads (`.upload`, `.uploaded`) are files of their own and say nothing of ours.

use std::io::{self, Read};
use std::path::Path;

use handover::manifest::{CrashTime, Kind, Note, Source};

use crate::disk::{Disk, FileKind};
use crate::gather::{note, reason};
use crate::source::{Find, Form, PIECE, Record, Scan, is_of_the_system, is_settled};

pub mod fields;

/// Reports that are opened to see what they are about. Each program, kernel and oops has one, and cron clears them after a
/// week.
const REPORTS: usize = 10_000;

/// Bytes of a report in which its first field ends, `ProblemType: KernelCrash`.
const HEAD: u64 = 64;

/// Looks through the reports in `/var/crash`.
pub fn scan(disk: &dyn Disk, crash: &Path, now_us: i64, scan: &mut Scan) -> io::Result<()> {
    let names = disk.list(crash)?;
    let reports = names.into_iter().filter(|name| name.ends_with(".crash"));
    for name in reports.take(REPORTS) {
        let path = crash.join(&name);
        // What is no regular file, is gone or cannot be read is no report of apport's own; nor is a user's file, for
        // everybody may write there.
        let Ok(head) = disk.read(&path, HEAD) else { continue };
        let stat = head.stat;
        let ours =
            stat.kind == FileKind::File && is_of_the_system(&stat) && is_settled(stat.mtime_us, now_us);
        let Some(is_oops) = is_oops(&head.bytes).filter(|_| ours) else { continue };
        scan.finds.push(find(Record { name, path, stat, form: Form::Report }, is_oops));
    }
    Ok(())
}

/// The kernel's text in a report, whether it is whole, and what is to be said of it.
pub fn text(report: &mut dyn Read, name: &str) -> (Vec<u8>, bool, Vec<Note>) {
    let say = |code, detail: Option<&str>| note(code, Some(name), detail.map(str::to_owned));
    match fields::text(report) {
        Ok(fields::Text { bytes, cut, damage, holds_dump }) => {
            let mut notes = vec![say("log-of-report", None)];
            notes.extend(cut.then(|| say("cut", Some(&format!("the last {PIECE} bytes")))));
            notes.extend(damage.map(|why| say("unreadable", Some(why))));
            notes.extend(
                holds_dump
                    .then(|| say("part-missing", Some("the dump of memory, which is left in the report"))),
            );
            (bytes, !cut, notes)
        }
        Err(error) => (Vec::new(), false, vec![say("unreadable", Some(&reason(&error)))]),
    }
}

/// Whether a report is on an oops that the machine outlived, or on a crash; `None` if it is not on the kernel. The field
/// is the first of every report.
fn is_oops(head: &[u8]) -> Option<bool> {
    match head.split(|&byte| byte == b'\n').next()? {
        b"ProblemType: KernelOops" => Some(true),
        b"ProblemType: KernelCrash" => Some(false),
        _ => None,
    }
}

fn find(report: Record, is_oops: bool) -> Find {
    // A crash is reported after the next boot: its report's time is not that of the crash.
    let crash_time = is_oops.then(|| CrashTime { us: report.stat.mtime_us, basis: "file-mtime".to_owned() });
    Find {
        kind: Kind::KernelLog,
        source: Source { kind: "apport".to_owned(), backend: None },
        records: vec![report],
        crash_time,
        erasable: false,
        of_previous_boot: false,
        gaps: Vec::new(),
        dump: None,
    }
}
