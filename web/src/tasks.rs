//! Who did what when the machine died: the tasks of a dump, first those on the CPUs, then those that waited, grouped
//! by what they did.

use std::collections::BTreeMap;
use std::sync::Arc;

use handover::EvidenceId;
use report::Note;
use serde::Serialize;
use vmcore::{Frame, Program, Summary, Task};

use crate::locate::Found;
use crate::locate::memory::Places;

/// Groups that are listed. A desktop has some 60 different stacks.
const GROUPS: usize = 200;
/// Tasks of a group that are named: a pool of workers has hundreds, which all say the same.
const NAMED: usize = 64;

/// The tasks of a dump, as a crash shows them.
#[derive(Debug, Serialize)]
pub struct Tasks {
    /// The evidence that they are read from.
    pub evidence_id: EvidenceId,
    /// How many tasks there were.
    pub total: usize,
    /// Were these all?
    pub complete: bool,
    /// What ran on each CPU, first the task that the machine died in.
    pub on_cpu: Vec<Running>,
    /// The others by state and stack: what was blocked first, then the larger groups.
    pub waiting: Vec<Group>,
    /// Groups that are not listed, and their tasks.
    pub left_out: (usize, usize),
    /// Code that BPF had made.
    pub programs: Vec<Program>,
    /// What was missing in the dump, or is damaged.
    pub notes: Vec<Note>,
}

/// A task on a CPU.
#[derive(Debug, Serialize)]
pub struct Running {
    /// The CPU.
    pub cpu: u32,
    /// It is the one that panicked.
    pub died: bool,
    /// The task.
    pub task: Who,
    /// Its cgroup; none for the root.
    pub cgroup: Option<String>,
    /// The container that the cgroup is of.
    pub container: Option<Container>,
    /// Its stack.
    pub stack: Stack,
}

/// Tasks that waited in the same place.
#[derive(Debug, Serialize)]
pub struct Group {
    /// Their state, as `ps` shows it.
    pub state: char,
    /// The function that let them wait; none without a stack.
    pub at: Option<String>,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub tasks: Vec<Who>,
    /// Their stack.
    pub stack: Stack,
}

/// A task's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Thread id.
    pub pid: i32,
    /// Its name; empty when the dump lacks it.
    pub comm: String,
    /// It has no memory of its own.
    pub kernel_thread: bool,
}

/// A stack, innermost frame first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stack {
    /// Its frames.
    pub frames: Vec<Entry>,
    /// Why there are none, or no more.
    pub broken: Option<String>,
}

/// A frame with its place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Function and offset, or a bare address.
    pub name: String,
    /// The module whose code it is.
    pub module: Option<String>,
    /// An interrupt or a fault came here: the instruction itself and no return address.
    pub interrupted: bool,
    /// The unwinder is sure of it.
    pub reliable: bool,
    /// Where in the source, as far as debug files tell.
    pub place: Option<Found>,
}

/// A container, by the names that container runtimes give their cgroups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The uid of its Kubernetes pod.
    pub pod: Option<String>,
    /// Its id; none for a pod's own cgroup.
    pub id: Option<String>,
}

/// Functions in which everything waits, and which say nothing of why.
const SCHEDULER: [&str; 8] = [
    "__schedule",
    "schedule",
    "schedule_idle",
    "schedule_timeout",
    "schedule_preempt_disabled",
    "schedule_hrtimeout_range",
    "schedule_hrtimeout_range_clock",
    "io_schedule",
];

impl Tasks {
    /// Tells a summary's tasks.
    pub fn tell(evidence_id: EvidenceId, memory: &Summary, places: &Places) -> Tasks {
        let Summary { facts, tasks, .. } = memory;
        let died = |task: &Task| task.on_cpu && facts.panic_cpu == i32::try_from(task.cpu).ok();
        let mut on_cpu: Vec<&Task> = tasks.tasks.iter().filter(|task| task.on_cpu).collect();
        on_cpu.sort_by_key(|task| (!died(task), task.cpu));
        let running = |task: &&Task| {
            let cgroup = task.cgroup.clone().filter(|path| path != "/");
            Running {
                cpu: task.cpu,
                died: died(task),
                task: Who::of(task),
                container: cgroup.as_deref().and_then(Container::of),
                cgroup,
                stack: Stack::of(task, places),
            }
        };
        let groups = groups(tasks.tasks.iter().filter(|task| !task.on_cpu));
        let rest = groups.get(GROUPS..).unwrap_or_default();
        Tasks {
            evidence_id,
            total: tasks.tasks.len(),
            complete: tasks.complete,
            on_cpu: on_cpu.iter().map(running).collect(),
            left_out: (rest.len(), rest.iter().map(Vec::len).sum()),
            waiting: groups.iter().take(GROUPS).filter_map(|group| Group::of(group, places)).collect(),
            programs: facts.bpf_programs.clone(),
            notes: facts.notes.clone(),
        }
    }

    /// How many tasks could not be woken from where they waited.
    pub fn blocked(&self) -> usize {
        self.waiting.iter().filter(|group| group.state == 'D').map(|group| group.count).sum()
    }

    /// Different stacks of tasks that waited.
    pub fn stacks(&self) -> usize {
        self.waiting.len() + self.left_out.0
    }
}

