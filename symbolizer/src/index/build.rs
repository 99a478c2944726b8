//! Makes an index from an object: units read in parallel, joined in their order.

use std::borrow::Cow;
use std::collections::HashMap;

use gimli::{Dwarf, UnitHeader};
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::format::{self, GAP, LAST};
use super::stream::{Packer, Ranges, Span};
use super::{Index, Meta, text};
use crate::budget::Budget;
use crate::bytes::Bytes;
use crate::code::Text;
use crate::dwarf;
use crate::error::Error;
use crate::foreign::Units;
use crate::image;
use crate::symtab::{Symbol, stem};
use crate::unit::{self, Slice, UnitTable};

/// Reads these units and joins them with the symbols, and with the code of the file that is given beside it.
pub(crate) fn build<'a>(
    mut meta: Meta,
    symbols: &[(Cow<'_, str>, &Symbol)],
    dwarf: &Dwarf<Slice<'a>>,
    units: &[UnitHeader<Slice<'a>>],
    code: Option<(&Text, &[u8])>,
) -> Result<Index, Error> {
    let (budget, others) = (Budget::new(), Units::new(dwarf));
    let base = meta.base;
    let read = |header: &UnitHeader<Slice<'a>>| {
        let unit = dwarf::open(dwarf, *header)?;
        unit::read(dwarf, &unit, &others, base, &budget)
    };
    // The largest first, or the last thread would work alone on one of them at the end.
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(units[at].length_including_self()));
    let read: Vec<(usize, UnitTable<'_>)> = order
        .into_par_iter()
        .with_max_len(1)
        .map(|at| Ok((at, read(&units[at])?)))
        .collect::<Result<_, Error>>()?;
    let mut tables: Vec<UnitTable<'_>> =
        std::iter::repeat_with(UnitTable::default).take(units.len()).collect();
    for (at, table) in read {
        tables[at] = table;
    }
    let ranges = join(&mut tables);
    let paths = tables.iter().flat_map(|table| &table.files);
    meta.source_roots = image::source_roots(paths.map(String::as_str));
    meta.lines = tables.iter().any(|table| !table.packed.spans.is_empty());

    let mut strings = Strings::new();
    let mut unit_table = Vec::new();
    let (mut nodes, mut files) = (Vec::new(), Vec::new());
    for table in &tables {
        let (first_node, first_file) = (nodes.len() / format::NODE, files.len() / 4);
        put(
            &mut unit_table,
            [first_node as u32, table.nodes.len() as u32, first_file as u32, table.files.len() as u32],
        );
        for path in &table.files {
            put(&mut files, [strings.number(path)?]);
        }
        let names: Vec<u32> =
            table.names.iter().map(|name| strings.number(name)).collect::<Result<_, Error>>()?;
        for node in &table.nodes {
            let (file, line, column) = node.call;
            let half = |value: u32| u16::try_from(value).unwrap_or(0);
            let place = u32::from(half(file)) | u32::from(half(column)) << 16;
            put(&mut nodes, [names[node.name as usize], node.parent, line, place]);
        }
    }
    let (symbols, by_name) = symbol_tables(symbols, meta.base, &mut strings)?;
    let meta_json = serde_json::to_vec(&meta).map_err(|e| Error::Index(format!("the table Meta: {e}")))?;
    let [sites, frames, text] =
        code.map_or_else(|| Ok(Default::default()), |(code, file)| text::pack(&meta, code, file))?;
    let [starts, blocks, stream] = ranges;
    let tables = [
        symbols,
        by_name,
        starts,
        blocks,
        unit_table,
        nodes,
        files,
        sites,
        frames,
        meta_json,
        stream,
        strings.bytes,
        text,
    ];
    Index::of(Bytes::Owned(format::assemble(&tables)))
}

/// A span and the unit that it is of.
struct Placed {
    span: Span,
    unit: usize,
}

/// Lays the spans of all units in one order: first addresses, directory, bytes.
fn join(tables: &mut [UnitTable<'_>]) -> [Vec<u8>; 3] {
    let mut spans: Vec<Placed> = Vec::new();
    for (unit, table) in tables.iter_mut().enumerate() {
        spans.extend(table.packed.spans.iter().map(|span| Placed { span: span.clone(), unit }));
    }
    spans.sort_by_key(|placed| (placed.span.start, placed.span.end, placed.unit));
    let spans = without_overlaps(spans, tables);
    let bytes: usize = tables.iter().map(|table| table.packed.bytes.len()).sum();
    let (mut starts, mut blocks, mut stream) = (Vec::new(), Vec::new(), Vec::with_capacity(bytes));
    for (i, Placed { span, unit }) in spans.iter().enumerate() {
        let packed = &tables[*unit].packed;
        for at in span.blocks.clone() {
            let (start, offset) = packed.blocks[at];
            let end = packed.blocks.get(at + 1).map_or(packed.bytes.len(), |next| next.1 as usize);
            put(&mut starts, [start]);
            put(&mut blocks, [stream.len() as u32, *unit as u32]);
            stream.extend(&packed.bytes[offset as usize..end]);
        }
        if spans.get(i + 1).is_none_or(|next| next.span.start != span.end) {
            put(&mut starts, [span.end]);
            put(&mut blocks, [stream.len() as u32, GAP]);
        }
    }
    [starts, blocks, stream]
}

/// Where two units claim one address, the one that knows a function there wins, then the smaller span (a unit with
/// wide bounds over others); the loser keeps the rest of its span.
fn without_overlaps(spans: Vec<Placed>, tables: &mut [UnitTable<'_>]) -> Vec<Placed> {
    let disjoint = spans.is_sorted_by(|a, b| a.span.end <= b.span.start);
    if disjoint {
        return spans;
    }
    let mut by_claim: Vec<usize> = (0..spans.len()).collect();
    by_claim.sort_by_key(|&at| {
        let Placed { span, unit } = &spans[at];
        (!span.function, span.end - span.start, *unit, span.start)
    });
    // Start to end of what is taken already.
    let mut taken: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
    let mut out: Vec<Placed> = Vec::with_capacity(spans.len());
    for at in by_claim {
        let Placed { span, unit } = &spans[at];
        let mut free = Vec::new();
        let mut from = span.start;
        let before = taken.range(..=span.start).next_back().map(|(_, &end)| end);
        from = from.max(before.unwrap_or(0).min(span.end));
        for (&start, &end) in taken.range(span.start..span.end) {
            if start > from {
                free.push((from, start));
            }
            from = from.max(end.min(span.end));
        }
        if from < span.end {
            free.push((from, span.end));
        }
        for (start, end) in free {
            let piece = if (start, end) == (span.start, span.end) {
                span.clone()
            } else {
                cut(&mut tables[*unit].packed, span, start, end)
            };
            taken.insert(start, end);
            out.push(Placed { span: piece, unit: *unit });
        }
    }
    out.sort_by_key(|placed| placed.span.start);
    out
}

/// Packs the part of a span between two addresses again, at the end of its unit's bytes.
fn cut(packed: &mut Packer, span: &Span, start: u32, end: u32) -> Span {
    let mut piece = Packer::default();
    for at in span.blocks.clone() {
        let (first, offset) = packed.blocks[at];
        let bytes_end = packed.blocks.get(at + 1).map_or(packed.bytes.len(), |next| next.1 as usize);
        for (from, cell) in Ranges::new(&packed.bytes[offset as usize..bytes_end], first) {
            if from < end {
                piece.put(from.max(start), cell);
            }
        }
    }
    piece.put(end, Default::default());
    piece.finish();
    let (first_block, first_byte) = (packed.blocks.len(), packed.bytes.len() as u32);
    packed.blocks.extend(piece.blocks.iter().map(|&(at, offset)| (at, offset + first_byte)));
    packed.bytes.extend(piece.bytes);
    Span { start, end, blocks: first_block..packed.blocks.len(), function: span.function }
}

fn symbol_tables(
    symbols: &[(Cow<'_, str>, &Symbol)],
    base: u64,
    strings: &mut Strings,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut table = Vec::with_capacity(symbols.len() * format::SYMBOL);
    let mut order: Vec<(&str, u32)> = Vec::with_capacity(symbols.len());
    for (name, symbol) in symbols {
        let Some(address) = symbol.address.checked_sub(base).and_then(|at| u32::try_from(at).ok()) else {
            continue;
        };
        let size = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        let flags = if symbol.last { LAST } else { 0 };
        order.push((stem(name), (table.len() / format::SYMBOL) as u32));
        put(&mut table, [address, size(symbol.ksize), size(symbol.elf_size), strings.number(name)?, flags]);
    }
    order.par_sort_unstable();
    let by_name = order.iter().flat_map(|(_, number)| number.to_le_bytes()).collect();
    Ok((table, by_name))
}

fn put<const N: usize>(table: &mut Vec<u8>, fields: [u32; N]) {
    for field in fields {
        table.extend(field.to_le_bytes());
    }
}

/// Each string once, in the order of first use.
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<Box<str>, u32, Xxh3DefaultBuilder>,
}

impl Strings {
    fn new() -> Strings {
        let mut strings = Strings { bytes: Vec::new(), known: HashMap::default() };
        strings.bytes.push(0);
        strings.known.insert("".into(), 0);
        strings
    }

    fn number(&mut self, text: &str) -> Result<u32, Error> {
        if let Some(&number) = self.known.get(text) {
            return Ok(number);
        }
        let too_large = |_| Error::TooLarge { what: "bytes of names".into(), limit: u32::MAX.into() };
        let number = u32::try_from(self.bytes.len()).map_err(too_large)?;
        super::stream::varint(&mut self.bytes, text.len() as u64);
        self.bytes.extend(text.as_bytes());
        self.known.insert(text.into(), number);
        Ok(number)
    }
}
