//! Scanning a stack for a return address: the frame of an x86-64 panic has no unwind data.

use super::{Next, State, Unwinder};

/// How far up to look: `__crash_kexec` holds a `pt_regs` and little else.
const REACH: u64 = 4096;
/// Values of the frame pointer that are tried for one return address.
const MAX_POINTERS: usize = 16;
/// Steps that a candidate must lead to the end within.
const MAX_STEPS: usize = 64;

/// The first return address above the stack pointer from which the tables lead to the end of the stack.
/// Should none do, the first of all: a stack that is damaged higher up is still worth its lower frames.
pub(super) fn step(unwinder: &Unwinder<'_>, state: &State, stack: u64) -> Option<State> {
    let kernel = unwinder.kernel;
    let top = stack.wrapping_add(unwinder.thread_size);
    let within = state.sp.wrapping_sub(stack) < unwinder.thread_size;
    let reach = state.sp.saturating_add(REACH);
    let end = if within { top.min(reach) } else { reach };
    let mut first = None;
    // The function that was skipped may have saved its caller's frame pointer.
    let mut pointers = vec![state.bp];
    let mut at = state.sp.checked_next_multiple_of(8)?;
    while at < end {
        let Ok(word) = kernel.memory.u64(at) else { break };
        if within && word > at && word < top && pointers.len() < MAX_POINTERS {
            pointers.push(word);
        }
        if is_return_address(unwinder, word) {
            let state = State { pc: word, sp: at + 8, bp: state.bp, ..State::default() };
            let mut candidates = pointers.iter().map(|&bp| State { bp, ..state });
            if let Some(found) = candidates.find(|&candidate| leads_on(unwinder, candidate)) {
                return Some(found);
            }
            first.get_or_insert(state);
        }
        at += 8;
    }
    first
}

/// In code that the tables know, behind a call.
fn is_return_address(unwinder: &Unwinder<'_>, word: u64) -> bool {
    let kernel = unwinder.kernel;
    if unwinder.code.owner(word).is_none() {
        return false;
    }
    let Some(orc) = &unwinder.orc else { return true };
    orc.defined(kernel, unwinder.code, word.wrapping_sub(1))
        && match kernel.memory.array::<7>(word.wrapping_sub(7)) {
            Ok([_, _, 0xe8, ..]) => true,
            // `ff /2`: an indirect call of two to seven bytes.
            Ok(bytes) => (0..6).any(|at| bytes[at] == 0xff && bytes[at + 1] >> 3 & 7 == 2),
            // Code that the dump left out cannot speak against it.
            Err(_) => true,
        }
}

fn leads_on(unwinder: &Unwinder<'_>, mut state: State) -> bool {
    for _ in 0..MAX_STEPS {
        match unwinder.step(&state) {
            Next::Frame(next) if !unwinder.kernel.memory.translation.is_kernel(next.pc) => return next.exact,
            Next::Frame(next) if next.sp > state.sp => state = next,
            Next::End => return true,
            Next::Frame(_) | Next::Unknown | Next::Broken => return false,
        }
    }
    false
}
