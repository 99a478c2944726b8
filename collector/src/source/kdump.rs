//! Folders that a crash kernel left below `/var/crash`: Debian's, RHEL's, SUSE's.
//!
//! One folder is one crash. Its log is the text file that the dump tool wrote; where there is none, it is read
//! from the dump. A folder is left alone while it is being written. Nothing is erased: dumps are for people.

use std::io;
use std::path::Path;

use handover::manifest::{CrashTime, Kind, Source};

use crate::disk::Disk;
use crate::source::{Find, Form, Record, Scan, folders, record};

/// How long the files of a folder must have been unchanged, µs: makedumpfile writes all the time while it works.
const SETTLED_US: i64 = 30_000_000;

/// Looks through the folders below `/var/crash`.
pub fn scan(disk: &dyn Disk, crash: &Path, now_us: i64) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for folder in folders(disk, crash)? {
        let names = disk.list(&folder)?;
        if names.iter().any(|name| name.contains("incomplete")) {
            continue;
        }
        let Some(name) =
            names.iter().find(|name| is_log(name)).or_else(|| names.iter().find(|name| is_dump(name)))
        else {
            continue;
        };
        let Some(log) = record(disk, &folder, name.clone(), &mut scan) else { continue };
        let since_us = now_us.saturating_sub(log.stat.mtime_us);
        // A time to come is that of a clock that was set back since; such a folder is not being written.
        if (0..SETTLED_US).contains(&since_us) {
            continue;
        }
        let form = if is_log(name) { Form::Text } else { Form::Dump };
        scan.finds.push(Find {
            kind: Kind::KernelLog,
            source: Source { kind: "kdump".to_owned(), backend: None },
            crash_time: Some(CrashTime { us: log.stat.mtime_us, basis: "file-mtime".to_owned() }),
            records: vec![Record { form, ..log }],
            erasable: false,
            of_previous_boot: false,
            gaps: Vec::new(),
        });
    }
    Ok(scan)
}

/// `vmcore-dmesg.txt` (RHEL), `dmesg.STAMP` (Debian), `dmesg` and `dmesg.txt` (SUSE), `vmcore.dmesg.txt` (by hand).
/// Not `kexec-dmesg.log`, the crash kernel's own.
fn is_log(name: &str) -> bool {
    name == "dmesg" || name.starts_with("dmesg.") || name.ends_with("dmesg.txt")
}

/// `vmcore`, `vmcore.flat`, `vmcore.STAMP`, `dump.STAMP`, uncompressed. The content decides; a name is a hint.
fn is_dump(name: &str) -> bool {
    let compressed = [".gz", ".bz2", ".xz", ".lz4", ".zst"].iter().any(|suffix| name.ends_with(suffix));
    !compressed && (name == "vmcore" || name.starts_with("vmcore.") || name.starts_with("dump."))
}
