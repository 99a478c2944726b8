//! What can stop the agent itself. Trouble with one record or one delivery is a value in the [`Summary`], not an
//! error: the others go on.
//!
//! [`Summary`]: crate::agent::Summary

use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;

/// Why a run could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system call of ours failed.
    #[error("{doing} {}", path.display())]
    Io {
        /// What we were doing, as in "writing".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another agent works on the spool.
    #[error("another agent is at work on the spool {}", .0.display())]
    Busy(PathBuf),
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The service was not told what is state and no evidence; the next run says it again.
    #[error("the service was not told: {0}")]
    NotTold(String),
    /// A document of our own breaks the protocol; a bug, told with what it concerned.
    #[error("writing the manifest of {what}")]
    Manifest {
        /// The first artifact.
        what: String,
        /// The rule.
        source: handover::Error,
    },
}

impl Error {
    /// How the process ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Io { .. } => Exit::Io,
            Error::Busy(_) | Error::NotTold(_) => Exit::Later,
            Error::Setting(_) => Exit::Usage,
            Error::Manifest { .. } => Exit::Held,
        }
    }
}

/// Says what was being done, to what.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing, path: path.to_owned(), source })
    }
}
