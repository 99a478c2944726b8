//! Text symbols with the sizes that the kernel prints.
//!
//! The size in `name+0x12/0x34` is not `st_size`: it is the distance to the next symbol that kallsyms knows
//! (kernel/kallsyms.c, `get_symbol_pos`), padding included. So the filter of kallsyms matters as much as the names.

use std::borrow::Cow;

use goblin::elf::sym::{STB_LOCAL, STB_WEAK, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT};

use crate::elf::{Elf, string_at};
use crate::error::Error;

/// A vmlinux with everything built in has half a million text symbols.
const MAX_SYMBOLS: usize = 1 << 24;

/// Module text is allocated in whole pages.
const PAGE: u64 = 0x1000;

/// A place in the text that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub address: u64,
    /// As the kernel prints it: up to the next symbol in memory, or to the end.
    pub ksize: u64,
    /// `st_size`: what the compiler said; 0 for labels of assembly.
    pub elf_size: u64,
    /// Its name begins here in the string table, see [`Symbols::name`].
    name: u32,
    /// The last symbol of its section: what comes behind it is a guess.
    pub last: bool,
    /// Order among names of one address: functions before labels, global before weak before local.
    rank: u8,
}

impl Symbol {
    /// A symbol of a list that has addresses and names only.
    pub fn listed(address: u64, ksize: u64) -> Symbol {
        Symbol { address, ksize, elf_size: 0, name: 0, last: false, rank: 0 }
    }

    /// The name, given the string table of the object.
    pub fn name<'s>(&self, strings: &'s [u8]) -> Cow<'s, str> {
        String::from_utf8_lossy(string_at(strings, self.name as usize))
    }
}

/// The symbols of the executable sections in order of their addresses; the preferred name of an address first.
#[derive(Debug, Default)]
pub(crate) struct Symbols(pub Vec<Symbol>);

impl Symbols {
    /// The symbol that an address belongs to: the nearest one at or below it.
    pub fn at(&self, address: u64) -> Option<&Symbol> {
        let after = self.0.partition_point(|symbol| symbol.address <= address);
        let nearest = self.0.get(after.checked_sub(1)?)?.address;
        let first = self.0.partition_point(|symbol| symbol.address < nearest);
        self.0.get(first).filter(|symbol| address - symbol.address < symbol.ksize)
    }
}

/// Reads them.
pub(crate) fn text_symbols(elf: &Elf, bytes: &[u8]) -> Result<Symbols, Error> {
    let Some((table, strings)) = elf.symbols(bytes)? else { return Ok(Symbols::default()) };
    if table.len() > MAX_SYMBOLS {
        return Err(Error::TooLarge { what: "symbols".into(), limit: MAX_SYMBOLS as u64 });
    }
    let executable: Vec<bool> = elf.sections.iter().map(super::elf::Section::executable).collect();
    let mut symbols = Vec::new();
    for symbol in table.iter().filter(|s| executable.get(s.st_shndx).copied().unwrap_or(false)) {
        let kind = symbol.st_type();
        if !matches!(kind, STT_FUNC | STT_NOTYPE | STT_OBJECT | STT_GNU_IFUNC) {
            continue;
        }
        let name = string_at(strings, symbol.st_name);
        if !kallsyms_keeps(name) {
            continue;
        }
        let base = if elf.relocatable { elf.sections[symbol.st_shndx].address } else { 0 };
        let bind = match symbol.st_bind() {
            STB_LOCAL => 2,
            STB_WEAK => 1,
            _ => 0,
        };
        symbols.push(Symbol {
            address: base.wrapping_add(symbol.st_value),
            ksize: 0,
            elf_size: symbol.st_size,
            name: symbol.st_name as u32,
            last: false,
            rank: bind + if kind == STT_FUNC { 0 } else { 4 },
        });
    }
    let text = |symbol: &Symbol| string_at(strings, symbol.name as usize);
    // Names that begin with underscores are the second choice of kallsyms too (`compare_symbols`).
    let key = |symbol: &Symbol| (symbol.address, symbol.rank);
    let underscores = |symbol: &Symbol| text(symbol).iter().take_while(|&&b| b == b'_').count();
    symbols.sort_unstable_by(|a, b| {
        let by_name = || underscores(a).cmp(&underscores(b)).then_with(|| text(a).cmp(text(b)));
        key(a).cmp(&key(b)).then_with(by_name)
    });
    symbols.dedup_by(|b, a| a.address == b.address && text(a) == text(b));
    measure(elf, &mut symbols);
    Ok(Symbols(symbols))
}

