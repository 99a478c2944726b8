//! One search over the whole log for all words that mean something.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use memchr::memmem;

use crate::line::Caller;
use crate::log::{LINE_MAX, Log};
use crate::profile::Profile;
use crate::rules::Rules;
use crate::shape;

/// A line that holds one of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    /// The header token that counts: an index into [`Rules::tokens`].
    pub(crate) token: Option<u8>,
    /// A running report ends here: another one begins, or a stack that belongs to no report.
    pub(crate) ends_report: bool,
    /// Which kinds of stack starts it holds.
    pub(crate) starts: u16,
    /// The header is that of a panic.
    pub(crate) panic: bool,
    /// Another boot begins here.
    pub(crate) boot: bool,
    /// `Sending NMI from CPU`: from here on lines of all CPUs belong to the report.
    pub(crate) all_cpus: bool,
    /// A stack of the fault injector.
    pub(crate) fault_injection: bool,
    /// `Disabling lock debugging due to kernel taint`, which says nothing about the crash.
    pub(crate) noise: bool,
}

const BOOT: &[u8] = b"Linux version ";
const ALL_CPUS: &str = "Sending NMI from CPU";
const NOISE: &str = "Disabling lock debugging due to kernel taint";
const REPLAY: &[u8] = b"** replaying previous printk message **";

/// All marked lines, in the order of the log.
pub(crate) fn marks(log: &Log, profile: Profile) -> Vec<Mark> {
    let rules = Rules::of(profile);
    let text = log.text();
    let words = words(profile);
    let mut marks = Vec::new();
    let mut line = 0;
    let mut position = 0;
    while let Some(found) = words.find(Input::new(text).range(position..)) {
        // Lines are found in order, so the search for the line goes on where it stopped.
        line += log.lines()[line..].partition_point(|line| line.span().end <= found.start());
        let span = log.lines()[line].span();
        if found.start() < span.start + LINE_MAX {
            marks.extend(mark(log, rules, line));
        }
        line += 1;
        position = span.end + 1;
        if line >= log.lines().len() || position >= text.len() {
            break;
        }
    }
    marks
}

fn mark(log: &Log, rules: &Rules, line: usize) -> Option<Mark> {
    if log.lines()[line].caller == Caller::Program {
        return None;
    }
    let raw = log.raw(line);
    let raw = &raw[..raw.len().min(LINE_MAX)];
    let has = |word: &str| memmem::find(raw, word.as_bytes()).is_some();
    let replayed = memmem::find(log.raw(line + 1), REPLAY).is_some();
    let is_header = |token: &crate::rules::Token| {
        token.finder.find(raw).is_some() && !token.ignores.iter().any(|ignore| ignore.regex.is_match(raw))
    };
    let token = rules.tokens.iter().position(is_header).filter(|_| !replayed);
    let continues = || rules.continues.iter().any(|pattern| pattern.regex.is_match(raw));
    let stacked = || rules.stacked.iter().any(|(_, word)| has(word));
    let mark = Mark {
        line,
        token: token.map(|token| token as u8),
        ends_report: token.is_some() && !continues() || stacked(),
        panic: token.is_some_and(|token| rules.tokens[token].id == "panic"),
        boot: memmem::find(log.message(line), BOOT).is_some_and(|at| at == 0),
        starts: shape::stack_starts(log.message(line)),
        fault_injection: has(shape::FAULT_INJECTION) && shape::is_fault_injection(log.message(line)),
        all_cpus: has(ALL_CPUS),
        noise: has(NOISE),
    };
    let Mark { line: _, token: _, panic: _, ends_report, boot, starts, fault_injection, all_cpus, noise } =
        mark;
    (token.is_some() || ends_report || boot || starts != 0 || fault_injection || all_cpus || noise)
        .then_some(mark)
}

/// Where in `text` lines with a header token are: the position of the first token of each. Looks at nothing else, so
/// some of them start no report.
pub(crate) fn headers(text: &[u8], profile: Profile) -> impl Iterator<Item = usize> {
    static PRODUCTION: LazyLock<AhoCorasick> = LazyLock::new(|| tokens(Profile::Production));
    static SCORING: LazyLock<AhoCorasick> = LazyLock::new(|| tokens(Profile::Scoring));
    let words: &AhoCorasick = match profile {
        Profile::Production => &PRODUCTION,
        Profile::Scoring => &SCORING,
    };
    let mut position = 0;
    std::iter::from_fn(move || {
        let found = words.find(Input::new(text).range(position.min(text.len())..))?.start();
        position = memchr::memchr(b'\n', &text[found..]).map_or(text.len(), |at| found + at);
        Some(found)
    })
}

fn tokens(profile: Profile) -> AhoCorasick {
    let tokens = Rules::of(profile).tokens.iter().map(|token| token.text.as_str());
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(tokens)
        .expect("a few dozen short words")
}

fn words(profile: Profile) -> &'static AhoCorasick {
    static PRODUCTION: LazyLock<AhoCorasick> = LazyLock::new(|| build(Profile::Production));
    static SCORING: LazyLock<AhoCorasick> = LazyLock::new(|| build(Profile::Scoring));
    match profile {
        Profile::Production => &PRODUCTION,
        Profile::Scoring => &SCORING,
    }
}

fn build(profile: Profile) -> AhoCorasick {
    let rules = Rules::of(profile);
    let tokens = rules.tokens.iter().map(|token| token.text.as_str());
    let stacked = rules.stacked.iter().map(|(_, word)| *word);
    let words = tokens.chain(stacked).chain(shape::START_WORDS).chain([
        ALL_CPUS,
        NOISE,
        "Linux version ",
        shape::FAULT_INJECTION,
    ]);
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(words).expect("a few dozen short words")
}
