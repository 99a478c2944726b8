//! What a log tells besides crashes: hardware errors, out of memory, watchdogs, firmware, lockdown.
//!
//! None of these is a software signature. Hardware errors are grouped inside one machine by `key` and never across
//! machines by function.

mod acpi;
mod efi;
mod firmware;
mod lockdown;
mod machine_check;
mod memory_controller;
mod nmi;
mod oom;
mod pcie;
mod watchdog;

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use serde::Serialize;

use crate::line::Caller;
use crate::log::{KernelTime, Log};

/// One finding; several lines of the log may have told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub family: Family,
    /// The machine could not go on after it.
    pub fatal: bool,
    /// It happened in the boot before this log's (firmware tells it at the next start).
    pub previous_boot: bool,
    /// Time of its first line.
    pub at: Option<KernelTime>,
    /// Its first line (index into [`Log::lines`]).
    pub line: usize,
    /// The same part of the same machine: `socket 1 bank 5 code 0134`.
    pub key: String,
    /// One sentence for people.
    pub text: String,
    /// What the kernel printed, field by field, in its order.
    pub fields: Vec<Field>,
}

/// A named value of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Lower case: `bank`, `status`, `address`.
    pub name: String,
    /// As printed.
    pub value: String,
}

/// The families of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// x86 machine checks.
    MachineCheck,
    /// Errors the firmware reports: GHES, CPER, BERT.
    Firmware,
    /// EDAC and memory failures.
    MemoryController,
    /// PCIe advanced error reporting.
    Pcie,
    /// Non-maskable interrupts the kernel cannot explain.
    Nmi,
    /// The out-of-memory killer.
    OutOfMemory,
    /// A hardware watchdog about to fire.
    Watchdog,
    /// Faults inside EFI runtime services.
    Efi,
    /// ACPI interpreter and BIOS errors.
    Acpi,
    /// Something the lockdown mode refused.
    Lockdown,
}

/// A machine that prints more repeats itself; the oldest are kept.
const FINDINGS_MAX: usize = 256;

/// One of these words stands in every line of a finding.
const WORDS: [&str; 27] = [
    "[Hardware Error]",
    "EDAC ",
    "Memory failure: ",
    "mce: Uncorrected hardware memory error",
    "AER: ",
    "PCIe Bus Error: ",
    "NMI: PCI system error",
    "NMI: IOCK error",
    "NMI received for unknown reason",
    "invoked oom-killer",
    "oom-kill:constraint=",
    "Out of memory: Kill",
    "ut of memory: Killed process",
    "ut of memory (oom_kill_allocating_task): Killed process",
    "error status/mask=",
    "(First)",
    "DPC: containment event",
    "pretimeout event",
    "watchdog did not stop!",
    "Page fault caused by firmware",
    "exception occurred in EFI runtime service",
    "disabled EFI Runtime Services",
    "ACPI Error: ",
    "ACPI Exception: ",
    "ACPI BIOS Error",
    "Lockdown: ",
    "Previous system reset reason",
];

/// Collects the findings of a log.
pub(crate) fn read(log: &Log) -> Vec<Finding> {
    static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
        AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(WORDS).expect("a few short words")
    });
    let text = log.text();
    let mut findings = Vec::new();
    let mut position = 0;
    while let Some(found) = SEARCH.find(Input::new(text).range(position.min(text.len())..)) {
        let line = log.line_at(found.start());
        let Some(entry) = log.lines().get(line) else { break };
        position = entry.span().end + 1;
        if entry.caller != Caller::Program {
            take(log, line, &mut findings);
        }
        if findings.len() >= FINDINGS_MAX {
            break;
        }
    }
    findings
}

fn take(log: &Log, line: usize, findings: &mut Vec<Finding>) {
    let text = log.message_text(line);
    let text = text.trim_end();
    // Lines that go on with a finding come before those that begin one.
    let goes_on = findings.iter_mut().rev().take(8).any(|open| match open.family {
        Family::MachineCheck => machine_check::more(open, text),
        Family::Firmware => firmware::more(open, text),
        Family::Pcie => pcie::more(open, text),
        Family::OutOfMemory => oom::more(open, text),
        _ => false,
    });
    if goes_on {
        return;
    }
    let begun = machine_check::begin(text)
        .or_else(|| firmware::begin(text))
        .or_else(|| memory_controller::begin(text))
        .or_else(|| pcie::begin(text))
        .or_else(|| nmi::begin(text))
        .or_else(|| oom::begin(text))
        .or_else(|| watchdog::begin(text))
        .or_else(|| efi::begin(text))
        .or_else(|| acpi::begin(text))
        .or_else(|| lockdown::begin(text));
    if let Some(mut finding) = begun {
        finding.line = line;
        finding.at = log.lines()[line].time;
        findings.push(finding);
    }
}

impl Finding {
    fn new(family: Family, key: impl Into<String>, text: impl Into<String>) -> Finding {
        Finding {
            family,
            fatal: false,
            previous_boot: false,
            at: None,
            line: 0,
            key: key.into(),
            text: text.into(),
            fields: Vec::new(),
        }
    }

    /// Keeps a field; a finding has a few dozen at most.
    fn field(&mut self, name: &str, value: &str) {
        const FIELDS_MAX: usize = 64;
        if self.fields.len() < FIELDS_MAX && !value.is_empty() {
            self.fields.push(Field { name: name.to_ascii_lowercase(), value: value.to_owned() });
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name == name).map(|field| field.value.as_str())
    }
}

/// The word behind `name ` in a row of `NAME value NAME value`.
fn word_after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.match_indices(name).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with(' '))?;
    text[at + name.len()..].trim_start().split([' ', ',']).next().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use crate::wrapping::Inside;

    #[track_caller]
    pub(super) fn check(text: &str, expected: &[(Family, bool, &str)]) -> Vec<Finding> {
        let mut log = Log::default();
        let piece = log.piece("");
        for (number, line) in text.lines().enumerate() {
            log.push(line.as_bytes(), Inside::Nothing, number as u32 + 1, piece, Profile::Production);
        }
        let findings = read(&log);
        let found: Vec<_> = findings.iter().map(|f| (f.family, f.fatal, f.key.as_str())).collect();
        assert_eq!(found, expected);
        findings
    }

    #[test]
    fn a_quiet_log_has_none() {
        check("[    1.000000] usb 1-1: new device\n[    2.000000] all is well\n", &[]);
    }

    #[test]
    fn what_a_user_program_says_is_none() {
        check("Nov 22 18:54:34 host app[12]: ACPI Error: no\n", &[]);
    }
}
