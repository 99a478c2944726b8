//! From marked lines to reports: body, title, damage, facts, blame.

use std::collections::HashSet;
use std::ops::Range;

use memchr::memmem;

use crate::blame::{blame, source};
use crate::body::Body;
use crate::cause::{Aftermath, Draft};
use crate::census::Census;
use crate::corrupted::{self, Corrupted};
use crate::explain::{Explanation, Trail};
use crate::facts::Facts;
use crate::kernel::{Arch, BuildId};
use crate::kind::{CrashType, Severity};
use crate::log::Log;
use crate::modules::Module;
use crate::name::{Named, name};
use crate::note::Note;
use crate::profile::Profile;
use crate::pstore::Reason;
use crate::recipe::{Kitchen, Verdicts};
use crate::report::Report;
use crate::rules::{Rules, Token};
use crate::scan::Mark;
use crate::syscall;
use crate::taint::Taint;
use crate::title;
use crate::trace::Frame;

/// How many reports of one log are read in full. A machine that prints more has long told what is wrong with it: the
/// first half of them holds the root, the last half the death. The others are counted by title.
const REPORTS_MAX: usize = 512;
/// x86 and arm print two headers for one trap; the second follows within this many lines.
const ECHO_WITHIN: usize = 40;

/// What the reports of one log say of the kernel.
#[derive(Default)]
pub(crate) struct KernelFacts {
    pub(crate) release: Option<String>,
    pub(crate) build_id: Option<BuildId>,
    pub(crate) arch: Arch,
}

