//! What can go wrong with an object, an index or a disk, said with the file and the reason.

use std::path::{Path, PathBuf};

use report::BuildId;

/// A failure of this crate. Damage in a log is never one (it is a `report::Note`), and a frame that cannot
/// be resolved is a value ([`crate::Quality`]); what is left is a file that we cannot use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cause lies in this file.
    #[error("{}", path.display())]
    In {
        /// The file being read or written.
        path: PathBuf,
        /// What was wrong with it.
        #[source]
        source: Box<Error>,
    },
    /// The operating system refused.
    #[error("cannot {doing}")]
    Io {
        /// What we were doing: `open`, `map`, `write`.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file does not begin with the ELF magic, nor with that of a compression we read.
    #[error("not an ELF object")]
    NotElf,
    /// A kernel or a module where a log was expected.
    #[error("an ELF object, not a log; --vmlinux takes it")]
    NotALog,
    /// An ELF structure points outside the file, or contradicts itself.
    #[error("damaged ELF: {0}")]
    Elf(String),
    /// An ELF that we do not read: 32-bit, big-endian, or for an unknown machine.
    #[error("unsupported ELF: {0}")]
    Unsupported(String),
    /// A relocation of a debug section that we do not know. Silence would give wrong lines.
    #[error("{section}: relocation type {kind} of machine {machine} is not supported")]
    UnsupportedRelocation {
        /// `e_machine`.
        machine: u16,
        /// The type, the low 32 bits of `r_info`.
        kind: u32,
        /// The section that the relocation changes.
        section: String,
    },
    /// Compressed bytes do not decompress.
    #[error("cannot decompress {what}: {reason}")]
    Compressed {
        /// A section, or the whole file.
        what: String,
        /// The decoder's reason.
        reason: String,
    },
    /// A size or a count is over its limit.
    #[error("{what}: more than {limit}")]
    TooLarge {
        /// What was counted.
        what: String,
        /// The named limit.
        limit: u64,
    },
    /// DWARF that does not parse.
    #[error("damaged DWARF in the unit at {unit:#x} of .debug_info: {reason}")]
    Dwarf {
        /// Offset of the unit's header.
        unit: u64,
        /// gimli's reason.
        reason: String,
    },
    /// The file that dwz shares between objects is not there.
    #[error(
        "the file {name} with build-id {build_id}, to which dwz moved debug information, is missing {reasons}"
    )]
    MissingAltFile {
        /// The one it must have.
        build_id: BuildId,
        /// As the object names it.
        name: String,
        /// Why files of that name were not taken.
        reasons: String,
    },
    /// There are neither symbols nor debug information.
    #[error("no symbols and no debug information")]
    NoSymbols,
    /// The file is of another build than was asked for.
    #[error("build-id is {found}, wanted {expected}")]
    BuildIdMismatch {
        /// The one that was asked for.
        expected: BuildId,
        /// The one in the file.
        found: BuildId,
    },
    /// Not one of our index files, or a damaged one.
    #[error("damaged index: {0}")]
    Index(String),
    /// An index of another version of the format; build it again from the object.
    #[error("index format {found}, this program reads {want}")]
    IndexVersion {
        /// The version in the file.
        found: u32,
        /// The version that this program writes and reads.
        want: u32,
    },
}

impl Error {
    /// Says in which file it happened.
    #[must_use]
    pub fn at(self, path: &Path) -> Error {
        match self {
            Error::In { .. } => self,
            source => Error::In { path: path.to_path_buf(), source: Box::new(source) },
        }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io { doing, source }
    }
}

/// An error and all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
