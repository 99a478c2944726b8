//! From the records of one crash to one piece of evidence: read, described, digested.
//!
//! A record that cannot be read, is empty, too long or no text is evidence all the same; its damage is a note in
//! the manifest. Bytes are never mended here.

use std::collections::BTreeMap;
use std::io;

use handover::canonical::Document;
use handover::manifest::{self, Agent, Class, DeadBoot, Kind, Manifest, Note, Piece};
use handover::parcel::Coded;
use handover::{BootId, EvidenceId, Incarnation, Sha256, limits};

use crate::custody::{Entry, Origin};
use crate::disk::{Disk, FileKind, Stat};
use crate::error::Error;
use crate::host::Host;
use crate::ledger::{Boot, Ledger};
use crate::redact::Rules;
use crate::source::{Find, Form, PIECE, Record, apport};

/// Decoded bytes of one piece of evidence: half of what a small upload may hold, so that a record at its cap and
/// its neighbours fit.
const EVIDENCE: u64 = limits::SMALL_DECODED / 2;

/// The longest text that is read to its end: 4 GiB. The kernel's log buffer has 2 GiB at most (`LOG_BUF_LEN_MAX`).
const TEXT: u64 = 4 << 30;

/// Where the first line of a text ends that is one: printk's longest has 2 KiB with its prefix and its escapes.
const LINE: usize = 4096;

/// A modification time before 1980 means that a clock was not set (mtime 0 of ramoops consoles, an RTC at 1970).
const CLOCK_WAS_SET_US: i64 = 315_532_800_000_000;

/// Evidence, ready to be spooled.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What it is.
    pub manifest: Document<Manifest>,
    /// Its bytes: all pieces, one after the other.
    pub body: Body,
    /// Where it came from.
    pub entry: Entry,
}

/// The bytes of evidence.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory.
    Held(Vec<u8>),
    /// Too long for that: coded already, in the spool's place for it.
    Coded(Coded),
}

/// Records that were read.
#[derive(Clone, Debug)]
pub struct Gathered {
    records: Vec<Read>,
}

#[derive(Clone, Debug)]
struct Read {
    record: Record,
    bytes: Vec<u8>,
    sha256: Sha256,
    whole: bool,
    notes: Vec<Note>,
}

/// Everything that goes into a manifest and is the same for all evidence of a run.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The machine.
    pub host: &'a Host,
    /// The life of the spool.
    pub incarnation: Incarnation,
    /// Labels from the configuration.
    pub labels: &'a BTreeMap<String, String>,
    /// Wall clock, µs since 1970 UTC.
    pub now_us: i64,
    /// `CLOCK_BOOTTIME`, µs.
    pub boottime_us: i64,
    /// Real, or asked for.
    pub class: Class,
    /// The boot that died, as evidence of the same crash has it; `None` asks ledger and bytes.
    pub derived_boot: Option<BootId>,
    /// The boots that are known.
    pub ledger: &'a Ledger,
    /// What is replaced before anything leaves the node.
    pub rules: &'a Rules,
}

/// Reads the records of a crash. They are cut into several lots if they are more than one manifest or one
/// upload holds, which no backend's crash was seen to be.
pub fn read(disk: &dyn Disk, find: &Find) -> Vec<Gathered> {
    let mut lots = Vec::new();
    let mut lot: Vec<Read> = Vec::new();
    let mut size = 0;
    for record in &find.records {
        let read = read_one(disk, record, &find.kind);
        let length = read.bytes.len() as u64;
        if lot.len() == limits::PIECES || (!lot.is_empty() && size + length > EVIDENCE) {
            lots.push(Gathered { records: std::mem::take(&mut lot) });
            size = 0;
        }
        size += length;
        lot.push(read);
    }
    if !lot.is_empty() {
        lots.push(Gathered { records: lot });
    }
    lots
}

