//! The kernel's pstore, mounted at `/sys/fs/pstore`: a flat folder of records that outlived the crash.
//!
//! Names, part headers and what belongs to one crash are read by `report::pstore`. Here is what needs the folder:
//! only regular files, following no link; the first bytes of each for its header; nothing is written.

use std::io;
use std::path::{Path, PathBuf};

use handover::manifest::{CrashTime, Kind, Source};
use report::pstore::{self, Backend, Group, RecordKind, RecordName};

use crate::disk::Disk;
use crate::source::{Find, Record, Scan};

/// Bytes of a record that hold its header, `Emergency#4294967295 Part4294967295\n` and what may stand before it.
const HEAD: u64 = pstore::header::HEAD_MAX as u64;

struct Seen {
    record: Record,
    name: RecordName,
    head: Vec<u8>,
}

/// Looks through the kernel's own store. Its records are ours to erase after a receipt.
pub fn scan(disk: &dyn Disk, folder: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let seen = look(disk, folder, &mut scan)?;
    scan.finds = group(&seen, "pstore", true);
    Ok(scan)
}

/// The zones that are filled in every boot: console and pmsg, as the boot before left them. Worth handing over
/// when it did not end well.
pub fn scan_previous_boot(disk: &dyn Disk, folder: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    for name in disk.list(folder)? {
        let Some(parsed) = pstore::parse_name(&name) else { continue };
        if !matches!(parsed.kind, RecordKind::Console | RecordKind::Pmsg) {
            continue;
        }
        let Some(record) = super::record(disk, folder, name, &mut scan) else { continue };
        scan.finds.push(Find {
            kind: kind(parsed.kind),
            source: Source { kind: "pstore".to_owned(), backend: Some(parsed.backend.to_string()) },
            records: vec![record],
            // Their time is that of this boot.
            crash_time: None,
            // The next boot fills them again; there is nothing to make room for.
            erasable: false,
            of_previous_boot: true,
            gaps: Vec::new(),
            dump: None,
        });
    }
    Ok(scan)
}

/// Records that lie in several folders, as copies do, put together.
pub(crate) fn scan_copies(disk: &dyn Disk, folders: &[PathBuf], source: &str, scan: &mut Scan) {
    let mut seen = Vec::new();
    for folder in folders {
        match look(disk, folder, scan) {
            Ok(more) => seen.extend(more),
            Err(error) => scan.troubles.push(format!("reading {}: {error}", folder.display())),
        }
    }
    scan.finds.extend(group(&seen, source, false));
}

fn look(disk: &dyn Disk, folder: &Path, scan: &mut Scan) -> io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for name in disk.list(folder)? {
        let Some(parsed) = pstore::parse_name(&name).filter(is_of_a_crash) else { continue };
        let Some(record) = super::record(disk, folder, name, scan) else { continue };
        // One that cannot be read is evidence all the same; gathering says so in its manifest.
        let head = disk.read(&record.path, HEAD).map(|contents| contents.bytes).unwrap_or_default();
        seen.push(Seen { record, name: parsed, head });
    }
    Ok(seen)
}

fn group(seen: &[Seen], source: &str, erasable: bool) -> Vec<Find> {
    let found: Vec<pstore::Found<'_>> = seen
        .iter()
        .map(|seen| pstore::Found {
            name: &seen.record.name,
            mtime_us: Some(seen.record.stat.mtime_us),
            head: &seen.head,
        })
        .collect();
    pstore::group(&found).iter().map(|group| find(seen, group, source, erasable)).collect()
}

/// The console, pmsg and ftrace zones are filled in every boot, whether it ends in a crash or not.
fn is_of_a_crash(name: &RecordName) -> bool {
    !matches!(name.kind, RecordKind::Console | RecordKind::Pmsg | RecordKind::Ftrace)
}

fn find(seen: &[Seen], group: &Group, source: &str, erasable: bool) -> Find {
    let name = &seen[group.records[0]].name;
    let basis = if name.backend == Backend::Efi { "pstore-name" } else { "pstore-mtime" };
    Find {
        kind: kind(name.kind),
        source: Source { kind: source.to_owned(), backend: Some(name.backend.to_string()) },
        records: group.records.iter().map(|&index| seen[index].record.clone()).collect(),
        crash_time: group.time_us.map(|us| CrashTime { us, basis: basis.to_owned() }),
        erasable,
        of_previous_boot: false,
        gaps: group.missing.iter().map(|hole| format!("part {} of dump {}", hole.part, hole.count)).collect(),
        dump: None,
    }
}

fn kind(kind: RecordKind) -> Kind {
    match kind {
        RecordKind::Dmesg => Kind::KernelLog,
        RecordKind::Console => Kind::ConsoleLog,
        RecordKind::Pmsg => Kind::UserLog,
        RecordKind::Mce | RecordKind::Rtas | RecordKind::PowerpcOpal => Kind::HardwareError,
        RecordKind::Ftrace | RecordKind::PowerpcOfw | RecordKind::PowerpcCommon => Kind::Other,
    }
}
