//! Frame pointers: arm64's way through a stack, and x86-64's where ORC knows nothing.

use super::{Next, State};
use crate::code::Code;
use crate::kernel::Kernel;

/// A frame record whose saved pointer and return address are both zero has a type word behind it (arm64,
/// 6.13): 1 ends the stack, 2 stands within the registers that an exception saved.
const FINAL: u64 = 1;
const EXCEPTION: u64 = 2;

/// `x29` points at { caller's x29, return address }.
pub(super) fn step_aarch64(kernel: &Kernel, state: &State) -> Next {
    let word = |address: u64| kernel.memory.u64(address);
    if state.bp == 0 {
        return Next::End;
    }
    let (Ok(bp), Ok(lr)) = (word(state.bp), word(state.bp.wrapping_add(8))) else { return Next::Broken };
    if (bp, lr) == (0, 0) {
        return match word(state.bp.wrapping_add(16)) {
            Ok(EXCEPTION) => exception(kernel, state).unwrap_or(Next::Broken),
            Ok(FINAL) | Err(_) => Next::End,
            Ok(_) => Next::End,
        };
    }
    let pc = kernel.memory.translation.plain_pointer(lr);
    Next::Frame(State { pc, sp: state.bp.wrapping_add(16), bp, ..State::default() })
}

/// The record lies in `pt_regs.stackframe`.
fn exception(kernel: &Kernel, state: &State) -> Option<Next> {
    let regs = state.bp.wrapping_sub(kernel.offset("pt_regs", "stackframe").ok()?);
    let register = |member| kernel.pointer(regs, "pt_regs", member).ok();
    let bp = kernel.memory.u64(regs.wrapping_add(29 * 8)).ok()?;
    Some(Next::Frame(State { pc: register("pc")?, sp: register("sp")?, bp, exact: true, ..State::default() }))
}

/// `rbp` points at { caller's rbp, return address }, if the function set it up and the return address is
/// code.
pub(super) fn step_x86_64(kernel: &Kernel, code: &Code, state: &State) -> Option<State> {
    let bp = kernel.memory.u64(state.bp).ok()?;
    let pc = kernel.memory.u64(state.bp.wrapping_add(8)).ok()?;
    code.owner(pc).is_some().then(|| State { pc, sp: state.bp.wrapping_add(16), bp, ..State::default() })
}
