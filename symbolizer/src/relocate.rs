//! Relocations of a module (`ET_REL`), applied once to private copies: those of debug sections, and calls in its code.
//!
//! A `.ko` is linked only when the kernel loads it; until then every address and every offset into another debug
//! section is a zero with a relocation. Linked objects (`vmlinux`) may carry `.rela.debug_*` too, left over from
//! `ld --emit-relocs`; there they are already applied, and must be ignored.

use std::collections::HashMap;

use goblin::elf::header::{EM_AARCH64, EM_LOONGARCH, EM_PPC64, EM_RISCV, EM_X86_64};
use goblin::elf::section_header::{SHN_ABS, SHN_LORESERVE, SHN_UNDEF, SHT_REL, SHT_RELA};

use crate::elf::{Elf, FIRST_BASE};
use crate::error::Error;

/// What every symbol stands for, by its number: value plus the base of its section.
pub(crate) struct Relocator<'a> {
    elf: &'a Elf,
    bytes: &'a [u8],
    values: Vec<Option<u64>>,
}

/// How one relocation changes the bytes: `S` symbol, `A` addend, `P` place (ELF specification). RISC-V and LoongArch
/// write a difference as two relocations of one place.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    /// `S + A`, that many bytes.
    Absolute(usize),
    /// `S + A - P`, that many bytes.
    Relative(usize),
    /// What is there and `S + A`, that many bytes, and what is more does not count.
    Part(Op, usize),
    /// The low six bits of a byte, which is an advance of a call frame.
    Six(Op),
    /// A ULEB128 of as many bytes as are there.
    Leb(Op),
}

/// What becomes of what is there.
#[derive(Clone, Copy)]
enum Op {
    Set,
    Add,
    Subtract,
}

impl Op {
    fn of(self, old: u64, value: u64) -> u64 {
        match self {
            Op::Set => value,
            Op::Add => old.wrapping_add(value),
            Op::Subtract => old.wrapping_sub(value),
        }
    }
}

const OUTSIDE: &str = "relocation outside the section";

impl Change {
    /// Changes the field that `rest` begins with; `value` is `S + A`.
    fn apply(self, value: u64, place: u64, rest: &mut [u8]) -> Result<(), &'static str> {
        match self {
            Change::Nothing => {}
            Change::Absolute(width) | Change::Relative(width) => {
                let relative = matches!(self, Change::Relative(_));
                let value = if relative { value.wrapping_sub(place) } else { value };
                let field = rest.get_mut(..width).ok_or(OUTSIDE)?;
                if !fits(value, width) {
                    return Err("relocation overflows its field");
                }
                field.copy_from_slice(&value.to_le_bytes()[..width]);
            }
            Change::Part(op, width) => {
                let field = rest.get_mut(..width).ok_or(OUTSIDE)?;
                let old = field.iter().rev().fold(0, |old, byte| old << 8 | u64::from(*byte));
                field.copy_from_slice(&op.of(old, value).to_le_bytes()[..width]);
            }
            Change::Six(op) => {
                let byte = rest.first_mut().ok_or(OUTSIDE)?;
                *byte = *byte & 0xc0 | op.of((*byte & 0x3f).into(), value) as u8 & 0x3f;
            }
            Change::Leb(op) => {
                let length = rest.iter().take(MAX_LEB).position(|byte| byte & 0x80 == 0).ok_or(OUTSIDE)? + 1;
                let field = &mut rest[..length];
                let old = field.iter().rev().fold(0, |old, byte| old << 7 | u64::from(byte & 0x7f));
                let mut new = op.of(old, value);
                for byte in field {
                    *byte = *byte & 0x80 | new as u8 & 0x7f;
                    new >>= 7;
                }
            }
        }
        Ok(())
    }
}

/// Bytes of a 64-bit number in LEB128.
const MAX_LEB: usize = 10;

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
                if let Change::Nothing = change {
                    continue;
                }
                let damaged = |what: &str| Error::Elf(format!("{}: {what} at {offset:#x}", table.name));
                let symbol = self.values.get((info >> 32) as usize).copied().flatten();
                let symbol = symbol.ok_or_else(|| damaged("no such symbol for the relocation"))?;
                let rest = usize::try_from(offset).ok().and_then(|at| data.get_mut(at..)).unwrap_or_default();
                let place = base.wrapping_add(offset);
                change.apply(symbol.wrapping_add(addend), place, rest).map_err(damaged)?;
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

