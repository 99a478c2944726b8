//! Why a dump could not be opened at all; damage inside one is a note, never one of these.

use std::io;
use std::path::PathBuf;

/// The ways in which opening or writing a dump fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened, mapped or unpacked.
    #[error("reading the dump {}", path.display())]
    Read {
        /// The dump.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first bytes belong to a format that we know by name and do not read.
    #[error("this is a {0} file, which is not supported")]
    Unsupported(&'static str),
    /// The first bytes belong to no dump format.
    #[error("this is no dump that we know: {}", beginning(.0))]
    Unknown(Vec<u8>),
    /// The container's own header makes no sense, so that no page can be found.
    #[error("the {format} header is damaged: {what}")]
    Header {
        /// The container.
        format: &'static str,
        /// Which field, and its value.
        what: String,
    },
    /// A file that was packed unpacks to more than we allow.
    #[error("the packed dump is larger than {0} bytes when unpacked")]
    TooLarge(u64),
    /// The files of a split set do not belong together.
    #[error("the files of the split dump do not fit together: {0}")]
    Split(String),
    /// The small dump would be larger than allowed; nothing of it was written.
    #[error("the small dump would have {bytes} bytes, and {most} are allowed")]
    Extract {
        /// What it would have.
        bytes: u64,
        /// What the caller allows.
        most: u64,
    },
    /// A summary that is not what we write.
    #[error("reading the summary of a dump")]
    Summary(#[from] serde_json::Error),
    /// A summary of a version that we do not know.
    #[error("the summary of a dump is of version {found}; we know {known}")]
    SummaryVersion {
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A summary that is larger than any of a real machine.
    #[error("the summary of a dump has more than {most} {what}")]
    SummaryLimit {
        /// Of what there is too much.
        what: &'static str,
        /// What is allowed.
        most: usize,
    },
    /// A stack in a summary refers to a frame that is not there.
    #[error("a stack in the summary of a dump has a frame that is not in its table")]
    SummaryFrame,
    /// The small dump cannot be written.
    #[error("writing the small dump")]
    Write(#[from] io::Error),
}

fn beginning(bytes: &[u8]) -> String {
    match bytes {
        [] => "it is empty".into(),
        bytes => format!("it begins with \"{}\"", bytes.escape_ascii()),
    }
}
