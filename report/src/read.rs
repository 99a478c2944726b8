//! From the pieces of one crash to everything it says.

use serde::Serialize;

use crate::kernel::Kernel;
use crate::log::Log;
use crate::modules::Module;
use crate::note::Note;
use crate::profile::Profile;
use crate::report::Report;

/// One piece of the evidence of a crash: a pstore record, a console log, a dmesg text.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Its file name; tells pstore records and their order.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// Everything that was read from one crash.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parsed {
    /// The joined text.
    pub log: Log,
    /// Which kernel printed it.
    pub kernel: Kernel,
    /// Its modules, as far as the log lists them.
    pub modules: Vec<Module>,
    /// In the order of the log.
    pub reports: Vec<Report>,
    /// Damage and doubt.
    pub notes: Vec<Note>,
    pub(crate) cause: Option<usize>,
}

impl Parsed {
    /// Which of the reports killed the machine. None when it survived, or when the log does not tell.
    pub fn cause(&self) -> Option<usize> {
        self.cause
    }
}

/// Reads one log text.
pub fn parse(log: &[u8]) -> Parsed {
    parse_with(log, Profile::Production)
}

/// [`parse`] by the rules of `profile`.
pub fn parse_with(log: &[u8], profile: Profile) -> Parsed {
    read_with(&[Piece { name: "", bytes: log }], profile)
}

/// Reads all pieces of one crash: joins pstore parts, reads what two pieces both hold once, names every report and
/// tells which of them was the death.
pub fn read(pieces: &[Piece<'_>]) -> Parsed {
    read_with(pieces, Profile::Production)
}

/// [`read`] by the rules of `profile`.
pub fn read_with(pieces: &[Piece<'_>], profile: Profile) -> Parsed {
    let mut log = Log::default();
    for piece in pieces {
        let index = log.piece(piece.name);
        for (number, line) in piece.bytes.split(|byte| *byte == b'\n').enumerate() {
            log.push(line, number as u32 + 1, index, profile);
        }
    }
    let notes = log.damage();
    Parsed { log, kernel: Kernel::default(), modules: Vec::new(), reports: Vec::new(), notes, cause: None }
}
