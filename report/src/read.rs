//! From the pieces of one crash to everything it says.

use serde::Serialize;

use crate::body::Body;
use crate::corrupted::{self, Corrupted};
use crate::explain::Trail;
use crate::kernel::Kernel;
use crate::log::Log;
use crate::modules::Module;
use crate::name::{Named, name};
use crate::note::Note;
use crate::profile::Profile;
use crate::report::Report;
use crate::rules::Rules;
use crate::scan;
use crate::title;

/// One piece of the evidence of a crash: a pstore record, a console log, a dmesg text.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Its file name; tells pstore records and their order.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// Everything that was read from one crash.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parsed {
    /// The joined text.
    pub log: Log,
    /// Which kernel printed it.
    pub kernel: Kernel,
    /// Its modules, as far as the log lists them.
    pub modules: Vec<Module>,
    /// In the order of the log.
    pub reports: Vec<Report>,
    /// Damage and doubt.
    pub notes: Vec<Note>,
    pub(crate) cause: Option<usize>,
    pub(crate) panicked: bool,
    pub(crate) suppressed: bool,
}

impl Parsed {
    /// Which of the reports killed the machine. None when it survived, or when the log does not tell.
    pub fn cause(&self) -> Option<usize> {
        self.cause
    }
}

/// Reads one log text.
pub fn parse(log: &[u8]) -> Parsed {
    parse_with(log, Profile::Production)
}

/// [`parse`] by the rules of `profile`.
pub fn parse_with(log: &[u8], profile: Profile) -> Parsed {
    read_with(&[Piece { name: "", bytes: log }], profile)
}

/// Reads all pieces of one crash: joins pstore parts, reads what two pieces both hold once, names every report and
/// tells which of them was the death.
pub fn read(pieces: &[Piece<'_>]) -> Parsed {
    read_with(pieces, Profile::Production)
}

/// [`read`] by the rules of `profile`.
pub fn read_with(pieces: &[Piece<'_>], profile: Profile) -> Parsed {
    let mut log = Log::default();
    for piece in pieces {
        let index = log.piece(piece.name);
        for (number, line) in piece.bytes.split(|byte| *byte == b'\n').enumerate() {
            log.push(line, number as u32 + 1, index, profile);
        }
    }
    let notes = log.damage();
    let marks = scan::marks(&log, profile);
    let rules = Rules::of(profile);
    let lost = memchr::memmem::find(log.text(), corrupted::CONSOLE_LOST.as_bytes()).is_some();
    let headers = marks.iter().enumerate().filter(|(_, mark)| mark.token.is_some());
    let last = marks.iter().rev().find(|mark| mark.token.is_some()).map_or(0, |mark| mark.line);
    let mut reports = Vec::new();
    for (index, mark) in headers.take(REPORTS_MAX) {
        let Some(token) = mark.token.map(|token| &rules.tokens[usize::from(token)]) else { continue };
        let mut body = Body::collect(&log, &marks, index);
        let mut trail = Trail::Off;
        let named = name(&log, &body, token, profile, &mut trail).or_else(|| {
            body = Body::unfiltered(&log, mark.line, last);
            name(&log, &body, token, profile, &mut trail)
        });
        let Some(named) = named else { continue };
        let damage = named
            .corrupted
            .or_else(|| corrupted::check(&log, &body, &named.title, named.format))
            .or(lost.then_some(Corrupted::ConsoleLost));
        reports.push(report(&log, mark.line, &body, named, damage, rules));
    }
    let panicked = memchr::memmem::find(log.text(), b"Kernel panic - not syncing").is_some();
    let suppressed = rules.suppressed.iter().any(|pattern| pattern.regex.is_match(log.text()));
    Parsed {
        log,
        kernel: Kernel::default(),
        modules: Vec::new(),
        reports,
        notes,
        cause: None,
        panicked,
        suppressed,
    }
}

/// How many reports of one log are read. A machine that prints more has long told what is wrong with it.
const REPORTS_MAX: usize = 1024;

fn report(
    log: &Log,
    line: usize,
    body: &Body,
    named: Named,
    corrupted: Option<Corrupted>,
    rules: &Rules,
) -> Report {
    let rule = rules.classify(&named.title);
    let frame = title::frame(&named.title).filter(|frame| *frame != "corrupted").map(str::to_owned);
    Report {
        kind: rule.map_or(crate::CrashType::UNKNOWN, |rule| rule.kind),
        severity: rule.map_or(crate::Severity::Low, |rule| rule.survived),
        security_rank: rule.and_then(|rule| rule.rank),
        guilty: frame.clone().map(|name| crate::Function { name, module: None }),
        frame,
        title: named.title,
        alts: named.alts,
        corrupted,
        fatal: false,
        intentional: false,
        at: log.lines()[line].time,
        lines: line..body.lines.last().map_or(line, |last| *last as usize) + 1,
        cpu: None,
        pid: None,
        comm: None,
        hardware: None,
        taint: None,
        oops_number: None,
        subsystem: None,
        source: None,
        traces: Vec::new(),
        registers: Vec::new(),
        ip: None,
        code: None,
        bpf: None,
    }
}