pub(crate) struct Reader<'a> {
    log: &'a Log,
    marks: &'a [Mark],
    profile: Profile,
    rules: &'static Rules,
    explain: bool,
    console_lost: bool,
    verdicts: Verdicts,
    /// The last line with a header.
    last_header: usize,
    modules: Vec<Module>,
    kernel: KernelFacts,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(log: &'a Log, marks: &'a [Mark], profile: Profile, explain: bool) -> Reader<'a> {
        Reader {
            log,
            marks,
            profile,
            rules: Rules::of(profile),
            explain,
            console_lost: memmem::find(log.text(), corrupted::CONSOLE_LOST.as_bytes()).is_some(),
            verdicts: Verdicts::default(),
            last_header: marks.iter().rev().find(|mark| mark.token.is_some()).map_or(0, |mark| mark.line),
            modules: Vec::new(),
            kernel: KernelFacts::default(),
        }
    }

    pub(crate) fn facts(&self) -> &KernelFacts {
        &self.kernel
    }

    pub(crate) fn into_modules(self) -> Vec<Module> {
        self.modules
    }

    /// All reports, those of each boot together. A console log can hold several boots. When there are too many, those
    /// in the middle are only counted.
    pub(crate) fn boots(&mut self, notes: &mut Vec<Note>, census: &mut Census) -> Vec<Vec<Draft>> {
        let mut boots = vec![Vec::new()];
        let mut seen = HashSet::new();
        let marks = self.marks;
        let mut headers = self.headers();
        if self.profile == Profile::Production && self.log.pieces().len() > 1 {
            // Two pieces that did not join may hold the same report.
            let what = |line: usize| (self.log.lines()[line].time, self.log.message(line));
            headers.retain(|index| seen.insert(what(marks[*index].line)));
        }
        let middle = match headers.len() {
            0..=REPORTS_MAX => 0..0,
            many => REPORTS_MAX / 2..many - REPORTS_MAX / 2,
        };
        let mut before = 0;
        for (count, index) in headers.into_iter().enumerate() {
            if marks[before..=index].iter().any(|mark| mark.boot) {
                boots.push(Vec::new());
            }
            before = index;
            let at = self.log.lines()[marks[index].line].time;
            if middle.contains(&count) {
                if census.has_room()
                    && let Some(title) = self.title(index)
                {
                    census.count(&title, at);
                }
                continue;
            }
            let Some(draft) = self.draft(index) else { continue };
            if !middle.is_empty() && census.has_room() {
                census.count(&draft.report.title, at);
            }
            if let Some(boot) = boots.last_mut() {
                boot.push(draft);
            }
        }
        if !middle.is_empty() {
            let text = format!(
                "the first and the last {} of {} reports are told in full, the others by title",
                REPORTS_MAX / 2,
                middle.len() + REPORTS_MAX
            );
            notes.push(Note::new("reports-cut", text));
        }
        boots
    }

    /// Where reports start: which of the marks. The second header of a trap starts none.
    pub(crate) fn headers(&self) -> Vec<usize> {
        let mut headers = Vec::new();
        let mut last = None;
        for (index, mark) in self.marks.iter().enumerate() {
            if mark.boot {
                last = None;
            }
            let Some(token) = self.token(mark) else { continue };
            let is_echo = |last| self.profile == Profile::Production && self.is_echo(last, index, token);
            if !last.is_some_and(is_echo) {
                headers.push(index);
                last = Some(index);
            }
        }
        headers
    }

    /// The title of the report that starts at a mark, and nothing else of it.
    pub(crate) fn title(&self, index: usize) -> Option<String> {
        Some(self.name(index, &mut Trail::Off)?.1.title)
    }

    fn name(&self, index: usize, trail: &mut Trail) -> Option<(Body, Named)> {
        let (log, mark) = (self.log, &self.marks[index]);
        let token = self.token(mark)?;
        let body = Body::collect(log, self.marks, index, self.profile);
        if let Some(named) = name(&self.kitchen(&body), token, trail) {
            return Some((body, named));
        }
        let body = Body::unfiltered(log, mark.line, self.last_header);
        let named = name(&self.kitchen(&body), token, trail)?;
        Some((body, named))
    }

    fn kitchen<'b>(&'b self, body: &'b Body) -> Kitchen<'b> {
        Kitchen { log: self.log, body, rules: self.rules, profile: self.profile, verdicts: &self.verdicts }
    }

    fn token(&self, mark: &Mark) -> Option<&'static Token> {
        mark.token.map(|token| &self.rules.tokens[usize::from(token)])
    }

    /// Is the header `marks[second]` the second one of the trap that `marks[first]` began?
    fn is_echo(&self, first: usize, second: usize, token: &Token) -> bool {
        let between = &self.marks[first..second];
        let (first, second) = (&self.marks[first], &self.marks[second]);
        let Some(before) = self.token(first) else { return false };
        token.second_to.contains(&before.id)
            && second.line - first.line <= ECHO_WITHIN
            && self.log.lines()[first.line].caller == self.log.lines()[second.line].caller
            && between.iter().all(|mark| !mark.end_trace)
    }

    fn draft(&mut self, index: usize) -> Option<Draft> {
        let log = self.log;
        let token = self.token(&self.marks[index])?;
        let line = self.marks[index].line;
        let mut trail = if self.explain { Trail::On(Vec::new()) } else { Trail::Off };
        let (body, named) = self.name(index, &mut trail)?;
        let damage = named
            .corrupted
            .or_else(|| corrupted::check(log, &body, &named.uncleaned, named.format, self.profile))
            .or(self.console_lost.then_some(Corrupted::ConsoleLost));
        let (facts, end, closed) = self.facts_of(index);
        let aftermath = self.aftermath(end, closed);
        let header = String::from_utf8_lossy(log.message(line)).into_owned();
        let story = self.explain.then(|| story(line, token, &body, &named, damage, trail));
        let format = named.format.map(|format| format.id);
        let family = named.format.or(token.formats.first()).map_or("", |format| format.family);
        let blameless = named.format.is_some_and(|format| format.blameless);
        let mut report = report(log, line..end, named, damage, &header, token);
        report.intentional = self.intended(line);
        if format.is_none() && self.profile == Profile::Production {
            // The title is a raw line, and ` in ` just a word.
            report.frame = None;
        }
        self.learn(&facts);
        blame(&mut report, &facts, token, self.rules);
        if blameless {
            report.guilty = None;
        }
        fill(&mut report, facts);
        Some(Draft {
            report,
            line,
            caller: log.lines()[line].caller,
            token: token.id,
            format,
            family,
            header,
            aftermath,
            verdict: None,
            story,
        })
    }

    /// Walks the lines that belong to one report alone: up to its end mark, the next report, or the panic. Also gives
    /// the line behind the last one, and whether it ended with its end mark.
    fn facts_of(&self, index: usize) -> (Facts, usize, bool) {
        const LINES_MAX: usize = 8192;
        let first = self.marks[index].line;
        let caller = self.log.lines()[first].caller;
        let mut marks = self.marks[index + 1..].iter().peekable();
        let mut facts = Facts::default();
        let mut all_cpus = false;
        let last = self.log.lines().len().min(first + LINES_MAX);
        let mut end = first + 1;
        for at in first..last {
            let line = &self.log.lines()[at];
            let mark = marks.next_if(|mark| mark.line == at);
            let same = line.caller == caller;
            if at > first {
                if line.after_hole {
                    break;
                }
                let other = mark.is_some_and(|mark| mark.ends_report || mark.panic || mark.boot);
                if other && (same || !caller.is_exact()) {
                    break;
                }
            }
            all_cpus |= mark.is_some_and(|mark| mark.all_cpus);
            if !(same || all_cpus && line.caller.is_cpu()) {
                continue;
            }
            let message = self.log.message_text(at);
            facts.take(&message, at);
            if !message.is_empty() {
                end = at + 1;
            }
            if at > first && mark.is_some_and(|mark| mark.end_trace) {
                return (facts, end, true);
            }
        }
        (facts, end, false)
    }

    /// What was printed behind a report that ended before line `end`.
    fn aftermath(&self, end: usize, closed: bool) -> Aftermath {
        const REPEATED_MAX: usize = 64;
        let lines = self.log.lines().len();
        if !closed {
            return if end >= lines { Aftermath::Silence } else { Aftermath::Life };
        }
        let repeated = |at: usize| {
            let text = self.log.message_text(at);
            let text = text.trim();
            text.is_empty()
                || ["RIP:", "Code:", "EIP:", "pc :", "note: ", "Kernel Offset:"]
                    .iter()
                    .any(|word| text.starts_with(word))
                || crate::registers::read(text, &mut Vec::new())
        };
        let silent = lines - end <= REPEATED_MAX && (end..lines).all(repeated);
        if silent { Aftermath::Ended } else { Aftermath::Life }
    }

    /// Did somebody ask for this crash? Told by the header, or shortly before it.
    fn intended(&self, line: usize) -> bool {
        const LINES_BEFORE: usize = 8;
        let first = line.saturating_sub(LINES_BEFORE);
        let text = &self.log.text()[self.log.lines()[first].span().start..self.log.lines()[line].span().end];
        self.rules.intended.iter().any(|pattern| pattern.regex.is_match(text))
    }

    fn learn(&mut self, facts: &Facts) {
        if self.kernel.release.is_none() {
            self.kernel.release.clone_from(&facts.release);
        }
        if self.kernel.build_id.is_none() {
            self.kernel.build_id.clone_from(&facts.build_id);
        }
        if self.kernel.arch == Arch::Unknown {
            self.kernel.arch = facts.arch;
        }
        if self.modules.is_empty() {
            self.modules.clone_from(&facts.modules);
        }
        // Frames carry the build ids of their modules.
        for frame in facts.traces.iter().flat_map(|trace| &trace.frames).chain(&facts.ip) {
            let (Some(name), Some(id)) = (&frame.module, &frame.build_id) else { continue };
            match self.modules.iter_mut().find(|module| module.name == *name) {
                Some(module) => module.build_id = Some(id.clone()),
                None => self.modules.push(Module {
                    name: name.clone(),
                    flags: String::new(),
                    build_id: Some(id.clone()),
                    unloaded: false,
                }),
            }
        }
    }
}

