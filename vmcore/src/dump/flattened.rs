//! The flattened format: a dump as a stream of (offset, size, data), in any order (makedumpfile `-F`).

use super::image::Image;
use crate::progress::{Progress, Step};
use report::Note;
use std::collections::BTreeMap;

/// makedumpfile's `MAKEDUMPFILE_SIGNATURE`, padded to sixteen bytes.
pub(super) const MAGIC: &[u8; 16] = b"makedumpfile\0\0\0\0";
/// `MAX_SIZE_MDF_HEADER`: the stream's own header takes this much.
const HEADER: u64 = 4096;
/// A dump of 64 TiB and more is a damaged offset: x86-64 can have 52 bits of memory, machines have less.
const MAX_LOGICAL: u64 = 1 << 46;

/// A stretch of the logical file.
#[derive(Clone, Copy)]
struct Piece {
    logical: u64,
    physical: u64,
    length: u64,
}

/// The logical file that a flattened stream describes. Bytes that no record gives are zero.
pub(crate) struct Flattened {
    stream: Box<Image>,
    pieces: Vec<Piece>,
    length: u64,
}

impl Flattened {
    /// Hops over the record headers once. A stream that ends early gives what is there, and a note.
    pub fn index(stream: Image, progress: &Progress) -> (Self, Vec<Note>) {
        let mut pieces = Vec::new();
        let mut notes = Vec::new();
        let mut at = HEADER;
        progress.begin(Step::Ordering, stream.len());
        loop {
            progress.reach(at);
            let mut head = [0_u8; 16];
            if stream.read(at, &mut head) < head.len() {
                notes.push(Note::new(
                    "flattened-cut",
                    format!("the flattened stream has no end marker; it stops at byte {at}"),
                ));
                break;
            }
            let (offset, size) = split_head(head);
            if (offset, size) == (-1, -1) {
                break;
            }
            let (Ok(logical), Ok(length)) = (u64::try_from(offset), u64::try_from(size)) else {
                notes.push(Note::new(
                    "flattened-damaged",
                    format!("a record at byte {at} has offset {offset} and size {size}"),
                ));
                break;
            };
            at += 16;
            if length == 0 || logical.saturating_add(length) > MAX_LOGICAL {
                notes.push(Note::new(
                    "flattened-damaged",
                    format!("a record at byte {at} has offset {offset} and size {size}"),
                ));
                break;
            }
            let there = length.min(stream.len().saturating_sub(at));
            if there > 0 {
                pieces.push(Piece { logical, physical: at, length: there });
            }
            at += length;
        }
        let pieces = in_order(pieces);
        let length = pieces.last().map_or(0, |last| last.logical + last.length);
        (Self { stream: Box::new(stream), pieces, length }, notes)
    }

    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        out.fill(0);
        let have =
            usize::try_from(self.length.saturating_sub(offset)).map_or(out.len(), |rest| rest.min(out.len()));
        let end = offset.saturating_add(have as u64);
        let first = self.pieces.partition_point(|piece| piece.logical + piece.length <= offset);
        for piece in self.pieces[first..].iter().take_while(|piece| piece.logical < end) {
            let from = piece.logical.max(offset);
            let to = (piece.logical + piece.length).min(end);
            let target = &mut out[(from - offset) as usize..(to - offset) as usize];
            self.stream.read(piece.physical + (from - piece.logical), target);
        }
        have
    }
}

fn split_head(head: [u8; 16]) -> (i64, i64) {
    let value = u128::from_be_bytes(head);
    ((value >> 64) as i64, value as i64)
}

/// Sorts the records; where two overlap, the later one in the stream wins.
fn in_order(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut sorted = pieces.clone();
    sorted.sort_by_key(|piece| piece.logical);
    if sorted.windows(2).all(|pair| pair[0].logical + pair[0].length <= pair[1].logical) {
        return sorted;
    }
    let mut map: BTreeMap<u64, Piece> = BTreeMap::new();
    for new in pieces {
        let end = new.logical + new.length;
        while let Some((_, &old)) =
            map.range(..end).next_back().filter(|(_, old)| old.logical + old.length > new.logical)
        {
            map.remove(&old.logical);
            let old_end = old.logical + old.length;
            if old_end > end {
                let cut = end - old.logical;
                map.insert(end, Piece { logical: end, physical: old.physical + cut, length: old_end - end });
            }
            if old.logical < new.logical {
                map.insert(old.logical, Piece { length: new.logical - old.logical, ..old });
            }
        }
        map.insert(new.logical, new);
    }
    map.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(records: &[(i64, &[u8])], marker: bool, want: &[u8], want_notes: usize) {
        let mut stream = MAGIC.to_vec();
        stream.resize(HEADER as usize, 0);
        for (offset, data) in records {
            stream.extend(offset.to_be_bytes());
            stream.extend((data.len() as i64).to_be_bytes());
            stream.extend(*data);
        }
        if marker {
            stream.extend([0xff; 16]);
        }
        let (flat, notes) = Flattened::index(Image::Held(stream), &Progress::default());
        let mut got = vec![0; want.len()];
        assert_eq!(flat.read(0, &mut got), want.len());
        assert_eq!(got, want);
        assert_eq!(notes.len(), want_notes);
    }

    #[test]
    fn records_come_in_any_order() {
        check(&[(4, b"efgh"), (0, b"abcd")], true, b"abcdefgh", 0);
    }

    #[test]
    fn bytes_no_record_gives_are_zero() {
        check(&[(4, b"ef"), (0, b"ab")], true, b"ab\0\0ef", 0);
    }

    #[test]
    fn the_later_of_two_overlapping_records_wins() {
        check(&[(0, b"abcdefgh"), (2, b"XY"), (6, b"Z")], true, b"abXYefZh", 0);
        check(&[(2, b"XY"), (0, b"abcdefgh")], true, b"abcdefgh", 0);
    }

    #[test]
    fn a_stream_without_end_marker_is_used_and_noted() {
        check(&[(0, b"ab")], false, b"ab", 1);
    }

    #[test]
    fn a_negative_offset_ends_the_stream_with_a_note() {
        check(&[(0, b"ab"), (-5, b"cd")], true, b"ab", 1);
    }
}
