//! The exit codes of the agent, after sysexits.h, and which one wins when several apply.

use std::process::ExitCode;

/// How a run ended. Ordered: the later one is told when two apply, since it needs a person sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// Everything found is handed over, or there was nothing. 0.
    #[default]
    Done,
    /// The service could not be reached or asked us to wait, or another agent holds the spool: everything is
    /// kept, the next run goes on. 75, `EX_TEMPFAIL`.
    Later,
    /// Some evidence was not taken and is held on this node. 65, `EX_DATAERR`.
    Held,
    /// The service does not accept the token. 77, `EX_NOPERM`.
    Denied,
    /// A receipt did not verify, TLS failed, or the service is not the one that was pinned. 76, `EX_PROTOCOL`.
    Distrusted,
    /// Reading a source or writing the spool failed. 74, `EX_IOERR`.
    Io,
    /// The command line or the configuration is wrong; nothing was done. 64, `EX_USAGE`.
    Usage,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Usage => 64,
            Exit::Held => 65,
            Exit::Io => 74,
            Exit::Later => 75,
            Exit::Distrusted => 76,
            Exit::Denied => 77,
        }
    }

    /// The worse of two.
    #[must_use]
    pub fn and(self, other: Exit) -> Exit {
        self.max(other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_person_hides_what_mends_itself() {
        assert_eq!(Exit::Done.and(Exit::Later), Exit::Later);
        assert_eq!(Exit::Io.and(Exit::Later), Exit::Io);
        assert_eq!(Exit::Held.and(Exit::Denied), Exit::Denied);
    }
}
