//! systemd's archive of the pstore, `/var/lib/systemd/pstore`: where records go when `systemd-pstore.service` was
//! there first, as it is by default on every systemd machine.
//!
//! EFI records lie in `TIME/COUNT/`, ERST ones in a folder for each run of ids, all others flat, where the next
//! crash replaces them. Parts of one dump can lie in two TIME folders, if the clock ticked between them. So the raw
//! parts of all folders are put together by their names, and systemd's own joined `dmesg.txt` is used only where no
//! part is left beside it (versions before 253 mixed up part and count). The archive is systemd's: nothing is erased.

use std::io;
use std::path::Path;

use handover::manifest::{CrashTime, Kind, Source};

use crate::disk::Disk;
use crate::source::{Find, Scan, folders, pstore, record};

/// Folders looked through: a crash loop of a fortnight, which is as long as systemd keeps them.
const FOLDERS: usize = 10_000;

/// What systemd joins the parts into.
const JOINED: &str = "dmesg.txt";

/// Looks through an archive.
pub fn scan(disk: &dyn Disk, archive: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut all = vec![archive.to_owned()];
    for time in folders(disk, archive)? {
        let counts = folders(disk, &time).unwrap_or_default();
        all.push(time);
        all.extend(counts);
    }
    if all.len() > FOLDERS {
        scan.troubles.push(format!(
            "{} has {} folders, of which {FOLDERS} are read",
            archive.display(),
            all.len()
        ));
        all.truncate(FOLDERS);
    }
    pstore::scan_copies(disk, &all, "systemd-archive", &mut scan);
    for folder in &all {
        scan_joined(disk, folder, &mut scan);
    }
    Ok(scan)
}

/// Takes `dmesg.txt` where it is all that is left.
fn scan_joined(disk: &dyn Disk, folder: &Path, scan: &mut Scan) {
    let names = disk.list(folder).unwrap_or_default();
    let has_parts = names.iter().any(|name| report::pstore::parse_name(name).is_some());
    if has_parts || !names.iter().any(|name| name == JOINED) {
        return;
    }
    let Some(record) = record(disk, folder, JOINED.to_owned(), scan) else { return };
    let crash_time = Some(CrashTime { us: record.stat.mtime_us, basis: "file-mtime".to_owned() });
    scan.finds.push(Find {
        kind: Kind::KernelLog,
        source: Source { kind: "systemd-archive".to_owned(), backend: None },
        records: vec![record],
        crash_time,
        erasable: false,
        of_previous_boot: false,
        gaps: Vec::new(),
        dump: None,
    });
}
