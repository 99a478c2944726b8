//! The tasks of a dump, as the page of their crash shows them.

use super::story::shown;
use super::words;
use crate::tasks::{Entry, Stack, Tasks};
use crate::text::Text;

/// One line of a stack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The function.
    pub function: String,
    /// Where it is.
    pub place: String,
    /// It was inlined into the next one.
    pub inlined: bool,
    /// The unwinder is not sure of it.
    pub doubted: bool,
}

impl Line {
    /// The function, as wide as a column.
    pub fn padded(&self) -> String {
        format!("{:<38}", self.function)
    }
}

/// A frame in lines: first what was inlined into it.
pub(crate) fn lines(entry: &Entry) -> Vec<Line> {
    let chain = entry.place.as_ref().map_or(&[][..], |found| &found.chain);
    let (own, inner) = chain.split_last().map_or((None, chain), |(own, inner)| (Some(own), inner));
    let module = entry.module.as_ref().map(|module| format!(" [{module}]")).unwrap_or_default();
    let doubted = !entry.reliable;
    let inlined = |call: &crate::locate::Step| Line {
        function: call.function.clone(),
        place: shown(call),
        inlined: true,
        doubted,
    };
    let mut lines: Vec<Line> = inner.iter().map(inlined).collect();
    lines.push(Line {
        function: format!("{}{module}", entry.name),
        place: own.map(shown).unwrap_or_default(),
        inlined: false,
        doubted,
    });
    lines
}

/// Tasks as text.
pub(crate) fn as_text(tasks: &Tasks, text: &mut Text) {
    text.section("Tasks");
    text.prose(&summary(tasks));
    for running in &tasks.on_cpu {
        text.gap();
        let died = if running.died { ", which died" } else { "" };
        let cgroup = running.cgroup.as_ref().map(|path| format!(", in {path}")).unwrap_or_default();
        text.item("", &format!("CPU {}: {}{died}{cgroup}", running.cpu, running.task));
        stack(&running.stack, text);
    }
    for group in &tasks.waiting {
        text.gap();
        let names: Vec<String> = group.tasks.iter().map(ToString::to_string).collect();
        let more = if group.unnamed() > 0 { format!(", {} more", group.unnamed()) } else { String::new() };
        text.item("", &format!("{} {}: {}{more}", group.count, group.doing(), names.join(", ")));
        stack(&group.stack, text);
    }
    if !tasks.programs.is_empty() {
        text.gap();
        let names: Vec<&str> = tasks.programs.iter().map(|program| program.name.as_str()).collect();
        text.item("", &format!("BPF programs: {}", names.join(", ")));
    }
    for note in &tasks.notes {
        text.item("- ", &format!("{} [{}]", note.text, note.code));
    }
}

/// How many there were, and of how many stacks.
pub(crate) fn summary(tasks: &Tasks) -> String {
    let all = if tasks.complete { "" } else { " found, not all there were" };
    let blocked = match tasks.blocked() {
        0 => "none of them blocked".to_owned(),
        blocked => format!("{blocked} of them blocked"),
    };
    format!(
        "{}{all}: {} on a CPU, the others in {}, {blocked}.",
        words::plural(i64::try_from(tasks.total).unwrap_or(i64::MAX), "task", "tasks"),
        tasks.on_cpu.len(),
        words::plural(i64::try_from(tasks.stacks()).unwrap_or(i64::MAX), "stack", "different stacks"),
    )
}

fn stack(stack: &Stack, text: &mut Text) {
    for line in stack.frames.iter().flat_map(lines) {
        let mark = if line.doubted { '?' } else { ' ' };
        let inlined = if line.inlined { "  inlined" } else { "" };
        text.line(&format!("  {mark} {} {}{inlined}", line.padded(), line.place));
    }
    if let Some(broken) = &stack.broken {
        text.item("    ", broken);
    }
}
