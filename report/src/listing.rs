//! What `lastwords-decode` printed, when it comes back: the titles and frames that it told.

use std::ops::Range;

use crate::assemble::{self, fill};
use crate::blame::blame;
use crate::cause::{Aftermath, Draft};
use crate::explain::Explanation;
use crate::facts::Facts;
use crate::frame;
use crate::log::Log;
use crate::name::Named;
use crate::profile::Profile;
use crate::rules::Rules;
use crate::title;
use crate::trace::{Context, Trace};

/// A listing begins with a title; a few empty lines or a prompt may stand before it.
const BEGINS_WITHIN: usize = 8;
/// More reports than this the service shows on several pages.
const REPORTS_MAX: usize = 512;
/// As many as are kept of a log's own traces.
const FRAMES_MAX: usize = 1024;

/// The reports of a listing; None for a log.
pub(crate) fn read(log: &Log) -> Option<Vec<Draft>> {
    (0..BEGINS_WITHIN).find(|at| is_title(log, *at))?;
    // Of what a kernel printed nothing is to be hidden behind it.
    log.lines().iter().all(|line| line.time.is_none()).then_some(())?;
    let titles: Vec<usize> =
        (0..log.lines().len()).filter(|at| is_title(log, *at)).take(REPORTS_MAX).collect();
    let ends = titles.iter().skip(1).copied().chain([log.lines().len()]);
    Some(titles.iter().copied().zip(ends).map(|(first, end)| draft(log, first..end)).collect())
}

/// A line without indentation, and below it how the report mattered. Of a title that took two lines the first is meant.
fn is_title(log: &Log, at: usize) -> bool {
    let starts = |at: usize| log.message(at).first().is_some_and(|byte| !byte.is_ascii_whitespace());
    let before = at.checked_sub(1).is_some_and(starts);
    !before && starts(at) && (is_weight(log, at + 1) || starts(at + 1) && is_weight(log, at + 2))
}

fn is_weight(log: &Log, at: usize) -> bool {
    const WEIGHTS: [&[u8]; 6] = [b"killed the machine", b"critical", b"high", b"medium", b"low", b"info"];
    let Some(text) = log.message(at).strip_prefix(b"  ") else { return false };
    let begins =
        |weight: &&[u8]| text.strip_prefix(*weight).is_some_and(|rest| matches!(rest, [] | [b',', ..]));
    WEIGHTS.iter().any(begins)
}

fn draft(log: &Log, lines: Range<usize>) -> Draft {
    let rules = Rules::of(Profile::Production);
    let mut title = log.message_text(lines.start).into_owned();
    let below = lines.start + 1 + usize::from(!is_weight(log, lines.start + 1));
    if below > lines.start + 1 {
        title = format!("{title} {}", log.message_text(lines.start + 1));
    }
    let title = title::clean(&title);
    let fatal = log.message(below).starts_with(b"  killed the machine");
    let facts = facts(log, below..lines.end);
    let token = &rules.tokens[0];
    let named = Named {
        title: title.clone(),
        alts: Vec::new(),
        format: None,
        corrupted: None,
        uncleaned: title.clone(),
        raw_frame: None,
    };
    let (line, count) = (lines.start, lines.len());
    let mut report = assemble::report(log, lines, named, None, &title, token);
    blame(&mut report, &facts, token, rules);
    fill(&mut report, facts);
    report.fatal = fatal;
    Draft {
        report,
        line,
        caller: log.lines()[line].caller,
        token: "listing",
        format: None,
        family: "",
        aftermath: Aftermath::Life,
        verdict: Some("told by a listing of lastwords-decode".to_owned()),
        story: Some(Explanation {
            report: 0,
            line,
            token: "listing",
            format: None,
            lines: count,
            lines_for_title: below - line,
            uncleaned: title.clone(),
            skipped: Vec::new(),
            chosen: None,
            corrupted: None,
            cause: None,
        }),
        header: title,
    }
}

