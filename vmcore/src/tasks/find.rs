//! Finding all tasks: by the list, where it is broken by the tree of process ids, and from task to task.

use crate::kernel::{Absent, Kernel};
use report::Note;
use std::collections::HashSet;

/// `PID_MAX_LIMIT` is 4 million; a dump of a machine with more than this many threads is a damaged list.
const MAX_TASKS: usize = 1 << 18;
/// Nodes of the tree of process ids: 64 entries each, so this is enough for all of [`MAX_TASKS`].
const MAX_NODES: usize = 1 << 16;
/// `PID_MAX_LIMIT` of 64-bit machines.
const MAX_PID: i32 = 4 << 20;
/// `TASK_COMM_LEN`.
const COMM: usize = 16;

/// Walks the tree of process ids, so that a small dump has it: other readers find tasks there.
pub(crate) fn touch_pids(kernel: &Kernel) {
    // What cannot be read cannot be kept either.
    let _ = Found::default().pids(kernel);
}

/// Addresses of tasks, each once, in the order found.
#[derive(Default)]
pub(super) struct Found {
    pub tasks: Vec<u64>,
    seen: HashSet<u64>,
    /// Could every list be read to its end?
    pub complete: bool,
}

impl Found {
    /// All tasks that any way leads to, beginning with those that are known.
    pub fn all(kernel: &Kernel, known: impl Iterator<Item = u64>, notes: &mut Vec<Note>) -> Self {
        let mut found = Self::default();
        found.lists(kernel, notes);
        known.for_each(|task| found.add(task));
        if !found.complete {
            if let Err(cause) = found.pids(kernel) {
                notes.push(Note::new("pids", format!("the tree of process ids cannot be read: {cause}")));
            }
            found.neighbours(kernel);
        }
        found
    }

    fn add(&mut self, task: u64) {
        if self.tasks.len() < MAX_TASKS && self.seen.insert(task) {
            self.tasks.push(task);
        }
    }

    /// All processes from `init_task` on, and the threads of each.
    fn lists(&mut self, kernel: &Kernel, notes: &mut Vec<Note>) {
        let lists = || -> Result<_, Absent> {
            let tasks = kernel.offset("task_struct", "tasks")?;
            let head = kernel.symbol("init_task")?.wrapping_add(tasks);
            let node = kernel.offset("task_struct", "thread_node")?;
            let threads = kernel.offset("signal_struct", "thread_head")?;
            Ok((tasks, head, node, threads))
        };
        let (tasks, head, node, threads) = match lists() {
            Ok(lists) => lists,
            Err(cause) => {
                notes.push(Note::new("tasks", format!("the list of tasks cannot be found: {cause}")));
                return;
            }
        };
        let (leaders, broken) = around(kernel, head, MAX_TASKS);
        self.complete = broken.is_none();
        if let Some(cause) = broken {
            notes
                .push(Note::new("tasks", format!("the list of tasks ends after {}: {cause}", leaders.len())));
        }
        // Threads of all processes together: processes that share one endless list take no longer than one.
        let mut walked = 0;
        for leader in leaders.into_iter().map(|at| at.wrapping_sub(tasks)) {
            self.add(leader);
            let Ok(signal) = kernel.kernel_pointer(leader, "task_struct", "signal") else { continue };
            let (members, broken) = around(kernel, signal.wrapping_add(threads), MAX_TASKS - walked);
            walked += members.len();
            if let Some(cause) = broken
                && self.complete
            {
                self.complete = false;
                notes.push(Note::new("threads", format!("the threads of a process end too soon: {cause}")));
            }
            for thread in members {
                self.add(thread.wrapping_sub(node));
            }
        }
    }

