//! The registers a CPU left when the machine died: NT_PRSTATUS notes, one for each CPU.

use crate::address::Address;
use crate::dump::{ElfNote, Machine, parse_notes};
use crate::kernel::{Absent, Kernel};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

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

/// What holds the number of the system call is no register; debuggers leave it out.
const NO_REGISTER: &str = "orig_rax";

/// The registers of one CPU, by the names that debuggers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers(Vec<(&'static str, u64)>);

/// An NT_PRSTATUS note (`struct elf_prstatus`), as far as it says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// The task that was current; in QEMU's notes the CPU's number plus one.
    pub pid: u32,
    pub registers: Registers,
}

impl Status {
    /// From the note's description.
    fn parse(machine: Machine, desc: &[u8]) -> Option<Self> {
        let names: &[&str] = match machine {
            Machine::X86_64 => &X86_64,
            Machine::Aarch64 => &AARCH64,
        };
        let values = desc.get(PR_REG..PR_REG + 8 * names.len())?.chunks_exact(8);
        let values = values.map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let named = names.iter().copied().zip(values).filter(|&(name, _)| name != NO_REGISTER);
        let pid = desc.get(PR_PID..PR_PID + 4)?.try_into().map_or(0, u32::from_le_bytes);
        Some(Self { pid, registers: Registers(named.collect()) })
    }
}

impl Registers {
    /// The value of a register by name: `rip`, `x29`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter().find(|&(known, _)| known == name).map(|(_, value)| value)
    }

    /// Names and values, in the order of the note.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}

impl Serialize for Registers {
    /// An object of hexadecimal strings.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, &Address(value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Registers {
    /// What is no register of a processor that we know is passed over.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = BTreeMap::<String, Address>::deserialize(deserializer)?;
        let known = X86_64.iter().chain(&AARCH64).filter(|&&name| name != NO_REGISTER);
        Ok(Self(known.filter_map(|&name| Some((name, found.get(name)?.0))).collect()))
    }
}

/// The registers of a CPU from the kernel's own per-CPU note, which is exact; a CPU that did not answer has
/// none.
pub(crate) fn of_cpu(kernel: &Kernel, cpu: u32) -> Result<Option<Status>, Absent> {
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
pub(crate) fn from_notes(machine: Machine, notes: &[ElfNote]) -> Vec<Status> {
    let mine = notes.iter().filter(|note| note.name == b"CORE" && note.kind == NT_PRSTATUS);
    mine.filter_map(|note| Status::parse(machine, &note.desc)).collect()
}
