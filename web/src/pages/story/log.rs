//! Lines of a log, with anchors: the report and what came just before and after.

use report::{Parsed, Report};
use serde::Serialize;

use super::number;

/// Lines shown before the report and behind it: what the machine did just before, and how it ended.
const BEFORE: usize = 8;
const AFTER: usize = 40;
/// The most lines of a page: reports with the stacks of hundreds of CPUs exist, and all of the log is one link away.
pub(crate) const MOST: usize = 1500;

/// Some lines of a log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Excerpt {
    /// Lines of the whole log.
    pub total: usize,
    /// The lines shown.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// Its place in the joined log, from 1; its anchor.
    pub number: u32,
    /// As it stood; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// It belongs to the report.
    pub inside: bool,
    /// It named the report: its header, or the faulting instruction.
    pub hot: bool,
}

impl Excerpt {
    /// The lines around a report.
    pub fn around(parsed: &Parsed, report: &Report) -> Excerpt {
        let from = report.lines.start.saturating_sub(BEFORE);
        let to = report.lines.end.saturating_add(AFTER).min(from.saturating_add(MOST));
        Excerpt::of(parsed, from, to, Some(report))
    }

    /// Lines by index.
    pub fn of(parsed: &Parsed, from: usize, to: usize, report: Option<&Report>) -> Excerpt {
        let total = parsed.log.lines().len();
        let to = to.min(total);
        let hot = |index: usize| {
            report.is_some_and(|report| {
                report.lines.start == index || report.ip.as_ref().is_some_and(|ip| ip.line == index)
            })
        };
        let lines = (from.min(to)..to).map(|index| Line {
            number: number(parsed, index),
            text: parsed.log.raw_text(index).into_owned(),
            inside: report.is_some_and(|report| report.lines.contains(&index)),
            hot: hot(index),
        });
        Excerpt { total, lines: lines.collect() }
    }

    /// Numbers of the first and the last line shown.
    pub fn span(&self) -> (u32, u32) {
        let number = |line: Option<&Line>| line.map_or(0, |line| line.number);
        (number(self.lines.first()), number(self.lines.last()))
    }
}
