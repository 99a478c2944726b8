//! What of a dump of memory leaves the node: nothing, a summary, an extract or the whole, each under a cap.
//!
//! A summary is what the dump says of the crash and of every task, some hundred KB; its texts are redacted. An extract
//! is a small dump of the pages that were read for it, and the whole is the file: both are memory, which nobody can
//! redact, so that they are asked for by name.

use std::cell::Cell;
use std::io::{self, Write};

use handover::BootId;
use handover::manifest::{Class, Kind, Note, Redaction};
use handover::parcel::{Coded, Encoder};
use serde::Deserialize;
use vmcore::{Dump, Summary};

use crate::agent::chain;
use crate::custody::{Entry, Origin};
use crate::disk::{Disk, Output, Stat};
use crate::error::{Doing, Error};
use crate::gather::{Body, Circumstances, Evidence, Told, note, piece_of};
use crate::source::{Find, Record};
use crate::spool::Spool;

/// Pages of an extract pack to a third and better; of one that is this much larger than its cap, nothing is tried.
const PACKS_TO: u64 = 16;

/// What of a dump is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Core {
    /// Only its log, where there is no text of it.
    None,
    /// What it says, without its memory.
    #[default]
    Summary,
    /// A small dump.
    Extract,
    /// The file.
    Full,
}

impl Core {
    /// What is handed over, and what in its place if that is too large.
    pub fn ladder(self) -> &'static [Kind] {
        const ALL: &[Kind] = &[Kind::Vmcore, Kind::VmcoreExtract, Kind::VmcoreSummary];
        match self {
            Core::Full => ALL,
            Core::Extract => &ALL[1..],
            Core::Summary => &ALL[2..],
            Core::None => &[],
        }
    }
}

impl std::str::FromStr for Core {
    type Err = String;

    fn from_str(word: &str) -> Result<Core, String> {
        match word {
            "none" => Ok(Core::None),
            "summary" => Ok(Core::Summary),
            "extract" => Ok(Core::Extract),
            "full" => Ok(Core::Full),
            _ => Err("one of none, summary, extract, full".to_owned()),
        }
    }
}

/// Why nothing of this kind was made.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file is no dump: its text was handed over as what it is.
    #[error("it is no dump")]
    NoDump,
    /// Something smaller may do.
    #[error("{0}")]
    NotThis(String),
    /// Something smaller may do, until there is room for this.
    #[error("the disk is full")]
    NoRoom,
    /// The spool failed.
    #[error(transparent)]
    Own(#[from] Error),
}

impl From<vmcore::Error> for Failure {
    fn from(error: vmcore::Error) -> Failure {
        match error {
            vmcore::Error::Unknown(_) => Failure::NoDump,
            error => Failure::NotThis(chain(&error)),
        }
    }
}

/// One dump, as it is being made into evidence.
pub struct Making<'a> {
    /// The folder it was found in.
    pub find: &'a Find,
    /// The dump.
    pub record: &'a Record,
    /// The log of the same crash, by which both are of one boot.
    pub log: &'a Entry,
    /// What a manifest says that is found now.
    pub at: &'a Circumstances<'a>,
    /// Whether the host name may be told.
    pub tell_host_name: bool,
    /// The most bytes that are handed over, coded.
    pub most: u64,
}

