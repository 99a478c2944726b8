//! The kernel's own symbol table, as it lies in memory (`kernel/kallsyms.c`, `scripts/kallsyms.c`).
//!
//! Names stay compressed (some 13 bytes a symbol); a table of hashes finds one by name.

pub mod coding;

use self::coding::{Addresses, MAX_NAME};
use crate::memory::{Fault, Memory};
use crate::vmcoreinfo::VmcoreInfo;
use std::hash::{Hash, Hasher};

/// Debug kernels have some 300 000.
const MAX_SYMBOLS: u32 = 4 << 20;
/// Compressed names of as many symbols.
const MAX_NAMES: usize = 64 << 20;
/// Every so many symbols the place of the name is kept.
const STRIDE: usize = 64;
/// Names of one address: `entry_SYSCALL_64…`, `__x64_sys_…`; the kernel has a hundred for one stub.
const MAX_ALIASES: usize = 4096;
/// And so many of them are told.
const MAX_NAMED: usize = 16;

/// The table of one kernel.
pub(crate) struct Kallsyms {
    tokens: Vec<Vec<u8>>,
    names: Vec<u8>,
    /// Where the names of symbols 0, STRIDE, 2 STRIDE … begin.
    places: Vec<u32>,
    offsets: Vec<u32>,
    addresses: Addresses,
    /// (hash of the name, symbol), sorted.
    by_name: Vec<(u32, u32)>,
}

impl Kallsyms {
    /// Reads the tables that VMCOREINFO names (6.0 and later).
    pub fn read(memory: &Memory, info: &VmcoreInfo) -> Result<Self, String> {
        let symbol = |name: &str| info.symbol(name).ok_or_else(|| format!("VMCOREINFO lacks SYMBOL({name})"));
        let fault = |fault: Fault| format!("the symbol table cannot be read: {fault}");
        let names_at = symbol("kallsyms_names")?;
        let count = memory.u32(symbol("kallsyms_num_syms")?).map_err(fault)?;
        if count == 0 || count > MAX_SYMBOLS {
            return Err(format!("the kernel has {count} symbols: not believed"));
        }
        let count = count as usize;
        let tokens = tokens(memory, symbol("kallsyms_token_table")?, symbol("kallsyms_token_index")?)
            .map_err(fault)?;
        let table = symbol("kallsyms_offsets")?;
        let mut bytes = vec![0; count * 4];
        memory.read(table, &mut bytes).map_err(fault)?;
        let offsets =
            bytes.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect();
        drop(bytes);
        let base = info.symbol("kallsyms_relative_base").and_then(|at| memory.u64(at).ok());
        let (names, places) = names(memory, names_at, count)?;
        let addresses = Addresses::Place { table };
        let mut kallsyms = Self { tokens, names, places, offsets, addresses, by_name: Vec::new() };
        kallsyms.index();
        kallsyms.choose(table, base, symbol("_stext")?)?;
        Ok(kallsyms)
    }

    fn index(&mut self) {
        let mut by_name = Vec::with_capacity(self.offsets.len());
        let mut at = 0;
        let mut name = Vec::new();
        for i in 0..self.offsets.len() {
            at = self.expand(at, &mut name);
            by_name.push((hash(name.get(1..).unwrap_or_default()), i as u32));
        }
        by_name.sort_unstable();
        self.by_name = by_name;
    }

    /// Takes the meaning of the offsets under which `_stext` is where VMCOREINFO has it.
    fn choose(&mut self, table: u64, base: Option<u64>, stext: u64) -> Result<(), String> {
        let known = base
            .into_iter()
            .flat_map(|base| [Addresses::AbsolutePerCpu { base }, Addresses::Relative { base }]);
        for addresses in known.chain([Addresses::Place { table }]) {
            self.addresses = addresses;
            if self.addresses_of("_stext").any(|address| address == stext) {
                return Ok(());
            }
        }
        Err("the symbol table does not have _stext where VMCOREINFO has it".into())
    }

