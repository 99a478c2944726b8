//! The tasks of a dump for people: who was on a CPU, who waited where, with places in the source.

use std::fmt::Write;
use std::sync::Arc;

use vmcore::{Facts, Frame, Task, Tasks};

use crate::decode::{Style, with_chain};
use crate::image::Image;
use crate::resolve::{Location, Query, Resolution};
use crate::store::{Library, Wanted};

/// Names of tasks with one stack that are listed; of the others the number.
const NAMED: usize = 8;
/// Groups of waiting tasks that are listed, the largest first. A desktop has some 60 different stacks.
const GROUPS: usize = 200;

/// Where the frames of one dump are in the source, as far as a library knows.
pub struct Places<'l> {
    library: &'l Library,
    release: Option<String>,
    kernel: Option<Arc<Image>>,
    kaslr: Option<u64>,
}

impl<'l> Places<'l> {
    /// For the frames of the dump with these facts.
    pub fn new(facts: &Facts, library: &'l Library) -> Places<'l> {
        let release = facts.kernel_release.clone();
        let wanted = Wanted { build_id: facts.build_id.clone(), module: None, release: release.clone() };
        let kaslr = facts.kaslr_offset.as_ref().map(|offset| offset.0);
        Places { library, kernel: library.find(&wanted), release, kaslr }
    }

    /// The calls that run at a frame, innermost first; empty when they are not known for certain.
    pub fn of(&self, frame: &Frame) -> Vec<Location> {
        self.resolve(frame).map(|found| found.chain().to_vec()).unwrap_or_default()
    }

    /// Where a frame is; none without its debug file. The kernel's own frames are found by address, which no two
    /// functions share, a module's by name.
    pub fn resolve(&self, frame: &Frame) -> Option<Resolution> {
        let resolution = match (&frame.module, &self.kernel, self.kaslr) {
            (None, Some(kernel), Some(kaslr)) => {
                kernel.resolve_address(frame.pc.0.wrapping_sub(kaslr), frame.interrupted)
            }
            _ => {
                let (Some(image), Some(symbol), Some(offset)) =
                    (self.image(frame), &frame.symbol, frame.offset)
                else {
                    return None;
                };
                let exact = frame.interrupted;
                image.resolve(&Query { symbol, offset, size: None, exact, reliable: frame.reliable })
            }
        };
        resolution.ok()
    }

    fn image(&self, frame: &Frame) -> Option<Arc<Image>> {
        match &frame.module {
            None => self.kernel.clone(),
            module => self.library.find(&Wanted {
                build_id: frame.build_id.clone(),
                module: module.clone(),
                release: self.release.clone(),
            }),
        }
    }

    /// Folders that a path in the kernel's source may begin with, to be left out for people.
    pub fn source_roots(&self) -> Vec<String> {
        self.kernel.iter().flat_map(|image| image.source_roots()).collect()
    }
}

/// First the tasks on the CPUs, the one that panicked before the others, then those that waited, grouped by identical
/// stack.
pub fn annotate_tasks(facts: &Facts, tasks: &Tasks, library: &Library, style: Style) -> String {
    let places = Places::new(facts, library);
    let roots = places.source_roots();
    let mut out = String::new();
    let stack = |out: &mut String, task: &Task| {
        for frame in task.stack.iter().flatten() {
            let mark = if frame.reliable { ' ' } else { '?' };
            with_chain(
                out,
                &format!("   {mark} {}", printed(frame)),
                frame.reliable,
                &places.of(frame),
                &roots,
                style,
            );
        }
        if let Some(cause) = &task.stack_error {
            style.wrapped(out, 5, &format!("the stack breaks off: {cause}"));
        }
    };

    let panicked = |task: &Task| facts.panic_cpu == i32::try_from(task.cpu).ok();
    let mut running: Vec<&Task> = tasks.tasks.iter().filter(|task| task.on_cpu).collect();
    running.sort_by_key(|task| (!panicked(task), task.cpu));
    let _ = writeln!(out, "{}", style.bold("On the CPUs"));
    for task in running {
        let cgroup = task.cgroup.as_ref().filter(|path| *path != "/");
        let cgroup = cgroup.map_or(String::new(), |path| format!(", in {path}"));
        let died = if panicked(task) { ", which panicked" } else { "" };
        style.wrapped(&mut out, 2, &format!("{task} on CPU {}{died}{cgroup}", task.cpu));
        stack(&mut out, task);
    }

    let _ = writeln!(out, "\n{}", style.bold("Waiting, by stack"));
    let groups = tasks.by_stack();
    for waiting in groups.iter().take(GROUPS) {
        let names: Vec<String> = waiting.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match waiting.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", {more} more"),
        };
        style.wrapped(&mut out, 2, &format!("{}: {}{more}", waiting.len(), names.join(", ")));
        stack(&mut out, waiting[0]);
    }
    if groups.len() > GROUPS {
        let _ = writeln!(out, "  and {} more stacks", groups.len() - GROUPS);
    }
    if !tasks.complete {
        let _ = writeln!(out, "\nNot all tasks were found.");
    }
    out
}

fn printed(frame: &Frame) -> String {
    frame.to_string().trim_start_matches("? ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of which little is known, and these tasks.
    fn annotated(tasks: &str, width: usize) -> String {
        let facts = r#"{"machine": "x86_64", "panic_cpu": 1, "online_cpus": [0, 1], "modules": [],
            "bpf_programs": [], "tasks": 0, "tasks_complete": true, "notes": []}"#;
        let facts: Facts = serde_json::from_str(facts).unwrap();
        let tasks = Tasks { tasks: serde_json::from_str(tasks).unwrap(), complete: false, notes: Vec::new() };
        annotate_tasks(&facts, &tasks, &Library::new(), Style { width, ..Style::default() })
    }

    fn task(pid: u32, comm: &str, cpu: Option<u32>, stack: &str) -> String {
        let frames = stack.split_whitespace().map(|name| {
            let (symbol, reliable) = (name.trim_end_matches('?'), !name.ends_with('?'));
            format!(
                r#"{{"pc": "0xffffffff81000000", "symbol": "{symbol}", "offset": 16, "interrupted": false,
                    "reliable": {reliable}}}"#
            )
        });
        format!(
            r#"{{"pid": {pid}, "comm": "{comm}", "state": "S", "cpu": {}, "on_cpu": {}, "kernel_thread": false,
                "task_struct": "0x0", "cgroup": "/pods/web", "stack": [{}]}}"#,
            cpu.unwrap_or(0),
            cpu.is_some(),
            frames.collect::<Vec<_>>().join(",")
        )
    }

    #[test]
    fn the_task_that_panicked_comes_first_and_those_that_wait_alike_together() {
        let tasks = [
            task(1, "init", None, "schedule do_poll"),
            task(7, "idle", Some(0), "idle_loop"),
            task(8, "culprit", Some(1), "panic? die"),
            task(9, "shell", None, "schedule do_poll"),
        ];
        let want = "\
On the CPUs
  culprit (8, S) on CPU 1, which panicked, in
  /pods/web
   ? panic+0x10
     die+0x10
  idle (7, S) on CPU 0, in /pods/web
     idle_loop+0x10

Waiting, by stack
  2: init (1, S), shell (9, S)
     schedule+0x10
     do_poll+0x10

Not all tasks were found.
";
        assert_eq!(annotated(&format!("[{}]", tasks.join(",")), 50), want);
    }
}