/// Tasks by state and stack. What was blocked comes first, then what waited for a CPU, then the larger groups.
fn groups<'t>(tasks: impl Iterator<Item = &'t Task>) -> Vec<Vec<&'t Task>> {
    let mut groups: BTreeMap<(u8, char, Vec<u64>), Vec<&Task>> = BTreeMap::new();
    for task in tasks {
        let urgency = match task.state {
            'D' => 0,
            'R' => 1,
            _ => 2,
        };
        let stack = named(task).map(|frame| frame.pc.0).collect();
        groups.entry((urgency, task.state, stack)).or_default().push(task);
    }
    let mut groups: Vec<_> = groups.into_iter().map(|((urgency, ..), group)| (urgency, group)).collect();
    groups.sort_by_key(|(urgency, group)| (*urgency, std::cmp::Reverse(group.len())));
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The frames of a task that have a name. Where in user space a system call came from makes no difference.
fn named(task: &Task) -> impl Iterator<Item = &Arc<Frame>> {
    task.stack.iter().flatten().filter(|frame| frame.symbol.is_some())
}

impl Group {
    fn of(tasks: &[&Task], places: &Places) -> Option<Group> {
        let first = tasks.first()?;
        let symbols = || named(first).filter_map(|frame| frame.symbol.as_deref());
        let at = symbols().find(|symbol| !SCHEDULER.contains(symbol)).or_else(|| symbols().next());
        Some(Group {
            state: first.state,
            at: at.map(str::to_owned),
            count: tasks.len(),
            tasks: tasks.iter().take(NAMED).map(|task| Who::of(task)).collect(),
            stack: Stack::of(first, places),
        })
    }

    /// Their state in a word.
    pub fn doing(&self) -> &'static str {
        match self.state {
            'R' => "waits for a CPU",
            'S' => "sleeping",
            'D' => "blocked",
            'I' => "idle",
            'T' => "stopped",
            't' => "traced",
            'Z' => "zombie",
            'X' => "dead",
            'P' => "parked",
            _ => "in an unknown state",
        }
    }

    /// Tasks that are not named.
    pub fn unnamed(&self) -> usize {
        self.count - self.tasks.len()
    }
}

impl Who {
    fn of(task: &Task) -> Who {
        Who { pid: task.pid, comm: task.comm.clone(), kernel_thread: task.kernel_thread }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.comm, self.pid)
    }
}

impl Stack {
    fn of(task: &Task, places: &Places) -> Stack {
        Stack {
            frames: named(task).map(|frame| Entry::of(frame, places)).collect(),
            broken: task.stack_error.clone(),
        }
    }
}

impl Stack {
    /// Where it is, without what everything waits in.
    pub fn top(&self) -> &str {
        let own = |entry: &&Entry| !SCHEDULER.contains(&entry.name.split('+').next().unwrap_or_default());
        let entry = self.frames.iter().find(own).or(self.frames.first());
        entry.map_or("no kernel stack", |entry| &entry.name)
    }
}

impl Entry {
    fn of(frame: &Frame, places: &Places) -> Entry {
        let name = match (&frame.symbol, frame.offset) {
            (Some(symbol), Some(offset)) => format!("{symbol}+{offset:#x}"),
            (Some(symbol), None) => symbol.clone(),
            (None, _) => frame.pc.to_string(),
        };
        Entry {
            name,
            module: frame.module.clone(),
            interrupted: frame.interrupted,
            reliable: frame.reliable,
            place: places.of(frame).filter(|found| !found.chain.is_empty()).cloned(),
        }
    }
}

impl Container {
    /// Of `kubepods-burstable-podUID.slice/cri-containerd-ID.scope`, `/kubepods/podUID/ID`, `/docker/ID`,
    /// `/libpod-ID.scope` and their like: an id is 64 hex digits, with the runtime's name before it.
    fn of(cgroup: &str) -> Option<Container> {
        let mut parts = cgroup.split('/').map(|part| {
            let part = part.strip_suffix(".scope").or(part.strip_suffix(".slice")).unwrap_or(part);
            part.rsplit_once(':').map_or(part, |(_, id)| id)
        });
        let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = parts.clone().find_map(|part| {
            let id = part.rsplit('-').next()?;
            is_id(id).then(|| id.to_owned())
        });
        let pod = parts.find_map(|part| {
            let uid = match part.strip_prefix("pod") {
                Some(uid) => uid,
                None => part.strip_prefix("kubepods").and_then(|rest| Some(rest.split_once("-pod")?.1))?,
            };
            // systemd's slices have their own meaning for the hyphen.
            (!uid.is_empty()).then(|| uid.replace('_', "-"))
        });
        (pod.is_some() || id.is_some()).then_some(Container { pod, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_tells_its_container() {
        let id = "0123456789abcdef".repeat(4);
        let check = |cgroup: String, pod: Option<&str>, named: bool| {
            let found = Container::of(&cgroup);
            let expected = Container { pod: pod.map(str::to_owned), id: named.then(|| id.clone()) };
            assert_eq!(found, (pod.is_some() || named).then_some(expected), "{cgroup}");
        };
        let uid = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0";
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        check(
            format!("/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{id}.scope"),
            Some(uid),
            true,
        );
        check(format!("/kubepods/besteffort/pod{uid}/{id}"), Some(uid), true);
        check(format!("/kubepods.slice/{slice}"), Some(uid), false);
        check(format!("/system.slice/docker-{id}.scope"), None, true);
        check(format!("/machine.slice/libpod-{id}.scope/container"), None, true);
        check(format!("/docker/{id}"), None, true);
        check("/system.slice/sshd.service".to_owned(), None, false);
        check("/".to_owned(), None, false);
    }
}
