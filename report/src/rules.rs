//! The rules that change often, read once from the text files in `rules/`.

use std::sync::{LazyLock, OnceLock};

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};

mod format;

pub(crate) use format::{Choose, Format, Part, Recipe};

use crate::kind::{CrashType, Severity};
use crate::profile::Profile;

/// The formats, one file a family, in the order in which they are tried: what ends another report comes behind what
/// names its own cause, and headers that were cut come last.
const FORMATS: [(&str, &str); 16] = [
    ("sanitizers", include_str!("../rules/formats/sanitizers.txt")),
    ("faults", include_str!("../rules/formats/faults.txt")),
    ("locks", include_str!("../rules/formats/locks.txt")),
    ("warnings", include_str!("../rules/formats/warnings.txt")),
    ("bugs", include_str!("../rules/formats/bugs.txt")),
    ("slab", include_str!("../rules/formats/slab.txt")),
    ("hangs", include_str!("../rules/formats/hangs.txt")),
    ("memory", include_str!("../rules/formats/memory.txt")),
    ("files", include_str!("../rules/formats/files.txt")),
    ("stacks", include_str!("../rules/formats/stacks.txt")),
    ("hardware", include_str!("../rules/formats/hardware.txt")),
    ("oom", include_str!("../rules/formats/oom.txt")),
    ("boot", include_str!("../rules/formats/boot.txt")),
    ("panics", include_str!("../rules/formats/panics.txt")),
    ("fuzzer", include_str!("../rules/formats/fuzzer.txt")),
    ("cut", include_str!("../rules/formats/cut.txt")),
];

/// All rules of one profile.
pub(crate) struct Rules {
    pub(crate) tokens: Vec<Token>,
    /// Headers that belong to a running report.
    pub(crate) continues: Vec<Pattern>,
    /// No reports, but they print stacks of their own.
    pub(crate) stacked: Vec<(&'static str, &'static str)>,
    /// Functions that name no bug.
    pub(crate) skip: NameSet,
    /// Functions that name one only when no other is left: what the list marks for fleets.
    pub(crate) last_resort: NameSet,
    pub(crate) anchors: NameSet,
    pub(crate) types: Vec<TypeRule>,
    pub(crate) suppressed: Vec<Pattern>,
    pub(crate) panics: Vec<PanicRule>,
    pub(crate) intended: Vec<Pattern>,
}

/// A header token with its formats.
pub(crate) struct Token {
    pub(crate) id: &'static str,
    pub(crate) text: String,
    pub(crate) finder: Finder<'static>,
    pub(crate) ignores: Vec<Pattern>,
    /// Tokens of headers after which this one is only the second header of the same trap.
    pub(crate) second_to: Vec<&'static str>,
    pub(crate) formats: Vec<Format>,
}

/// A pattern with a name.
pub(crate) struct Pattern {
    pub(crate) id: &'static str,
    pub(crate) regex: Regex,
}

/// The prefix of a title and what it means.
pub(crate) struct TypeRule {
    pub(crate) kind: CrashType,
    pub(crate) rank: Option<u8>,
    pub(crate) survived: Severity,
    pub(crate) fatal: Severity,
    pub(crate) prefix: &'static str,
}

/// A panic that ends what another report began.
pub(crate) struct PanicRule {
    pub(crate) id: &'static str,
    pub(crate) regex: Regex,
    /// Formats or families of formats, or `any`.
    pub(crate) causes: Vec<&'static str>,
    /// Only a report of the same task can be the cause.
    pub(crate) same_task: bool,
}

/// A set of patterns for function names: one automaton to ask, single ones to explain.
pub(crate) struct NameSet {
    all: Option<Regex>,
    single: Vec<(&'static str, &'static str)>,
    /// Compiled when somebody wants an explanation.
    compiled: OnceLock<Vec<Regex>>,
}

impl NameSet {
    fn new(single: Vec<(&'static str, &'static str)>) -> NameSet {
        let sources: Vec<&str> = single.iter().map(|(_, pattern)| *pattern).collect();
        NameSet {
            all: (!sources.is_empty()).then(|| regex(&sources.join("|"))),
            single,
            compiled: OnceLock::new(),
        }
    }

    fn inline(names: &'static str) -> NameSet {
        NameSet::new(names.split_ascii_whitespace().map(|name| (name, name)).collect())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.all.as_ref().is_some_and(|all| all.is_match(name.as_bytes()))
    }

    /// The id of the first pattern that matches.
    pub(crate) fn which(&self, name: &str) -> Option<&'static str> {
        let compiled =
            self.compiled.get_or_init(|| self.single.iter().map(|(_, source)| regex(source)).collect());
        compiled.iter().position(|pattern| pattern.is_match(name.as_bytes())).map(|at| self.single[at].0)
    }
}

