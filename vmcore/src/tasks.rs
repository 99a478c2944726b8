//! All tasks of the dead kernel: who they were, what they waited for, where they stood.

mod find;

use crate::address::Address;
use crate::cgroup;
use crate::code::{Code, Owner};
use crate::cpus::{self, Running};
use crate::kernel::{Absent, Kernel};
use crate::progress::Progress;
use crate::registers::{Registers, Status};
use crate::unwind::{Step, Unwinder, Walk};
use find::Found;
pub(crate) use find::touch_pids;
use report::{BuildId, Note};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Frames of all stacks together: 200 000 threads with ten each. What is behind has no stack, and says why.
const MAX_FRAMES: usize = 2 << 20;
/// `TASK_COMM_LEN`.
const COMM: usize = 16;
/// Bits of `task->__state` that are reported, and the letters for them (`task_index_to_char`).
const TASK_REPORT: u32 = 0x7f;
const STATES: &[u8; 8] = b"RSDTtXZP";
/// An uninterruptible sleep that does not count as load is idle.
const TASK_NOLOAD: u32 = 0x400;

/// A frame of a kernel stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// As unwound: where `interrupted` is false a return address.
    pub pc: Address,
    /// The symbol the kernel would print; none in user space.
    pub symbol: Option<String>,
    /// `pc` minus the symbol's address.
    pub offset: Option<u64>,
    /// All names of that place, as the kernel would print them: `vfs_write+0xf8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kallsyms: Vec<String>,
    /// The module whose code it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// That module's build id, to find its debug information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<BuildId>,
    /// Is `pc` the instruction itself (a fault, an interrupt, user space)?
    pub interrupted: bool,
    /// False where no unwind data led here, only a guess.
    pub reliable: bool,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its thread id.
    pub pid: i32,
    /// Its process; none where the dump lacks the page.
    pub tgid: Option<i32>,
    /// The process that started it.
    pub ppid: Option<i32>,
    /// Its name, at most 15 bytes; empty where the dump lacks the page.
    pub comm: String,
    /// As `ps` shows it: R, S, D, T, t, X, Z, P, I.
    pub state: char,
    /// The CPU it ran on last.
    pub cpu: u32,
    /// Was it running when the machine died?
    pub on_cpu: bool,
    /// Has it no memory of its own?
    pub kernel_thread: bool,
    /// `struct task_struct`.
    pub task_struct: Address,
    /// Innermost frame first; none where it could not be read.
    pub stack: Option<Vec<Arc<Frame>>>,
    /// Why there is no stack, or where it broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_error: Option<String>,
    /// Which container it ran in; for the tasks on a CPU only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// What it left in its CPU's registers; for the tasks on a CPU only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registers: Option<Registers>,
}

/// The tasks of a dump.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tasks {
    /// First the idle tasks, one for each CPU, then the others by pid.
    pub tasks: Vec<Task>,
    /// False where a list could not be read to its end.
    pub complete: bool,
    /// What was missing.
    pub notes: Vec<Note>,
}

/// Every task that any way leads to.
pub(crate) fn read(kernel: &Kernel, code: &Code, running: &[Running], progress: &Progress) -> Tasks {
    let mut notes = Vec::new();
    let unwinder = Unwinder::new(kernel, code, &mut notes);
    let idle: Vec<u64> =
        running.iter().filter_map(|cpu| cpus::on_runqueue(kernel, cpu.cpu, "idle").ok()).collect();
    let found = Found::all(kernel, running.iter().filter_map(|cpu| cpu.task), &mut notes);
    let reader = Reader {
        kernel,
        code,
        unwinder,
        running,
        known: RefCell::default(),
        frames_left: Cell::new(MAX_FRAMES),
    };
    let mut tasks = Vec::new();
    let mut unreadable = 0;
    progress.begin(crate::progress::Step::Tasks, (idle.len() + found.tasks.len()) as u64);
    for (at, address) in idle.iter().copied().chain(found.tasks).enumerate() {
        progress.reach(at as u64);
        if at >= idle.len() && idle.contains(&address) {
            continue;
        }
        match reader.task(address) {
            Ok(task) => tasks.push(task),
            Err(cause) => {
                let cpu = running.iter().find(|cpu| cpu.task == Some(address));
                tasks.extend(cpu.and_then(|cpu| reader.remains(cpu)));
                if unreadable == 0 {
                    notes
                        .push(Note::new("task", format!("the task at {address:#x} cannot be read: {cause}")));
                }
                unreadable += 1;
            }
        }
    }
    tasks.extend(running.iter().filter(|cpu| cpu.task.is_none()).filter_map(|cpu| reader.remains(cpu)));
    if unreadable > 1 {
        notes.push(Note::new("task", format!("{unreadable} tasks cannot be read")));
    }
    let first = idle.len().min(tasks.len());
    tasks[first..].sort_by_key(|task| task.pid);
    Tasks { tasks, complete: found.complete && unreadable == 0, notes }
}

struct Reader<'a> {
    kernel: &'a Kernel,
    code: &'a Code,
    unwinder: Unwinder<'a>,
    running: &'a [Running],
    /// Frames named so far: most stacks end alike.
    known: RefCell<HashMap<Step, Arc<Frame>>>,
    frames_left: Cell<usize>,
}

