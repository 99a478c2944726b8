//! Walking up a kernel stack: by ORC, by frame pointers, and where both fail by scanning.

mod frame_pointer;
mod orc;
mod scan;

use crate::code::{Code, Owner};
use crate::dump::Machine;
use crate::kernel::{Absent, Kernel};
use crate::registers::Registers;
use orc::Orc;
use report::Note;

/// Deeper stacks do not fit: 16 KiB hold 128 frames of 128 bytes, and a frame is hardly ever smaller.
const MAX_FRAMES: usize = 256;
/// Exception, NMI, interrupt, soft interrupt: stacks inside one another.
const MAX_SWITCHES: u32 = 8;
/// `THREAD_SIZE` on both machines; 32 KiB with KASAN.
const THREAD_SIZE: u64 = 16384;

/// One step of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    /// Where the code stood; for a call, where it would return to.
    pub pc: u64,
    /// Is `pc` the instruction itself (a fault, an interrupt), not a return address?
    pub exact: bool,
    /// Did the unwind tables lead here? Else a frame pointer or a guess did.
    pub reliable: bool,
}

/// The registers that a walk carries on.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    pc: u64,
    sp: u64,
    bp: u64,
    exact: bool,
    /// Registers in which ORC may find a frame; known only just behind an exception.
    r10: Option<u64>,
    r13: Option<u64>,
    di: Option<u64>,
    dx: Option<u64>,
    ax: Option<u64>,
}

/// How one step of a method went.
enum Next {
    /// The caller.
    Frame(State),
    /// The stack ends here, as it should.
    End,
    /// The method knows nothing of this address.
    Unknown,
    /// It knows, and the stack does not fit.
    Broken,
}

/// A task's stack from its base, and what else a walk needs.
pub(crate) struct Unwinder<'a> {
    kernel: &'a Kernel,
    code: &'a Code,
    orc: Option<Orc>,
    thread_size: u64,
}

/// A walk: its steps, and why it stopped when it did not reach the end.
pub(crate) struct Walk {
    pub steps: Vec<Step>,
    pub stopped: Option<String>,
}

/// Address and length of each part of the unwind tables, for a small dump.
pub(crate) fn tables(kernel: &Kernel, code: &Code) -> Vec<(u64, u64)> {
    match kernel.memory.translation.machine() {
        Machine::X86_64 => Orc::find(kernel, code).map(|orc| orc.parts()).unwrap_or_default(),
        Machine::Aarch64 => Vec::new(),
    }
}

impl<'a> Unwinder<'a> {
    pub fn new(kernel: &'a Kernel, code: &'a Code, notes: &mut Vec<Note>) -> Self {
        let orc = match kernel.memory.translation.machine() {
            Machine::Aarch64 => None,
            Machine::X86_64 => match Orc::find(kernel, code) {
                Ok(orc) => Some(orc),
                Err(cause) => {
                    notes.push(Note::new("no-orc", format!("stacks are walked by guessing: {cause}")));
                    None
                }
            },
        };
        Self { kernel, code, orc, thread_size: kernel.size_of("thread_union").unwrap_or(THREAD_SIZE) }
    }

    /// The stack of a task that was on a CPU, from the registers of that CPU.
    pub fn running(&self, registers: &Registers, stack: u64) -> Walk {
        let get = |name: &str| registers.get(name);
        let state = match self.kernel.memory.translation.machine() {
            Machine::X86_64 => State {
                pc: get("rip").unwrap_or(0),
                sp: get("rsp").unwrap_or(0),
                bp: get("rbp").unwrap_or(0),
                exact: true,
                r10: get("r10"),
                r13: get("r13"),
                di: get("rdi"),
                dx: get("rdx"),
                ax: get("rax"),
            },
            Machine::Aarch64 => State {
                pc: get("pc").unwrap_or(0),
                sp: get("sp").unwrap_or(0),
                bp: get("x29").unwrap_or(0),
                exact: true,
                ..State::default()
            },
        };
        self.walk(state, stack)
    }

