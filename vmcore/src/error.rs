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
    #[error("this is no dump that we know: it begins with {0:02x?}")]
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
    /// The small dump cannot be written.
    #[error("writing the small dump")]
    Write(#[from] io::Error),
}