/// The types that debug sections use: x86-64 psABI table 4.9, "ELF for the Arm 64-bit Architecture" 5.7.4, RISC-V psABI
/// 8.5, OpenPOWER ELFv2 3.5.3, "ELF for the LoongArch Architecture".
fn change(machine: u16, kind: u32) -> Option<Change> {
    use Change::{Absolute, Leb, Nothing, Part, Relative, Six};
    use Op::{Add, Set, Subtract};
    Some(match (machine, kind) {
        (EM_X86_64 | EM_AARCH64 | EM_RISCV | EM_PPC64 | EM_LOONGARCH, 0) | (EM_AARCH64, 256) => Nothing,
        (EM_X86_64, 1) | (EM_AARCH64, 257) | (EM_RISCV | EM_LOONGARCH, 2) | (EM_PPC64, 38) => Absolute(8),
        (EM_X86_64, 10 | 11) | (EM_AARCH64, 258) | (EM_RISCV | EM_PPC64 | EM_LOONGARCH, 1) => Absolute(4),
        (EM_AARCH64, 259) => Absolute(2),
        (EM_X86_64, 24) | (EM_AARCH64, 260) | (EM_PPC64, 44) | (EM_LOONGARCH, 109) => Relative(8),
        (EM_X86_64, 2) | (EM_AARCH64, 261) | (EM_RISCV, 57) | (EM_PPC64, 26) | (EM_LOONGARCH, 99) => {
            Relative(4)
        }
        (EM_AARCH64, 262) => Relative(2),
        // R_RISCV_RELAX, R_LARCH_RELAX: the kernel loads the code as it is.
        (EM_RISCV, 51) | (EM_LOONGARCH, 100) => Nothing,
        // ADD8 to ADD64 and SUB8 to SUB64; LoongArch has some of 24 bits between.
        (EM_RISCV, 33..=36) => Part(Add, 1 << (kind - 33)),
        (EM_RISCV, 37..=40) => Part(Subtract, 1 << (kind - 37)),
        (EM_LOONGARCH, 47 | 48) => Part(Add, 1 << (kind - 47)),
        (EM_LOONGARCH, 50 | 51) => Part(Add, 4 << (kind - 50)),
        (EM_LOONGARCH, 52 | 53) => Part(Subtract, 1 << (kind - 52)),
        (EM_LOONGARCH, 55 | 56) => Part(Subtract, 4 << (kind - 55)),
        (EM_RISCV, 54..=56) => Part(Set, 1 << (kind - 54)),
        (EM_RISCV, 53) => Six(Set),
        (EM_LOONGARCH, 105) => Six(Add),
        (EM_RISCV, 52) | (EM_LOONGARCH, 106) => Six(Subtract),
        (EM_RISCV, 60) => Leb(Set),
        (EM_LOONGARCH, 107) => Leb(Add),
        (EM_RISCV, 61) | (EM_LOONGARCH, 108) => Leb(Subtract),
        _ => return None,
    })
}

/// Whether a value survives truncation, read as signed or as unsigned.
fn fits(value: u64, width: usize) -> bool {
    let bits = width as u32 * 8;
    bits == 64 || value >> bits == 0 || (value as i64) >> (bits - 1) == -1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies relocations of one place, in order.
    fn after(machine: u16, place: &[u8], relocations: &[(u32, u64)]) -> Vec<u8> {
        let mut bytes = place.to_vec();
        for &(kind, value) in relocations {
            change(machine, kind).unwrap().apply(value, 0x1000, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn differences_of_two_relocations_are_as_the_abi_says() {
        // What wraps before the second one is right after it; neighbours are left alone.
        assert_eq!(after(EM_RISCV, &[0, 0, 7], &[(34, 0x1_2345), (38, 0x1_2301)]), [0x44, 0, 7]);
        assert_eq!(after(EM_RISCV, &[9, 7], &[(54, 0x250), (37, 0x240)]), [0x10, 7]);
        assert_eq!(after(EM_RISCV, &[0xc0], &[(53, 0x155), (52, 0x150)]), [0xc5]);
        // R_RISCV_SET_ULEB128 and R_RISCV_SUB_ULEB128: as long as it was.
        assert_eq!(after(EM_RISCV, &[0x80, 0x80, 0, 7], &[(60, 0x1234), (61, 0x1000)]), [0xb4, 0x84, 0, 7]);
        assert_eq!(after(EM_LOONGARCH, &[0x81, 0], &[(107, 0x300), (108, 0x201)]), [0x80, 0x02]);
        assert_eq!(after(EM_LOONGARCH, &[0; 4], &[(50, 0x20), (55, 0x1c)]), [4, 0, 0, 0]);
        assert_eq!(after(EM_PPC64, &[0; 4], &[(26, 0x1010)]), [0x10, 0, 0, 0]);
    }

    #[test]
    fn a_field_that_is_cut_or_too_small_is_refused() {
        let apply =
            |machine, kind, value, bytes: &mut [u8]| change(machine, kind).unwrap().apply(value, 0, bytes);
        assert_eq!(apply(EM_RISCV, 35, 1, &mut [0; 3]), Err(OUTSIDE));
        assert_eq!(apply(EM_RISCV, 60, 1, &mut [0x80; 12]), Err(OUTSIDE));
        assert_eq!(apply(EM_RISCV, 53, 1, &mut []), Err(OUTSIDE));
        assert_eq!(apply(EM_PPC64, 1, 1 << 40, &mut [0; 4]), Err("relocation overflows its field"));
    }
}
