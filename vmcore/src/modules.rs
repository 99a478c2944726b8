//! Loaded modules: where they lie, their build ids, their symbols (`struct module`).

use crate::address::Address;
use crate::dump::gnu_build_id;
use crate::kernel::{Absent, Kernel};
use report::{BuildId, Note};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::ops::Range;

/// A distribution's kernel has some 5000 modules; nobody loads them all.
const MAX_MODULES: usize = 4096;
/// The largest modules (graphics drivers) have some 50 000 symbols.
const MAX_SYMBOLS: u64 = 1 << 18;
/// Symbols at one place, and places without a name, that are looked at for one address.
const MAX_PASSED: usize = 16;
/// `MODULE_NAME_LEN`, and room for a symbol's name (`KSYM_NAME_LEN`).
const NAME: usize = 64;
const SYMBOL_NAME: usize = 512;
/// `enum mod_mem_type` of 6.4 and later.
const PIECES: [&str; 7] =
    ["text", "data", "rodata", "ro_after_init", "init_text", "init_data", "init_rodata"];
/// Letters of a module's taint flags, by bit (`taint_flags` of `kernel/panic.c`, those that modules have).
const TAINTS: [(u32, char); 7] = [(0, 'P'), (1, 'F'), (10, 'C'), (12, 'O'), (13, 'E'), (15, 'K'), (18, 'N')];
const BUILD_ID: usize = 20;
/// Sections of one module; with `-ffunction-sections` (FG-KASLR) there are thousands.
const MAX_SECTIONS: u64 = 4096;
/// Note sections of one module, and bytes of one: a module has two or three of some 40 bytes.
const MAX_NOTES: u64 = 16;
const MAX_NOTE: u64 = 4096;

/// One piece of a module's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// `text`, `data`, … as in `enum mod_mem_type`; `core` and `init` before 6.4.
    pub name: Cow<'static, str>,
    /// Where it begins.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
}

/// One loaded module.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Module {
    /// As in `/proc/modules`.
    pub name: String,
    /// Of its code.
    pub address: Address,
    /// Bytes as in `/proc/modules`: without the pieces that are for its init only.
    pub size: u64,
    /// Where it lies, code first.
    #[serde(serialize_with = "write_pieces", deserialize_with = "read_pieces")]
    pub pieces: Vec<Piece>,
    /// None on kernels that do not keep it (`CONFIG_STACKTRACE_BUILD_ID`).
    pub build_id: Option<BuildId>,
    /// `enum module_state`: 0 live, 1 coming, 2 going, 3 unformed.
    pub state: u32,
    /// Letters for proprietary (P), out of tree (O), unsigned (E), ….
    pub taints: String,
}

/// An object, in order: a piece's name, and its address and size.
fn write_pieces<S: Serializer>(pieces: &[Piece], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pieces.len()))?;
    for piece in pieces {
        map.serialize_entry(&piece.name, &(Address(piece.address), piece.size))?;
    }
    map.end()
}

fn read_pieces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Piece>, D::Error> {
    struct InOrder;
    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<Piece>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("pieces of a module by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Piece>, A::Error> {
            let mut pieces = Vec::new();
            while let Some((name, (address, size))) = map.next_entry::<String, (Address, u64)>()? {
                pieces.push(Piece { name: name.into(), address: address.0, size });
            }
            Ok(pieces)
        }
    }
    deserializer.deserialize_map(InOrder)
}

/// A module, with what finding addresses in it needs.
pub(crate) struct Loaded {
    pub module: Module,
    /// `struct module`.
    pub address: u64,
    /// The ranges of its code.
    pub code: Vec<Range<u64>>,
    symbols: OnceCell<Vec<Symbol>>,
}

struct Symbol {
    value: u64,
    /// Where its name lies.
    name: u64,
}

/// The list of modules, as far as it can be read.
pub(crate) fn read(kernel: &Kernel, notes: &mut Vec<Note>) -> Vec<Loaded> {
    let mut modules = Vec::new();
    if let Err(cause) = walk(kernel, &mut modules) {
        notes
            .push(Note::new("modules", format!("the list of modules ends after {}: {cause}", modules.len())));
    }
    modules
}

fn walk(kernel: &Kernel, modules: &mut Vec<Loaded>) -> Result<(), Absent> {
    let head = kernel.symbol("modules")?;
    let list = kernel.offset("module", "list")?;
    let mut at = kernel.pointer(head, "list_head", "next")?;
    while at != head {
        let address = at.wrapping_sub(list);
        if modules.len() >= MAX_MODULES || modules.iter().any(|known| known.address == address) {
            return Err(Absent::Odd("it goes round in a circle".into()));
        }
        modules.push(module(kernel, address)?);
        at = kernel.pointer(at, "list_head", "next")?;
    }
    Ok(())
}

