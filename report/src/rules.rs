//! The rules that change often, read once from the text files in `rules/`.

use std::sync::{LazyLock, OnceLock};

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};

use crate::kind::{CrashType, Severity};
use crate::profile::Profile;

/// All rules of one profile.
pub(crate) struct Rules {
    pub(crate) tokens: Vec<Token>,
    /// Headers that belong to a running report.
    pub(crate) continues: Vec<Pattern>,
    /// No reports, but they print stacks of their own.
    pub(crate) stacked: Vec<(&'static str, &'static str)>,
    pub(crate) skip: NameSet,
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
    pub(crate) formats: Vec<Format>,
}

/// One way to name a report; see `rules/formats.txt`.
pub(crate) struct Format {
    pub(crate) id: &'static str,
    pub(crate) title: Regex,
    /// What `title` begins with, to spare the regex where it cannot match.
    pub(crate) literal: String,
    pub(crate) head: Option<Regex>,
    pub(crate) body: Vec<Later>,
    pub(crate) name: &'static str,
    pub(crate) alts: Vec<&'static str>,
    pub(crate) recipe: Option<Recipe>,
    pub(crate) no_stack: bool,
    pub(crate) corrupted: bool,
    pub(crate) at_start: bool,
    pub(crate) across: bool,
    pub(crate) blameless: bool,
}

/// What a later line of the report must look like.
pub(crate) struct Later {
    pub(crate) regex: Regex,
    /// The very next line, not any later one.
    pub(crate) adjacent: bool,
}

/// How the frames of a title are found.
pub(crate) struct Recipe {
    /// The variants, each a row of parts; the next is tried when one finds nothing.
    pub(crate) variants: Vec<Vec<Part>>,
    pub(crate) skip: NameSet,
    pub(crate) choose: Choose,
}

pub(crate) enum Part {
    /// The instruction pointer line.
    Pointer,
    /// The instruction pointer line, or ppc's `--- interrupt: N at f`.
    Interrupt,
    /// A trace heading.
    Heading,
    /// A stack.
    Stack,
    /// A line of this form.
    Line(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choose {
    First,
    Stall,
    Hang,
    Recursion,
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
    /// Ids of formats, or `oops`, or `any`.
    pub(crate) causes: Vec<&'static str>,
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
        let mut rules = Rules {
            tokens: Vec::new(),
            continues: Vec::new(),
            stacked: Vec::new(),
            skip: NameSet::new(pairs(include_str!("../rules/skip.txt"))),
            anchors: NameSet::new(pairs(include_str!("../rules/anchors.txt"))),
            types: rows(include_str!("../rules/types.txt")).map(type_rule).collect(),
            suppressed: match profile {
                Profile::Scoring => {
                    pairs(include_str!("../rules/suppressed.txt")).into_iter().map(pattern).collect()
                }
                Profile::Production => Vec::new(),
            },
            panics: rows(include_str!("../rules/panics.txt")).map(panic_rule).collect(),
            intended: pairs(include_str!("../rules/intended.txt")).into_iter().map(pattern).collect(),
        };
        rules.read_tokens(include_str!("../rules/tokens.txt"), profile);
        rules.read_formats(include_str!("../rules/formats.txt"), profile);
        rules
    }

    fn read_tokens(&mut self, text: &'static str, profile: Profile) {
        let mut skipped = false;
        for (word, rest) in rows(text).map(split_word) {
            let (id, text) = split_word(rest);
            match word {
                "token" | "scoring" | "production" => {
                    skipped = match word {
                        "scoring" => profile != Profile::Scoring,
                        "production" => profile != Profile::Production,
                        _ => false,
                    };
                    if !skipped {
                        let text = text.replace("\\x20", " ");
                        let finder = Finder::new(&text).into_owned();
                        self.tokens.push(Token {
                            id,
                            text,
                            finder,
                            ignores: Vec::new(),
                            formats: Vec::new(),
                        });
                    }
                }
                "ignore" if skipped => {}
                "ignore" => self
                    .tokens
                    .last_mut()
                    .expect("ignore stands below a token")
                    .ignores
                    .push(pattern((id, text))),
                "continues" => self.continues.push(pattern((id, text))),
                "stacked" => self.stacked.push((id, text)),
                "stacked-production" if profile == Profile::Scoring => {}
                "stacked-production" => self.stacked.push((id, text)),
                _ => unreachable!("tokens.txt: unknown word {word}"),
            }
        }
    }

    fn read_formats(&mut self, text: &'static str, profile: Profile) {
        let mut token = None;
        let mut draft: Option<Draft> = None;
        for (word, rest) in rows(text).map(split_word) {
            if matches!(word, "=" | "for") {
                self.add(draft.take(), token, profile);
            }
            match (word, draft.as_mut()) {
                ("for", _) => token = self.tokens.iter().position(|token| token.id == rest),
                ("=", _) => draft = Some(Draft { id: rest, ..Draft::default() }),
                (_, Some(draft)) => draft.take(word, rest),
                (_, None) => unreachable!("formats.txt: {word} stands outside a format"),
            }
        }
        self.add(draft, token, profile);
    }

    fn add(&mut self, draft: Option<Draft>, token: Option<usize>, profile: Profile) {
        if let (Some(draft), Some(token)) = (draft, token)
            && draft.only.is_none_or(|only| only == profile)
        {
            self.tokens[token].formats.push(draft.finish());
        }
    }

    /// The class of a title.
    pub(crate) fn classify(&self, title: &str) -> Option<&TypeRule> {
        self.types.iter().find(|rule| title.starts_with(rule.prefix))
    }
}

/// A format while its lines are being read.
#[derive(Default)]
struct Draft {
    id: &'static str,
    title: &'static str,
    head: Option<&'static str>,
    body: Vec<(&'static str, bool)>,
    name: &'static str,
    alts: Vec<&'static str>,
    frames: Vec<&'static str>,
    skip: &'static str,
    choose: Option<Choose>,
    no_stack: bool,
    corrupted: bool,
    at_start: bool,
    across: bool,
    blameless: bool,
    only: Option<Profile>,
}

impl Draft {
    fn take(&mut self, word: &str, rest: &'static str) {
        match word {
            "title" => self.title = rest,
            "head" => self.head = Some(rest),
            "then" => self.body.push((rest, false)),
            "next" => self.body.push((rest, true)),
            "name" => self.name = rest,
            "alt" => self.alts.push(rest),
            "frames" | "frames2" | "frames3" => self.frames.push(rest),
            "skip" => self.skip = rest,
            "choose" => {
                self.choose = Some(match rest {
                    "stall" => Choose::Stall,
                    "hang" => Choose::Hang,
                    "recursion" => Choose::Recursion,
                    _ => unreachable!("formats.txt: {}: unknown chooser {rest}", self.id),
                });
            }
            "no-stack" => self.no_stack = true,
            "corrupted" => self.corrupted = true,
            "start" => self.at_start = true,
            "across" => self.across = true,
            "blameless" => self.blameless = true,
            "only" => {
                self.only = Some(match rest {
                    "production" => Profile::Production,
                    "scoring" => Profile::Scoring,
                    _ => unreachable!("formats.txt: {}: unknown profile {rest}", self.id),
                });
            }
            _ => unreachable!("formats.txt: {}: unknown word {word}", self.id),
        }
    }

