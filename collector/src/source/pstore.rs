//! The kernel's pstore, mounted at `/sys/fs/pstore`: a flat folder of records that outlived the crash.
//!
//! Names, part headers and what belongs to one crash are read by `report::pstore`. Here is what needs the folder:
//! only regular files, following no link; the first bytes of each for its header; nothing is written.

use std::io;
use std::path::Path;

use handover::manifest::{CrashTime, Kind, Source};
use report::pstore::{self, Backend, Group, RecordKind, RecordName};

use crate::disk::{Disk, FileKind};
use crate::source::{Find, Record, Scan};

/// Bytes of a record that hold its header, `Emergency#4294967295 Part4294967295\n`.
const HEAD: u64 = 64;

struct Seen {
    record: Record,
    name: RecordName,
    head: Vec<u8>,
}

/// Looks through a folder of records. `erasable` says whether they are ours to erase after a receipt: yes for the
/// kernel's own store, no for copies.
pub fn scan(disk: &dyn Disk, folder: &Path, erasable: bool) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut seen = Vec::new();
    for name in disk.list(folder)? {
        let Some(parsed) = pstore::parse_name(&name).filter(is_of_a_crash) else { continue };
        let path = folder.join(&name);
        let stat = match disk.stat(&path) {
            Ok(stat) if stat.kind == FileKind::File => stat,
            Ok(_) => {
                scan.troubles.push(format!("{} is no regular file and is left alone", path.display()));
                continue;
            }
            // Erased since the folder was read: systemd-pstore may be at work.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                scan.troubles.push(format!("looking at {}: {error}", path.display()));
                continue;
            }
        };
        // One that cannot be read is evidence all the same; gathering says so in its manifest.
        let head = disk.read(&path, HEAD).map(|contents| contents.bytes).unwrap_or_default();
        seen.push(Seen { record: Record { name, path, stat }, name: parsed, head });
    }
    let found: Vec<pstore::Found<'_>> = seen
        .iter()
        .map(|seen| pstore::Found {
            name: &seen.record.name,
            mtime_us: Some(seen.record.stat.mtime_us),
            head: &seen.head,
        })
        .collect();
    scan.finds = pstore::group(&found).iter().map(|group| find(&seen, group, erasable)).collect();
    Ok(scan)
}

/// The console, pmsg and ftrace zones are filled in every boot, whether it ends in a crash or not.
fn is_of_a_crash(name: &RecordName) -> bool {
    !matches!(name.kind, RecordKind::Console | RecordKind::Pmsg | RecordKind::Ftrace)
}

fn find(seen: &[Seen], group: &Group, erasable: bool) -> Find {
    let name = &seen[group.records[0]].name;
    let basis = if name.backend == Backend::Efi { "pstore-name" } else { "pstore-mtime" };
    Find {
        kind: kind(name.kind),
        source: Source { kind: "pstore".to_owned(), backend: Some(name.backend.to_string()) },
        records: group.records.iter().map(|&index| seen[index].record.clone()).collect(),
        crash_time: group.time_us.map(|us| CrashTime { us, basis: basis.to_owned() }),
        erasable,
        gaps: group.missing.iter().map(|hole| format!("part {} of dump {}", hole.part, hole.count)).collect(),
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