    /// The address of the first symbol of that name.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        self.addresses_of(name).next()
    }

    fn addresses_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u64> + 'a {
        let hash = hash(name.as_bytes());
        let first = self.by_name.partition_point(|&(other, _)| other < hash);
        let same = self.by_name[first..].iter().take_while(move |&&(other, _)| other == hash);
        same.filter(move |&&(_, i)| self.name(i as usize) == name).map(|&(_, i)| self.address(i as usize))
    }

    /// The names at the last symbol at or below `address`, the kernel's choice first, and that symbol's
    /// address.
    pub fn lookup(&self, address: u64) -> Option<(u64, Vec<String>)> {
        let (mut low, mut high) = (0, self.offsets.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.address(middle) <= address { low = middle + 1 } else { high = middle }
        }
        let last = low.checked_sub(1)?;
        let start = self.address(last);
        let aliases = (0..=last).rev().take(MAX_ALIASES).take_while(|&i| self.address(i) == start).count();
        let first = last + 1 - aliases;
        Some((start, (first..=last).take(MAX_NAMED).map(|i| self.name(i)).collect()))
    }

    fn address(&self, i: usize) -> u64 {
        self.addresses.of(i, self.offsets[i])
    }

    fn name(&self, i: usize) -> String {
        let mut at = self.places[i / STRIDE] as usize;
        for _ in 0..i % STRIDE {
            let (length, start) = self.length(at);
            at = start + length;
        }
        let mut name = Vec::new();
        self.expand(at, &mut name);
        // The first character is the type, as nm prints it.
        String::from_utf8_lossy(name.get(1..).unwrap_or_default()).into_owned()
    }

    /// Expands the name at `at` into `out`; returns where the next one begins.
    fn expand(&self, at: usize, out: &mut Vec<u8>) -> usize {
        let (length, start) = self.length(at);
        let packed = self.names.get(start..start + length).unwrap_or_default();
        coding::expand(packed, |token| &self.tokens[usize::from(token)], out);
        start + length
    }

    fn length(&self, at: usize) -> (usize, usize) {
        coding::length(&self.names, at).unwrap_or((0, at))
    }
}

fn tokens(memory: &Memory, table: u64, index: u64) -> Result<Vec<Vec<u8>>, Fault> {
    let index: [u8; 512] = memory.array(index)?;
    index
        .chunks_exact(2)
        .map(|place| {
            let place = u64::from(u16::from_le_bytes([place[0], place[1]]));
            Ok(memory.string(table.wrapping_add(place), 64)?.into_bytes())
        })
        .collect()
}

/// The compressed names, read on until all symbols are there: nothing says where they end.
fn names(memory: &Memory, address: u64, count: usize) -> Result<(Vec<u8>, Vec<u32>), String> {
    let mut names = Vec::new();
    let mut places = Vec::with_capacity(count / STRIDE + 1);
    let mut at = 0;
    for i in 0..count {
        if i % STRIDE == 0 {
            places.push(at as u32);
            // A name has at most two bytes of length and a thousand tokens; most have a dozen.
            let need = at + STRIDE * (MAX_NAME + 2);
            while names.len() < need && names.len() < MAX_NAMES {
                let mut page = [0; 4096];
                let next = address.wrapping_add(names.len() as u64);
                let length = 4096 - (next as usize & 4095);
                if let Err(fault) = memory.read(next, &mut page[..length]) {
                    if names.len() > at + 1 {
                        break;
                    }
                    return Err(format!("the symbols' names cannot be read: {fault}"));
                }
                names.extend(&page[..length]);
            }
        }
        let (length, start) = coding::length(&names, at).ok_or("the symbols' names end too soon")?;
        at = start + length;
    }
    names.truncate(at);
    names.shrink_to_fit();
    Ok((names, places))
}

fn hash(name: &[u8]) -> u32 {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish() as u32
}