    fn finish(self) -> Format {
        let parts = |recipe: &'static str| -> Vec<Part> { recipe.split(" > ").map(part).collect() };
        Format {
            id: self.id,
            title: regex(&format!(r"\A(?:{})", expand(self.title))),
            literal: literal(self.title),
            head: self.head.map(|head| regex(&format!(r"\A(?:{})", expand(head)))),
            body: self
                .body
                .iter()
                .map(|(text, adjacent)| Later { regex: regex(&expand(text)), adjacent: *adjacent })
                .collect(),
            name: self.name,
            alts: self.alts,
            recipe: (!self.frames.is_empty()).then(|| Recipe {
                variants: self.frames.into_iter().map(parts).collect(),
                skip: NameSet::inline(self.skip),
                choose: self.choose.unwrap_or(Choose::First),
            }),
            no_stack: self.no_stack,
            corrupted: self.corrupted,
            at_start: self.at_start,
            across: self.across,
            blameless: self.blameless,
        }
    }
}

fn part(text: &'static str) -> Part {
    match text {
        "IP" => Part::Pointer,
        "INT" => Part::Interrupt,
        "CT" => Part::Heading,
        "ST" => Part::Stack,
        _ => {
            let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
            Part::Line(regex(&expand(inner.expect("a part of a recipe is IP, INT, CT, ST or /REGEX/"))))
        }
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
    PanicRule { id, regex: regex(source), causes: causes.split_ascii_whitespace().collect() }
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

fn pairs(text: &'static str) -> Vec<(&'static str, &'static str)> {
    rows(text).map(split_word).collect()
}

/// The rows of a rules file: no comments, no blank lines.
fn rows(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn split_word(row: &'static str) -> (&'static str, &'static str) {
    row.split_once(' ').map_or((row, ""), |(word, rest)| (word, rest.trim_start()))
}

/// The short forms of `rules/formats.txt`.
fn expand(text: &str) -> String {
    text.replace("{PC}", r"\[<?(?:0x)?[0-9a-f]+>?\]")
        .replace("{FUNC}", r"([a-zA-Z0-9_]+)(?:\.|\+)")
        .replace("{COMM}", r"(?:(?u:.)|[\x80-\xff]|\n){1,100}")
        .replace("{SRC}", r"([a-zA-Z0-9_/.\-]+\.[a-z]+:[0-9]+)")
}

/// The plain characters at the start of a pattern.
fn literal(text: &str) -> String {
    let text = text.replace("\\x20", " ");
    let end = text.find(|c: char| "\\[](){}.*+?|^$".contains(c)).unwrap_or(text.len());
    // A quantifier takes the character before it.
    let optional = text[end..].starts_with(['*', '?', '{']);
    text[..end.saturating_sub(usize::from(optional))].to_owned()
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
            rules.skip.single.iter().chain(&rules.anchors.single).for_each(|(id, _)| check(id));
            let formats: Vec<&Format> = rules.tokens.iter().flat_map(|token| &token.formats).collect();
            let ids: HashSet<&str> = formats.iter().map(|format| format.id).collect();
            assert_eq!(ids.len(), formats.len());
            assert!(rules.tokens.iter().all(|token| !token.formats.is_empty()), "a token without formats");
            assert!(formats.iter().all(|format| !format.name.is_empty()));
        }
    }

    #[test]
    fn the_literal_of_a_title_is_what_must_stand_there() {
        assert_eq!(literal(r"BUG: KASAN: ([a-z]+)"), "BUG: KASAN: ");
        assert_eq!(literal(r"BUG:[ ]*(?:\n|$)"), "BUG:");
        assert_eq!(literal(r"abc?d"), "ab");
        assert_eq!(literal(r"stack segment:\x20"), "stack segment: ");
    }
}
