//! One report as a page tells it: stack, code, registers, damage, boot, log. Made of what was read and of the source
//! places that were found; nothing here asks a database.

mod code;
mod log;
mod registers;
mod remark;
mod stack;

pub(crate) use code::{Bytes, Listing};
pub(crate) use log::{Excerpt, MOST};
pub(crate) use registers::Register;
pub(crate) use remark::Remark;
pub(crate) use stack::{Stack, Step, shown};

use report::{Parsed, Report};
use serde::Serialize;

use crate::locate::{Located, Step as Call};
use crate::reading::Note;

/// A report, told.
#[derive(Debug, Serialize)]
pub(crate) struct Story {
    /// Its title.
    pub title: String,
    /// Further names of the same fault.
    pub alts: Vec<String>,
    /// The class of the title.
    pub kind: String,
    /// The function whom the rules blame, and its module.
    pub function: Option<String>,
    /// Its module; none for the kernel's own code.
    pub module: Option<String>,
    /// Where in the source the fault is, `file:line`.
    pub place: Option<String>,
    /// What ended the machine: the panic's own words.
    pub panic: Option<Said>,
    /// The stack that names the fault.
    pub stack: Stack,
    /// Further stacks of the report: other CPUs, allocation, free.
    pub others: Vec<Stack>,
    /// The bytes around the instruction.
    pub code: Option<Bytes>,
    /// The same as instructions of the function that faulted.
    pub listing: Listing,
    /// Why there are none, in the kernel's words.
    pub no_code: Option<Said>,
    /// The first register dump.
    pub registers: Vec<Register>,
    /// The address that could not be reached, as the kernel says it.
    pub fault_address: Option<Said>,
    /// Damage and doubt.
    pub notes: Vec<Remark>,
    /// What the same boot had said before, and how it ended.
    pub boot: Vec<Event>,
    /// Taint letters and what they mean.
    pub taint: Vec<(char, &'static str)>,
    /// Whether the report says anything about taint.
    pub taint_known: bool,
    /// Loaded modules.
    pub modules: Vec<Module>,
    /// `Hardware name:`.
    pub hardware: Option<String>,
    /// `uname -v`, as far as the log has it.
    pub version: Option<String>,
    /// KASLR offset.
    pub kaslr: Option<String>,
    /// The log around the report.
    pub log: Excerpt,
}

impl Story {
    /// The panic's own words, without what each panic begins with.
    pub fn panic_words(&self) -> Option<&str> {
        let words = self.panic.as_ref()?.words.as_str();
        Some(words.split_once("not syncing: ").map_or(words, |(_, words)| words))
    }

    /// The innermost call at the instruction that faulted, as far as its place is known.
    pub fn fault(&self) -> Option<&Call> {
        let here = self.stack.steps.iter().find_map(|step| match step {
            Step::Frame(entry) if entry.here => Some(entry),
            _ => None,
        });
        here?.place.as_ref()?.chain.first()
    }

    /// Whether something of the evidence is lost or spoiled.
    pub fn damaged(&self) -> bool {
        self.notes.iter().any(|note| note.damage)
    }
}

/// Words of the kernel, and where they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Said {
    /// The words.
    pub words: String,
    /// Number of the log line.
    pub line: u32,
}

/// Something that the boot said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// Since boot, as the kernel writes it.
    pub time: Option<String>,
    /// What it was.
    pub title: String,
    /// Number of its line.
    pub line: u32,
    /// It is the report of this page.
    pub this: bool,
    /// It killed the machine.
    pub fatal: bool,
    /// No report but a finding: a hardware error, a process killed for its memory, a word of the firmware.
    pub finding: bool,
}

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Module {
    /// Its name.
    pub name: String,
    /// Taint letters and state signs.
    pub flags: String,
    /// It is in the stack.
    pub in_stack: bool,
    /// It had been unloaded.
    pub unloaded: bool,
}

