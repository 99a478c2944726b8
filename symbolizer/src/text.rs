//! The instruction bytes of an image against those that a dying kernel printed.
//!
//! Equal bytes prove that the image is of the build that crashed, and tell functions of one name apart. Some bytes
//! may differ in a sound kernel, and are left out: those that the kernel patches while it boots, and fields that
//! KASLR or the module loader fills.

use goblin::elf::header::{EM_AARCH64, EM_X86_64};
use goblin::elf::section_header::SHT_RELA;
use report::Code;
use serde::Serialize;

use crate::elf::{Elf, Section};
use crate::error::Error;

/// How many bytes could be compared, and how many were equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CodeMatch {
    /// Bytes outside of what may be patched.
    pub compared: usize,
    /// Those that were the same.
    pub equal: usize,
}

/// Fewer bytes prove nothing.
const MIN_COMPARED: usize = 8;

impl CodeMatch {
    /// Nothing differs, and enough was compared to mean something.
    pub fn is_proof(self) -> bool {
        self.compared >= MIN_COMPARED && self.equal == self.compared
    }

    /// More than a patched instruction or two differs.
    pub fn contradicts(self) -> bool {
        self.compared >= MIN_COMPARED && self.equal * 4 < self.compared * 3
    }
}

/// Tables of places that the kernel patches: name, size of an entry, how the place is written, bytes patched there
/// (arch/x86/include/asm/alternative.h, include/linux/jump_label.h, include/linux/ftrace.h). The longest alternative
/// seen is 40 bytes; most have 5.
const PATCHED: [(&str, usize, Place, u64); 11] = [
    ("__mcount_loc", 8, Place::Absolute, 5),
    ("__patchable_function_entries", 8, Place::Absolute, 8),
    (".return_sites", 4, Place::Relative, 5),
    (".retpoline_sites", 4, Place::Relative, 7),
    (".call_sites", 4, Place::Relative, 5),
    (".static_call_sites", 8, Place::Relative, 5),
    ("__jump_table", 16, Place::Relative, 5),
    (".altinstructions", 0, Place::Relative, 40),
    (".parainstructions", 16, Place::Absolute, 7),
    (".smp_locks", 4, Place::Relative, 1),
    (".ibt_endbr_seal", 4, Place::Relative, 4),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Absolute,
    Relative,
}

/// Compares printed bytes with those of the image around `address`, where the marked byte is. `None` without text
/// (separate debug files) or without a mark.
pub(crate) fn compare(
    elf: &Elf,
    bytes: &[u8],
    address: u64,
    code: &Code,
) -> Result<Option<CodeMatch>, Error> {
    let Some(mark) = code.mark else { return Ok(None) };
    let start = address.wrapping_sub(mark as u64);
    let Some((index, section)) =
        elf.sections.iter().enumerate().find(|(_, s)| s.executable() && s.range().contains(&address))
    else {
        return Ok(None);
    };
    let text = elf.raw(bytes, section)?;
    if text.is_empty() {
        return Ok(None);
    }
    // Word-wise dumps print the most significant byte first.
    let printed: Vec<u8> =
        code.bytes.chunks(code.unit.max(1).into()).flat_map(|word| word.iter().rev()).copied().collect();
    let printed = if code.unit > 1 { printed } else { code.bytes.clone() };
    let mut open: Vec<bool> = vec![true; printed.len()];
    let mut close = |from: u64, length: u64| {
        for at in from..from.saturating_add(length) {
            if let Some(open) = at.checked_sub(start).and_then(|at| open.get_mut(usize::try_from(at).ok()?)) {
                *open = false;
            }
        }
    };
    let end = start.saturating_add(printed.len() as u64);
    let near = |at: u64, length: u64| at < end && at.saturating_add(length) > start;
    for table in elf.sections.iter().filter(|s| s.kind == SHT_RELA && s.info as usize == index) {
        for entry in elf.raw(bytes, table)?.as_chunks::<24>().0 {
            let field = |at: usize| u64::from_le_bytes(*entry[at..].first_chunk().expect("at + 8 <= 24"));
            let (offset, kind) = (field(0), field(8) as u32);
            let at = if elf.relocatable { section.address.wrapping_add(offset) } else { offset };
            if near(at, 8) && (elf.relocatable || is_absolute(elf.machine, kind)) {
                close(at, if kind == 1 { 8 } else { 4 });
            }
        }
    }
    for (name, size, place, patched) in PATCHED {
        for (number, table) in elf.sections.iter().enumerate().filter(|(_, s)| s.name == name) {
            for at in places(elf, bytes, number, table, size, place)? {
                if near(at, patched) {
                    close(at, patched);
                }
            }
        }
    }
    let mut found = CodeMatch { compared: 0, equal: 0 };
    for (i, (printed, _)) in printed.iter().zip(&open).enumerate().filter(|(_, (_, open))| **open) {
        let at = start.wrapping_add(i as u64).wrapping_sub(section.address);
        if let Some(byte) = usize::try_from(at).ok().and_then(|at| text.get(at)) {
            found.compared += 1;
            found.equal += usize::from(byte == printed);
        }
    }
    Ok(Some(found))
}

/// Fields of linked text that KASLR changes.
fn is_absolute(machine: u16, kind: u32) -> bool {
    match machine {
        EM_X86_64 => matches!(kind, 1 | 10 | 11),
        EM_AARCH64 => kind == 257,
        _ => true,
    }
}

/// The addresses that a table names.
fn places(
    elf: &Elf,
    bytes: &[u8],
    number: usize,
    table: &Section,
    size: usize,
    place: Place,
) -> Result<Vec<u64>, Error> {
    if elf.relocatable {
        // The relocations of the table say it: symbol plus addend, whatever the type. Too many places do no harm.
        return crate::relocate::Relocator::new(elf, bytes)?.targets(number);
    }
    // Entries of `.altinstructions` have 12 to 14 bytes, by release; each begins with the place.
    let size = match size {
        0 if table.size.is_multiple_of(14) && !table.size.is_multiple_of(12) => 14,
        0 => 12,
        size => size,
    };
    let raw = elf.raw(bytes, table)?;
    let entries = raw.chunks_exact(size).enumerate();
    let places = entries.filter_map(|(i, entry)| match place {
        Place::Absolute => Some(u64::from_le_bytes(*entry.first_chunk()?)),
        Place::Relative => {
            let offset = i64::from(i32::from_le_bytes(*entry.first_chunk()?));
            Some(table.address.wrapping_add((i * size) as u64).wrapping_add_signed(offset))
        }
    });
    Ok(places.collect())
}