    /// From each task to those before and behind it in every list it is on, to its parent and its children:
    /// around the holes that no list can cross.
    fn neighbours(&mut self, kernel: &Kernel) {
        let offset = |member| kernel.offset("task_struct", member).ok();
        let head =
            |pointer, structure, member| Some((offset(pointer)?, kernel.offset(structure, member).ok()?));
        let links: Vec<Links> = [
            (offset("tasks"), None),
            (offset("thread_node"), head("signal", "signal_struct", "thread_head")),
            (offset("sibling"), head("real_parent", "task_struct", "children")),
        ]
        .into_iter()
        .filter_map(|(node, head)| Some(Links { node: node?, head }))
        .collect();
        let sibling = offset("sibling");
        let mut at = 0;
        while let Some(&task) = self.tasks.get(at) {
            at += 1;
            let word = |offset: u64| kernel.memory.u64(task.wrapping_add(offset)).ok();
            let mut candidates: Vec<u64> = [offset("real_parent"), offset("group_leader")]
                .into_iter()
                .flatten()
                .filter_map(word)
                .collect();
            for link in &links {
                let head = link.head.and_then(|(pointer, member)| Some(word(pointer)?.wrapping_add(member)));
                let ends = [word(link.node), word(link.node.wrapping_add(8))].into_iter().flatten();
                candidates
                    .extend(ends.filter(|&end| Some(end) != head).map(|end| end.wrapping_sub(link.node)));
            }
            if let (Some(children), Some(sibling)) = (offset("children"), sibling) {
                let ends = [word(children), word(children.wrapping_add(8))].into_iter().flatten();
                let own = task.wrapping_add(children);
                candidates.extend(ends.filter(|&end| end != own).map(|end| end.wrapping_sub(sibling)));
            }
            for candidate in candidates {
                if !self.seen.contains(&candidate) && is_task(kernel, candidate) {
                    self.add(candidate);
                }
            }
        }
    }

    /// All tasks in the tree of process ids (`init_pid_ns.idr`, an xarray of `struct pid`): another way, over
    /// other pages.
    fn pids(&mut self, kernel: &Kernel) -> Result<(), Absent> {
        let root =
            kernel.symbol("init_pid_ns")?.wrapping_add(kernel.offset("pid_namespace", "idr.idr_rt.xa_head")?);
        let slots = kernel.offset("xa_node", "slots")?;
        let width = kernel.member_size("xa_node", "slots")? / 8;
        let links = kernel.offset("task_struct", "pid_links")?;
        let mut entries = vec![kernel.memory.u64(root)?];
        let mut nodes = HashSet::new();
        while let Some(entry) = entries.pop() {
            if entry & 3 == 2 && entry > 4096 && nodes.len() < MAX_NODES {
                // An inner node (`xa_is_node`); a node that leads to itself is walked once.
                if !nodes.insert(entry) {
                    continue;
                }
                // All of it, for a small dump: a node may begin on another page than its slots.
                kernel.memory.touch(entry - 2, slots);
                let at = (entry - 2).wrapping_add(slots);
                entries.extend(
                    (0..width.min(64)).filter_map(|i| kernel.memory.u64(at.wrapping_add(8 * i)).ok()),
                );
            } else if entry & 3 == 0 && kernel.memory.translation.is_kernel(entry) {
                // `pid->tasks[PIDTYPE_PID]` is a list of one.
                if let Ok(first) = kernel.kernel_pointer(entry, "pid", "tasks") {
                    self.add(first.wrapping_sub(links));
                }
            }
        }
        Ok(())
    }
}

/// Where the lists of a task are: its node, and the head that is no task, as a pointer's and a member's
/// offset.
struct Links {
    node: u64,
    head: Option<(u64, u64)>,
}

/// Is this a task? Its name is text, its process id is possible, and it has a stack.
fn is_task(kernel: &Kernel, at: u64) -> bool {
    let check = || -> Result<bool, Absent> {
        let comm: [u8; COMM] = kernel.memory.array(at.wrapping_add(kernel.offset("task_struct", "comm")?))?;
        let name = comm.split(|&byte| byte == 0).next().unwrap_or_default();
        let pid = kernel.memory.i32(at.wrapping_add(kernel.offset("task_struct", "pid")?))?;
        kernel.kernel_pointer(at, "task_struct", "stack")?;
        Ok(!name.is_empty()
            && name.iter().all(|byte| (b' '..=b'~').contains(byte))
            && (0..=MAX_PID).contains(&pid))
    };
    at.is_multiple_of(8) && check().unwrap_or(false)
}

/// The nodes of a circular list, without its head. Where a page is missing the list is also walked backwards,
/// which gives all but what lies between two holes.
fn around(kernel: &Kernel, head: u64, limit: usize) -> (Vec<u64>, Option<Absent>) {
    let mut seen = HashSet::from([head]);
    let mut nodes = Vec::new();
    let mut walk = |member: &str| -> Result<(), Absent> {
        let mut at = head;
        loop {
            at = kernel.kernel_pointer(at, "list_head", member)?;
            if at == head {
                return Ok(());
            }
            if nodes.len() >= limit || !seen.insert(at) {
                return Err(Absent::Odd("it goes round in a circle, or is endless".into()));
            }
            nodes.push(at);
        }
    };
    let broken = walk("next").err();
    if broken.is_some() {
        let _ = walk("prev");
    }
    (nodes, broken)
}
