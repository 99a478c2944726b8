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
#[derive(Debug, Clone, Copy)]
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

/// A block of ranges: its first address, its bytes, its unit.
#[derive(Clone, Copy)]
struct Block<'i> {
    start: u32,
    bytes: &'i [u8],
    unit: u32,
}

/// Addresses that [`Index::lookup_many`] has under way: enough to keep memory busy, few enough to stay in the cache.
const UNDER_WAY: usize = 64;

impl Index {
    /// Who runs at this link address, and on which line. `None` where no unit says anything.
    pub fn lookup(&self, address: u64) -> Option<Chain<'_>> {
        let address = self.relative(address)?;
        self.chain(self.block(self.search(address)?)?, address)
    }

    /// [`Index::lookup`] of each of these addresses in turn.
    ///
    /// A lookup waits for memory some ten times, one wait after the other, and computes little. Here each step is
    /// taken for many addresses before the next, so that they wait together.
    pub fn lookup_many<'i>(&'i self, addresses: &[u64], mut each: impl FnMut(u64, Option<Chain<'i>>)) {
        for addresses in addresses.chunks(UNDER_WAY) {
            let mut places = [None; UNDER_WAY];
            for (place, &address) in places.iter_mut().zip(addresses) {
                *place = self.relative(address).and_then(|at| Some((self.search(at)?, at)));
            }
            let mut blocks = [None; UNDER_WAY];
            for (block, place) in blocks.iter_mut().zip(places) {
                *block = place.and_then(|(number, at)| Some((self.block(number)?, at)));
                touch(block.and_then(|(block, _): (Block<'_>, u32)| block.bytes.first().copied()));
            }
            let mut chains = [None; UNDER_WAY];
            for (chain, block) in chains.iter_mut().zip(blocks) {
                *chain = block.and_then(|(block, at)| self.chain(block, at));
                touch(chain.and_then(|chain: Chain<'_>| chain.node().copied()));
                touch(chain.and_then(|chain| self.path(chain.unit, chain.cell?.file)));
            }
            for chain in chains.iter().flatten() {
                let strings = self.table(Table::Strings);
                touch(chain.node().and_then(|node| strings.get(u32_at(node, 0)? as usize).copied()));
                let path = chain.cell.and_then(|cell| self.path(chain.unit, cell.file));
                touch(path.and_then(|at| strings.get(at as usize).copied()));
            }
            addresses.iter().zip(chains).for_each(|(&address, chain)| each(address, chain));
        }
    }

    /// The number of the block that holds an address, if any does.
    fn search(&self, address: u32) -> Option<usize> {
        up_to::<4>(self.table(Table::BlockStart), address).checked_sub(1)
    }

    fn block(&self, number: usize) -> Option<Block<'_>> {
        let directory = self.table(Table::Block);
        let (offset, unit) = (u32_at(directory, number * 2)?, u32_at(directory, number * 2 + 1)?);
        if unit == GAP {
            return None;
        }
        let stream = self.table(Table::Stream);
        let end = u32_at(directory, number * 2 + 2).map_or(stream.len(), |next| next as usize);
        let start = u32_at(self.table(Table::BlockStart), number)?;
        Some(Block { start, bytes: stream.get(offset as usize..end)?, unit })
    }

    fn chain(&self, block: Block<'_>, address: u32) -> Option<Chain<'_>> {
        let cell = Ranges::new(block.bytes, block.start).find(address)?;
        let record = self.table(Table::Unit).get(block.unit as usize * UNIT..)?;
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
        let table = self.table(Table::Symbols);
        let after = up_to::<SYMBOL>(table, self.relative(address)?);
        let nearest = self.symbol(after.checked_sub(1)?)?;
        // Of several names for one address the first one is preferred.
        let before = self.relative(nearest.address)?.checked_sub(1);
        let first = before.map_or(0, |before| up_to::<SYMBOL>(table, before));
        self.symbol(first).filter(|symbol| {
            // In a damaged file the symbols are in no order.
            address.checked_sub(symbol.address).is_some_and(|offset| offset < symbol.ksize)
        })
    }

    /// The first symbol above this address.
    pub fn symbol_after(&self, address: u64) -> Option<SymbolAt<'_>> {
        self.symbol(up_to::<SYMBOL>(self.table(Table::Symbols), self.relative(address)?))
    }

    /// All symbols with this name, or with this name once suffixes such as `.isra.0` are taken off both.
    pub fn symbols_named<'i>(&'i self, name: &str) -> impl Iterator<Item = SymbolAt<'i>> {
        let wanted = stem(name).to_string();
        let at = move |number: &[u8; 4]| self.symbol(u32::from_le_bytes(*number) as usize);
        let order = self.table(Table::ByName).as_chunks().0;
        let first = order
            .partition_point(|number| at(number).is_some_and(|symbol| stem(symbol.name) < wanted.as_str()));
        order[first..].iter().map_while(at).take_while(move |symbol| stem(symbol.name) == wanted)
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

    /// An address as the tables count it.
    pub(super) fn relative(&self, address: u64) -> Option<u32> {
        u32::try_from(address.checked_sub(self.meta.base)?).ok()
    }

    pub(super) fn table(&self, table: Table) -> &[u8] {
        self.layout.table(&self.bytes, table)
    }

    fn string(&self, at: u32) -> &str {
        let mut rest = self.table(Table::Strings).get(at as usize..).unwrap_or_default();
        let length = stream::take(&mut rest).and_then(|length| usize::try_from(length).ok());
        let text = length.and_then(|length| rest.get(..length)).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Where the path of a unit's file stands among the strings.
    fn path(&self, unit: Unit, number: u32) -> Option<u32> {
        let at = number.checked_sub(1).filter(|&at| at < unit.file_count)?;
        u32_at(self.table(Table::File), unit.files.saturating_add(at) as usize)
    }
}

impl<'i> Chain<'i> {
    /// The record of the innermost function that is left.
    fn node(&self) -> Option<&'i [u8; NODE]> {
        let within = self.cell?.node.checked_sub(1).filter(|&at| at < self.unit.node_count)?;
        let at = self.unit.nodes.checked_add(within)? as usize;
        self.index.table(Table::Node).get(at * NODE..)?.first_chunk()
    }
}

impl<'i> Iterator for Chain<'i> {
    type Item = Step<'i>;

    fn next(&mut self) -> Option<Step<'i>> {
        let record = self.node();
        let cell = self.cell.take().filter(|_| self.left > 0)?;
        self.left -= 1;
        let path = self.index.path(self.unit, cell.file);
        let mut step = Step {
            function: "",
            file: path.map_or("", |at| self.index.string(at)),
            line: cell.line,
            column: cell.column,
            inlined: false,
        };
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

/// Of records of `SIZE` bytes, sorted by the `u32` that they begin with: how many have at most `limit` there.
#[inline]
fn up_to<const SIZE: usize>(sorted: &[u8], limit: u32) -> usize {
    let first = |record: &[u8; SIZE]| record.first_chunk().map_or(u32::MAX, |word| u32::from_le_bytes(*word));
    sorted.as_chunks().0.partition_point(|record| first(record) <= limit)
}

/// Has a value read now, though nobody needs it yet.
fn touch<T>(value: Option<T>) {
    std::hint::black_box(value);
}
