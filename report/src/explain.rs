//! Why a report got its title: which rule matched where, which frames were skipped and why.

use serde::Serialize;

use crate::log::Log;
use crate::profile::Profile;
use crate::rules::Rules;
use crate::scan;

/// The story of one title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The report it belongs to: an index into [`crate::Parsed::reports`].
    pub report: usize,
    /// The header line (index into [`crate::Log::lines`]).
    pub line: usize,
    /// The id of the header token in `rules/tokens.txt`.
    pub token: &'static str,
    /// The id of the format in `rules/formats/`; None when none matched, so that the rest of the line is the title.
    pub format: Option<&'static str>,
    /// How many lines belong to the report, and how many of them count for the title.
    pub lines: usize,
    /// See `lines`.
    pub lines_for_title: usize,
    /// The title before volatile parts were replaced.
    pub uncleaned: String,
    /// Functions that were passed over, in the order of the log.
    pub skipped: Vec<Skipped>,
    /// The function that was chosen, as the log has it.
    pub chosen: Option<String>,
    /// Why it is called corrupted.
    pub corrupted: Option<String>,
    /// Why it is, or is not, the cause of death.
    pub cause: Option<String>,
}

/// A function that does not name bugs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The function.
    pub name: String,
    /// Its line (index into [`crate::Log::lines`]).
    pub line: usize,
    /// The id of the rule in `rules/skip.txt`, or the word in the format's own list.
    pub rule: &'static str,
}

/// Collects what was passed over, when somebody wants to know.
pub(crate) enum Trail {
    Off,
    On(Vec<Skipped>),
}

/// The most frames of one report that are explained.
const SKIPPED_MAX: usize = 256;

impl Trail {
    pub(crate) fn skip(&mut self, what: impl FnOnce() -> Skipped) {
        if let Trail::On(list) = self
            && list.len() < SKIPPED_MAX
        {
            list.push(what());
        }
    }
}

/// A line that looks like the start of a report and is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Index into [`crate::Log::lines`].
    pub line: usize,
    /// The id of the token it holds.
    pub token: &'static str,
    /// The id of the rule by which it does not count.
    pub rule: &'static str,
}

/// A log that holds more of them is noise.
const IGNORED_MAX: usize = 1024;

/// The look-alikes of a log, and why each is none.
pub fn ignored(log: &Log, profile: Profile) -> Vec<Ignored> {
    let rules = Rules::of(profile);
    let lines = scan::headers(log.text(), profile).map(|position| log.line_at(position));
    lines
        .flat_map(|line| {
            refused(rules, log.raw(line)).map(move |(token, rule)| Ignored { line, token, rule })
        })
        .take(IGNORED_MAX)
        .collect()
}

fn refused<'a>(
    rules: &'static Rules,
    raw: &'a [u8],
) -> impl Iterator<Item = (&'static str, &'static str)> + 'a {
    let held = rules.tokens.iter().filter(|token| token.finder.find(raw).is_some());
    held.filter_map(|token| {
        Some((token.id, token.ignores.iter().find(|ignore| ignore.regex.is_match(raw))?.id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_alike_is_told_with_its_rule() {
        let parsed = crate::parse(
            b"[    1.000000] INFO: NMI handler (x) took too long to run: 3 msecs\n[    2.000000] fine\n",
        );
        assert!(parsed.reports.is_empty());
        let expected = Ignored { line: 0, token: "info", rule: "info.nmi-handler" };
        assert_eq!(ignored(&parsed.log, Profile::Production), [expected]);
    }
}
