//! Where evidence lies on a node. Each source turns folders into [`Find`]s: the records of one crash, in reading
//! order, not yet read.

use std::path::PathBuf;

use handover::manifest::{CrashTime, Kind, Source};

use crate::disk::Stat;

pub mod pstore;

/// The most that is read of one artifact: 4 MiB. The largest record a backend writes is a ramoops console zone;
/// ones above 2 MiB were not seen. What is cut off is noted, and its source is never erased.
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
    /// Damage that shows without reading them.
    pub gaps: Vec<String>,
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
}

/// What a look at a source brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// One for each crash, oldest first as far as it can be told.
    pub finds: Vec<Find>,
    /// What could not be looked at, one line each.
    pub troubles: Vec<String>,
}
