//! From what DWARF says in three ways to one list of disjoint ranges: nested intervals are cut so that the deepest is
//! on top, and the rows of the line program are laid over them.

use crate::index::stream::{Cell, Packer};

/// Who runs from `start` to `end`; a higher node number is nested deeper.
#[derive(Clone, Copy)]
pub(crate) struct Interval {
    pub start: u32,
    pub end: u32,
    pub node: u32,
}

/// A row of the line program; line 0 and file 0 where a sequence ends.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub address: u32,
    pub file: u32,
    pub line: u32,
    pub column: u32,
}

pub(crate) struct Sequence {
    pub start: u32,
    pub end: u32,
    pub rows: std::ops::Range<usize>,
}

/// Cuts nested intervals into disjoint segments, the deepest node of each address on top; node 0 is a gap.
pub(crate) fn flatten(mut intervals: Vec<Interval>) -> Vec<(u32, u32)> {
    intervals.sort_unstable_by_key(|i| (i.start, i.node));
    let mut segments: Vec<(u32, u32)> = Vec::with_capacity(intervals.len() * 2);
    let mut stack: Vec<Interval> = Vec::new();
    let mut cut = |at: u32, node: u32| match segments.last_mut() {
        Some(last) if last.0 == at => last.1 = node,
        Some(last) if last.1 == node => {}
        _ => segments.push((at, node)),
    };
    let close = |stack: &mut Vec<Interval>, until: u32, cut: &mut dyn FnMut(u32, u32)| {
        while let Some(top) = stack.last().copied().filter(|top| top.end <= until) {
            while stack.last().is_some_and(|below| below.end <= top.end) {
                stack.pop();
            }
            cut(top.end, stack.last().map_or(0, |below| below.node));
        }
    };
    for interval in intervals {
        close(&mut stack, interval.start, &mut cut);
        cut(interval.start, interval.node);
        stack.push(interval);
    }
    close(&mut stack, u32::MAX, &mut cut);
    segments
}

/// Lays the rows over the segments: a new range wherever the line or the function changes.
pub(crate) fn merge(rows: &[Row], sequences: Vec<Sequence>, segments: &[(u32, u32)]) -> Packer {
    let mut out = Packer::default();
    let mut segments = segments.iter().copied().peekable();
    let mut node = 0;
    let mut reached = 0;
    for sequence in sequences {
        // Two sequences for one address: the first one keeps it.
        if sequence.end <= reached {
            continue;
        }
        let from = sequence.start.max(reached);
        // Functions without any line before this sequence.
        while let Some((at, next)) = segments.next_if(|&(at, _)| at < from) {
            out.put(at.max(reached), Cell { file: 0, line: 0, column: 0, node: next });
            node = next;
        }
        let rows = &rows[sequence.rows];
        for (i, row) in rows.iter().enumerate() {
            let end = rows.get(i + 1).map_or(sequence.end, |next| next.address);
            if end <= from {
                continue;
            }
            let cell = |node| Cell { file: row.file, line: row.line, column: row.column, node };
            let start = row.address.max(from);
            if let Some((_, next)) = segments.next_if(|&(at, _)| at == start) {
                node = next;
            }
            out.put(start, cell(node));
            while let Some((at, next)) = segments.next_if(|&(at, _)| at < end) {
                node = next;
                out.put(at, cell(node));
            }
        }
        if let Some((_, next)) = segments.next_if(|&(at, _)| at == sequence.end) {
            node = next;
        }
        out.put(sequence.end, Cell { file: 0, line: 0, column: 0, node });
        reached = sequence.end;
    }
    for (at, next) in segments {
        out.put(at.max(reached), Cell { file: 0, line: 0, column: 0, node: next });
    }
    out.finish();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stream::Ranges;

    fn intervals(given: &[(u32, u32, u32)]) -> Vec<Interval> {
        given.iter().map(|&(start, end, node)| Interval { start, end, node }).collect()
    }

    #[test]
    fn the_deepest_node_is_on_top_and_its_caller_returns_behind_it() {
        // A function, two calls inlined into it, and one inlined into the first of them; then a gap, and another.
        let given = intervals(&[(0, 100, 1), (10, 40, 2), (20, 30, 3), (50, 60, 4), (120, 130, 5)]);
        let want =
            [(0, 1), (10, 2), (20, 3), (30, 2), (40, 1), (50, 4), (60, 1), (100, 0), (120, 5), (130, 0)];
        assert_eq!(flatten(given), want);
    }

    #[test]
    fn intervals_that_end_together_or_reach_out_of_their_parent_stay_in_order() {
        assert_eq!(flatten(intervals(&[(0, 10, 1), (5, 10, 2)])), [(0, 1), (5, 2), (10, 0)]);
        assert_eq!(flatten(intervals(&[(0, 10, 1), (5, 15, 2)])), [(0, 1), (5, 2), (15, 0)]);
        assert_eq!(flatten(intervals(&[(0, 10, 1), (0, 10, 2)])), [(0, 2), (10, 0)]);
    }

    #[test]
    fn lines_and_functions_each_begin_new_ranges() {
        let row = |address, line| Row { address, file: 1, line, column: 0 };
        let rows = [row(0, 1), row(8, 2)];
        let sequences = vec![Sequence { start: 0, end: 16, rows: 0..2 }];
        let packed = merge(&rows, sequences, &[(4, 7), (12, 0), (20, 8), (24, 0)]);
        let ends = packed.blocks.iter().skip(1).map(|b| b.1 as usize).chain([packed.bytes.len()]);
        let blocks = packed.blocks.iter().zip(ends);
        let found = blocks.flat_map(|(&(at, from), to)| Ranges::new(&packed.bytes[from as usize..to], at));
        let found: Vec<_> = found.map(|(at, cell)| (at, cell.line, cell.node)).collect();
        assert_eq!(found, [(0, 1, 0), (4, 1, 7), (8, 2, 7), (12, 2, 0), (20, 0, 8)]);
        let spans: Vec<_> = packed.spans.iter().map(|span| (span.start, span.end)).collect();
        assert_eq!(spans, [(0, 16), (20, 24)]);
    }
}
