//! Which report killed the machine.

use crate::corrupted::Corrupted;
use crate::explain::Explanation;
use crate::line::Caller;
use crate::note::Note;
use crate::profile::Profile;
use crate::pstore::Reason;
use crate::report::Report;
use crate::rules::{PanicRule, Rules};

/// A report with what only the choice of the cause needs.
pub(crate) struct Draft {
    pub(crate) report: Report,
    pub(crate) line: usize,
    pub(crate) caller: Caller,
    pub(crate) token: &'static str,
    pub(crate) format: Option<&'static str>,
    /// The family of its format, or of its token when none matched.
    pub(crate) family: &'static str,
    /// The header's text, for panics what they say.
    pub(crate) header: String,
    /// Lines after it end with `---[ end trace`, or go on.
    pub(crate) aftermath: Aftermath,
    /// Why it is, or is not, the cause.
    pub(crate) verdict: Option<String>,
    /// How it got its name, when somebody asked.
    pub(crate) story: Option<Explanation>,
}

/// What the log holds behind a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// The log ends inside it.
    Silence,
    /// `---[ end trace`, and nothing but the registers once more.
    Ended,
    /// The machine went on printing.
    Life,
}

/// Chooses among the reports of one boot, and marks the cause. `dumped` is why pstore wrote the newest record.
pub(crate) fn choose(
    drafts: &mut Vec<Draft>,
    rules: &Rules,
    dumped: Option<Reason>,
    profile: Profile,
    notes: &mut Vec<Note>,
) {
    match drafts.iter().position(|draft| draft.token == "panic") {
        Some(panic) => of_panic(drafts, panic, rules, profile, notes),
        None => without_panic(drafts, dumped),
    }
}

fn of_panic(drafts: &mut Vec<Draft>, panic: usize, rules: &Rules, profile: Profile, notes: &mut Vec<Note>) {
    let text = drafts[panic].header.as_bytes();
    let rule = rules.panics.iter().find(|rule| rule.regex.is_match(text));
    let cause = rule.and_then(|rule| root(drafts, panic, rule));
    let Some(rule) = rule.filter(|rule| cause.is_some() || !rule.same_task) else {
        return fatal(&mut drafts[panic], "the panic names its own cause".to_owned());
    };
    let Some((cause, how)) = cause else {
        if profile == Profile::Production {
            drafts[panic].report.corrupted.get_or_insert(Corrupted::HeaderLost);
        }
        return fatal(
            &mut drafts[panic],
            format!("{}: nothing before it that it could have come from", rule.id),
        );
    };
    let line = drafts[panic].line;
    if how == "nearest" {
        notes.push(Note::at(
            "cause-uncertain",
            line,
            "nothing ties the panic to a report: the nearest before it is taken for the cause",
        ));
    }
    if let Some(first) = together(drafts, cause) {
        notes.push(Note::at(
            "stalls-together",
            drafts[first].line,
            format!("it began within a minute of the death: {} may be the root", drafts[first].report.title),
        ));
    }
    fatal(&mut drafts[cause], format!("{}: the panic in line {} came from it ({how})", rule.id, line + 1));
    drafts[panic].verdict = Some(format!("{}: the end of another report", rule.id));
    if profile == Profile::Production {
        // The panic told nothing of its own. Others of the same boot come from other CPUs, after the death.
        drafts.remove(panic);
    }
}

/// Stalls, lockups and hung tasks within a minute are one event: the first of them leads, the others are its victims.
fn together(drafts: &[Draft], cause: usize) -> Option<usize> {
    const WITHIN_MICROS: u64 = 60_000_000;
    let death = drafts[cause].report.at?.0;
    let soon = |draft: &Draft| draft.report.at.is_some_and(|at| death.saturating_sub(at.0) <= WITHIN_MICROS);
    let stalls = |draft: &Draft| draft.family == "hangs" && soon(draft);
    drafts[..cause].iter().position(stalls).filter(|_| stalls(&drafts[cause]))
}

fn fatal(draft: &mut Draft, verdict: String) {
    draft.report.fatal = true;
    draft.verdict = Some(verdict);
}

/// The report that led to a derived panic.
fn root(drafts: &[Draft], panic: usize, rule: &PanicRule) -> Option<(usize, &'static str)> {
    let earlier: Vec<usize> = (0..panic).rev().filter(|index| drafts[*index].token != "panic").collect();
    let fits = |index: &&usize| rule.causes.iter().any(|cause| is_kind(&drafts[**index], cause));
    let kind: Vec<usize> = earlier.iter().filter(fits).copied().collect();
    let end = &drafts[panic];
    let same_caller = |index: &&usize| end.caller.is_exact() && drafts[**index].caller == end.caller;
    let same_task = |index: &&usize| {
        let (a, b) = (&drafts[**index].report, &end.report);
        a.pid.is_some() && a.pid == b.pid && a.cpu == b.cpu && a.comm == b.comm
    };
    let first =
        |list: &[usize], test: &dyn Fn(&&usize) -> bool| list.iter().find(|index| test(index)).copied();
    None.or_else(|| Some((first(&kind, &same_caller)?, "same caller")))
        .or_else(|| Some((first(&kind, &same_task)?, "same task")))
        .or_else(|| Some((*kind.first().filter(|_| !rule.same_task)?, "same kind")))
        .or_else(|| Some((*earlier.first().filter(|_| !rule.same_task)?, "nearest")))
}

fn is_kind(draft: &Draft, cause: &str) -> bool {
    cause == "any" || draft.format == Some(cause) || draft.family == cause
}

/// Faults, traps and failed assertions: what runs into `die()`.
fn is_oops(draft: &Draft) -> bool {
    ["faults", "bugs", "unable-cut"].iter().any(|kind| is_kind(draft, kind))
}

/// Without a panic line: kdump after an oops does not print one, and a pstore record of an oops alone was survived.
fn without_panic(drafts: &mut [Draft], dumped: Option<Reason>) {
    let Some(last) = drafts.iter_mut().rev().find(|draft| is_oops(draft)) else { return };
    let (dead, verdict) = match (dumped, last.aftermath) {
        (Some(Reason::Panic), _) => (true, "the record was written by a panic; its line is lost"),
        (Some(_), _) => (false, "the record was written by the oops: the machine went on"),
        (None, Aftermath::Silence) => (true, "the log ends inside the oops"),
        (None, Aftermath::Ended) => (true, "nothing was printed after the oops"),
        (None, Aftermath::Life) => (false, "the machine went on printing"),
    };
    last.report.fatal = dead;
    last.verdict = Some(verdict.to_owned());
}
