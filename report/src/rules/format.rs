//! The formats of `rules/formats/`: how a report is named.

use regex::bytes::Regex;

use super::{NameSet, Token, regex, rows, split_word};
use crate::profile::Profile;
use crate::shape;

/// One way to name a report; see `rules/README.md`.
pub(crate) struct Format {
    /// The file it stands in.
    pub(crate) family: &'static str,
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

/// Reads the formats of one family and gives them to their tokens. A token that the profile does not have takes none.
pub(super) fn read(tokens: &mut [Token], family: &'static str, text: &'static str, profile: Profile) {
    let mut token: Option<usize> = None;
    let mut drafts: Vec<(Option<usize>, Draft)> = Vec::new();
    for (word, rest) in rows(text, profile).map(split_word) {
        match (word, drafts.last_mut()) {
            ("for", _) => token = tokens.iter().position(|token| token.id == rest),
            ("=", _) => drafts.push((token, Draft { family, id: rest, ..Draft::default() })),
            (_, Some((_, draft))) => draft.take(word, rest),
            (_, None) => unreachable!("{family}.txt: {word} stands outside a format"),
        }
    }
    for (token, draft) in drafts {
        if let Some(token) = token
            && draft.only.is_none_or(|only| only == profile)
        {
            tokens[token].formats.push(draft.finish(profile));
        }
    }
}

/// A format while its lines are being read.
#[derive(Default)]
struct Draft {
    family: &'static str,
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
            "frames" => match rest {
                "trace" => self.frames.push("CT > ST"),
                "fault" => self.frames.push("IP > CT > ST"),
                "warning" => self.frames.extend(["INT > ST", "CT > ST"]),
                _ => self.frames.push(rest),
            },
            "skip" => self.skip = rest,
            "choose" => {
                self.choose = Some(match rest {
                    "stall" => Choose::Stall,
                    "hang" => Choose::Hang,
                    "recursion" => Choose::Recursion,
                    _ => unreachable!("{}.txt: {}: unknown chooser {rest}", self.family, self.id),
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
                    _ => unreachable!("{}.txt: {}: unknown profile {rest}", self.family, self.id),
                });
            }
            _ => unreachable!("{}.txt: {}: unknown word {word}", self.family, self.id),
        }
    }

    fn finish(self, profile: Profile) -> Format {
        let expand = |text: &str| expand(text, profile);
        let parts = |recipe: &'static str| -> Vec<Part> {
            recipe.split(" > ").map(|text| part(text, profile)).collect()
        };
        Format {
            family: self.family,
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

fn part(text: &'static str, profile: Profile) -> Part {
    match text {
        "IP" => Part::Pointer,
        "INT" => Part::Interrupt,
        "CT" => Part::Heading,
        "ST" => Part::Stack,
        _ => {
            let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
            let inner = inner.expect("a part of a recipe is IP, INT, CT, ST or /REGEX/");
            Part::Line(regex(&expand(inner, profile)))
        }
    }
}

/// The short forms of `rules/README.md`.
fn expand(text: &str, profile: Profile) -> String {
    text.replace("{PC}", r"\[<?(?:0x)?[0-9a-f]+>?\]")
        .replace("{FUNC}", &format!("([a-zA-Z0-9_]+){}", shape::behind_name(profile)))
        .replace("{COMM}", r"(?:(?u:.)|[\x80-\xff]|\n){1,100}")
        .replace("{SRC}", r"([a-zA-Z0-9_/.+~@\-]+\.[a-zA-Z]+:[0-9]+)")
}

/// The plain characters at the start of a pattern.
fn literal(text: &str) -> String {
    let text = text.replace("\\x20", " ");
    let end = text.find(|c: char| "\\[](){}.*+?|^$".contains(c)).unwrap_or(text.len());
    // A quantifier takes the character before it.
    let optional = text[end..].starts_with(['*', '?', '{']);
    text[..end.saturating_sub(usize::from(optional))].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_of_a_title_is_what_must_stand_there() {
        assert_eq!(literal(r"BUG: KASAN: ([a-z]+)"), "BUG: KASAN: ");
        assert_eq!(literal(r"BUG:[ ]*(?:\n|$)"), "BUG:");
        assert_eq!(literal(r"abc?d"), "ab");
        assert_eq!(literal(r"stack segment:\x20"), "stack segment: ");
    }
}