impl Reader<'_> {
    fn task(&self, at: u64) -> Result<Task, Absent> {
        let kernel = self.kernel;
        let field = |member| Ok::<_, Absent>(at.wrapping_add(kernel.offset("task_struct", member)?));
        let number = |member| Ok::<_, Absent>(kernel.memory.i32(field(member)?)?);
        // Renamed in 5.14.
        let state =
            number(if kernel.offset("task_struct", "__state").is_ok() { "__state" } else { "state" })? as u32;
        let exit_state = number("exit_state").unwrap_or(0) as u32;
        let parent = kernel.kernel_pointer(at, "task_struct", "real_parent");
        let cpu = self.running.iter().find(|cpu| cpu.task == Some(at));
        let (stack, stack_error) = match self.stack(at, cpu) {
            Ok(walk) => (Some(self.frames(&walk.steps)), walk.stopped),
            Err(cause) => (None, Some(cause.to_string())),
        };
        Ok(Task {
            pid: number("pid")?,
            tgid: number("tgid").ok(),
            ppid: parent
                .and_then(|parent| {
                    Ok(kernel.memory.i32(parent.wrapping_add(kernel.offset("task_struct", "pid")?))?)
                })
                .ok(),
            comm: kernel.memory.string(field("comm")?, COMM)?,
            state: letter(state, exit_state),
            cpu: number("thread_info.cpu").or_else(|_| number("cpu")).unwrap_or(0) as u32,
            on_cpu: cpu.is_some(),
            kernel_thread: kernel.pointer(at, "task_struct", "mm")? == 0,
            task_struct: Address(at),
            stack,
            stack_error,
            cgroup: cpu.and_then(|_| cgroup::path(kernel, at).ok()),
            registers: cpu.and_then(|cpu| Some(cpu.status.as_ref()?.registers.clone())),
        })
    }

    /// What the registers alone tell of a task on a CPU whose own pages are missing, or cannot be found.
    fn remains(&self, cpu: &Running) -> Option<Task> {
        let Status { pid, registers } = cpu.status.as_ref()?;
        let walk = self.unwinder.running(registers, self.unwinder.stack_around(registers));
        Some(Task {
            pid: i32::try_from(*pid).ok()?,
            tgid: None,
            ppid: None,
            comm: String::new(),
            state: 'R',
            cpu: cpu.cpu,
            on_cpu: true,
            kernel_thread: false,
            task_struct: Address(cpu.task.unwrap_or(0)),
            stack: Some(self.frames(&walk.steps)),
            stack_error: walk.stopped,
            cgroup: None,
            registers: Some(registers.clone()),
        })
    }

    fn stack(&self, task: u64, cpu: Option<&Running>) -> Result<Walk, Absent> {
        if self.frames_left.get() == 0 {
            return Err(Absent::Odd(format!("the stacks before it have {MAX_FRAMES} frames")));
        }
        let stack = self.kernel.kernel_pointer(task, "task_struct", "stack")?;
        let walk = match cpu {
            Some(Running { status: Some(status), .. }) => self.unwinder.running(&status.registers, stack),
            Some(Running { cpu, .. }) => return Err(Absent::Odd(format!("CPU {cpu} left no registers"))),
            None => self.unwinder.sleeping(task, stack)?,
        };
        self.frames_left.set(self.frames_left.get().saturating_sub(walk.steps.len()));
        Ok(walk)
    }

    fn frames(&self, steps: &[Step]) -> Vec<Arc<Frame>> {
        let mut known = self.known.borrow_mut();
        let frame = |step| Arc::clone(known.entry(step).or_insert_with(|| Arc::new(self.frame(&step))));
        steps.iter().copied().map(frame).collect()
    }

    fn frame(&self, step: &Step) -> Frame {
        // A return address may already belong to the next function, when the call was the last instruction.
        let key = if step.exact { step.pc } else { step.pc.wrapping_sub(1) };
        let named = self.code.name(self.kernel, key);
        let offset = named.as_ref().map(|named| step.pc.wrapping_sub(named.start));
        let module = match named.as_ref().map(|named| named.owner) {
            Some(Owner::Module(at)) => self.code.modules.get(at).map(|loaded| &loaded.module),
            _ => None,
        };
        let names = named.map(|named| named.names).unwrap_or_default();
        Frame {
            pc: Address(step.pc),
            symbol: names.first().cloned(),
            offset,
            kallsyms: names.iter().map(|name| format!("{name}+{:#x}", offset.unwrap_or(0))).collect(),
            module: module.map(|module| module.name.clone()),
            build_id: module.and_then(|module| module.build_id.clone()),
            interrupted: step.exact,
            reliable: step.reliable,
        }
    }
}

fn letter(state: u32, exit_state: u32) -> char {
    let reported = (state | exit_state) & TASK_REPORT;
    let letter = char::from(STATES[(u32::BITS - reported.leading_zeros()) as usize]);
    if letter == 'D' && state & !reported == TASK_NOLOAD { 'I' } else { letter }
}

impl Tasks {
    /// The tasks that were on no CPU, grouped by identical stack, the largest group first: how a hang is read.
    pub fn by_stack(&self) -> Vec<Vec<&Task>> {
        let mut groups: BTreeMap<Vec<u64>, Vec<&Task>> = BTreeMap::new();
        for task in self.tasks.iter().filter(|task| !task.on_cpu) {
            // Where in user space a system call came from makes no difference.
            let frames = task.stack.iter().flatten().filter(|frame| frame.symbol.is_some());
            groups.entry(frames.map(|frame| frame.pc.0).collect()).or_default().push(task);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| Reverse(group.len()));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::letter;

    #[test]
    fn states_have_the_letters_of_ps() {
        for (state, exit, want) in [
            (0, 0, 'R'),
            (1, 0, 'S'),
            (2, 0, 'D'),
            (0x402, 0, 'I'),
            (4, 0, 'T'),
            (8, 0, 't'),
            (0, 0x10, 'X'),
            (0, 0x20, 'Z'),
        ] {
            assert_eq!(letter(state, exit), want, "{state:#x} {exit:#x}");
        }
    }
}
