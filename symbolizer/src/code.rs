//! The code of an object: its bytes, and the sites in them that a running kernel may have changed.
//!
//! A kernel patches itself while it boots (alternatives, retpolines, static calls, jump labels, ftrace, paravirt, locks);
//! where, its own tables say. In a module every relocated field differs as well. At all other places the bytes in memory
//! are those of the file.

use std::collections::HashMap;
use std::ops::Range;

use goblin::elf::header::{EM_AARCH64, EM_PPC64, EM_RISCV, EM_X86_64};
use goblin::elf::section_header::{SHT_NOBITS, SHT_RELA};

use crate::elf::{Contents, Elf, Section, string_at};
use crate::error::Error;
use crate::relocate::Relocator;

/// The executable sections of an object that has their bytes.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// In order of their addresses, with their first address.
    pub sections: Vec<(u64, Contents)>,
    pub sites: Sites,
}

/// Addresses whose bytes prove nothing: ordered, none touches the next.
#[derive(Debug, Default)]
pub(crate) struct Sites(pub Vec<Range<u64>>);

impl Sites {
    fn of(mut ranges: Vec<Range<u64>>) -> Sites {
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let joined = next.start <= last.end;
            if joined {
                last.end = last.end.max(next.end);
            }
            joined
        });
        Sites(ranges)
    }

    pub fn hold(&self, address: u64) -> bool {
        let after = self.0.partition_point(|site| site.start <= address);
        after.checked_sub(1).is_some_and(|at| address < self.0[at].end)
    }
}

impl Text {
    pub fn read(elf: &Elf, bytes: &[u8]) -> Result<Text, Error> {
        let executable = |s: &Section| s.executable() && s.kind != SHT_NOBITS;
        // Honest sections do not share bytes; those of a hostile file could ask for the same ones a million times.
        let read = elf.sections.iter().filter(|s| executable(s) || s.kind == SHT_RELA);
        let claimed = read.fold(0u64, |sum, section| sum.saturating_add(section.size));
        if claimed > bytes.len() as u64 {
            return Err(Error::Elf("sections of code and relocations claim more than the file holds".into()));
        }
        let mut sections = Vec::new();
        let mut sites = Vec::new();
        let relocator = if elf.relocatable { Some(Relocator::new(elf, bytes)?) } else { None };
        for (number, section) in elf.sections.iter().enumerate().filter(|(_, s)| executable(s)) {
            let contents = match &relocator {
                Some(relocator) => {
                    let mut copy = elf.raw(bytes, section)?.to_vec();
                    relocator.calls(number, &mut copy)?;
                    Contents::Owned(copy)
                }
                None => Contents::InFile(elf.span(bytes, section)?),
            };
            sections.push((section.address, contents));
            sites.extend(fields(elf, bytes, number)?);
        }
        if sections.is_empty() {
            return Ok(Text::default());
        }
        sections.sort_unstable_by_key(|(address, _)| *address);
        let mut text: Vec<Range<u64>> =
            elf.sections.iter().filter(|s| s.executable()).map(Section::range).collect();
        text.sort_unstable_by_key(|range| range.start);
        let tables = Tables { elf, bytes, relocator, bounds: bounds(elf, bytes)?, text };
        for table in &TABLES {
            sites.extend(tables.sites(table)?);
        }
        Ok(Text { sections, sites: Sites::of(sites) })
    }

    /// The bytes from an address on, to the end of its section. `file` is what this was read from.
    pub fn at<'a>(&'a self, file: &'a [u8], address: u64) -> Option<&'a [u8]> {
        let after = self.sections.partition_point(|(start, _)| *start <= address);
        let (start, contents) = self.sections.get(after.checked_sub(1)?)?;
        contents.of(file).get(usize::try_from(address - start).ok()?..).filter(|rest| !rest.is_empty())
    }
}