    /// The base of the stack that the registers point into: stacks are aligned to their size. Of arm64 none is
    /// needed: frame pointers lead from an interrupt's stack to the task's, wherever that is.
    pub fn stack_around(&self, registers: &Registers) -> u64 {
        let sp = registers.get("rsp").unwrap_or(0);
        sp - sp % self.thread_size.max(1)
    }

    /// The stack of a task that had given up its CPU.
    pub fn sleeping(&self, task: u64, stack: u64) -> Result<Walk, Absent> {
        let kernel = self.kernel;
        let state = match kernel.memory.translation.machine() {
            Machine::X86_64 => {
                // `__switch_to_asm` pushed these: struct inactive_task_frame.
                let sp = kernel.pointer(task, "task_struct", "thread.sp")?;
                let frame = |member| kernel.pointer(sp, "inactive_task_frame", member);
                let size = kernel.size_of("inactive_task_frame")?;
                State {
                    pc: frame("ret_addr")?,
                    sp: sp.wrapping_add(size),
                    bp: frame("bp")?,
                    r13: frame("r13").ok(),
                    ..State::default()
                }
            }
            Machine::Aarch64 => {
                let context =
                    |member| kernel.pointer(task, "task_struct", &format!("thread.cpu_context.{member}"));
                State { pc: context("pc")?, sp: context("sp")?, bp: context("fp")?, ..State::default() }
            }
        };
        Ok(self.walk(state, stack))
    }

    fn walk(&self, start: State, stack: u64) -> Walk {
        let mut steps = vec![Step { pc: start.pc, exact: start.exact, reliable: true }];
        let on_task_stack = |sp: u64| sp.wrapping_sub(stack) < self.thread_size;
        let mut state = start;
        let mut switches = 0;
        let stopped = loop {
            if !self.kernel.memory.translation.is_kernel(state.pc) {
                // The system call or interrupt came from user space: the end.
                break None;
            }
            if steps.len() >= MAX_FRAMES {
                break Some(format!("it is deeper than {MAX_FRAMES} frames"));
            }
            let (next, reliable) = match self.step(&state) {
                Next::Frame(next) => (next, true),
                Next::End => break None,
                Next::Unknown | Next::Broken => match self.guess(&state, stack) {
                    Some(next) => (next, false),
                    None => break Some(format!("nothing leads on from {:#x}", state.pc)),
                },
            };
            if self.kernel.memory.translation.is_kernel(next.pc)
                && !(on_task_stack(next.sp) && next.sp > state.sp)
            {
                // Within one stack callers are above. An interrupt's or exception's stack leads to another
                // such stack or to the task's; from the task's own there is no way to another.
                switches += u32::from(next.sp <= state.sp);
                if on_task_stack(state.sp) || switches > MAX_SWITCHES {
                    break Some(format!("the stack turns back at {:#x}", state.sp));
                }
            }
            steps.push(Step { pc: next.pc, exact: next.exact, reliable });
            state = next;
        };
        Walk { steps, stopped }
    }

    fn step(&self, state: &State) -> Next {
        match &self.orc {
            Some(orc) => orc.step(self.kernel, self.code, state),
            None if self.kernel.memory.translation.machine() == Machine::Aarch64 => {
                frame_pointer::step_aarch64(self.kernel, state)
            }
            None => Next::Unknown,
        }
    }

    /// Where the tables say nothing. Code that BPF made keeps a frame pointer; in the kernel's own code
    /// without unwind data (`__crash_kexec`) `rbp` may be that of the caller, whose frame it would lose, so
    /// the stack is searched.
    fn guess(&self, state: &State, stack: u64) -> Option<State> {
        let by_pointer = || {
            is_frame_pointer(state)
                .then(|| frame_pointer::step_x86_64(self.kernel, self.code, state))
                .flatten()
        };
        if matches!(self.code.owner(state.pc), Some(Owner::Program(_))) {
            return by_pointer().or_else(|| scan::step(self, state, stack));
        }
        scan::step(self, state, stack).or_else(by_pointer)
    }
}

/// A frame pointer that lies just above the stack pointer is one; `rbp` is also used for other things.
fn is_frame_pointer(state: &State) -> bool {
    state.bp >= state.sp && state.bp - state.sp < THREAD_SIZE && state.bp.is_multiple_of(8)
}