impl Gathered {
    /// Text that lies in no file: a journal's.
    pub fn of_text(name: &str, bytes: Vec<u8>) -> Gathered {
        let sha256 = Sha256::of(&bytes);
        let stat = Stat {
            kind: FileKind::Other,
            size: bytes.len() as u64,
            mtime_us: 0,
            device: 0,
            inode: 0,
            owner: 0,
        };
        let record = Record { name: name.to_owned(), path: name.into(), stat, form: Form::Text };
        Gathered { records: vec![Read { record, bytes, sha256, whole: true, notes: Vec::new() }] }
    }

    /// Where the records came from, by which a spool knows whether it has them.
    pub fn origins(&self) -> Vec<Origin> {
        let origin = |read: &Read| {
            let Stat { size, mtime_us, device, inode, .. } = read.record.stat;
            let path = read.record.path.clone();
            Origin { path, device, inode, size, mtime_us, sha256: read.sha256, whole: read.whole }
        };
        self.records.iter().map(origin).collect()
    }

    /// Names of the records.
    pub fn names(&self) -> Vec<&str> {
        self.records.iter().map(|read| read.record.name.as_str()).collect()
    }

    /// The boot that died. What was left by the boot before, whatever its time, says so itself.
    pub(crate) fn dead_boot<'a>(&self, find: &Find, ledger: &'a Ledger) -> Option<&'a Boot> {
        if find.of_previous_boot {
            return ledger.previous();
        }
        // The newest text is in the last record.
        let last = self.records.last()?;
        ledger.of_text(&last.bytes, find.crash_time.as_ref()?.us)
    }

    /// Describes the records and digests them.
    pub fn describe(self, find: &Find, at: &Circumstances<'_>) -> Result<Evidence, Error> {
        let origins = self.origins();
        let dead = self.dead_boot(find, at.ledger);
        let mut notes = Vec::new();
        let mut pieces = Vec::with_capacity(self.records.len());
        let mut bytes = Vec::with_capacity(self.records.iter().map(|read| read.bytes.len()).sum());
        let mut redactor = at.rules.begin();
        for read in self.records {
            let Read { record, bytes: piece, sha256: _, whole: _, notes: own } = read;
            let piece = match record.name.ends_with(".enc.z") {
                true => {
                    notes.push(note("not-redacted", Some(&record.name), Some("it is compressed".to_owned())));
                    piece
                }
                false => redactor.apply(piece),
            };
            pieces.push(piece_of(&record, piece.len() as u64));
            bytes.extend_from_slice(&piece);
            notes.extend(own);
        }
        let told = Told {
            kind: find.kind.clone(),
            size: bytes.len() as u64,
            sha256: Sha256::of(&bytes),
            pieces,
            redaction: redactor.finish(),
            notes,
            origins,
        };
        told.write(find, dead, Body::Held(bytes), at)
    }
}

/// What differs between pieces of evidence, for the manifest and the entry.
pub(crate) struct Told {
    /// What the bytes are.
    pub(crate) kind: Kind,
    /// How many.
    pub(crate) size: u64,
    /// Their digest.
    pub(crate) sha256: Sha256,
    /// What they are made of.
    pub(crate) pieces: Vec<Piece>,
    /// What was replaced in them.
    pub(crate) redaction: manifest::Redaction,
    /// Damage, in the order in which it was seen.
    pub(crate) notes: Vec<Note>,
    /// Where they came from.
    pub(crate) origins: Vec<Origin>,
}