/// Fills `ksize`, walking backwards with the nearest higher symbol in memory.
fn measure(elf: &Elf, symbols: &mut [Symbol]) {
    let sections = placed(elf);
    let place = |symbol: &Symbol| {
        let after = sections.partition_point(|section| section.range.start <= symbol.address);
        let section = &sections[after.checked_sub(1)?];
        let to_end = section.range.end.checked_sub(symbol.address)?;
        Some((section.memory, section.at + (symbol.address - section.range.start), to_end))
    };
    let mut order: Vec<(usize, u64, u64, usize)> = Vec::with_capacity(symbols.len());
    for (number, symbol) in symbols.iter().enumerate() {
        // A symbol beyond the end of its section has no size.
        if let Some((memory, at, to_end)) = place(symbol) {
            order.push((memory, at, to_end, number));
        }
    }
    order.sort_unstable();
    let mut next = (usize::MAX, u64::MAX);
    let mut here = (usize::MAX, u64::MAX);
    for &(memory, at, to_end_of_section, number) in order.iter().rev() {
        if (memory, at) != here {
            (next, here) = (here, (memory, at));
        }
        let symbol = &mut symbols[number];
        let to_next = if next.0 == memory { next.1 - at } else { u64::MAX };
        symbol.last = to_next >= to_end_of_section;
        symbol.ksize = match to_next {
            // The last of all: the kernel counts to the end of the page.
            u64::MAX if elf.relocatable => (at + to_end_of_section).next_multiple_of(PAGE) - at,
            to_next if elf.relocatable => to_next,
            to_next => to_next.min(to_end_of_section),
        };
    }
}

/// An executable section and where it will be in memory.
struct Placed {
    range: std::ops::Range<u64>,
    /// Which allocation: the kernel's text, or of a module the text that stays or that of its init.
    memory: usize,
    /// Offset in it.
    at: u64,
}

/// As `layout_sections` (kernel/module/main.c) will place them: in the order of the file, aligned; `.init*` apart.
/// Architectures that grow sections (`.plt`) make it a guess, which is why other sizes are accepted as well.
fn placed(elf: &Elf) -> Vec<Placed> {
    let mut ends = [0u64; 2];
    let mut placed = Vec::new();
    for section in elf.sections.iter().filter(|s| s.executable()) {
        let (memory, at) = if elf.relocatable {
            let memory = usize::from(section.name.starts_with(".init"));
            let at = ends[memory].next_multiple_of(section.align.clamp(1, PAGE));
            ends[memory] = at + section.size;
            (memory, at)
        } else {
            (0, section.address)
        };
        placed.push(Placed { range: section.range(), memory, at });
    }
    placed.sort_unstable_by_key(|section| section.range.start);
    placed
}

/// What scripts/kallsyms.c and scripts/mksysmap leave out, and `is_mapping_symbol` (include/linux/module_symbol.h).
pub(crate) fn kallsyms_keeps(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 8] = [
        b"$",
        b".L",
        b"L0",
        b"__crc_",
        b"__efistub_",
        b"__kvm_nvhe_$",
        b"__kvm_nvhe_.L",
        b"__AArch64ADRPThunk_",
    ];
    const SUFFIXES: [&[u8]; 3] = [b"_from_arm", b"_from_thumb", b"_veneer"];
    // Only these begin a prefix; asking the first byte spares most names the search.
    let special = match name.first() {
        None => return false,
        Some(first) => matches!(first, b'$' | b'.' | b'L' | b'_'),
    };
    !(special && PREFIXES.iter().any(|p| name.starts_with(p)) || SUFFIXES.iter().any(|s| name.ends_with(s)))
        && (memchr::memchr(b'.', name).is_none()
            || [&b".long_branch."[..], b".plt_branch."]
                .iter()
                .all(|&part| memchr::memmem::find(name, part).is_none()))
}

/// Symbols that stand in front of a function: they delimit sizes, but no code runs in them.
pub(crate) fn is_prefix_symbol(name: &str) -> bool {
    ["__pfx_", "__cfi_", "__kcfi_typeid_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The name without what compilers append: `foo.isra.0.cold` → `foo`. The DWARF name of a function is its stem.
pub(crate) fn stem(name: &str) -> &str {
    const WORDS: [&str; 12] = [
        "cold",
        "warm",
        "hot",
        "isra",
        "part",
        "constprop",
        "llvm",
        "cfi",
        "cfi_jt",
        "lto_priv",
        "localalias",
        "str",
    ];
    let mut rest = name;
    while let Some((head, tail)) = rest.rsplit_once('.') {
        let number = !tail.is_empty() && tail.bytes().all(|b| b.is_ascii_digit());
        if head.is_empty() || !(number || WORDS.contains(&tail)) {
            break;
        }
        rest = head;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_compilers_come_off() {
        for (name, want) in [
            ("foo", "foo"),
            ("foo.isra.0", "foo"),
            ("foo.constprop.0.cold", "foo"),
            ("foo.llvm.1234567890", "foo"),
            ("foo.cfi_jt", "foo"),
            ("foo.lto_priv.0", "foo"),
            (".hidden", ".hidden"),
            ("_RNvCs1.abc", "_RNvCs1.abc"),
        ] {
            assert_eq!(stem(name), want, "{name}");
        }
    }

    #[test]
    fn kallsyms_leaves_out_mapping_symbols_and_thunks() {
        for name in ["$x", ".Ltmp3", "", "__crc_printk", "foo_veneer", "a.long_branch.b"] {
            assert!(!kallsyms_keeps(name.as_bytes()), "{name}");
        }
        for name in ["foo", "__pfx_foo", "_RNv$x", "foo.cold"] {
            assert!(kallsyms_keeps(name.as_bytes()), "{name}");
        }
    }
}
