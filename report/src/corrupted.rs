//! Was the text of a report damaged?

use std::fmt;

use serde::Serialize;

use crate::body::Body;
use crate::log::Log;
use crate::profile::Profile;
use crate::rules::Format;
use crate::shape;
use crate::title;

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

/// How far below its heading the first frame of a stack must be.
const FRAME_WITHIN: usize = 15;
/// A stack's heading and two more lines; with less the text was cut.
const STACK_LINES_MIN: usize = 3;
/// What a cloud console prints when it hangs up.
pub(crate) const CONSOLE_LOST: &str = "serialport: VM disconnected.";

/// Does the text of a report hold together? `format` is what named it.
pub(crate) fn check(
    log: &Log,
    body: &Body,
    title: &str,
    format: Option<&Format>,
    profile: Profile,
) -> Option<Corrupted> {
    if title::has_time_stamp(title) {
        return Some(Corrupted::MergedLines);
    }
    if format.is_none_or(|format| format.no_stack) {
        return None;
    }
    let mut any = false;
    for (kind, start) in body.starts.iter().enumerate() {
        let Some(start) = start.map(|start| start as usize) else { continue };
        if body.lines.len() - start < STACK_LINES_MIN {
            return Some(Corrupted::StackCut);
        }
        let has_frames = (start + 1..body.lines.len())
            .take(FRAME_WITHIN)
            .take_while(|at| !body.begins_stack(*at))
            .map(|at| body.line(log, at))
            .any(|line| {
                shape::frame(line, profile).is_some()
                    || memchr::memmem::find(line, b"(stack is not available)").is_some()
            });
        if !has_frames && kind != shape::RISCV_START {
            return Some(Corrupted::StackEmpty);
        }
        any |= has_frames;
    }
    (!any).then_some(Corrupted::NoStack)
}
