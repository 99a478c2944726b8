//! Attempts to hand over that failed, one after another: noted for whoever asks why everything waits. A note is there as
//! long as the last attempt failed.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::error::{Doing, Error};

/// Name of the file in the spool.
const FILE: &str = "attempts.json";

/// A few numbers and a line.
const SIZE: u64 = 64 * 1024;

/// Bytes of the reason that are kept.
const WHY: usize = 1024;

/// Runs that did not hand over everything, since one last did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many.
    pub failed: u32,
    /// The first of them, by the node's clock, µs since 1970 UTC.
    pub since_us: i64,
    /// The last of them.
    pub last_us: i64,
    /// What the last one met.
    pub why: String,
    /// Whether somebody must do something: a token or a certificate does not mend itself.
    pub is_final: bool,
}

impl Attempts {
    /// What is noted; `None`, where the last attempt did not fail.
    pub fn load(disk: &dyn Disk, spool: &Path) -> Option<Attempts> {
        serde_json::from_slice(&disk.read(&spool.join(FILE), SIZE).ok()?.bytes).ok()
    }

    /// Notes one more.
    pub(super) fn failed(
        disk: &dyn Disk,
        spool: &Path,
        now_us: i64,
        why: &str,
        is_final: bool,
    ) -> Result<(), Error> {
        let before = Attempts::load(disk, spool);
        let attempts = Attempts {
            failed: before.as_ref().map_or(0, |before| before.failed).saturating_add(1),
            since_us: before.map_or(now_us, |before| before.since_us),
            last_us: now_us,
            why: why[..why.floor_char_boundary(WHY)].to_owned(),
            is_final,
        };
        let path = spool.join(FILE);
        let bytes = serde_json::to_vec(&attempts).expect("a note is texts and numbers");
        disk::write_whole(disk, &spool.join("tmp").join("attempts"), &path, &bytes).doing("writing", &path)
    }

    /// Everything was handed over, or there was nothing.
    pub(super) fn succeeded(disk: &dyn Disk, spool: &Path) -> Result<(), Error> {
        let path = spool.join(FILE);
        match disk.stat(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => disk.unlink(&path).doing("removing", &path),
        }
    }
}
