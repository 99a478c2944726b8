//! The functions of the made-up kernel, and the ORC tables that unwind them.

use super::image::{FUNCTION, IMAGE, Image};

/// The kernel's functions, in order of address, with their ORC entries: sp offset, bp offset and flags of
/// version 3.
pub const FUNCTIONS: [(&str, i16, i16, u16); 8] = [
    ("_stext", 0, 0, 0),
    // CALL, sp + 16.
    ("schedule", 16, 0, 0x205),
    // CALL, bp + 16, with the caller's bp saved below the return address.
    ("worker_thread", 16, -16, 0x214),
    ("ret_from_fork", 0, 0, 0x100),
    // Undefined, as the function that starts the crash kernel.
    ("__crash_kexec", 0, 0, 0),
    ("panic", 24, 0, 0x205),
    ("do_syscall_64", 8, 0, 0x205),
    // REGS, signal: the registers that user space came in with.
    ("entry_SYSCALL_64", 0, 0, 0xb05),
];

/// Address of a place in one of the functions.
pub fn at(function: &str, offset: u64) -> u64 {
    let at = FUNCTIONS.iter().position(|(name, ..)| *name == function).unwrap();
    IMAGE + FUNCTION * at as u64 + offset
}

pub fn orc(image: &mut Image, symbols: &mut Vec<(u64, String)>) {
    let ips = image.alloc(4 * FUNCTIONS.len(), 8);
    let entries = image.alloc(6 * FUNCTIONS.len(), 8);
    for (i, (_, sp, bp, flags)) in FUNCTIONS.iter().enumerate() {
        let (at, i) = (ips + 4 * i as u64, i as u64);
        image.put(at, &((IMAGE + FUNCTION * i).wrapping_sub(at) as i32).to_le_bytes());
        image.put(entries + 6 * i, &sp.to_le_bytes());
        image.put(entries + 6 * i + 2, &bp.to_le_bytes());
        image.put(entries + 6 * i + 4, &flags.to_le_bytes());
    }
    symbols.push((ips, "__start_orc_unwind_ip".into()));
    symbols.push((ips + 4 * FUNCTIONS.len() as u64, "__stop_orc_unwind_ip".into()));
    symbols.push((entries, "__start_orc_unwind".into()));
}