fn module(kernel: &Kernel, at: u64) -> Result<Loaded, Absent> {
    let name = kernel.memory.string(at.wrapping_add(kernel.offset("module", "name")?), NAME)?;
    let (pieces, code) = places(kernel, at)?;
    let taints = kernel.pointer(at, "module", "taints").unwrap_or(0);
    let module = Module {
        name,
        address: Address(pieces.first().map_or(0, |piece| piece.address)),
        size: pieces.iter().filter(|piece| !piece.name.starts_with("init")).map(|piece| piece.size).sum(),
        pieces,
        build_id: kept_build_id(kernel, at).or_else(|| noted_build_id(kernel, at).ok().flatten()),
        state: kernel.memory.u32(at.wrapping_add(kernel.offset("module", "state")?))?,
        taints: TAINTS.iter().filter(|(bit, _)| taints >> bit & 1 == 1).map(|(_, letter)| letter).collect(),
    };
    Ok(Loaded { module, address: at, code, symbols: OnceCell::new() })
}

/// `module.build_id`, with `CONFIG_STACKTRACE_BUILD_ID`.
fn kept_build_id(kernel: &Kernel, at: u64) -> Option<BuildId> {
    let bytes: [u8; BUILD_ID] =
        kernel.memory.array(at.wrapping_add(kernel.offset("module", "build_id").ok()?)).ok()?;
    (bytes != [0; BUILD_ID]).then(|| BuildId::new(&bytes).ok()).flatten()
}

