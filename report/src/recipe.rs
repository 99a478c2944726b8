//! Finding the function of a title in the text of a report.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use crate::body::Body;
use crate::chooser::{Chosen, choose};
use crate::demangle::demangle;
use crate::explain::{Skipped, Trail};
use crate::log::Log;
use crate::profile::Profile;
use crate::rules::{Choose, Part, Recipe, Rules};
use crate::shape;

/// What a recipe gave: one function for each of its stacks, `None` where there was none.
pub(crate) struct Extracted<'a> {
    pub(crate) frames: Vec<Option<Chosen<'a>>>,
    /// Every stack had one, and no stack of the fault injector was mixed in.
    pub(crate) complete: bool,
}

/// The most names that are collected for one choice: deeper stacks than this only a recursion prints.
const NAMES_MAX: usize = 4096;

/// Where a recipe begins: a line of the body, and how far into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

pub(crate) struct Kitchen<'a> {
    pub(crate) log: &'a Log,
    pub(crate) body: &'a Body,
    pub(crate) rules: &'static Rules,
    pub(crate) profile: Profile,
    pub(crate) verdicts: &'a Verdicts,
}

/// What the lists of skipped functions say of the names that were met, for each recipe by its address: a log names few
/// functions, and often.
#[derive(Default)]
pub(crate) struct Verdicts(RefCell<HashMap<*const Recipe, HashMap<Box<str>, Verdict>>>);

/// A log with more names than this was made to have them; further ones are asked for each time.
const VERDICTS_MAX: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Counts,
    /// By the recipe's own list.
    SkippedHere,
    Skipped,
    LastResort,
}

impl Verdicts {
    fn of(&self, name: &str, recipe: &Recipe, rules: &Rules) -> Verdict {
        let mut known = self.0.borrow_mut();
        let known = known.entry(recipe).or_default();
        if let Some(verdict) = known.get(name) {
            return *verdict;
        }
        let verdict = if recipe.skip.matches(name) {
            Verdict::SkippedHere
        } else if rules.skip.matches(name) {
            Verdict::Skipped
        } else if rules.last_resort.matches(name) {
            Verdict::LastResort
        } else {
            Verdict::Counts
        };
        if known.len() < VERDICTS_MAX {
            known.insert(name.into(), verdict);
        }
        verdict
    }
}

impl<'a> Kitchen<'a> {
    /// Runs the recipe, variant by variant, until one finds everything; else what the last one gave counts.
    pub(crate) fn run(&self, recipe: &Recipe, from: Place, trail: &mut Trail) -> Extracted<'a> {
        let mut extracted = Extracted { frames: Vec::new(), complete: false };
        for parts in &recipe.variants {
            extracted = self.cook(recipe, parts, from, trail);
            if extracted.complete {
                break;
            }
        }
        extracted
    }

    fn cook(&self, recipe: &Recipe, parts: &[Part], from: Place, trail: &mut Trail) -> Extracted<'a> {
        let mut lines = (from.line..self.body.cut).map(|at| {
            let line = self.body.line(self.log, at);
            (at, if at == from.line { line.get(from.column..).unwrap_or(&[]) } else { line })
        });
        let mut names = Names { recipe, kitchen: self, list: Vec::new(), last_resort: None };
        let mut frames = Vec::new();
        let (mut stacks, mut complete) = (0, true);
        let mut index = 0;
        while index < parts.len() {
            let part = &parts[index];
            let is_stack = matches!(part, Part::Stack);
            if is_stack && stacks > 0 {
                frames.push(names.close(self.profile, &mut complete));
            }
            stacks += usize::from(is_stack);
            for (at, line) in lines.by_ref() {
                if self.body.is_fault_injection(at) {
                    complete = false;
                    break;
                }
                if !is_stack {
                    if let Some(found) = part.read(line, self.profile) {
                        found
                            .into_iter()
                            .flatten()
                            .for_each(|name| names.push(name, self.body.lines[at], trail));
                        break;
                    }
                    continue;
                }
                if self.body.begins_stack(at) {
                    break;
                }
                if let Some(found) = parts.get(index + 1).and_then(|next| next.read(line, self.profile)) {
                    found.into_iter().flatten().for_each(|name| names.push(name, self.body.lines[at], trail));
                    index += 1;
                    break;
                }
                if let Some((name, caller)) = shape::frame(line, self.profile) {
                    names.push(name, self.body.lines[at], trail);
                    if let Some(caller) = caller {
                        names.push(caller, self.body.lines[at], trail);
                    }
                }
            }
            index += 1;
        }
        frames.push(names.close(self.profile, &mut complete));
        Extracted { frames, complete }
    }
}

impl Part {
    /// The functions of the line, when it is of this form; not for stacks.
    fn read<'l>(&self, line: &'l [u8], profile: Profile) -> Option<[Option<&'l str>; 2]> {
        match self {
            Part::Stack => None,
            Part::Pointer => shape::pointer(line, profile).map(|name| [name, None]),
            Part::Interrupt => shape::interrupt(line, profile).map(|name| [name, None]),
            Part::Heading => shape::is_heading(line).then_some([None, None]),
            Part::Line(regex) => {
                let found = regex.captures(line)?;
                let text = |group| found.get(group).and_then(|m| std::str::from_utf8(m.as_bytes()).ok());
                Some([text(1), text(2)])
            }
        }
    }
}

/// The names of one stack that count.
struct Names<'a, 'r> {
    recipe: &'r Recipe,
    kitchen: &'r Kitchen<'a>,
    list: Vec<Cow<'a, str>>,
    /// The first that counts when nothing else does.
    last_resort: Option<Cow<'a, str>>,
}

impl<'a> Names<'a, '_> {
    fn push(&mut self, name: &'a str, line: u32, trail: &mut Trail) {
        // The first that counts is all that is asked for.
        let enough = self.recipe.choose == Choose::First && !self.list.is_empty();
        if enough || self.list.len() >= NAMES_MAX {
            return;
        }
        let name = demangle(name);
        let Kitchen { rules, verdicts, .. } = self.kitchen;
        let verdict = verdicts.of(&name, self.recipe, rules);
        let set = match verdict {
            Verdict::Counts => return self.list.push(name),
            Verdict::SkippedHere => &self.recipe.skip,
            Verdict::Skipped => &rules.skip,
            Verdict::LastResort => &rules.last_resort,
        };
        trail.skip(|| Skipped {
            name: name.to_string(),
            line: line as usize,
            rule: set.which(&name).unwrap_or(""),
        });
        if verdict == Verdict::LastResort {
            self.last_resort.get_or_insert(name);
        }
    }

    fn close(&mut self, profile: Profile, complete: &mut bool) -> Option<Chosen<'a>> {
        if self.list.is_empty() {
            self.list.extend(self.last_resort.take());
        }
        let chosen = choose(self.recipe.choose, &self.list, &self.kitchen.rules.anchors, profile);
        self.list.clear();
        self.last_resort = None;
        *complete &= chosen.is_some();
        chosen
    }
}
