//! The stack of a report: frames with their place in the source, and the changes of context between them.

use report::{Context, Frame, Parsed, Report, Trace};
use serde::Serialize;

use super::number;
use crate::locate::{Found, Located, Step as Call};

/// Frames shown before the middle of a stack is folded, and how many stay at each end.
const LONG: usize = 40;
const ENDS: usize = 15;

/// `init/main.c:1271`.
pub(crate) fn shown(call: &Call) -> String {
    if call.line == 0 { call.file.clone() } else { format!("{}:{}", call.file, call.line) }
}

/// A stack.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stack {
    /// The line that began it: `Call Trace`.
    pub heading: String,
    /// Frames and edges, innermost first.
    pub steps: Vec<Step>,
    /// Frames that the kernel stood behind.
    pub frames: usize,
    /// Functions that were inlined into them.
    pub inlined: usize,
    /// Frames that the kernel doubted.
    pub doubted: usize,
    /// Frames the kernel stood behind whose place in the source is not known.
    pub unplaced: usize,
}

/// One entry of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub(crate) enum Step {
    /// A frame.
    Frame(Entry),
    /// The CPU did something else from here on.
    Edge {
        /// What.
        words: &'static str,
    },
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// Its number among those the kernel stood behind; none for a doubted one.
    pub index: Option<usize>,
    /// As printed: symbol, or a bare address.
    pub function: String,
    /// `+0x5/0x10`.
    pub offset: String,
    /// `[crashlab]`.
    pub module: Option<String>,
    /// The instruction that faulted.
    pub here: bool,
    /// Functions inlined into it, innermost first, and last the function itself.
    pub place: Option<Found>,
    /// Number of its log line.
    pub line: u32,
    /// Generated code, which no debug file describes.
    pub bpf: bool,
    /// The kernel itself said where it is.
    pub kernel_place: Option<String>,
}

impl Entry {
    /// Where the frame itself is; what was inlined into it is in [`Entry::inner`].
    pub fn place_shown(&self) -> String {
        match (&self.place, &self.kernel_place) {
            (Some(place), _) => place.chain.last().map(shown).unwrap_or_default(),
            (None, Some(place)) => place.clone(),
            (None, None) => String::new(),
        }
    }

    /// What was inlined into it, innermost first.
    pub fn inner(&self) -> &[Call] {
        match &self.place {
            Some(place) => &place.chain[..place.chain.len().saturating_sub(1)],
            None => &[],
        }
    }

    /// The function that was inlined at the next level: what `inner` number `i` is inlined into.
    pub fn around(&self, i: &usize) -> &str {
        let chain = self.place.as_ref().map_or(&[][..], |place| &place.chain);
        chain.get(i + 1).map_or("", |spot| &spot.function)
    }

    /// The kernel doubted it.
    pub fn doubted(&self) -> bool {
        self.index.is_none() && !self.here
    }
}

/// The stack that names the fault, with the faulting instruction in front, and the others.
pub(super) fn stacks(parsed: &Parsed, report: &Report, places: &Located) -> (Stack, Vec<Stack>) {
    let place = |trace: usize, frame: usize| places.traces.get(trace)?.get(frame)?.clone();
    // The trace that names the fault is the first with a frame the kernel stood behind, as in `variant_names`.
    let main = report.traces.iter().position(|trace| trace.frames.iter().any(|frame| frame.reliable));
    let mut stack = Stack::default();
    if let Some(ip) = &report.ip {
        stack.push(entry(parsed, ip, places.ip.clone()), ip.reliable, true);
    }
    let mut others = Vec::new();
    for (number, trace) in report.traces.iter().enumerate() {
        let mut other = Stack::default();
        let to = if main == Some(number) { &mut stack } else { &mut other };
        to.heading.clone_from(&trace.heading);
        to.extend(parsed, trace, |frame| place(number, frame));
        if main != Some(number) && !other.steps.is_empty() {
            others.push(other);
        }
    }
    (stack, others)
}

impl Stack {
    fn push(&mut self, mut entry: Entry, reliable: bool, here: bool) {
        entry.here = here;
        if reliable {
            entry.index = Some(self.frames);
            self.frames += 1;
            self.inlined += entry.inner().len();
            if entry.place.is_none() && entry.kernel_place.is_none() && !entry.bpf {
                self.unplaced += 1;
            }
        } else {
            self.doubted += 1;
        }
        self.steps.push(Step::Frame(entry));
    }

    fn extend(&mut self, parsed: &Parsed, trace: &Trace, place: impl Fn(usize) -> Option<Found>) {
        let mut context = None;
        for (number, frame) in trace.frames.iter().enumerate() {
            if context.is_some_and(|context| context != frame.context)
                && let Some(words) = edge(frame.context)
            {
                self.steps.push(Step::Edge { words });
            }
            context = Some(frame.context);
            self.push(entry(parsed, frame, place(number)), frame.reliable, false);
        }
    }

    /// Where the fault is: the faulting instruction, or else the first placed frame of the blamed function.
    pub fn place(&self, report: &Report) -> Option<String> {
        let blamed = report.guilty.as_ref().map(|function| function.name.as_str());
        let entries = self.steps.iter().filter_map(|step| match step {
            Step::Frame(entry) if !entry.doubted() => Some(entry),
            _ => None,
        });
        for entry in entries {
            let chain = entry.place.as_ref().map_or(&[][..], |place| &place.chain);
            let named = |spot: &&Call| blamed.is_none_or(|name| plain(&spot.function) == name);
            if let Some(spot) = chain.iter().find(named).filter(|spot| spot.line > 0) {
                return Some(shown(spot));
            }
        }
        None
    }

    /// The stack in three runs: begin, folded middle, end. The middle is empty unless the stack is long.
    pub fn runs(&self) -> (&[Step], &[Step], &[Step]) {
        if self.steps.len() <= LONG {
            return (&self.steps, &[], &[]);
        }
        let (begin, rest) = self.steps.split_at(ENDS);
        let (middle, end) = rest.split_at(rest.len() - ENDS);
        (begin, middle, end)
    }
}

/// The name without what the compiler added.
fn plain(function: &str) -> &str {
    function.split_once('.').map_or(function, |(name, _)| name)
}

fn entry(parsed: &Parsed, frame: &Frame, place: Option<Found>) -> Entry {
    let address =
        || frame.address.map_or_else(|| "an unnamed address".into(), |address| format!("{address:#x}"));
    let offset = match (&frame.symbol, frame.size) {
        (None, _) => String::new(),
        _ if frame.is_decoded() => String::new(),
        (Some(_), Some(size)) => format!("+{:#x}/{size:#x}", frame.offset),
        (Some(_), None) => format!("+{:#x}", frame.offset),
    };
    Entry {
        index: None,
        function: frame.symbol.clone().unwrap_or_else(address),
        offset,
        module: frame.module.clone(),
        here: false,
        place: place.filter(|place| !place.chain.is_empty()),
        line: number(parsed, frame.line),
        bpf: frame.bpf.is_some(),
        kernel_place: frame.kernel_line.as_ref().map(|at| format!("{}:{}", at.file, at.line)),
    }
}

/// What the CPU did from here on (outwards).
fn edge(context: Context) -> Option<&'static str> {
    match context {
        Context::Unknown => None,
        Context::Task => Some("the task that was interrupted"),
        Context::Irq => Some("hardware interrupt"),
        Context::Softirq => Some("software interrupt"),
        Context::Nmi => Some("non-maskable interrupt"),
        Context::Exception => Some("exception stack"),
        Context::Entry => Some("entry trampoline"),
    }
}
