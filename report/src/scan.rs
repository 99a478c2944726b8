//! One search over the whole log for all words that mean something.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use memchr::memmem::Finder;

use crate::line::Caller;
use crate::log::{LINE_MAX, Log};
use crate::profile::Profile;
use crate::rules::{Rules, Token};
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
    /// `---[ end trace`, which closes an oops or a warning.
    pub(crate) end_trace: bool,
}

const BOOT: &str = "Linux version ";
const ALL_CPUS: &str = "Sending NMI from CPU";
const NOISE: &str = "Disabling lock debugging due to kernel taint";
const END_TRACE: &str = "---[ end trace";
const REPLAY: &[u8] = b"** replaying previous printk message **";

/// All words that are looked for, each known by its place in this order: the header tokens, what prints a stack of its
/// own, the starts of stacks, and those below.
struct Words {
    /// Finds the next line that may hold a word.
    first: AhoCorasick,
    /// Finds all words of a line, those that overlap too.
    all: AhoCorasick,
    tokens: usize,
    stacked: usize,
}

/// A set of words of one line, a bit each.
#[derive(Clone, Copy)]
struct Held(u128);

impl Held {
    fn any(self, words: Range<usize>) -> bool {
        self.0 >> words.start & ((1 << words.len()) - 1) != 0
    }

    fn has(self, word: usize) -> bool {
        self.0 >> word & 1 == 1
    }
}

impl Words {
    /// Those that stand alone, behind the rows of words.
    const OTHERS: [&str; 5] = [ALL_CPUS, NOISE, BOOT, shape::FAULT_INJECTION, END_TRACE];

    fn of(profile: Profile) -> &'static Words {
        static PRODUCTION: LazyLock<Words> = LazyLock::new(|| Words::new(Profile::Production));
        static SCORING: LazyLock<Words> = LazyLock::new(|| Words::new(Profile::Scoring));
        match profile {
            Profile::Production => &PRODUCTION,
            Profile::Scoring => &SCORING,
        }
    }

    fn new(profile: Profile) -> Words {
        let rules = Rules::of(profile);
        let words: Vec<&str> = rules
            .tokens
            .iter()
            .map(|token| token.text.as_str())
            .chain(rules.stacked.iter().map(|(_, word)| *word))
            .chain(shape::START_WORDS)
            .chain(Words::OTHERS)
            .collect();
        assert!(words.len() <= u128::BITS as usize, "a bit a word");
        Words {
            first: search(MatchKind::LeftmostFirst, &stems(&words)),
            all: search(MatchKind::Standard, &words),
            tokens: rules.tokens.len(),
            stacked: rules.stacked.len(),
        }
    }

    fn held(&self, line: &[u8]) -> Held {
        Held(
            self.all
                .find_overlapping_iter(line)
                .fold(0, |held, found| held | 1 << found.pattern().as_usize()),
        )
    }

    fn tokens(&self) -> Range<usize> {
        0..self.tokens
    }

    fn stacked(&self) -> Range<usize> {
        self.tokens..self.tokens + self.stacked
    }

    fn starts(&self) -> Range<usize> {
        let end = self.stacked().end;
        end..end + shape::START_WORDS.len()
    }

    /// One of [`Words::OTHERS`].
    fn other(&self, index: usize) -> usize {
        self.starts().end + index
    }
}

/// The beginnings of words, as long as they may be for a search by SIMD, which takes 64 at most.
fn stems<'a>(words: &[&'a str]) -> Vec<&'a str> {
    const STEMS_MAX: usize = 60;
    let longest = words.iter().map(|word| word.len()).max().unwrap_or(0);
    let cut = |length: usize| {
        let mut stems: Vec<&str> =
            words.iter().map(|word| &word[..word.floor_char_boundary(length)]).collect();
        stems.sort_unstable();
        // What begins with another stem is found by it.
        stems.dedup_by(|longer, stem| longer.starts_with(*stem));
        stems
    };
    (1..=longest).rev().map(cut).find(|stems| stems.len() <= STEMS_MAX).unwrap_or_default()
}

fn search<'a>(kind: MatchKind, words: impl IntoIterator<Item = &'a &'a str>) -> AhoCorasick {
    AhoCorasick::builder().match_kind(kind).build(words).expect("a few dozen short words")
}