/// The frames below the headings, which are indented by two.
fn facts(log: &Log, lines: Range<usize>) -> Facts {
    let mut facts = Facts::default();
    let mut heading = (String::new(), lines.start);
    let mut fresh = true;
    for at in lines {
        let text = log.message_text(at);
        let trimmed = text.trim_ascii();
        if text.starts_with("  ") && !text.starts_with("   ") {
            heading = (trimmed.to_owned(), at);
            fresh = true;
            continue;
        }
        let Some((mut frame, _)) = frame::read(trimmed, at, Context::Unknown) else { continue };
        if heading.0 == "Instruction" {
            frame.exact = true;
            facts.ip.get_or_insert(frame);
            continue;
        }
        if std::mem::take(&mut fresh) {
            let (heading, line) = heading.clone();
            facts.traces.push(Trace { heading, line, cpu: None, frames: Vec::new() });
        }
        if let Some(trace) = facts.traces.last_mut().filter(|trace| trace.frames.len() < FRAMES_MAX) {
            trace.frames.push(frame);
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use crate::profile::Profile;
    use crate::read::{Piece, explain, parse};

    const LISTING: &str = "\
KASAN: slab-use-after-free Read in gizmo_poll
  killed the machine, kernel 6.12.0, 3.309015 s after boot,
  CPU 1, reader (431), drivers/gizmo
  most likely about drivers/gizmo/poll.c

  Instruction
     gizmo_poll+0x5c/0x80 [gizmo]  drivers/gizmo/poll.c:40

  Call Trace
   <task>
     gizmo_poll+0x5c/0x80 [gizmo]
         gizmo_next drivers/gizmo/poll.c:45 (inlined)
         gizmo_poll drivers/gizmo/poll.c:50
   ? __pfx_gizmo_poll+0x10/0x10 [gizmo]
     do_sys_poll+0x2b1/0x680

BUG: unable to handle kernel NULL pointer dereference in gizmo_read
  medium

  Call Trace
     gizmo_read+0x1c/0x40
";

    #[test]
    fn what_was_printed_is_read_back() {
        let parsed = parse(LISTING.as_bytes());
        let told: Vec<_> =
            parsed.reports.iter().map(|r| (r.title.as_str(), r.frame.as_deref(), r.fatal)).collect();
        assert_eq!(
            told,
            [
                ("KASAN: slab-use-after-free Read in gizmo_poll", Some("gizmo_poll"), true),
                (
                    "BUG: unable to handle kernel NULL pointer dereference in gizmo_read",
                    Some("gizmo_read"),
                    false
                ),
            ]
        );
        let report = &parsed.reports[0];
        let names: Vec<_> =
            report.traces[0].frames.iter().map(|frame| (frame.name(), frame.reliable)).collect();
        assert_eq!(
            names,
            [(Some("gizmo_poll"), true), (Some("__pfx_gizmo_poll"), false), (Some("do_sys_poll"), true)]
        );
        assert_eq!(report.ip.as_ref().and_then(|frame| frame.name()), Some("gizmo_poll"));
        assert_eq!(report.guilty.as_ref().and_then(|guilty| guilty.module.as_deref()), Some("gizmo"));
    }

    #[test]
    fn a_title_of_two_lines_is_one() {
        let listing = "BUG: using smp_processor_id() in preemptible code in\ngizmo_turn\n  low\n\n  Call Trace\n     f+0x1/0x2\n";
        let (parsed, stories) =
            explain(&[Piece { name: "", bytes: listing.as_bytes() }], Profile::Production);
        assert_eq!(
            parsed.reports[0].title,
            "BUG: using smp_processor_id() in preemptible code in gizmo_turn"
        );
        assert_eq!((parsed.reports.len(), stories.len()), (1, 1));
    }

    #[test]
    fn quoted_it_says_the_same() {
        let quoted: String = LISTING.lines().map(|line| format!("> {line}\n")).collect();
        assert_eq!(parse(quoted.as_bytes()).reports.len(), 2);
        assert_eq!(parse(quoted.as_bytes()).reports[0].title, parse(LISTING.as_bytes()).reports[0].title);
    }

    #[test]
    fn a_log_is_no_listing() {
        for log in ["BUG: it happened\n  high words\n", "x\n medium\n", "\n", "info\n"] {
            let parsed = parse(log.as_bytes());
            assert!(parsed.reports.iter().all(|report| report.title.starts_with("BUG")), "{log}");
        }
    }
}
