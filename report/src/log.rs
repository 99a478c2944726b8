//! The joined text of one crash, cut into lines.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::line::{Before, Caller, Prefix};
use crate::note::Note;
use crate::profile::Profile;
use crate::shape;
use crate::wrapping::Inside;

/// Time since boot as the kernel printed it, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KernelTime(pub u64);

impl fmt::Display for KernelTime {
    /// The kernel's own form, without the padding: `12.345678`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The text of one crash: all pieces joined, `\r` and pstore's part headers removed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Log {
    text: Vec<u8>,
    lines: Vec<Line>,
    pieces: Vec<String>,
}

/// One line of a [`Log`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1 over everything that was read, so that a hole shows.
    pub number: u32,
    /// syslog level 0 (emergency) to 7 (debug), where the line carries one.
    pub level: Option<u8>,
    /// Since boot.
    pub time: Option<KernelTime>,
    /// Which piece it came from: an index into [`Log::pieces`].
    pub piece: u16,
    pub(crate) caller: Caller,
    /// A frame the unwinder was not sure of.
    pub(crate) doubted: bool,
    /// A part of the dump is missing before this line; no report runs across.
    pub(crate) after_hole: bool,
    start: u32,
    message: u32,
    end: u32,
}

/// The longest line we look into; the rest of it is kept as text but not parsed. The kernel's own limit is about
/// 1 KiB (`PRINTK_MESSAGE_MAX` 2048), and what damaged memory makes of it need not be searched.
pub(crate) const LINE_MAX: usize = 8192;

/// The longest joined text, so that places fit in 32 bits. One piece gives 4 MiB at most; hundreds of them are no crash.
const TEXT_MAX: usize = 1 << 30;

impl Log {
    pub(crate) fn piece(&mut self, name: &str) -> u16 {
        self.pieces.push(name.to_owned());
        (self.pieces.len() - 1).min(usize::from(u16::MAX)) as u16
    }

    /// Forgets everything but its room.
    pub(crate) fn clear(&mut self) {
        let Log { pieces, lines, text } = self;
        pieces.clear();
        lines.clear();
        text.clear();
    }

    /// Makes room for so many lines and bytes.
    pub(crate) fn reserve(&mut self, lines: usize, bytes: usize) {
        self.lines.reserve_exact(lines);
        self.text.reserve_exact(bytes.min(TEXT_MAX));
    }

    /// Takes one line (no line feed in it) of a text; its number is that of the source.
    pub(crate) fn push(&mut self, raw: &[u8], inside: Inside, number: u32, piece: u16, profile: Profile) {
        let start = self.text.len();
        if start + raw.len() >= TEXT_MAX {
            return;
        }
        // Before anything else looks.
        inside.push(raw, &mut self.text);
        let end = self.text.len();
        self.text.push(b'\n');
        let prefix = Prefix::read(&self.text[start..end], profile, self.before());
        self.lines.push(Line {
            number,
            level: prefix.level,
            time: prefix.time,
            piece,
            caller: prefix.caller,
            // syzkaller doubts only lines that have a prefix.
            doubted: (prefix.length > 0 || profile == Profile::Production)
                && shape::is_questionable(&self.text[start + prefix.length..end]),
            after_hole: false,
            start: start as u32,
            message: (start + prefix.length) as u32,
            end: end as u32,
        });
    }

    /// A part of the dump is missing before the line that was pushed last.
    pub(crate) fn mark_hole(&mut self) {
        if let Some(line) = self.lines.last_mut() {
            line.after_hole = true;
        }
    }

    fn before(&self) -> Before {
        self.lines.last().map_or_else(Before::default, |line| Before {
            caller: line.caller,
            length: (line.message - line.start) as usize,
        })
    }

    /// All lines, in the order of the log (across pieces: oldest event first).
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The names of the pieces that were joined.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// The whole joined text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// One line as it stood, with its prefix, without the line feed. Empty when there is no such line.
    pub fn raw(&self, index: usize) -> &[u8] {
        self.lines.get(index).map_or(&[], |line| &self.text[line.span()])
    }

    /// One line without level, time and caller.
    pub fn message(&self, index: usize) -> &[u8] {
        self.lines.get(index).map_or(&[], |line| &self.text[line.message as usize..line.end as usize])
    }

    /// [`Log::message`] as text; bytes that are not UTF-8 are replaced.
    pub fn message_text(&self, index: usize) -> Cow<'_, str> {
        text(self.message(index))
    }

    /// [`Log::raw`] as text; bytes that are not UTF-8 are replaced.
    pub fn raw_text(&self, index: usize) -> Cow<'_, str> {
        text(self.raw(index))
    }

    /// The line that holds byte `position` of [`Log::text`].
    pub(crate) fn line_at(&self, position: usize) -> usize {
        self.lines.partition_point(|line| (line.end as usize) < position)
    }

    /// Notes on bytes that no kernel prints.
    pub(crate) fn damage(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        if let Err(error) = std::str::from_utf8(&self.text) {
            let line = self.line_at(error.valid_up_to());
            notes.push(Note::at("not-utf8", line, "the log holds bytes that are not UTF-8"));
        }
        if let Some(position) = memchr::memchr(0, &self.text) {
            notes.push(Note::at("nul-bytes", self.line_at(position), "the log holds NUL bytes"));
        }
        notes
    }
}

impl Line {
    /// Where the line stands in [`Log::text`], with its prefix, without the line feed.
    pub fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Where its message begins in [`Log::text`] (behind level, time and caller).
    pub fn message_start(&self) -> usize {
        self.message as usize
    }

    /// Who printed it, when the kernel says so: `T1234` a task, `C1` a CPU.
    pub fn caller(&self) -> Option<String> {
        self.caller.id()
    }
}

/// Nearly all lines are ASCII, for which the plain check is several times faster than the lossy one.
fn text(line: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed)
}

impl Serialize for Log {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Lines<'a>(&'a Log);
        struct One<'a>(&'a Log, usize);
        impl Serialize for Lines<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut list = serializer.serialize_seq(Some(self.0.lines.len()))?;
                for index in 0..self.0.lines.len() {
                    list.serialize_element(&One(self.0, index))?;
                }
                list.end()
            }
        }
        impl Serialize for One<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let line = &self.0.lines[self.1];
                let mut out = serializer.serialize_struct("Line", 6)?;
                out.serialize_field("number", &line.number)?;
                out.serialize_field("level", &line.level)?;
                out.serialize_field("time", &line.time)?;
                out.serialize_field("caller", &line.caller())?;
                out.serialize_field("piece", &line.piece)?;
                out.serialize_field("text", &self.0.message_text(self.1))?;
                out.end()
            }
        }
        let mut out = serializer.serialize_struct("Log", 2)?;
        out.serialize_field("pieces", &self.pieces)?;
        out.serialize_field("lines", &Lines(self))?;
        out.end()
    }
}