impl Rules {
    pub(crate) fn of(profile: Profile) -> &'static Rules {
        static PRODUCTION: LazyLock<Rules> = LazyLock::new(|| Rules::load(Profile::Production));
        static SCORING: LazyLock<Rules> = LazyLock::new(|| Rules::load(Profile::Scoring));
        match profile {
            Profile::Production => &PRODUCTION,
            Profile::Scoring => &SCORING,
        }
    }

    fn load(profile: Profile) -> Rules {
        let names = |text| NameSet::new(pairs(text, profile));
        let patterns = |text| pairs(text, profile).into_iter().map(pattern).collect();
        let mut rules = Rules {
            tokens: Vec::new(),
            continues: Vec::new(),
            stacked: Vec::new(),
            skip: NameSet::new(pairs(include_str!("../rules/skip.txt"), Profile::Scoring)),
            last_resort: NameSet::new(match profile {
                Profile::Production => marked(include_str!("../rules/skip.txt")),
                Profile::Scoring => Vec::new(),
            }),
            anchors: names(include_str!("../rules/anchors.txt")),
            types: rows(include_str!("../rules/types.txt"), profile).map(type_rule).collect(),
            suppressed: patterns(include_str!("../rules/suppressed.txt")),
            panics: rows(include_str!("../rules/panics.txt"), profile).map(panic_rule).collect(),
            intended: patterns(include_str!("../rules/intended.txt")),
        };
        rules.read_tokens(include_str!("../rules/tokens.txt"), profile);
        for (family, text) in FORMATS {
            format::read(&mut rules.tokens, family, text, profile);
        }
        rules
    }

    fn read_tokens(&mut self, text: &'static str, profile: Profile) {
        for (word, rest) in rows(text, profile).map(split_word) {
            let (id, text) = split_word(rest);
            match word {
                "token" => {
                    let text = text.replace("\\x20", " ");
                    let finder = Finder::new(&text).into_owned();
                    self.tokens.push(Token {
                        id,
                        text,
                        finder,
                        ignores: Vec::new(),
                        second_to: Vec::new(),
                        formats: Vec::new(),
                    });
                }
                "ignore" => {
                    let token = self.tokens.last_mut().expect("ignore stands below a token");
                    token.ignores.push(pattern((id, text)));
                }
                "continues" => self.continues.push(pattern((id, text))),
                "second" => {
                    if let Some(token) = self.tokens.iter_mut().find(|token| token.id == id) {
                        token.second_to.extend(text.split_ascii_whitespace());
                    }
                }
                "stacked" => self.stacked.push((id, text)),
                _ => unreachable!("tokens.txt: unknown word {word}"),
            }
        }
    }

    /// Does a function name no bug?
    pub(crate) fn is_generic(&self, name: &str) -> bool {
        self.skip.matches(name) || self.last_resort.matches(name)
    }

    /// The class of a title.
    pub(crate) fn classify(&self, title: &str) -> Option<&TypeRule> {
        self.types.iter().find(|rule| title.starts_with(rule.prefix))
    }
}

fn type_rule(row: &'static str) -> TypeRule {
    let mut fields = row.splitn(5, " | ");
    let mut field = || fields.next().expect("a row of types.txt has five fields");
    TypeRule {
        kind: CrashType(field()),
        rank: field().parse().ok(),
        survived: severity(field()),
        fatal: severity(field()),
        prefix: field(),
    }
}

fn panic_rule(row: &'static str) -> PanicRule {
    let mut fields = row.split(" | ");
    let mut field = || fields.next().expect("a row of panics.txt has three fields");
    let (id, source, causes) = (field(), field(), field());
    PanicRule {
        id,
        regex: regex(source),
        causes: causes.split_ascii_whitespace().collect(),
        same_task: fields.next() == Some("same"),
    }
}

fn severity(text: &str) -> Severity {
    match text {
        "info" => Severity::Info,
        "low" => Severity::Low,
        "medium" => Severity::Medium,
        "high" => Severity::High,
        "critical" => Severity::Critical,
        _ => unreachable!("types.txt: unknown severity {text}"),
    }
}

fn pattern((id, text): (&'static str, &'static str)) -> Pattern {
    Pattern { id, regex: regex(text) }
}

fn pairs(text: &'static str, profile: Profile) -> Vec<(&'static str, &'static str)> {
    rows(text, profile).map(split_word).collect()
}

/// The pairs that are marked for production.
fn marked(text: &'static str) -> Vec<(&'static str, &'static str)> {
    text.lines().filter_map(|line| line.trim().strip_prefix("production ")).map(split_word).collect()
}

/// The rows of a rules file: no comments, no blank lines, nothing that is marked for the other profile.
fn rows(text: &'static str, profile: Profile) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(
        move |line| match split_word(line) {
            ("production", row) => (profile == Profile::Production).then_some(row),
            ("scoring", row) => (profile == Profile::Scoring).then_some(row),
            _ => Some(line),
        },
    )
}

fn split_word(row: &'static str) -> (&'static str, &'static str) {
    row.split_once(' ').map_or((row, ""), |(word, rest)| (word, rest.trim_start()))
}

/// Logs are bytes, not always UTF-8, and names are ASCII.
fn regex(source: &str) -> Regex {
    RegexBuilder::new(source)
        .unicode(false)
        .build()
        .expect("the embedded rules are well formed: a test loads them all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_file_of_formats_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/formats");
        let files: HashSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, FORMATS.iter().map(|(family, _)| format!("{family}.txt")).collect());
    }

    #[test]
    fn every_rule_has_an_id_of_its_own() {
        for profile in [Profile::Production, Profile::Scoring] {
            let rules = Rules::of(profile);
            let mut seen = HashSet::new();
            let mut check = |id: &'static str| assert!(!id.is_empty() && seen.insert(id), "{id}");
            rules
                .tokens
                .iter()
                .flat_map(|token| &token.ignores)
                .chain(&rules.continues)
                .for_each(|p| check(p.id));
            rules
                .skip
                .single
                .iter()
                .chain(&rules.last_resort.single)
                .chain(&rules.anchors.single)
                .for_each(|(id, _)| check(id));
            let formats: Vec<&Format> = rules.tokens.iter().flat_map(|token| &token.formats).collect();
            let ids: HashSet<&str> = formats.iter().map(|format| format.id).collect();
            assert_eq!(ids.len(), formats.len());
            assert!(rules.tokens.iter().all(|token| !token.formats.is_empty()), "a token without formats");
            assert!(formats.iter().all(|format| !format.name.is_empty()));
        }
    }
}
