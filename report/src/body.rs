//! The text of one report: which lines after its header belong to it.

use crate::log::Log;
use crate::profile::Profile;
use crate::scan::Mark;
use crate::shape::{self, STACK_STARTS};

/// How many lines after its header a report may reach. The kernel prints at most a few hundred for one (all-CPU
/// backtraces of big machines a few thousand); a log that goes on for longer has nothing more to say about it.
const BODY_LINES_MAX: usize = 8192;

/// How far behind the start of another report the check for damage looks: for a stack, and for the frames of the one
/// there is. The convention of the corpus looks as far as the report could reach.
const STACK_BEHIND_MAX: usize = 512;
const FRAMES_BEHIND_MAX: usize = 16;

/// Behind the start of another report, so many lines in a row of other tasks and CPUs: this one has said all. Those who
/// print at the same time take turns within a few lines.
const SILENT_MAX: usize = 256;

/// Most reports are no longer.
const USUAL_LINES: usize = 128;

/// When a report is longer than this, the panic that follows only repeats its stack. KMSAN's reports are shorter.
const PANIC_REPEATS: usize = 22;
const PANIC_REPEATS_KMSAN: usize = 16;

/// The lines of one report.
pub(crate) struct Body {
    /// All of them: indices into [`Log::lines`], header line first.
    pub(crate) lines: Vec<u32>,
    /// How many of them count for the title; then another report begins.
    pub(crate) cut: usize,
    /// Those of `lines[..cut]` that hold a header token.
    pub(crate) headers: Vec<u32>,
    /// Where in `lines` the first stack start of each kind is.
    pub(crate) starts: [Option<u32>; STACK_STARTS],
    /// Those of `lines` that begin a stack, and those of the fault injector.
    pub(crate) stacks: Vec<u32>,
    pub(crate) fault_injections: Vec<u32>,
    /// The lines are to be read with their prefixes.
    pub(crate) raw: bool,
}

impl Body {
    /// Collects the report whose header is `marks[header]`.
    pub(crate) fn collect(log: &Log, marks: &[Mark], header: usize, profile: Profile) -> Body {
        let first = marks[header].line;
        let caller = log.lines()[first].caller;
        let kmsan = memchr::memmem::find(log.message(first), b"BUG: KMSAN:").is_some();
        let repeats = if kmsan { PANIC_REPEATS_KMSAN } else { PANIC_REPEATS };
        let mut body = Body::of(Vec::with_capacity(USUAL_LINES));
        let mut marks = marks[header..].iter().peekable();
        let (mut counted, mut behind, mut silent) = (0, 0, 0);
        let (mut all_cpus, mut ended, mut own_end) = (false, false, false);
        let follows = profile == Profile::Scoring;
        let last = log.lines().len().min(first + BODY_LINES_MAX);
        for index in first..last {
            let mark = marks.next_if(|mark| mark.line == index);
            let line = &log.lines()[index];
            if index > first && mark.is_some_and(|mark| mark.ends_report) {
                ended = true;
                own_end |= line.caller == caller || !caller.is_exact();
            }
            if own_end && !follows {
                behind += 1;
                let most = if body.stacks.is_empty() { STACK_BEHIND_MAX } else { FRAMES_BEHIND_MAX };
                if behind > most {
                    break;
                }
            }
            if line.after_hole && index > first {
                break;
            }
            // The header counts even when it holds a ` ? `.
            let counts = index == first || !line.doubted;
            if !counts || !(line.caller == caller || all_cpus && line.caller.is_cpu()) {
                silent += 1;
                if ended && !follows && silent > SILENT_MAX {
                    break;
                }
                continue;
            }
            (counted, silent) = (counted + 1, 0);
            if let Some(mark) = mark {
                if mark.noise {
                    continue;
                }
                if mark.all_cpus {
                    all_cpus = true;
                } else if counted > repeats && mark.token.is_some() && repeats_stack(log.raw(index)) {
                    break;
                }
                // What another report prints does not excuse this one, nor cut it.
                if !own_end || follows || body.stacks.is_empty() {
                    body.note(mark, !ended || caller.is_exact());
                }
            }
            body.lines.push(index as u32);
            if !ended || caller.is_exact() {
                body.cut = body.lines.len();
            }
        }
        body
    }

    /// What is left when the caller's lines hold no title: everything between header and `last`, with prefixes.
    pub(crate) fn unfiltered(log: &Log, first: usize, last: usize) -> Body {
        let lines: Vec<u32> =
            (first..=last.max(first)).take(BODY_LINES_MAX).map(|index| index as u32).collect();
        let mut body = Body::of(lines);
        body.cut = body.lines.len();
        body.headers = (0..body.lines.len() as u32).collect();
        body.raw = true;
        for at in 0..body.lines.len() {
            let line = log.raw(body.lines[at] as usize);
            body.start(shape::stack_starts(line), at);
            if shape::is_fault_injection(line) {
                body.fault_injections.push(at as u32);
            }
        }
        body
    }

    fn of(lines: Vec<u32>) -> Body {
        Body {
            lines,
            cut: 0,
            headers: Vec::new(),
            starts: [None; STACK_STARTS],
            stacks: Vec::new(),
            fault_injections: Vec::new(),
            raw: false,
        }
    }

    fn note(&mut self, mark: &Mark, in_title: bool) {
        let at = self.lines.len();
        if mark.token.is_some() && in_title {
            self.headers.push(at as u32);
        }
        if mark.fault_injection {
            self.fault_injections.push(at as u32);
        }
        self.start(mark.starts, at);
    }

    fn start(&mut self, kinds: u16, at: usize) {
        if kinds != 0 {
            self.stacks.push(at as u32);
        }
        for (kind, first) in self.starts.iter_mut().enumerate() {
            if kinds >> kind & 1 == 1 && first.is_none() {
                *first = Some(at as u32);
            }
        }
    }

    /// Does `lines[at]` begin a stack?
    pub(crate) fn begins_stack(&self, at: usize) -> bool {
        self.stacks.binary_search(&(at as u32)).is_ok()
    }

    /// Is `lines[at]` of a stack of the fault injector?
    pub(crate) fn is_fault_injection(&self, at: usize) -> bool {
        self.fault_injections.binary_search(&(at as u32)).is_ok()
    }

    /// The text of `lines[at]`.
    pub(crate) fn line<'a>(&self, log: &'a Log, at: usize) -> &'a [u8] {
        let index = self.lines[at] as usize;
        if self.raw { log.raw(index) } else { log.message(index) }
    }
}

/// The panic (or the lock validator) prints the stack once more.
fn repeats_stack(line: &[u8]) -> bool {
    ["Kernel panic - not syncing", "WARNING: possible circular locking dependency detected"]
        .iter()
        .any(|word| memchr::memmem::find(line, word.as_bytes()).is_some())
}