fn story(
    line: usize,
    token: &Token,
    body: &Body,
    named: &Named,
    damage: Option<Corrupted>,
    trail: Trail,
) -> Explanation {
    Explanation {
        report: 0,
        line,
        token: token.id,
        format: named.format.map(|format| format.id),
        lines: body.lines.len(),
        lines_for_title: body.cut,
        uncleaned: named.uncleaned.clone(),
        skipped: match trail {
            Trail::On(skipped) => skipped,
            Trail::Off => Vec::new(),
        },
        chosen: named.raw_frame.clone(),
        corrupted: damage.map(|damage| damage.to_string()),
        cause: None,
    }
}

pub(crate) fn report(
    log: &Log,
    lines: Range<usize>,
    named: Named,
    corrupted: Option<Corrupted>,
    header: &str,
    token: &Token,
) -> Report {
    let frame = title::frame(&named.title).filter(|frame| *frame != "corrupted").map(str::to_owned);
    Report {
        kind: CrashType::UNKNOWN,
        severity: Severity::Low,
        security_rank: None,
        guilty: None,
        frame,
        title: named.title,
        alts: named.alts,
        corrupted,
        fatal: false,
        intentional: false,
        at: log.lines()[lines.start].time,
        lines,
        cpu: None,
        pid: None,
        comm: None,
        hardware: None,
        taint: None,
        oops_number: None,
        subsystem: None,
        source: matches!(token.id, "warning" | "kernel-bug" | "bug" | "ubsan")
            .then(|| source(header))
            .flatten(),
        traces: Vec::new(),
        registers: Vec::new(),
        ip: None,
        code: None,
        bpf: None,
    }
}

