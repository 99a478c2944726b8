//! The packed ranges: which line and which function, from each address to the next.
//!
//! Ranges come in blocks of [`BLOCK`], found by binary search over their first addresses and read front to back.
//! Within a block each range is told as the difference from the one before it, some 4 bytes instead of 20:
//!
//! ```text
//! range = [distance from the start of the previous range: varint; absent in the first of a block]
//!         tag: 1 byte
//!           bit 0     the node changes: zigzag varint follows
//!           bit 1     the file changes: varint follows
//!           bit 2     the column changes: varint follows
//!           bits 3-7  change of the line + 15, or 31: zigzag varint follows
//! ```

/// Ranges in a block: the search decodes half of them, some 20 ns each, and a block costs the file 17 bytes.
const BLOCK: u32 = 8;
/// In the tag: the change of the line follows by itself.
const FAR: i64 = 31;
/// In the tag, the middle of the short changes of the line.
const NEAR: i64 = 15;

/// What is known about a range. File and node are numbered from 1 within their unit; all zero is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    pub file: u32,
    pub line: u32,
    pub column: u32,
    pub node: u32,
}

impl Cell {
    const GAP: Cell = Cell { file: 0, line: 0, column: 0, node: 0 };

    fn is_gap(self) -> bool {
        self.file == 0 && self.node == 0
    }
}

/// A run of ranges without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
    /// Numbers of its blocks in [`Packer::blocks`].
    pub blocks: std::ops::Range<usize>,
    /// Whether any function is known in it, or only lines.
    pub function: bool,
}

/// Packs ranges that come in order of their addresses.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    pub bytes: Vec<u8>,
    /// First address of each block, and where its bytes begin.
    pub blocks: Vec<(u32, u32)>,
    pub spans: Vec<Span>,
    pending: Option<(u32, Cell)>,
    last: Cell,
    last_start: u32,
    in_block: u32,
}

impl Packer {
    /// From `start` on it is `cell`, until the next call says otherwise. A second call for one address overrides.
    pub fn put(&mut self, start: u32, cell: Cell) {
        let cell = if cell.is_gap() { Cell::GAP } else { cell };
        match &mut self.pending {
            Some((at, pending)) if *at == start => *pending = cell,
            Some((_, pending)) if *pending == cell => {}
            _ => {
                self.commit();
                self.pending = Some((start, cell));
            }
        }
    }

    /// Ends the last range. What was put last must have been a gap, or it has no end.
    pub fn finish(&mut self) {
        self.commit();
        if !self.last.is_gap() {
            self.end_span(self.last_start.saturating_add(1));
        }
        self.bytes.shrink_to_fit();
        self.blocks.shrink_to_fit();
    }

    fn commit(&mut self) {
        let Some((start, cell)) = self.pending.take() else { return };
        if cell == self.last {
            return;
        }
        if cell.is_gap() {
            self.end_span(start);
            return;
        }
        if self.last.is_gap() {
            let at = self.blocks.len();
            self.spans.push(Span { start, end: start, blocks: at..at, function: false });
            self.in_block = BLOCK;
        }
        if let Some(span) = self.spans.last_mut() {
            span.function |= cell.node != 0;
        }
        if self.in_block == BLOCK {
            self.blocks.push((start, self.bytes.len() as u32));
            (self.in_block, self.last) = (0, Cell::GAP);
        } else {
            varint(&mut self.bytes, (start - self.last_start).into());
        }
        self.in_block += 1;
        self.encode(cell);
        (self.last, self.last_start) = (cell, start);
    }

    fn end_span(&mut self, end: u32) {
        if let Some(span) = self.spans.last_mut() {
            span.end = end;
            span.blocks.end = self.blocks.len();
        }
        self.last = Cell::GAP;
    }

    fn encode(&mut self, cell: Cell) {
        let Cell { file, line, column, node } = self.last;
        let change = i64::from(cell.line) - i64::from(line);
        let short = (-NEAR..FAR - NEAR).contains(&change);
        let changes = [cell.node != node, cell.file != file, cell.column != column];
        let flags = changes.iter().enumerate().fold(0, |flags, (bit, &set)| flags | u8::from(set) << bit);
        self.bytes.push(flags | (if short { change + NEAR } else { FAR } as u8) << 3);
        if changes[0] {
            varint(&mut self.bytes, zigzag(i64::from(cell.node) - i64::from(node)));
        }
        if changes[1] {
            varint(&mut self.bytes, cell.file.into());
        }
        if changes[2] {
            varint(&mut self.bytes, cell.column.into());
        }
        if !short {
            varint(&mut self.bytes, zigzag(change));
        }
    }
}