impl Told {
    /// Writes manifest and entry of evidence that is about a boot of the ledger, or about one that nobody knows.
    pub(crate) fn write(
        self,
        find: &Find,
        dead: Option<&Boot>,
        body: Body,
        at: &Circumstances<'_>,
    ) -> Result<Evidence, Error> {
        let Told { kind, size, sha256, pieces, redaction, notes: own, origins } = self;
        let host = at.host;
        let mut notes = crash_notes(find, host, dead.is_none());
        notes.extend(own);
        // The first notes are about what was seen first; the count tells that there were more.
        let all = notes.len();
        if all > limits::NOTES {
            notes.truncate(limits::NOTES - 1);
            notes.push(note("more-notes", None, Some(format!("{} more", all + 1 - limits::NOTES))));
        }
        let first = origins.first().map_or(Sha256::of(b""), |origin| origin.sha256);
        let dead_boot = match dead {
            Some(boot) => DeadBoot { id: boot.id, basis: "ledger".to_owned() },
            None => DeadBoot {
                id: at.derived_boot.unwrap_or_else(|| BootId::derived(&host.node, &first)),
                basis: "derived".to_owned(),
            },
        };
        let what = pieces.first().map(|piece| piece.name.clone()).unwrap_or_default();
        let manifest = Manifest {
            schema: manifest::SCHEMA.to_owned(),
            evidence_id: EvidenceId::of(&host.node, &kind, &sha256),
            node_id: host.node,
            incarnation: at.incarnation,
            kind,
            size,
            sha256,
            pieces,
            source: find.source.clone(),
            dead_boot,
            found_boot: host.boot,
            found_us: at.now_us,
            found_boottime_us: at.boottime_us,
            crash_time: find.crash_time.clone().filter(|time| is_set(time.us)),
            clock: host.clock.clone(),
            host: dead.map_or(&host.machine, |boot| &boot.machine).clone(),
            labels: at.labels.clone(),
            agent: agent(),
            redaction,
            class: at.class,
            notes,
            weight: 1,
            withheld: None,
        };
        let manifest = manifest.write().map_err(|source| Error::Manifest { what, source })?;
        let entry = Entry {
            evidence_id: manifest.evidence_id,
            kind: manifest.kind.clone(),
            source: manifest.source.kind.clone(),
            size,
            sha256,
            manifest_sha256: Sha256::of(manifest.bytes()),
            found_us: at.now_us,
            dead_boot: dead.map(|boot| boot.id),
            pieces: origins,
            erased: false,
            withheld: false,
            lost_before: 0,
            derived_boot: dead.is_none().then_some(manifest.dead_boot.id),
            drill: at.class == Class::Drill,
            held: None,
            wanted: None,
            emergency: false,
        };
        Ok(Evidence { manifest, body, entry })
    }
}

/// A record as a piece of evidence of so many bytes.
pub(crate) fn piece_of(record: &Record, size: u64) -> Piece {
    let mtime_us = if is_set(record.stat.mtime_us) { record.stat.mtime_us } else { 0 };
    Piece { name: record.name.clone(), size, mtime_us }
}

/// This agent, as manifests and boot records name it.
pub fn agent() -> Agent {
    Agent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        build: option_env!("LASTWORDS_BUILD").unwrap_or_default().to_owned(),
    }
}

fn read_one(disk: &dyn Disk, record: &Record, kind: &Kind) -> Read {
    let piece = Some(record.name.as_str());
    let (bytes, whole, mut notes) = match record.form {
        Form::Text => read_file(disk, record),
        Form::Dump => read_dump(disk, record),
        Form::Report => read_report(disk, record),
    };
    if whole && bytes.is_empty() {
        notes.push(note("empty", piece, None));
    }
    if matches!(kind, Kind::KernelLog | Kind::ConsoleLog) {
        if let Err(error) = std::str::from_utf8(&bytes) {
            notes.push(Note { at: Some(error.valid_up_to() as u64), ..note("not-utf-8", piece, None) });
        } else if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
            notes.push(Note { at: Some(at as u64), ..note("holds-zeros", piece, None) });
        }
    }
    Read { record: record.clone(), sha256: Sha256::of(&bytes), bytes, whole, notes }
}