/// Fields of a section that a loader fills: all relocations of a module; of a linked kernel those that KASLR moves.
fn fields(elf: &Elf, bytes: &[u8], number: usize) -> Result<Vec<Range<u64>>, Error> {
    let section = &elf.sections[number];
    let mut fields = Vec::new();
    for table in elf.relocations(number).filter(|table| table.kind == SHT_RELA) {
        for entry in elf.raw(bytes, table)?.as_chunks::<24>().0 {
            let word = |at: usize| u64::from_le_bytes(*entry[at..].first_chunk().expect("at + 8 <= 24"));
            let (offset, kind) = (word(0), word(8) as u32);
            // Types of absolute addresses: x86-64 psABI table 4.9, "ELF for the Arm 64-bit Architecture" 5.7.4.
            let moved = match elf.machine {
                EM_X86_64 => matches!(kind, 1 | 10 | 11),
                EM_AARCH64 => kind == 257,
                _ => true,
            };
            let at = if elf.relocatable { section.address.wrapping_add(offset) } else { offset };
            // Of 64 bits, and R_RISCV_CALL, which are two instructions.
            let wide = matches!(
                (elf.machine, kind),
                (EM_X86_64, 1 | 24) | (EM_AARCH64, 257 | 260) | (EM_RISCV, 2 | 18 | 19) | (EM_PPC64, 38)
            );
            if elf.relocatable || moved {
                fields.push(at..at.saturating_add(if wide { 8 } else { 4 }));
            }
        }
    }
    Ok(fields)
}

/// A table of places that the kernel patches.
struct Table {
    /// Its section in a module, and in kernels that keep it apart.
    section: &'static str,
    /// The symbols around it where the linker script has put it into another section.
    symbols: Option<(&'static [u8], &'static [u8])>,
    /// Possible sizes of an entry.
    sizes: &'static [usize],
    place: Place,
    length: Length,
}

/// How an entry begins.
#[derive(Clone, Copy)]
enum Place {
    /// The address, `u64`.
    Absolute,
    /// The distance from the entry, `i32`.
    Relative,
}

/// How many bytes are patched there.
#[derive(Clone, Copy)]
enum Length {
    Fixed(u64),
    /// The byte at this position of an entry says it, by the size of the entry.
    Told(fn(usize) -> usize),
}

const fn table(section: &'static str, size: &'static [usize], place: Place, length: Length) -> Table {
    Table { section, symbols: None, sizes: size, place, length }
}

/// arch/x86/include/asm/alternative.h, include/linux/{jump_label,static_call_types,ftrace}.h. `struct alt_instr` has 12
/// bytes, 13 before 5.13 (`padlen`), 14 on x86 since 6.3 (32 bits of flags); its length follows the 4, 4, and 2 or 4
/// bytes of place, replacement and feature.
const TABLES: [Table; 11] = [
    Table {
        symbols: Some((b"__start_mcount_loc", b"__stop_mcount_loc")),
        ..table("__mcount_loc", &[8], Place::Absolute, Length::Fixed(5))
    },
    table("__patchable_function_entries", &[8], Place::Absolute, Length::Fixed(8)),
    table(".return_sites", &[4], Place::Relative, Length::Fixed(5)),
    table(".retpoline_sites", &[4], Place::Relative, Length::Fixed(7)),
    table(".call_sites", &[4], Place::Relative, Length::Fixed(5)),
    Table {
        symbols: Some((b"__start_static_call_sites", b"__stop_static_call_sites")),
        ..table(".static_call_sites", &[8], Place::Relative, Length::Fixed(5))
    },
    Table {
        symbols: Some((b"__start___jump_table", b"__stop___jump_table")),
        ..table("__jump_table", &[16], Place::Relative, Length::Fixed(5))
    },
    table(
        ".altinstructions",
        &[12, 14, 13],
        Place::Relative,
        Length::Told(|size| if size == 14 { 12 } else { 10 }),
    ),
    table(".parainstructions", &[16], Place::Absolute, Length::Told(|_| 9)),
    table(".smp_locks", &[4], Place::Relative, Length::Fixed(1)),
    table(".ibt_endbr_seal", &[4], Place::Relative, Length::Fixed(4)),
];

/// Reads the tables of one object.
struct Tables<'a> {
    elf: &'a Elf,
    bytes: &'a [u8],
    relocator: Option<Relocator<'a>>,
    /// Values of the symbols that [`TABLES`] name.
    bounds: HashMap<&'static [u8], u64>,
    /// The executable sections, in order.
    text: Vec<Range<u64>>,
}

