//! `--explain`: why each report got its name, rule by rule, and why look-alikes got none.

use std::fmt::Write;

use report::{Explanation, Ignored, Log, Parsed, Piece, Profile};
use serde::Serialize;
use symbolizer::input::Case;

/// The reasons behind one crash's titles.
#[derive(Serialize)]
pub struct Why {
    /// One for each report.
    pub explanations: Vec<Explanation>,
    /// Lines that look like the start of a report and are none.
    pub ignored: Vec<Ignored>,
}

impl Why {
    /// Reads a case again and keeps the reasons.
    pub fn of(case: &Case, profile: Profile) -> (Parsed, Why) {
        let pieces: Vec<Piece<'_>> = case.pieces.iter().map(|(name, bytes)| Piece { name, bytes }).collect();
        let (parsed, explanations) = report::explain(&pieces, profile);
        let ignored = report::ignored(&parsed.log, profile);
        (parsed, Why { explanations, ignored })
    }

    /// For people.
    pub fn text(&self, parsed: &Parsed) -> String {
        let mut out = String::new();
        for why in &self.explanations {
            let title = parsed.reports.get(why.report).map_or("", |report| &report.title);
            let _ = writeln!(out, "\nWhy: {title}");
            let mut say = |name: &str, text: String| {
                let _ = writeln!(out, "  {name:<9} {text}");
            };
            say("header", format!("{}, token {}", at(&parsed.log, why.line), why.token));
            say("format", why.format.unwrap_or("none: the rest of the line is the title").to_string());
            say("lines", format!("{}, of which {} count for the title", why.lines, why.lines_for_title));
            for skipped in &why.skipped {
                let place = at(&parsed.log, skipped.line);
                say("skipped", format!("{} ({place}): {}", skipped.name, skipped.rule));
            }
            why.chosen.iter().for_each(|name| say("chosen", name.clone()));
            if why.uncleaned != title {
                say("before", why.uncleaned.clone());
            }
            why.corrupted.iter().for_each(|reason| say("corrupted", reason.clone()));
            why.cause.iter().for_each(|reason| say("death", reason.clone()));
        }
        if !self.ignored.is_empty() {
            let _ = writeln!(out, "\nLook-alikes that are no crash");
            for Ignored { line, token, rule } in &self.ignored {
                let _ = writeln!(out, "  {}: token {token}, refused by {rule}", at(&parsed.log, *line));
            }
        }
        out
    }
}

/// A line by its number in what was read.
fn at(log: &Log, line: usize) -> String {
    log.lines().get(line).map_or_else(String::new, |line| format!("line {}", line.number))
}