fn read_file(disk: &dyn Disk, record: &Record) -> (Vec<u8>, bool, Vec<Note>) {
    let piece = Some(record.name.as_str());
    match disk.read(&record.path, PIECE) {
        // The end of a log is what tells how the machine died.
        Ok(contents) if contents.cut => match disk.open(&record.path).and_then(|file| the_end(file, PIECE)) {
            Ok((mut bytes, seen)) => {
                begin_at_a_line(&mut bytes);
                let detail = format!("the last {} of {seen} bytes", bytes.len());
                (bytes, false, vec![note("cut", piece, Some(detail))])
            }
            Err(error) => (Vec::new(), false, vec![note("unreadable", piece, Some(reason(&error)))]),
        },
        Ok(contents) => (contents.bytes, true, Vec::new()),
        Err(error) => (Vec::new(), false, vec![note("unreadable", piece, Some(reason(&error)))]),
    }
}

/// Lets a text go that a cut left of a line: it may begin within a character.
fn begin_at_a_line(text: &mut Vec<u8>) {
    if let Some(end) = text.iter().take(LINE).position(|&byte| byte == b'\n') {
        text.drain(..=end);
    }
}

/// The last `most` bytes of a text, and how many were read for them: at most [`TEXT`].
fn the_end(text: impl io::Read, most: u64) -> io::Result<(Vec<u8>, u64)> {
    use io::Read as _;
    let mut text = text.take(TEXT);
    let (mut end, mut seen) = (Vec::new(), 0);
    loop {
        let read = text.by_ref().take(most).read_to_end(&mut end)? as u64;
        let excess = (end.len() as u64).saturating_sub(most);
        end.drain(..usize::try_from(excess).unwrap_or(usize::MAX));
        seen += read;
        if read < most {
            return Ok((end, seen));
        }
    }
}

/// The kernel log in a dump of memory. The dump itself stays where it is.
fn read_dump(disk: &dyn Disk, record: &Record) -> (Vec<u8>, bool, Vec<Note>) {
    let piece = Some(record.name.as_str());
    match disk.open_dump(&record.path) {
        Ok(dump) => {
            let mut bytes = dump.log().text.into_bytes();
            let mut notes = vec![note("log-of-dump", piece, None)];
            // The end of a log is what tells how the machine died.
            let excess = bytes.len().saturating_sub(usize::try_from(PIECE).unwrap_or(usize::MAX));
            if excess > 0 {
                bytes.drain(..excess);
                begin_at_a_line(&mut bytes);
                notes.push(note("cut", piece, Some(format!("the last {} bytes", bytes.len()))));
            }
            (bytes, excess == 0, notes)
        }
        // Named like a dump and something else: what is in it may be a log after all.
        Err(vmcore::Error::Unknown(_)) => read_file(disk, record),
        Err(error) => (Vec::new(), false, vec![note("unreadable", piece, Some(error.to_string()))]),
    }
}

/// The kernel's text in a report of apport.
fn read_report(disk: &dyn Disk, record: &Record) -> (Vec<u8>, bool, Vec<Note>) {
    match disk.open(&record.path) {
        Ok(mut file) => apport::text(&mut file, &record.name),
        Err(error) => {
            let why = note("unreadable", Some(&record.name), Some(reason(&error)));
            (Vec::new(), false, vec![why])
        }
    }
}

fn crash_notes(find: &Find, host: &Host, boot_is_unknown: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    if boot_is_unknown {
        notes.push(note("host-of-finding-boot", None, None));
    }
    if !host.has_machine_id {
        notes.push(note("no-machine-id", None, None));
    }
    notes.extend(find.gaps.iter().map(|gap| note("part-missing", None, Some(gap.clone()))));
    notes
}

pub(crate) fn note(code: &str, piece: Option<&str>, detail: Option<String>) -> Note {
    Note { code: code.to_owned(), piece: piece.map(str::to_owned), at: None, detail }
}

/// What the kernel said, without the number that differs between architectures.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Whether a time was told by a clock that had been set.
fn is_set(us: i64) -> bool {
    us >= CLOCK_WAS_SET_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_end_is_kept() {
        for length in [0, 1, 9, 10, 11, 20, 25, 1000] {
            let text: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let (end, seen) = the_end(text.as_slice(), 10).unwrap();
            assert_eq!((end.as_slice(), seen), (&text[text.len().saturating_sub(10)..], length), "{length}");
        }
    }
}