/// From the module's notes, which stay in memory for `/sys/module/NAME/notes`.
fn noted_build_id(kernel: &Kernel, at: u64) -> Result<Option<BuildId>, Absent> {
    let attrs = kernel.kernel_pointer(at, "module", "notes_attrs")?;
    // From 6.14 on a list of pointers that ends with a zero, before that an array behind its length.
    if let Ok(list) = kernel.pointer(attrs, "module_notes_attrs", "grp.bin_attrs") {
        for i in 0..MAX_NOTES {
            match kernel.memory.u64(list.wrapping_add(8 * i))? {
                0 => break,
                attr => {
                    if let Some(id) = build_id_in(kernel, attr)? {
                        return Ok(Some(id));
                    }
                }
            }
        }
        return Ok(None);
    }
    let count = kernel.memory.u32(attrs.wrapping_add(kernel.offset("module_notes_attrs", "notes")?))?;
    let first = attrs.wrapping_add(kernel.offset("module_notes_attrs", "attrs")?);
    let each = kernel.size_of("bin_attribute")?;
    for i in 0..u64::from(count).min(MAX_NOTES) {
        if let Some(id) = build_id_in(kernel, first.wrapping_add(each * i))? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// One `struct bin_attribute`: its `private` is the section's address.
fn build_id_in(kernel: &Kernel, attr: u64) -> Result<Option<BuildId>, Absent> {
    let size = kernel.pointer(attr, "bin_attribute", "size")?.min(MAX_NOTE);
    let mut bytes = vec![0; size as usize];
    kernel.memory.read(kernel.kernel_pointer(attr, "bin_attribute", "private")?, &mut bytes)?;
    Ok(gnu_build_id(&bytes))
}

/// Where a module lies, seven pieces from 6.4 on, two before; and the ranges that are code, from the start of a
/// piece.
fn places(kernel: &Kernel, at: u64) -> Result<(Vec<Piece>, Vec<Range<u64>>), Absent> {
    let (mut pieces, mut ranges) = (Vec::new(), Vec::new());
    let mut add = |name: &'static str, base: u64, size: u32, code: u32| {
        if size > 0 {
            pieces.push(Piece { name: name.into(), address: base, size: u64::from(size) });
            ranges.push(base..base.saturating_add(u64::from(code.min(size))));
        }
    };
    if let Ok(memory) = kernel.offset("module", "mem") {
        let each = kernel.size_of("module_memory")?;
        for (i, name) in PIECES.into_iter().enumerate() {
            let piece = at.wrapping_add(memory).wrapping_add(each * i as u64);
            let base = kernel.pointer(piece, "module_memory", "base")?;
            let size = kernel.memory.u32(piece.wrapping_add(kernel.offset("module_memory", "size")?))?;
            add(name, base, size, if name.ends_with("text") { size } else { 0 });
        }
    } else {
        for (name, member) in [("core", "core_layout"), ("init", "init_layout")] {
            let layout = at.wrapping_add(kernel.offset("module", member)?);
            let base = kernel.pointer(layout, "module_layout", "base")?;
            let size = kernel.memory.u32(layout.wrapping_add(kernel.offset("module_layout", "size")?))?;
            let text =
                kernel.memory.u32(layout.wrapping_add(kernel.offset("module_layout", "text_size")?))?;
            add(name, base, size, text);
        }
    }
    Ok((pieces, ranges))
}

/// Loads what other tools read of a module, for a small dump: the names and addresses of its sections
/// (`/sys/module/NAME/sections`), by which they place its debug information.
pub(crate) fn touch(kernel: &Kernel, module: u64) -> Result<(), Absent> {
    kernel.memory.touch(module, kernel.size_of("module")?);
    let sections = kernel.kernel_pointer(module, "module", "sect_attrs")?;
    let each = kernel.size_of("module_sect_attr")?;
    let first = sections.wrapping_add(kernel.offset("module_sect_attrs", "attrs")?);
    // 6.14 dropped the count: the attributes end with one without a name there.
    let count = match kernel.offset("module_sect_attrs", "nsections") {
        Ok(count) => u64::from(kernel.memory.u32(sections.wrapping_add(count))?).min(MAX_SECTIONS),
        Err(_) => MAX_SECTIONS,
    };
    kernel.memory.touch(sections, first.wrapping_sub(sections));
    for i in 0..count {
        let section = first.wrapping_add(each * i);
        kernel.memory.touch(section, each);
        let name = kernel.kernel_pointer(section, "module_sect_attr", "battr.attr.name")?;
        kernel.memory.string(name, NAME)?;
    }
    Ok(())
}

impl Loaded {
    /// The symbol that the kernel would print for an address in the module, and where it begins
    /// (`find_kallsyms_symbol`: of those at one address, the first in the table). `left` is how many symbols
    /// may still be read.
    pub fn lookup(&self, kernel: &Kernel, address: u64, left: &Cell<u64>) -> Option<(u64, Vec<String>)> {
        let symbols = self.symbols.get_or_init(|| symbols(kernel, self.address, left).unwrap_or_default());
        let mut below = address.checked_add(1)?;
        // Names that the kernel passes over are empty or mark the kind of what follows (`$x` on arm64).
        for _ in 0..MAX_PASSED {
            let value = symbols.iter().map(|symbol| symbol.value).filter(|&value| value < below).max()?;
            let here = symbols.iter().filter(|symbol| symbol.value == value).take(MAX_PASSED);
            let names = here.filter_map(|symbol| kernel.memory.string(symbol.name, SYMBOL_NAME).ok());
            let names: Vec<String> =
                names.filter(|name| !name.is_empty() && !name.starts_with('$')).collect();
            if !names.is_empty() {
                return Some((value, names));
            }
            below = value;
        }
        None
    }
}

/// The defined symbols of `mod->kallsyms`, in the order of the table.
fn symbols(kernel: &Kernel, module: u64, left: &Cell<u64>) -> Result<Vec<Symbol>, Absent> {
    let table = kernel.kernel_pointer(module, "module", "kallsyms")?;
    let symtab = kernel.kernel_pointer(table, "mod_kallsyms", "symtab")?;
    let strtab = kernel.kernel_pointer(table, "mod_kallsyms", "strtab")?;
    let count = kernel.memory.u32(table.wrapping_add(kernel.offset("mod_kallsyms", "num_symtab")?))?;
    let count = u64::from(count).min(MAX_SYMBOLS).min(left.get());
    left.set(left.get() - count);
    let mut symbols = Vec::new();
    // Elf64_Sym: u32 st_name, u8 st_info, u8 st_other, u16 st_shndx, u64 st_value, u64 st_size. The first is
    // empty.
    for i in 1..count {
        let Ok(symbol) = kernel.memory.array::<24>(symtab.wrapping_add(24 * i)) else { continue };
        let word = u128::from_le_bytes(*symbol.first_chunk().expect("24 bytes hold 16"));
        let (name, section, value) = (word as u32, (word >> 48) as u16, (word >> 64) as u64);
        if section != 0 {
            symbols.push(Symbol { value, name: strtab.wrapping_add(u64::from(name)) });
        }
    }
    Ok(symbols)
}