/// Moves the facts into the report.
pub(crate) fn fill(report: &mut Report, facts: Facts) {
    let Facts { cpu, pid, comm, taint, hardware, oops_number, registers, ip, code, traces, .. } = facts;
    report.cpu = cpu;
    report.pid = pid;
    report.comm = comm;
    report.taint = taint;
    report.hardware = hardware;
    report.oops_number = oops_number;
    report.registers = registers;
    report.ip = ip;
    report.code = code;
    report.traces = traces;
}

/// A record of a death whose header was lost: named by its last stack.
pub(crate) fn truncated(log: &Log, reason: Option<Reason>) -> Option<Draft> {
    const LINES_MAX: usize = 2000;
    let word = match reason? {
        Reason::Panic => "panic",
        Reason::Oops => "oops",
        Reason::Emergency | Reason::Shutdown | Reason::Unknown => return None,
    };
    let rules = Rules::of(Profile::Production);
    let lines = log.lines().len();
    let first = lines.saturating_sub(LINES_MAX);
    let mut facts = Facts::default();
    (first..lines).for_each(|at| facts.take(&log.message_text(at), at));
    // The last stack is the nearest to the death.
    let trace = facts.traces.iter().rev().find(|trace| trace.frames.iter().any(|frame| frame.reliable))?;
    let counts = |frame: &&Frame| frame.reliable && frame.name().is_some_and(|name| !rules.is_generic(name));
    let frame =
        trace.frames.iter().find(counts).and_then(Frame::name).map(syscall::strip).unwrap_or("corrupted");
    let line = trace.line.min(lines.saturating_sub(1));
    let title = title::clean(&format!("truncated {word} in {frame}"));
    let token = &rules.tokens[0];
    let named = Named {
        title,
        alts: Vec::new(),
        format: None,
        corrupted: None,
        uncleaned: String::new(),
        raw_frame: None,
    };
    let mut report = report(log, line..lines, named, Some(Corrupted::Truncated), "", token);
    blame(&mut report, &facts, token, rules);
    fill(&mut report, facts);
    report.fatal = word == "panic";
    let caller = log.lines().get(line)?.caller;
    let verdict = Some("the header was lost; named by the last stack".to_owned());
    let header = String::new();
    Some(Draft {
        report,
        line,
        caller,
        token: "truncated",
        format: None,
        family: "",
        header,
        aftermath: Aftermath::Silence,
        verdict,
        story: None,
    })
}

/// What the letters of the first report say of earlier trouble that the log does not hold: the root may be outside.
pub(crate) fn earlier(drafts: &[Draft], notes: &mut Vec<Note>) {
    let Some(first) = drafts.first() else { return };
    if let Some(number) = first.report.oops_number.filter(|number| *number > 1) {
        let text = format!("it is oops number {number} of this boot; the earlier ones are not in the log");
        notes.push(Note::at("earlier-trouble", first.line, text));
        return;
    }
    let letters = first.report.taint.iter().flat_map(Taint::meanings);
    let told = letters.filter(|(letter, ..)| matches!(letter, 'D' | 'L' | 'M' | 'B'));
    notes.extend(told.map(|(_, _, meaning)| {
        Note::at("earlier-trouble", first.line, format!("{meaning}; it is not in the log"))
    }));
}

/// The finished reports, with their stories when they were asked for.
pub(crate) fn close(drafts: Vec<Draft>) -> (Vec<Report>, Vec<Explanation>) {
    let mut reports = Vec::with_capacity(drafts.len());
    let mut stories = Vec::new();
    for draft in drafts {
        let Draft { mut report, story, verdict, .. } = draft;
        if let Some(rule) = Rules::of(Profile::Scoring).classify(&report.title) {
            report.kind = rule.kind;
            // The worst of what it may be called.
            let names = std::iter::once(&report.title).chain(&report.alts);
            let rules = names.filter_map(|name| Rules::of(Profile::Scoring).classify(name));
            report.security_rank = rules.filter_map(|rule| rule.rank).min();
            report.severity = if report.fatal { rule.fatal } else { rule.survived };
        }
        if report.intentional {
            report.severity = Severity::Info;
        }
        if let Some(story) = story {
            stories.push(Explanation { report: reports.len(), cause: verdict, ..story });
        }
        reports.push(report);
    }
    (reports, stories)
}
