//! From the pieces of one crash to everything it says.

use serde::Serialize;

use crate::assemble::{self, Reader};
use crate::cause;
use crate::census::{Census, TitleCount};
use crate::explain::Explanation;
use crate::finding::{self, Finding};
use crate::join::join;
use crate::kernel::{self, Kernel};
use crate::listing;
use crate::log::Log;
use crate::modules::Module;
use crate::note::Note;
use crate::profile::Profile;
use crate::report::Report;
use crate::rules::Rules;
use crate::scan;

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
    /// In the order of the log. Of a log with hundreds of reports the first and the last.
    pub reports: Vec<Report>,
    /// How often each title comes, when `reports` does not hold all of them; otherwise empty.
    pub counts: Vec<TitleCount>,
    /// Hardware errors, out of memory, firmware: no crashes by themselves. Production profile only.
    pub findings: Vec<Finding>,
    /// Damage and doubt.
    pub notes: Vec<Note>,
    /// The log holds a panic line.
    pub panicked: bool,
    /// The log shows no kernel bug at all (scoring profile only).
    pub suppressed: bool,
}

impl Parsed {
    /// Which of the reports killed the machine. None when it survived, or when the log does not tell. A console log
    /// over several boots can hold several deaths; this is the last.
    pub fn cause(&self) -> Option<usize> {
        self.reports.iter().rposition(|report| report.fatal)
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
    run(pieces, profile, false).0
}

/// [`read`], and why every report got its title: which rule matched where, which frames were passed over and why.
pub fn explain(pieces: &[Piece<'_>], profile: Profile) -> (Parsed, Vec<Explanation>) {
    run(pieces, profile, true)
}

fn run(pieces: &[Piece<'_>], profile: Profile, explain: bool) -> (Parsed, Vec<Explanation>) {
    let joined = join(pieces, profile);
    let (log, mut notes, mut census) = (joined.log, joined.notes, joined.census);
    // What was counted before anything was left out is not counted again.
    let counted = census.reports > 0;
    let marks = scan::marks(&log, profile);
    let mut reader = Reader::new(&log, &marks, profile, explain);
    let mut left_out = Census::default();
    let listed = (profile == Profile::Production).then(|| listing::read(&log)).flatten();
    let mut boots = match listed {
        Some(drafts) => vec![drafts],
        None => reader.boots(&mut notes, &mut left_out),
    };
    if !counted {
        census = left_out;
    }
    if census.unnamed > 0 {
        let text = format!("{} more reports are neither named nor counted by title", census.unnamed);
        notes.push(Note::new("reports-uncounted", text));
    }
    if boots.iter().all(Vec::is_empty) && profile == Profile::Production {
        boots.extend(assemble::truncated(&log, joined.reason).map(|draft| vec![draft]));
    }
    for boot in &mut boots {
        assemble::earlier(boot, &mut notes);
        cause::choose(boot, Rules::of(profile), joined.reason, profile, &mut notes);
    }
    let panicked = memchr::memmem::find(log.text(), b"Kernel panic - not syncing").is_some();
    let suppressed = Rules::of(profile).suppressed.iter().any(|pattern| pattern.regex.is_match(log.text()));
    let drafts: Vec<_> = boots.into_iter().flatten().collect();
    let kernel = kernel::read(&log, &drafts, reader.facts());
    let modules = reader.into_modules();
    let (reports, stories) = assemble::close(drafts);
    let findings = match profile {
        Profile::Production => finding::read(&log),
        Profile::Scoring => Vec::new(),
    };
    let counts = census.into_counts();
    (Parsed { log, kernel, modules, reports, counts, findings, notes, panicked, suppressed }, stories)
}