impl Making<'_> {
    /// Evidence of one kind; what is long is coded into the spool's place for it.
    pub fn evidence(&self, disk: &dyn Disk, spool: &Spool<'_>, kind: &Kind) -> Result<Evidence, Failure> {
        let dump = disk.open_dump(&self.record.path)?;
        let crash_time =
            dump.crash_time().and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1_000_000));
        let mut find = Find { gaps: Vec::new(), ..self.find.clone() };
        if let (Some(us), Some(time)) = (crash_time, &mut find.crash_time) {
            (time.us, time.basis) = (us, "vmcore".to_owned());
        }
        let (body, coded, redaction, notes) = match kind {
            Kind::VmcoreSummary => self.summary(&dump)?,
            Kind::VmcoreExtract => {
                let extract = |out: &mut dyn Write| {
                    dump.extract_within(out, self.most.saturating_mul(PACKS_TO)).map(drop)
                };
                self.memory(encode(spool, self.most, extract)?)
            }
            _ => {
                let mut file = disk.open(&self.record.path).doing("opening", &self.record.path)?;
                let copy = |mut out: &mut dyn Write| Ok(io::copy(&mut file, &mut out).map(drop)?);
                self.memory(encode(spool, self.most, copy)?)
            }
        };
        let Coded { size, sha256, coded: _ } = coded;
        let Stat { size: length, mtime_us, device, inode, .. } = self.record.stat;
        let path = self.record.path.clone();
        let told = Told {
            kind: kind.clone(),
            size,
            sha256,
            pieces: vec![piece_of(self.record, size)],
            redaction,
            notes,
            origins: vec![Origin { path, device, inode, size: length, mtime_us, sha256, whole: true }],
        };
        let dead = self.log.dead_boot.and_then(|id| self.at.ledger.get(&id));
        Ok(told.write(&find, dead, body, self.at)?)
    }

    /// What the dump says, its texts redacted. Kernel addresses, names of tasks and the container they ran in stay.
    fn summary(&self, dump: &Dump) -> Result<(Body, Coded, Redaction, Vec<Note>), Failure> {
        let mut summary = Summary::of(dump);
        let mut redactor = self.at.rules.begin();
        let facts = &mut summary.facts;
        facts.hostname = facts.hostname.take().filter(|_| self.tell_host_name);
        for text in [&mut facts.command_line, &mut facts.panic_message] {
            *text = text.take().map(|text| redactor.apply_to_text(text));
        }
        let bytes = summary.to_bytes()?;
        let coded = Coded { size: bytes.len() as u64, sha256: handover::Sha256::of(&bytes), coded: 0 };
        Ok((Body::Held(bytes), coded, redactor.finish(), Vec::new()))
    }

    fn memory(&self, coded: Coded) -> (Body, Coded, Redaction, Vec<Note>) {
        let why = Some("it is memory".to_owned());
        let notes = vec![note("not-redacted", Some(&self.record.name), why)];
        (Body::Coded(coded), coded, Redaction::default(), notes)
    }
}

/// The boot and the class that evidence of the same crash has.
pub fn as_in_log(log: &Entry) -> (Option<BootId>, Class) {
    (log.dead_boot.or(log.derived_boot), if log.drill { Class::Drill } else { Class::Field })
}

/// The smallest that was made of a dump for a wish.
pub fn made<'s>(spool: &'s Spool<'_>, record: &Record, ladder: &[Kind]) -> Option<&'s Entry> {
    let of_wish = |entry: &&Entry| entry.wanted.as_ref() == ladder.first();
    ladder.iter().rev().filter_map(|kind| spool.made_of(record, kind)).find(of_wish)
}

/// Codes what `write` gives into the spool, as long as it keeps the cap.
fn encode(
    spool: &Spool<'_>,
    most: u64,
    write: impl FnOnce(&mut dyn Write) -> Result<(), vmcore::Error>,
) -> Result<Coded, Failure> {
    let is_over = Cell::new(false);
    let file = Capped { file: spool.body()?, left: most, is_over: &is_over };
    let coded = Encoder::new(file).map_err(vmcore::Error::Write).and_then(|mut encoder| {
        write(&mut encoder)?;
        Ok(encoder.finish()?.1)
    });
    coded.map_err(|error| match error {
        _ if is_over.get() => Failure::NotThis(format!("it has more than {most} bytes, coded")),
        vmcore::Error::Write(source) if source.kind() == io::ErrorKind::StorageFull => Failure::NoRoom,
        vmcore::Error::Write(source) => {
            Error::Io { doing: "writing into", path: spool.folder().join("tmp"), source }.into()
        }
        error => error.into(),
    })
}

/// A file that takes so many bytes and no more.
struct Capped<'a> {
    file: Box<dyn Output>,
    left: u64,
    is_over: &'a Cell<bool>,
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        let Some(left) = self.left.checked_sub(length) else {
            self.is_over.set(true);
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