/// All marked lines, in the order of the log.
pub(crate) fn marks(log: &Log, profile: Profile) -> Vec<Mark> {
    let (rules, words) = (Rules::of(profile), Words::of(profile));
    let text = log.text();
    let mut marks = Vec::new();
    let mut line = 0;
    let mut position = 0;
    while let Some(found) = words.first.find(Input::new(text).range(position..)) {
        // Lines are found in order, so the search for the line goes on where it stopped.
        line += log.lines()[line..].partition_point(|line| line.span().end <= found.start());
        let span = log.lines()[line].span();
        if found.start() < span.start + LINE_MAX {
            marks.extend(mark(log, rules, words, line));
        }
        line += 1;
        position = span.end + 1;
        if line >= log.lines().len() || position >= text.len() {
            break;
        }
    }
    marks
}

fn mark(log: &Log, rules: &Rules, words: &Words, line: usize) -> Option<Mark> {
    if log.lines()[line].caller == Caller::Program {
        return None;
    }
    let raw = log.raw(line);
    let raw = &raw[..raw.len().min(LINE_MAX)];
    let held = words.held(raw);
    if held.0 == 0 {
        return None;
    }
    let token = words
        .tokens()
        .find(|token| {
            let ignored = |token: &Token| token.ignores.iter().any(|ignore| ignore.regex.is_match(raw));
            held.has(*token) && !ignored(&rules.tokens[*token])
        })
        .filter(|_| !is_replayed(log.raw(line + 1)));
    let continues = || rules.continues.iter().any(|pattern| pattern.regex.is_match(raw));
    let message = log.message(line);
    let [all_cpus, noise, boot, fault_injection, end_trace] =
        std::array::from_fn(|other| held.has(words.other(other)));
    let mark = Mark {
        line,
        token: token.map(|token| token as u8),
        ends_report: token.is_some() && !continues() || held.any(words.stacked()),
        panic: token.is_some_and(|token| rules.tokens[token].id == "panic"),
        boot: boot && message.starts_with(BOOT.as_bytes()),
        starts: if held.any(words.starts()) { shape::stack_starts(message) } else { 0 },
        fault_injection: fault_injection && shape::is_fault_injection(message),
        all_cpus,
        noise,
        end_trace,
    };
    let Mark {
        line: _,
        token: _,
        panic: _,
        ends_report,
        boot,
        starts,
        fault_injection,
        all_cpus,
        noise,
        end_trace,
    } = mark;
    let counts = ends_report || boot || starts != 0 || fault_injection || all_cpus || noise || end_trace;
    (token.is_some() || counts).then_some(mark)
}

/// The console took over and prints what was printed before once more.
fn is_replayed(next: &[u8]) -> bool {
    static REPLAYED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(REPLAY));
    REPLAYED.find(next).is_some()
}

/// The first header token of each line that holds one; see [`next_header`].
pub(crate) fn headers(text: &[u8], profile: Profile) -> impl Iterator<Item = usize> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let found = next_header(text, position, profile)?;
        position = memchr::memchr(b'\n', &text[found..]).map_or(text.len(), |at| found + at);
        Some(found)
    })
}

/// Where in `text`, from byte `from` on, the next header token is. Looks at nothing else, so some start no report.
pub(crate) fn next_header(text: &[u8], from: usize, profile: Profile) -> Option<usize> {
    static PRODUCTION: LazyLock<AhoCorasick> = LazyLock::new(|| tokens(Profile::Production));
    static SCORING: LazyLock<AhoCorasick> = LazyLock::new(|| tokens(Profile::Scoring));
    let words: &AhoCorasick = match profile {
        Profile::Production => &PRODUCTION,
        Profile::Scoring => &SCORING,
    };
    words.find(Input::new(text).range(from.min(text.len())..)).map(|found| found.start())
}

fn tokens(profile: Profile) -> AhoCorasick {
    let tokens: Vec<&str> = Rules::of(profile).tokens.iter().map(|token| token.text.as_str()).collect();
    search(MatchKind::LeftmostFirst, &stems(&tokens))
}
