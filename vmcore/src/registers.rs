//! The registers a CPU left when the machine died: NT_PRSTATUS notes, one for each CPU.

use crate::dump::{ElfNote, Machine, parse_notes};
use crate::kernel::{Absent, Kernel};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Where `pr_reg` begins in `struct elf_prstatus` of 64-bit machines, and `pr_pid`.
const PR_REG: usize = 112;
const PR_PID: usize = 32;
const NT_PRSTATUS: u32 = 1;
/// `crash_notes` of one CPU: a note's header, its name, 392 bytes at most, and the end mark.
const NOTE: usize = 512;

/// Size of QEMU's note on an x86-64 CPU; CR3 is behind 18 registers and 10 segments.
const QEMU_STATE: usize = 440;
const QEMU_CR3: usize = 8 + 18 * 8 + 10 * 24 + 3 * 8;

const X86_64: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "rflags", "rsp", "ss", "fs.base", "gs.base", "ds", "es", "fs", "gs",
];
const AARCH64: [&str; 34] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
    "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
    "sp", "pc", "pstate",
];

/// The registers of one CPU, by the names that debuggers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    names: &'static [&'static str],
    values: Vec<u64>,
    /// `pr_pid`: the task that was current; under QEMU the CPU's number plus one.
    pub(crate) pid: u32,
}

impl Registers {
    /// From the description of an NT_PRSTATUS note.
    pub(crate) fn parse(machine: Machine, desc: &[u8]) -> Option<Self> {
        let names: &[&str] = match machine {
            Machine::X86_64 => &X86_64,
            Machine::Aarch64 => &AARCH64,
        };
        let values: Vec<u64> = desc
            .get(PR_REG..PR_REG + 8 * names.len())?
            .chunks_exact(8)
            .map(|word| word.try_into().map_or(0, u64::from_le_bytes))
            .collect();
        let pid = desc.get(PR_PID..PR_PID + 4)?.try_into().map_or(0, u32::from_le_bytes);
        Some(Self { names, values, pid })
    }

    /// The value of a register by name: `rip`, `x29`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.names.iter().position(|&known| known == name).map(|at| self.values[at])
    }

    /// Names and values, in the order of the note.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.names.iter().copied().zip(self.values.iter().copied())
    }
}

impl Serialize for Registers {
    /// An object of hexadecimal strings; what holds the system call's number is left out, as debuggers do.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter().filter(|&(name, _)| name != "orig_rax") {
            map.serialize_entry(name, &format!("{value:#x}"))?;
        }
        map.end()
    }
}

/// The registers of a CPU from the kernel's own per-CPU note, which is exact; a CPU that did not answer has
/// none.
pub(crate) fn of_cpu(kernel: &Kernel, cpu: u32) -> Result<Option<Registers>, Absent> {
    let notes = kernel.memory.u64(kernel.symbol("crash_notes")?)?;
    let offset = kernel.memory.u64(kernel.symbol("__per_cpu_offset")?.wrapping_add(8 * u64::from(cpu)))?;
    let bytes: [u8; NOTE] = kernel.memory.array(notes.wrapping_add(offset))?;
    Ok(from_notes(kernel.memory.translation.machine(), &parse_notes(&bytes)).into_iter().next())
}

/// The root of the page tables that a CPU used, from QEMU's own note (`struct QEMUCPUState`).
pub(crate) fn cr3(notes: &[ElfNote]) -> Option<u64> {
    let note = notes.iter().find(|note| note.name == b"QEMU" && note.desc.len() == QEMU_STATE)?;
    note.desc[QEMU_CR3..].first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// The registers in the container's notes, in their order: one for each CPU that answered.
pub(crate) fn from_notes(machine: Machine, notes: &[ElfNote]) -> Vec<Registers> {
    let mine = notes.iter().filter(|note| note.name == b"CORE" && note.kind == NT_PRSTATUS);
    mine.filter_map(|note| Registers::parse(machine, &note.desc)).collect()
}
