//! Where evidence lies on a node. Each source turns folders into [`Find`]s: the records of one crash, in reading
//! order, not yet read.

use std::io;
use std::path::{Path, PathBuf};

use handover::manifest::{CrashTime, Kind, Source};

use crate::disk::{Disk, FileKind, Stat};

pub mod apport;
pub mod journal;
pub mod kdump;
pub mod pstore;
pub mod systemd_archive;

/// The most that is read of one artifact: 4 MiB. The largest record a backend writes is a ramoops console zone;
/// ones above 2 MiB were not seen. Of a longer one the end is read, what is cut off is noted, and its source is never
/// erased.
pub const PIECE: u64 = 4 << 20;

/// The records of one crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// What they are.
    pub kind: Kind,
    /// Where they come from.
    pub source: Source,
    /// In reading order, oldest text first.
    pub records: Vec<Record>,
    /// When the machine died, as far as the records' names and times tell.
    pub crash_time: Option<CrashTime>,
    /// Whether they are ours to erase once somebody else has them.
    pub erasable: bool,
    /// Whether it is known to be of the boot before this one, as a console zone is.
    pub of_previous_boot: bool,
    /// Damage that shows without reading them.
    pub gaps: Vec<String>,
    /// The dump of the machine's memory that lies beside them.
    pub dump: Option<Record>,
}

impl Find {
    /// A kernel log that lies in no file of its own.
    pub(crate) fn without_a_file(source: &str, of_previous_boot: bool) -> Find {
        Find {
            kind: Kind::KernelLog,
            source: Source { kind: source.to_owned(), backend: None },
            records: Vec::new(),
            crash_time: None,
            erasable: false,
            of_previous_boot,
            gaps: Vec::new(),
            dump: None,
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name, as the manifest will tell it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What lstat(2) said.
    pub stat: Stat,
    /// How its text is had.
    pub form: Form,
}

/// How a record's text is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The file's bytes are it.
    Text,
    /// The file is a dump of memory, and the text is the kernel log in it.
    Dump,
    /// The file is a report of apport, and the text is a field in it.
    Report,
}

/// What a look at a source brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// One for each crash, oldest first as far as it can be told.
    pub finds: Vec<Find>,
    /// What could not be looked at, one line each.
    pub troubles: Vec<String>,
}

/// How long a file below `/var/crash` must have been unchanged, µs: makedumpfile and apport write all the time while they
/// work.
const SETTLED_US: i64 = 30_000_000;

/// The first id of those that people have (`UID_MIN` of login.defs on every distribution since 2010).
const PEOPLE: u32 = 1000;

/// What an NFS server makes of root: `nobody`.
const NOBODY: u32 = 65_534;

/// Whether a file that was last changed at this time is not being written any more. A time to come is that of a clock that
/// was set back since; such a file is not being written.
fn is_settled(mtime_us: i64, now_us: i64) -> bool {
    !(0..SETTLED_US).contains(&now_us.saturating_sub(mtime_us))
}

/// Whether a file belongs to the system, and not to somebody who could write into a folder that is open to everybody.
fn is_of_the_system(stat: &Stat) -> bool {
    stat.owner < PEOPLE || stat.owner == NOBODY || stat.owner == nix::unistd::geteuid().as_raw()
}

/// A regular file as a record. `None` for what is no such file, which is told, or is gone already.
fn record(disk: &dyn Disk, folder: &Path, name: String, scan: &mut Scan) -> Option<Record> {
    let path = folder.join(&name);
    match disk.stat(&path) {
        Ok(stat) if stat.kind == FileKind::File => Some(Record { name, path, stat, form: Form::Text }),
        Ok(_) => {
            scan.troubles.push(format!("{} is no regular file and is left alone", path.display()));
            None
        }
        // Erased since the folder was read: systemd-pstore may be at work.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            scan.troubles.push(format!("looking at {}: {error}", path.display()));
            None
        }
    }
}

/// The folders in a folder, one level deep, links not followed.
fn folders(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = disk.list(folder)?.into_iter().map(|name| folder.join(name));
    Ok(paths.filter(|path| disk.stat(path).is_ok_and(|stat| stat.kind == FileKind::Folder)).collect())
}