/// Looks for those symbols, in a linked kernel.
fn bounds(elf: &Elf, bytes: &[u8]) -> Result<HashMap<&'static [u8], u64>, Error> {
    let mut found = HashMap::new();
    let Some((symbols, strings)) = elf.symbols(bytes)?.filter(|_| !elf.relocatable) else { return Ok(found) };
    let wanted: Vec<&[u8]> = TABLES.iter().filter_map(|t| t.symbols).flat_map(|(a, b)| [a, b]).collect();
    for symbol in &symbols {
        let rest = strings.get(symbol.st_name..).unwrap_or_default();
        if rest.starts_with(b"__st")
            && let Some(name) = wanted.iter().find(|name| **name == string_at(strings, symbol.st_name))
        {
            found.insert(*name, symbol.st_value);
        }
    }
    Ok(found)
}

impl Tables<'_> {
    fn sites(&self, table: &Table) -> Result<Vec<Range<u64>>, Error> {
        let mut found = Vec::new();
        for (number, section) in self.elf.sections.iter().enumerate().filter(|(_, s)| s.name == table.section)
        {
            let raw = self.elf.raw(self.bytes, section)?;
            let places = match &self.relocator {
                Some(relocator) => Places::Told(relocator.targets(number)?),
                None => Places::Written(section.address),
            };
            found.extend(self.entries(table, raw, &places));
        }
        if let Some((start, stop)) = table.symbols
            && let (Some(&start), Some(&stop)) = (self.bounds.get(start), self.bounds.get(stop))
            && found.is_empty()
            && let Some(section) =
                self.elf.sections.iter().find(|s| s.kind != SHT_NOBITS && s.range().contains(&start))
        {
            let raw = self.elf.raw(self.bytes, section)?;
            let at =
                |address: u64| usize::try_from(address.saturating_sub(section.address)).unwrap_or(usize::MAX);
            found.extend(self.entries(
                table,
                raw.get(at(start)..at(stop)).unwrap_or_default(),
                &Places::Written(start),
            ));
        }
        Ok(found)
    }

    /// The places in the text. Where several sizes of an entry are possible, it is the one for which all are.
    fn entries(&self, table: &Table, raw: &[u8], places: &Places) -> Vec<Range<u64>> {
        let site = |size: usize, (i, entry): (usize, &[u8])| {
            let at = (i * size) as u64;
            let place = match (places, table.place) {
                (Places::Told(targets), _) => *targets.get(&at)?,
                (Places::Written(_), Place::Absolute) => u64::from_le_bytes(*entry.first_chunk()?),
                (Places::Written(start), Place::Relative) => {
                    let distance = i64::from(i32::from_le_bytes(*entry.first_chunk()?));
                    start.wrapping_add(at).wrapping_add_signed(distance)
                }
            };
            let length = match table.length {
                Length::Fixed(length) => length,
                Length::Told(position) => (*entry.get(position(size))?).into(),
            };
            let after = self.text.partition_point(|range| range.start <= place);
            let section = self.text.get(after.checked_sub(1)?)?;
            section.contains(&place).then(|| place..place.saturating_add(length))
        };
        for &size in table.sizes {
            let found: Vec<Range<u64>> =
                raw.chunks_exact(size).enumerate().filter_map(|entry| site(size, entry)).collect();
            if table.sizes.len() == 1 || found.len() * size == raw.len() {
                return found;
            }
        }
        Vec::new()
    }
}

/// What the places of a table are counted from.
enum Places {
    /// They are written in it, and relative ones count from its address.
    Written(u64),
    /// Relocations say them, by their offset in the table.
    Told(HashMap<u64, u64>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_that_touch_are_one_and_ends_are_outside() {
        let sites = Sites::of(vec![20..25, 10..12, 11..15, 15..16, 30..30]);
        assert_eq!(sites.0, [10..16, 20..25, 30..30]);
        let held: Vec<u64> = (0..40).filter(|&at| sites.hold(at)).collect();
        assert_eq!(held, (10..16).chain(20..25).collect::<Vec<_>>());
    }
}
