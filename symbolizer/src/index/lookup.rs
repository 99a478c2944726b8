//! Answers from an index: an address to its chain of calls, a name to its symbols.

use super::format::{GAP, LAST, NODE, SYMBOL, Table, UNIT, u32_at};
use super::stream::{Cell, Ranges};
use super::{Index, stream};
use crate::symtab::stem;
use crate::unit::MAX_INLINE_DEPTH;

/// A text symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolAt<'i> {
    /// Its name, suffixes kept.
    pub name: &'i str,
    /// Its link address.
    pub address: u64,
    /// The size that the kernel prints.
    pub ksize: u64,
    /// `st_size`; 0 for labels of assembly.
    pub elf_size: u64,
    /// Nothing follows in its section; the kernel may print a larger size, up to the end of the page.
    pub last: bool,
}

/// One step of a chain: a function and the place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'i> {
    /// The function's name in the source; empty where only the line is known.
    pub function: &'i str,
    /// The path as the compiler knew it; empty when unknown.
    pub file: &'i str,
    /// 0 when unknown.
    pub line: u32,
    /// 0 when unknown.
    pub column: u32,
    /// Inlined into the next step of the chain.
    pub inlined: bool,
}

/// The calls that run at one address, innermost first.
#[derive(Debug, Clone)]
pub struct Chain<'i> {
    index: &'i Index,
    unit: Unit,
    cell: Option<Cell>,
    left: usize,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    nodes: u32,
    node_count: u32,
    files: u32,
    file_count: u32,
}

impl Index {
    /// Who runs at this link address, and on which line. `None` where no unit says anything.
    pub fn lookup(&self, address: u64) -> Option<Chain<'_>> {
        let address = u32::try_from(address.checked_sub(self.meta.base)?).ok()?;
        let starts = self.table(Table::BlockStart);
        let at =
            partition_point(starts.len() / 4, |i| u32_at(starts, i).is_some_and(|start| start <= address));
        let at = at.checked_sub(1)?;
        let blocks = self.table(Table::Block);
        let (offset, unit) = (u32_at(blocks, at * 2)?, u32_at(blocks, at * 2 + 1)?);
        if unit == GAP {
            return None;
        }
        let stream = self.table(Table::Stream);
        let end = u32_at(blocks, at * 2 + 2).map_or(stream.len(), |next| next as usize);
        let cell = Ranges::new(stream.get(offset as usize..end)?, u32_at(starts, at)?).find(address)?;
        let record = self.table(Table::Unit).get(unit as usize * UNIT..)?;
        let unit = Unit {
            nodes: u32_at(record, 0)?,
            node_count: u32_at(record, 1)?,
            files: u32_at(record, 2)?,
            file_count: u32_at(record, 3)?,
        };
        Some(Chain { index: self, unit, cell: Some(cell), left: MAX_INLINE_DEPTH + 1 })
    }

    /// The symbol that this address belongs to: the nearest one at or below it, if the address is within its size.
    pub fn symbol_at(&self, address: u64) -> Option<SymbolAt<'_>> {
        let relative = u32::try_from(address.checked_sub(self.meta.base)?).ok()?;
        let table = self.table(Table::Symbols);
        let count = table.len() / SYMBOL;
        let after =
            partition_point(count, |i| u32_at(table, i * SYMBOL / 4).is_some_and(|start| start <= relative));
        let nearest = self.symbol(after.checked_sub(1)?)?;
        // Of several names for one address the first one is preferred.
        let first = partition_point(count, |i| {
            u32_at(table, i * SYMBOL / 4)
                .is_some_and(|start| u64::from(start) + self.meta.base < nearest.address)
        });
        self.symbol(first).filter(|symbol| address - symbol.address < symbol.ksize)
    }

    /// The first symbol above this address.
    pub fn symbol_after(&self, address: u64) -> Option<SymbolAt<'_>> {
        let table = self.table(Table::Symbols);
        let after = partition_point(table.len() / SYMBOL, |i| {
            u32_at(table, i * SYMBOL / 4).is_some_and(|start| u64::from(start) + self.meta.base <= address)
        });
        self.symbol(after)
    }

    /// All symbols with this name, or with this name once suffixes such as `.isra.0` are taken off both.
    pub fn symbols_named<'i>(&'i self, name: &str) -> impl Iterator<Item = SymbolAt<'i>> {
        let order = self.table(Table::ByName);
        let wanted = stem(name).to_string();
        let at = move |i: usize| self.symbol(u32_at(order, i)? as usize);
        let count = order.len() / 4;
        let first =
            partition_point(count, |i| at(i).is_some_and(|symbol| stem(symbol.name) < wanted.as_str()));
        (first..count).map_while(at).take_while(move |symbol| stem(symbol.name) == wanted)
    }

    /// How many text symbols there are.
    pub fn symbol_count(&self) -> usize {
        self.table(Table::Symbols).len() / SYMBOL
    }

    fn symbol(&self, at: usize) -> Option<SymbolAt<'_>> {
        let record = self.table(Table::Symbols).get(at.checked_mul(SYMBOL)?..)?;
        Some(SymbolAt {
            address: self.meta.base.checked_add(u32_at(record, 0)?.into())?,
            ksize: u32_at(record, 1)?.into(),
            elf_size: u32_at(record, 2)?.into(),
            name: self.string(u32_at(record, 3)?),
            last: u32_at(record, 4)? & LAST != 0,
        })
    }

    fn table(&self, table: Table) -> &[u8] {
        self.layout.table(&self.bytes, table)
    }

    fn string(&self, at: u32) -> &str {
        let mut rest = self.table(Table::Strings).get(at as usize..).unwrap_or_default();
        let length = stream::take(&mut rest).and_then(|length| usize::try_from(length).ok());
        let text = length.and_then(|length| rest.get(..length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn file(&self, unit: Unit, number: u32) -> &str {
        match number.checked_sub(1) {
            Some(at) if at < unit.file_count => {
                u32_at(self.table(Table::File), unit.files.saturating_add(at) as usize)
                    .map_or("", |at| self.string(at))
            }
            _ => "",
        }
    }
}

impl<'i> Iterator for Chain<'i> {
    type Item = Step<'i>;

    fn next(&mut self) -> Option<Step<'i>> {
        let cell = self.cell.take().filter(|_| self.left > 0)?;
        self.left -= 1;
        let mut step = Step {
            function: "",
            file: self.index.file(self.unit, cell.file),
            line: cell.line,
            column: cell.column,
            inlined: false,
        };
        let within = cell.node.checked_sub(1).filter(|&at| at < self.unit.node_count);
        let record = within.and_then(|at| {
            let at = self.unit.nodes.checked_add(at)? as usize;
            self.index.table(Table::Node).get(at * NODE..)?.first_chunk::<NODE>()
        });
        if let Some(record) = record {
            let word = |at: usize| u32_at(record, at).unwrap_or(0);
            step.function = self.index.string(word(0));
            // A parent has a lower number, so that a chain in a damaged file ends too.
            let parent = word(1);
            if parent != 0 && parent < cell.node {
                step.inlined = true;
                let (file, column) = (word(3) & 0xffff, word(3) >> 16);
                self.cell = Some(Cell { file, line: word(2), column, node: parent });
            }
        }
        Some(step)
    }
}

/// The first position in `0..count` for which the predicate is false.
#[inline]
fn partition_point(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
