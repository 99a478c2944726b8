//! Loaded BPF programs and trampolines, which no symbol table names (`bpf_ksym` of `kernel/bpf/core.c`).

use crate::address::Address;
use crate::kernel::{Absent, Kernel};
use report::Note;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A machine with a service mesh has some thousands.
const MAX_PROGRAMS: usize = 65536;
/// `KSYM_NAME_LEN`.
const NAME: usize = 512;

/// A piece of code that BPF made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// As kernel traces print it: `bpf_prog_TAG_name`, `bpf_trampoline_N`, ….
    pub name: String,
    /// The program's tag, 16 hex digits; none for trampolines and dispatchers.
    pub tag: Option<String>,
    /// Where its code begins.
    pub start: Address,
    /// The first address behind it.
    pub end: Address,
}

/// The list `bpf_kallsyms`, as far as it can be read; empty where the kernel has none (before 5.7).
pub(crate) fn read(kernel: &Kernel, notes: &mut Vec<Note>) -> Vec<Program> {
    let mut programs = Vec::new();
    let Ok(head) = kernel.symbol("bpf_kallsyms") else { return programs };
    if let Err(cause) = walk(kernel, head, &mut programs) {
        notes.push(Note::new(
            "bpf",
            format!("the list of BPF programs ends after {}: {cause}", programs.len()),
        ));
    }
    programs
}

fn walk(kernel: &Kernel, head: u64, programs: &mut Vec<Program>) -> Result<(), Absent> {
    let offset = |member| kernel.offset("bpf_ksym", member);
    let (list, name) = (offset("lnode")?, offset("name")?);
    let mut seen = HashSet::new();
    let mut at = kernel.pointer(head, "list_head", "next")?;
    while at != head {
        if !seen.insert(at) || programs.len() >= MAX_PROGRAMS {
            return Err(Absent::Odd("it goes round in a circle".into()));
        }
        let ksym = at.wrapping_sub(list);
        let name = kernel.memory.string(ksym.wrapping_add(name), NAME)?;
        let tag = name.strip_prefix("bpf_prog_").and_then(|rest| rest.get(..16)).map(str::to_owned);
        programs.push(Program {
            tag: tag.filter(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit())),
            name,
            start: Address(kernel.pointer(ksym, "bpf_ksym", "start")?),
            end: Address(kernel.pointer(ksym, "bpf_ksym", "end")?),
        });
        at = kernel.kernel_pointer(at, "list_head", "next")?;
    }
    Ok(())
}