impl Story {
    /// Tells report `number` of what was read. `notes` are the agent's and the reader's.
    pub fn tell(parsed: &Parsed, number: usize, notes: &[Note], places: &Located) -> Option<Story> {
        let report = parsed.reports.get(number)?;
        let (stack, others) = stack::stacks(parsed, report, places);
        let panic = find(parsed, report.lines.start, parsed.log.lines().len(), "Kernel panic - not syncing");
        let no_code =
            find(parsed, report.lines.start, report.lines.end, "Code: Unable to access opcode bytes")
                .or_else(|| find(parsed, report.lines.start, report.lines.end, "Code: Bad RIP value"));
        let fault_address = fault_address(parsed, report);
        let listing = code::listing(parsed, report);
        let registers = registers::explain(report, fault_address.as_ref(), &listing);
        Some(Story {
            title: report.title.clone(),
            alts: report.alts.clone(),
            kind: report.kind.as_str().to_owned(),
            function: report.guilty.as_ref().map(|function| function.name.clone()),
            module: report.guilty.as_ref().and_then(|function| function.module.clone()),
            place: stack.place(report).or_else(|| report.source.clone()),
            panic: panic.filter(|_| report.fatal),
            code: report.code.as_ref().map(code::bytes),
            listing,
            no_code: no_code.filter(|_| report.code.is_none()),
            registers,
            fault_address,
            notes: notes.iter().map(|note| Remark::of(parsed, note)).collect(),
            boot: boot(parsed, number),
            taint: report
                .taint
                .iter()
                .flat_map(report::Taint::meanings)
                .map(|(letter, _, says)| (letter, says))
                .collect(),
            taint_known: report.taint.is_some(),
            modules: modules(parsed, report),
            hardware: report.hardware.clone(),
            version: parsed.kernel.version.clone(),
            kaslr: parsed.kernel.kaslr.map(|offset| format!("{offset:#x}")),
            log: Excerpt::around(parsed, report),
            stack,
            others,
        })
    }
}

/// The first line in a range that holds some words.
fn find(parsed: &Parsed, from: usize, to: usize, words: &str) -> Option<Said> {
    (from..to.min(parsed.log.lines().len())).find_map(|index| {
        let message = parsed.log.message_text(index);
        let at = message.find(words)?;
        Some(Said { words: message[at..].trim_end().to_owned(), line: number(parsed, index) })
    })
}

/// The number that a line's anchor has: its place in the joined log, from 1. The numbers that lines had in their own
/// records begin anew with each, and an anchor must be one.
fn number(parsed: &Parsed, index: usize) -> u32 {
    u32::try_from(index.min(parsed.log.lines().len()) + 1).unwrap_or(u32::MAX)
}

/// `BUG: kernel NULL pointer dereference, address: 0000000000000000` and its kin on other architectures.
fn fault_address(parsed: &Parsed, report: &Report) -> Option<Said> {
    const SIGNS: [&str; 4] =
        [" address: ", " at virtual address ", "non-canonical address ", " at user address "];
    let end = report.lines.end.min(parsed.log.lines().len());
    (report.lines.start.min(end)..end).find_map(|index| {
        let message = parsed.log.message_text(index);
        let behind = SIGNS.iter().find_map(|sign| message.split_once(sign))?.1;
        let behind = behind.trim_start_matches("0x");
        let digits = behind.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(behind.len());
        (digits >= 8).then(|| Said { words: behind[..digits].to_owned(), line: number(parsed, index) })
    })
}

/// Findings of a boot that are shown; a bank of memory may complain a thousand times.
const FINDINGS: usize = 20;

/// The reports and findings of the boot in the order of the log.
fn boot(parsed: &Parsed, this: usize) -> Vec<Event> {
    let report = |(index, report): (usize, &Report)| Event {
        time: report.at.map(|at| at.to_string()),
        title: report.title.clone(),
        line: number(parsed, report.lines.start),
        this: index == this,
        fatal: report.fatal,
        finding: false,
    };
    let finding = |finding: &report::Finding| Event {
        time: finding.at.map(|at| at.to_string()),
        title: finding.text.clone(),
        line: number(parsed, finding.line),
        this: false,
        fatal: finding.fatal,
        finding: true,
    };
    let mut events: Vec<Event> = parsed.reports.iter().enumerate().map(report).collect();
    events.extend(parsed.findings.iter().take(FINDINGS).map(finding));
    events.sort_by_key(|event| event.line);
    events
}

fn modules(parsed: &Parsed, report: &Report) -> Vec<Module> {
    let frames = report.traces.iter().flat_map(|trace| &trace.frames).chain(&report.ip);
    let in_stack: Vec<&str> = frames.filter_map(|frame| frame.module.as_deref()).collect();
    let mut modules: Vec<Module> = parsed
        .modules
        .iter()
        .map(|module| Module {
            name: module.name.clone(),
            flags: module.flags.clone(),
            in_stack: in_stack.contains(&module.name.as_str()),
            unloaded: module.unloaded,
        })
        .collect();
    // The sort is stable: those of the stack first, then the kernel's order.
    modules.sort_by_key(|module| !module.in_stack);
    modules
}
