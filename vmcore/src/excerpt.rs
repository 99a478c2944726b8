//! What a node takes from a dump in one pass: the log, the summary and, if it is wanted, the small dump.

use crate::error::Error;
use crate::extract::Extracted;
use crate::printk::Log;
use crate::summary::Summary;
use std::io::Write;
use std::path::Path;

/// The log and the summary of one dump, and how writing its small dump went.
pub struct Excerpt {
    /// The kernel log, with what is wrong with it.
    pub log: Log,
    /// Facts, tasks and stacks.
    pub summary: Summary,
    /// The small dump; none where it was not asked for. That it cannot be written costs neither log nor summary.
    pub extracted: Option<Result<Extracted, Error>>,
}

impl Excerpt {
    /// Reads the dump at `path`, which may take `most` bytes of the temporary folder if it is packed. With `small`
    /// the small dump is written there, unless it would have more bytes than stand beside it; then nothing is.
    pub fn of(path: &Path, most: u64, small: Option<(&mut dyn Write, u64)>) -> Result<Self, Error> {
        let dump = crate::open_within(path, most)?;
        let log = dump.log();
        let summary = Summary::with(&dump, &log);
        let extracted = small.map(|(out, most)| dump.extract_within(out, most));
        Ok(Self { log, summary, extracted })
    }
}
