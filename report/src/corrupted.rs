//! Was the text of a report damaged?

use std::fmt;

use serde::Serialize;

/// Why a report is not to be trusted in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corrupted {
    /// No function was left to name it by, or a fault-injection stack was mixed in.
    NoFrames,
    /// The header was there, what must follow it was not.
    NoBody,
    /// The form of the header tells that the real one was lost.
    HeaderLost,
    /// A time stamp inside the title: two lines were merged.
    MergedLines,
    /// A stack begins and the text ends.
    StackCut,
    /// A stack begins and holds no frames.
    StackEmpty,
    /// There is no stack at all.
    NoStack,
    /// The console's connection broke.
    ConsoleLost,
    /// The report began before the text that was kept.
    Truncated,
}

impl fmt::Display for Corrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Corrupted::NoFrames => "no frame was left to name it by",
            Corrupted::NoBody => "the header is there, but not what must follow it",
            Corrupted::HeaderLost => "the real header was lost",
            Corrupted::MergedLines => "lines were merged into the title",
            Corrupted::StackCut => "the text ends inside a stack",
            Corrupted::StackEmpty => "a stack without frames",
            Corrupted::NoStack => "no stack in the report",
            Corrupted::ConsoleLost => "the console's connection broke",
            Corrupted::Truncated => "it began before the text that was kept",
        })
    }
}
