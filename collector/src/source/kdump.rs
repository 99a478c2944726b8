//! Folders that a crash kernel left below `/var/crash`: Debian's, RHEL's, SUSE's.
//!
//! One folder is one crash: a log in a text file, a dump of memory, or both. Where there is no text the log is read
//! from the dump. What is being written is left alone; what was never finished is left alone for good, and told.
//! Nothing is erased: dumps are for people.

use std::io;
use std::path::Path;

use handover::manifest::{CrashTime, Kind, Source};

use crate::disk::Disk;
use crate::source::{Find, Form, Record, Scan, folders, is_of_the_system, is_settled, record};

/// SUSE's `README.txt` is a dozen lines.
const README: u64 = 16 * 1024;

/// How dumps are packed that we do not unpack.
const OTHER_PACKERS: [&str; 2] = [".bz2", ".lz4"];

/// Looks through the folders below `/var/crash`.
pub fn scan(disk: &dyn Disk, crash: &Path, now_us: i64) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for folder in folders(disk, crash)? {
        // On some distributions everybody may write here.
        if !disk.stat(&folder).is_ok_and(|stat| is_of_the_system(&stat)) {
            scan.troubles.push(format!("{} belongs to a user and is left alone", folder.display()));
            continue;
        }
        if let Some(find) = look(disk, &folder, now_us, &mut scan)? {
            scan.finds.push(find);
        }
    }
    Ok(scan)
}

fn look(disk: &dyn Disk, folder: &Path, now_us: i64, scan: &mut Scan) -> io::Result<Option<Find>> {
    let names = disk.list(folder)?;
    let cut: Vec<&String> = names.iter().filter(|name| name.contains("incomplete")).collect();
    let mut take = |is_one: fn(&str) -> bool| {
        let name = names.iter().find(|name| is_one(name) && !cut.contains(name))?;
        record(disk, folder, name.clone(), scan)
    };
    let (log, mut dump) = (take(is_log).filter(|log| log.stat.size > 0), take(is_dump));
    let cut_us = cut.iter().filter_map(|name| Some(disk.stat(&folder.join(name)).ok()?.mtime_us));
    let newest_us = log.iter().chain(&dump).map(|record| record.stat.mtime_us).chain(cut_us).max();
    if newest_us.is_some_and(|us| !is_settled(us, now_us)) {
        return Ok(None);
    }
    let unfinished = cut.first().map(|name| name.as_str()).or_else(|| {
        let said = disk.read(&folder.join("README.txt"), README).ok()?;
        unfinished_by_readme(&String::from_utf8_lossy(&said.bytes)).then_some("README.txt")
    });
    let mut gaps = Vec::new();
    if let Some(name) = unfinished {
        scan.troubles.push(format!(
            "{}: {name} says that the dump is incomplete; the dump is left alone",
            folder.display()
        ));
        gaps.push("the dump of memory, which is incomplete".to_owned());
        dump = None;
    }
    if let Some(packed) = dump.take_if(|dump| OTHER_PACKERS.iter().any(|end| dump.name.ends_with(end))) {
        scan.troubles.push(format!("{} is packed in a way that is not read here", packed.path.display()));
    }
    let read = log.clone().or_else(|| Some(Record { form: Form::Dump, ..dump.clone()? }));
    Ok(read.map(|read| Find {
        kind: Kind::KernelLog,
        source: Source { kind: "kdump".to_owned(), backend: None },
        crash_time: Some(CrashTime { us: read.stat.mtime_us, basis: "file-mtime".to_owned() }),
        records: vec![read],
        erasable: false,
        of_previous_boot: false,
        gaps,
        dump: dump.map(|dump| Record { form: Form::Dump, ..dump }),
    }))
}

/// `vmcore-dmesg.txt` (RHEL), `dmesg.STAMP` (Debian), `dmesg` and `dmesg.txt` (SUSE), `vmcore.dmesg.txt` (by hand).
/// Not `kexec-dmesg.log`, the crash kernel's own.
fn is_log(name: &str) -> bool {
    name == "dmesg" || name.starts_with("dmesg.") || name.ends_with("dmesg.txt")
}

/// `vmcore`, `vmcore.flat`, `vmcore.STAMP`, `dump.STAMP`, `dump.STAMP.gz`. The content decides; a name is a hint.
fn is_dump(name: &str) -> bool {
    (name == "vmcore" || name.starts_with("vmcore.") || name.starts_with("dump.")) && !is_log(name)
}

/// SUSE writes `vmcore status: saved successfully` at the end, and before that that it is likely incomplete.
fn unfinished_by_readme(text: &str) -> bool {
    let status = text.lines().find_map(|line| line.trim().strip_prefix("vmcore status:"));
    status.is_some_and(|status| !status.contains("saved successfully"))
}
