//! Relocations of a module (`ET_REL`), applied once to private copies: those of debug sections, and calls in its code.
//!
//! A `.ko` is linked only when the kernel loads it; until then every address and every offset into another debug
//! section is a zero with a relocation. Linked objects (`vmlinux`) may carry `.rela.debug_*` too, left over from
//! `ld --emit-relocs`; there they are already applied, and must be ignored.

use std::collections::HashMap;

use goblin::elf::header::{EM_AARCH64, EM_X86_64};
use goblin::elf::section_header::{SHN_ABS, SHN_LORESERVE, SHN_UNDEF, SHT_REL, SHT_RELA};

use crate::elf::{Elf, FIRST_BASE};
use crate::error::Error;

/// What every symbol stands for, by its number: value plus the base of its section.
pub(crate) struct Relocator<'a> {
    elf: &'a Elf,
    bytes: &'a [u8],
    values: Vec<Option<u64>>,
}

/// How one relocation changes the bytes: `S` symbol, `A` addend, `P` place (ELF specification).
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    /// `S + A`, that many bytes.
    Absolute(usize),
    /// `S + A - P`, that many bytes.
    Relative(usize),
}

impl<'a> Relocator<'a> {
    pub fn new(elf: &'a Elf, bytes: &'a [u8]) -> Result<Relocator<'a>, Error> {
        let values = match elf.symbols(bytes)? {
            Some((symbols, _)) => {
                symbols.iter().map(|symbol| value(elf, symbol.st_shndx, symbol.st_value)).collect()
            }
            None => Vec::new(),
        };
        Ok(Relocator { elf, bytes, values })
    }

    /// Applies every relocation that names section `target` to `data`, its (decompressed) contents.
    pub fn apply(&self, target: usize, data: &mut [u8]) -> Result<(), Error> {
        let name = &self.elf.sections[target].name;
        let base = self.elf.sections[target].address;
        for table in self.elf.relocations(target) {
            if table.kind == SHT_REL {
                return Err(Error::Unsupported(format!("{}: relocations without addends", table.name)));
            }
            // `Elf64_Rela`: r_offset, r_info (symbol in the high half, type in the low), r_addend.
            for entry in self.elf.raw(self.bytes, table)?.as_chunks::<24>().0 {
                let word = |at: usize| u64::from_le_bytes(*entry[at..].first_chunk().expect("at + 8 <= 24"));
                let (offset, info, addend) = (word(0), word(8), word(16));
                let kind = info as u32;
                let unsupported = || Error::UnsupportedRelocation {
                    machine: self.elf.machine,
                    kind,
                    section: name.clone(),
                };
                let change = change(self.elf.machine, kind).ok_or_else(unsupported)?;
                let (width, place) = match change {
                    Change::Nothing => continue,
                    Change::Absolute(width) => (width, 0),
                    Change::Relative(width) => (width, base.wrapping_add(offset)),
                };
                let damaged = |what: &str| Error::Elf(format!("{}: {what} at {offset:#x}", table.name));
                let symbol = self.values.get((info >> 32) as usize).copied().flatten();
                let symbol = symbol.ok_or_else(|| damaged("no such symbol for the relocation"))?;
                let result = symbol.wrapping_add(addend).wrapping_sub(place);
                let at = usize::try_from(offset).map_err(|_| damaged("relocation outside the section"))?;
                let field = data.get_mut(at..).and_then(|rest| rest.get_mut(..width));
                let field = field.ok_or_else(|| damaged("relocation outside the section"))?;
                if !fits(result, width) {
                    return Err(damaged("relocation overflows its field"));
                }
                field.copy_from_slice(&result.to_le_bytes()[..width]);
            }
        }
        Ok(())
    }
}

impl Relocator<'_> {
    /// What the relocations of a section refer to: symbol plus addend, whatever the type; by their offset in it.
    pub fn targets(&self, section: usize) -> Result<HashMap<u64, u64>, Error> {
        let mut targets = HashMap::new();
        self.each(section, |offset, _, target| {
            targets.extend(target.map(|target| (offset, target)));
        })?;
        Ok(targets)
    }

    /// Fills in the targets of calls and jumps to code of the same module; `data` is the contents of the section.
    pub fn calls(&self, section: usize, data: &mut [u8]) -> Result<(), Error> {
        let base = self.elf.sections[section].address;
        self.each(section, |offset, kind, target| {
            // Symbols of the kernel proper have no value here, and data has no address: those fields stay empty.
            let Some(target) = target.filter(|target| target.wrapping_add(4) >= FIRST_BASE) else { return };
            let distance = target.wrapping_sub(base.wrapping_add(offset));
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(field) = data.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else { return };
            match (self.elf.machine, kind) {
                // R_X86_64_PC32, R_X86_64_PLT32
                (EM_X86_64, 2 | 4) => *field = (distance as u32).to_le_bytes(),
                // R_AARCH64_JUMP26, R_AARCH64_CALL26
                (EM_AARCH64, 282 | 283) => {
                    let word = u32::from_le_bytes(*field) & !0x03ff_ffff;
                    *field = (word | (distance >> 2) as u32 & 0x03ff_ffff).to_le_bytes();
                }
                _ => {}
            }
        })
    }

    /// Offset, type and target (symbol plus addend) of each relocation of a section.
    fn each(&self, section: usize, mut each: impl FnMut(u64, u32, Option<u64>)) -> Result<(), Error> {
        for table in self.elf.relocations(section).filter(|table| table.kind == SHT_RELA) {
            for entry in self.elf.raw(self.bytes, table)?.as_chunks::<24>().0 {
                let word = |at: usize| u64::from_le_bytes(*entry[at..].first_chunk().expect("at + 8 <= 24"));
                let symbol = self.values.get((word(8) >> 32) as usize).copied().flatten();
                each(word(0), word(8) as u32, symbol.map(|symbol| symbol.wrapping_add(word(16))));
            }
        }
        Ok(())
    }
}

fn value(elf: &Elf, section: usize, value: u64) -> Option<u64> {
    match u32::try_from(section).ok()? {
        // The empty symbol 0, and symbols of other modules, which no debug information of C refers to.
        SHN_UNDEF | SHN_ABS => Some(value),
        index if index >= SHN_LORESERVE => None,
        index => Some(elf.sections.get(index as usize)?.address.wrapping_add(value)),
    }
}

/// The types that debug sections use: x86-64 psABI table 4.9, "ELF for the Arm 64-bit Architecture" 5.7.4.
fn change(machine: u16, kind: u32) -> Option<Change> {
    Some(match (machine, kind) {
        (EM_X86_64 | EM_AARCH64, 0) | (EM_AARCH64, 256) => Change::Nothing,
        (EM_X86_64, 1) | (EM_AARCH64, 257) => Change::Absolute(8),
        (EM_X86_64, 10 | 11) | (EM_AARCH64, 258) => Change::Absolute(4),
        (EM_AARCH64, 259) => Change::Absolute(2),
        (EM_X86_64, 24) | (EM_AARCH64, 260) => Change::Relative(8),
        (EM_X86_64, 2) | (EM_AARCH64, 261) => Change::Relative(4),
        (EM_AARCH64, 262) => Change::Relative(2),
        _ => return None,
    })
}

/// Whether a value survives truncation, read as signed or as unsigned.
fn fits(value: u64, width: usize) -> bool {
    let bits = width as u32 * 8;
    bits == 64 || value >> bits == 0 || (value as i64) >> (bits - 1) == -1
}