/// Walks one block. Damaged bytes end it early; nothing is allocated.
pub(crate) struct Ranges<'a> {
    rest: &'a [u8],
    start: u32,
    cell: Cell,
    first: bool,
}

impl<'a> Ranges<'a> {
    pub fn new(bytes: &'a [u8], start: u32) -> Ranges<'a> {
        Ranges { rest: bytes, start, cell: Cell::GAP, first: true }
    }

    /// The range that holds the address, which is not below the first one of the block.
    #[inline]
    pub fn find(self, address: u32) -> Option<Cell> {
        let mut found = None;
        for (start, cell) in self {
            if start > address {
                break;
            }
            found = Some(cell);
        }
        found
    }
}

impl Iterator for Ranges<'_> {
    type Item = (u32, Cell);

    #[inline]
    fn next(&mut self) -> Option<(u32, Cell)> {
        if self.rest.is_empty() {
            return None;
        }
        if !std::mem::take(&mut self.first) {
            self.start = self.start.checked_add(u32::try_from(take(&mut self.rest)?).ok()?)?;
        }
        let (&tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        if tag & 1 != 0 {
            self.cell.node = shifted(self.cell.node, unzigzag(take(&mut self.rest)?))?;
        }
        if tag & 2 != 0 {
            self.cell.file = u32::try_from(take(&mut self.rest)?).ok()?;
        }
        if tag & 4 != 0 {
            self.cell.column = u32::try_from(take(&mut self.rest)?).ok()?;
        }
        let change = match i64::from(tag >> 3) {
            FAR => unzigzag(take(&mut self.rest)?),
            near => near - NEAR,
        };
        self.cell.line = shifted(self.cell.line, change)?;
        Some((self.start, self.cell))
    }
}

fn shifted(value: u32, by: i64) -> Option<u32> {
    u32::try_from(i64::from(value).checked_add(by)?).ok()
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// LEB128, as in DWARF.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint of at most 64 bits off the front.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(first.into());
    }
    let mut value = u64::from(first & 0x7f);
    for (i, &byte) in rest.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * (i as u32 + 1))?;
        if byte < 0x80 {
            *bytes = &rest[i + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(file: u32, line: u32, column: u32, node: u32) -> Cell {
        Cell { file, line, column, node }
    }

    fn unpack(packer: &Packer) -> Vec<(u32, Cell)> {
        let ends = packer.blocks.iter().skip(1).map(|b| b.1).chain([packer.bytes.len() as u32]);
        let blocks = packer.blocks.iter().zip(ends);
        blocks
            .flat_map(|(&(start, at), end)| Ranges::new(&packer.bytes[at as usize..end as usize], start))
            .collect()
    }

    #[test]
    fn ranges_come_back_as_they_were_put() {
        let mut packer = Packer::default();
        let mut want = Vec::new();
        let mut at = 7;
        for i in 0..1000u32 {
            at += 1 + (i * i) % 300;
            let c = cell(1 + i % 3, (i * 7919) % 5000, i % 90, (i * 31) % 1200);
            packer.put(at, c);
            want.push((at, c));
        }
        packer.put(at + 5, cell(0, 0, 0, 0));
        packer.finish();
        assert_eq!(unpack(&packer), want);
        assert_eq!(packer.spans.len(), 1);
        assert_eq!((packer.spans[0].start, packer.spans[0].end), (want[0].0, at + 5));
    }

    #[test]
    fn equal_neighbours_are_one_range_and_gaps_end_a_span() {
        let mut packer = Packer::default();
        packer.put(0, cell(1, 10, 0, 1));
        packer.put(4, cell(1, 10, 0, 1));
        packer.put(8, cell(1, 11, 0, 1));
        packer.put(8, cell(1, 12, 0, 1));
        packer.put(12, cell(0, 0, 0, 0));
        packer.put(20, cell(1, 5, 0, 0));
        packer.put(24, cell(0, 3, 0, 0));
        packer.finish();
        assert_eq!(unpack(&packer), [(0, cell(1, 10, 0, 1)), (8, cell(1, 12, 0, 1)), (20, cell(1, 5, 0, 0))]);
        let ends: Vec<_> = packer.spans.iter().map(|s| (s.start, s.end, s.function)).collect();
        assert_eq!(ends, [(0, 12, true), (20, 24, false)]);
    }

    #[test]
    fn varints_of_all_lengths_survive_and_cut_ones_are_refused() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            varint(&mut bytes, value);
            assert_eq!(take(&mut &bytes[..]), Some(value));
            if value > 127 {
                assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None);
            }
            assert_eq!(unzigzag(zigzag(value as i64)), value as i64);
        }
    }
}
