//! What the program prints: results to standard output, what somebody should look at to standard error, one line each.
//!
//! Names of files and words of a service are foreign: nothing in them steers the terminal.

use std::fmt;
use std::io::{self, Write};

use collector::agent::Summary;
use collector::exit::Exit;
use collector::receipts::verify::Findings;
use handover::readiness::{Readiness, Verdict};
use serde::Serialize;

/// A line to standard output. Who closes it early, as `head` does, has read enough: the exit code still says how it ended.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = writeln!(io::stdout(), $($words)*);
    }};
}

/// What a run did; the exit is that of the run.
pub fn summary(summary: &Summary, as_json: bool) -> Exit {
    if as_json {
        json(summary);
        return summary.exit;
    }
    for seen in &summary.found {
        let age = if seen.new { "new" } else { "known" };
        say!("{} {age} {} {}", seen.evidence, seen.state, Plain(&seen.records.join(" ")));
    }
    for receipt in &summary.receipts {
        say!("receipt {} {} for {}", receipt.seq, receipt.disposition, receipt.evidence_id);
    }
    for (id, why) in &summary.held {
        trouble(&format!("{id} is held: {why}"));
    }
    summary.troubles.iter().for_each(|line| trouble(line));
    let (found, new) = (summary.found.len(), summary.found.iter().filter(|seen| seen.new).count());
    say!(
        "{found} found, {new} new, {} receipts, {} waiting, {} held, {} erased",
        summary.receipts.len(),
        summary.waiting,
        summary.held.len(),
        summary.erased
    );
    summary.exit
}

/// What the doctor found.
pub fn readiness(readiness: &Readiness, as_json: bool) {
    if as_json {
        return json(readiness);
    }
    for check in &readiness.checks {
        say!("{:<8}{:<18} {}", word(check.verdict), check.id, Plain(&check.evidence));
        if !check.fix.is_empty() {
            say!("{:<26} mend: {}", "", check.fix);
        }
    }
    say!("{}", word(readiness.summary));
}

/// What verifying the receipts found.
pub fn findings(findings: &Findings, as_json: bool) -> Exit {
    if as_json {
        json(findings);
    } else {
        say!("{} receipts verified", findings.verified);
        findings.gaps.iter().for_each(|gap| say!("gap: {gap}"));
        findings.faults.iter().for_each(|fault| trouble(fault));
    }
    if findings.faults.is_empty() { Exit::Done } else { Exit::Distrusted }
}

/// Something that somebody should look at.
pub fn trouble(line: &str) {
    let _ = writeln!(io::stderr(), "lastwords-agent: {}", Plain(line));
}

/// Text of strangers in one line: control characters are written as `\u{1b}`, and so are those that turn the direction
/// of writing.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns =
            |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() || turns(c) => write!(f, "{}", c.escape_unicode()),
            c => write!(f, "{c}"),
        })
    }
}

fn json(document: &impl Serialize) {
    say!("{}", serde_json::to_string_pretty(document).expect("our documents are texts and numbers"));
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Fail => "FAIL",
    }
}

#[cfg(test)]
mod tests {
    use super::Plain;

    #[test]
    fn nothing_steers_the_terminal() {
        let text = "dmesg.\u{1b}[2J\r\nx\u{202e}y\u{9b}é";
        assert_eq!(Plain(text).to_string(), "dmesg.\\u{1b}[2J\\u{d}\\u{a}x\\u{202e}y\\u{9b}é");
    }
}
