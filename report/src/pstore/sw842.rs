//! 842 decompression (`lib/842` of the kernel): templates of literals and of places in what was written before.

/// Decodes `raw`, up to `limit` bytes. The second value tells whether the end was reached and its checksum fits.
pub(super) fn decode(raw: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let mut stream = Stream { raw, bit: 0, out: Vec::new(), limit };
    let complete = stream.run().is_some();
    (stream.out, complete)
}

const OP_BITS: u32 = 5;
const OP_REPEAT: u64 = 0x1b;
const OP_ZEROS: u64 = 0x1c;
const OP_SHORT_DATA: u64 = 0x1d;
const OP_END: u64 = 0x1e;

/// What makes up the eight bytes of a template.
#[derive(Clone, Copy)]
enum Part {
    /// So many bytes as they are.
    Data(usize),
    /// So many bytes from before: the place counts in units of that size.
    Index(usize),
}

/// Half a template: four bytes, as one part or as two.
const HALVES: [&[Part]; 5] = {
    use Part::{Data, Index};
    [&[Data(2), Index(2)], &[Index(2), Data(2)], &[Index(2), Index(2)], &[Index(4)], &[Data(4)]]
};
/// Templates 0 to 0x19 in the order of `decomp_ops`: two halves each; the first is eight bytes of data, the last one
/// place of eight bytes.
const TEMPLATES: usize = 0x1a;

/// The parts of a template, in their order.
fn template(op: usize) -> Option<Vec<Part>> {
    match op {
        0 => Some(vec![Part::Data(8)]),
        0x19 => Some(vec![Part::Index(8)]),
        // By the first half: data; then the three with places of two; then a place of four. In each the second half
        // goes through data and its mixtures.
        1..TEMPLATES => {
            let (first, second) = match op {
                1..5 => (4, op - 1),
                5..10 => (0, [4, 0, 1, 2, 3][op - 5]),
                10..15 => (1, [4, 0, 1, 2, 3][op - 10]),
                15..20 => (2, [4, 0, 1, 2, 3][op - 15]),
                _ => (3, [4, 0, 1, 2, 3][op - 20]),
            };
            Some([HALVES[first], HALVES[second]].concat())
        }
        _ => None,
    }
}

struct Stream<'a> {
    raw: &'a [u8],
    /// Bits read so far.
    bit: usize,
    out: Vec<u8>,
    limit: usize,
}

impl Stream<'_> {
    /// None at the first thing that does not fit; what was decoded stays.
    fn run(&mut self) -> Option<()> {
        loop {
            match self.bits(OP_BITS)? {
                OP_REPEAT => {
                    let times = self.bits(6)? + 1;
                    let last = self.out.len().checked_sub(8)?;
                    for _ in 0..times {
                        let eight: [u8; 8] = self.out.get(last..last + 8)?.try_into().ok()?;
                        self.write(&eight)?;
                    }
                }
                OP_ZEROS => self.write(&[0; 8])?,
                OP_SHORT_DATA => match self.bits(3)? {
                    0 => return None,
                    bytes => (0..bytes).try_for_each(|_| self.data(1))?,
                },
                OP_END => return self.checksum(),
                op => template(op as usize)?.into_iter().try_for_each(|part| match part {
                    Part::Data(size) => self.data(size),
                    Part::Index(size) => self.index(size),
                })?,
            }
        }
    }

    /// Kernels since 4.4 put a CRC of the text behind the end.
    fn checksum(&mut self) -> Option<()> {
        self.bits(32).is_none_or(|sum| sum == u64::from(crc32(&self.out))).then_some(())
    }

    /// The next bits, the highest first.
    fn bits(&mut self, count: u32) -> Option<u64> {
        let end = self.bit + count as usize;
        if end > self.raw.len() * 8 {
            return None;
        }
        let mut value = 0;
        while self.bit < end {
            // As many as the byte still has.
            let have = (8 - self.bit % 8).min(end - self.bit);
            let byte = u64::from(self.raw[self.bit / 8]) >> (8 - self.bit % 8 - have);
            value = value << have | byte & ((1 << have) - 1);
            self.bit += have;
        }
        Some(value)
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        (self.out.len() + bytes.len() <= self.limit).then(|| self.out.extend_from_slice(bytes))
    }

    fn data(&mut self, size: usize) -> Option<()> {
        let value = self.bits(8 * size as u32)?.to_be_bytes();
        self.write(&value[8 - size..])
    }

    /// Places lie in a ring: the last 512 bytes for units of two, 2048 for those of four and eight. They count from
    /// where the ring began last, in what whole templates have written.
    fn index(&mut self, size: usize) -> Option<()> {
        let (bits, ring) = match size {
            2 => (8, 2 << 8),
            4 => (9, 4 << 9),
            _ => (8, 8 << 8),
        };
        let written = self.out.len() / 8 * 8;
        let mut at = self.bits(bits)? as usize * size;
        if written > ring {
            let (section, position) = (written / ring * ring, written % ring);
            at += if at >= position { section - ring } else { section };
        }
        let from = self.out.get(..written)?.get(at..at + size)?;
        let mut copy = [0; 8];
        copy[..size].copy_from_slice(from);
        self.write(&copy[..size])
    }
}

/// `crc32_be(0, …)`: polynomial 0x04c11db7, the highest bit first, nothing inverted.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum: u32, _| {
            sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Part {
        fn size(self) -> usize {
            match self {
                Part::Data(size) | Part::Index(size) => size,
            }
        }
    }

    /// Writes 842: for every eight bytes each template is tried, and the shortest that fits is taken.
    struct Encoder {
        bits: Vec<bool>,
    }

    impl Encoder {
        fn put(&mut self, value: u64, count: u32) {
            self.bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        }

        fn encode(text: &[u8], with_sum: bool) -> Vec<u8> {
            let mut encoder = Encoder { bits: Vec::new() };
            let mut at = 0;
            while at + 8 <= text.len() {
                let eight = &text[at..at + 8];
                let repeats = text[at..].chunks_exact(8).take(64).take_while(|next| *next == eight).count();
                if at >= 8 && &text[at - 8..at] == eight {
                    encoder.put(OP_REPEAT, 5);
                    encoder.put(repeats as u64 - 1, 6);
                    at += 8 * repeats;
                    continue;
                }
                if eight == [0; 8] {
                    encoder.put(OP_ZEROS, 5);
                } else {
                    encoder.template(text, at);
                }
                at += 8;
            }
            if at < text.len() {
                encoder.put(OP_SHORT_DATA, 5);
                encoder.put((text.len() - at) as u64, 3);
                text[at..].iter().for_each(|byte| encoder.put(u64::from(*byte), 8));
            }
            encoder.put(OP_END, 5);
            if with_sum {
                encoder.put(u64::from(crc32(text)), 32);
            }
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |byte, (place, bit)| byte | u8::from(*bit) << (7 - place))
            };
            encoder.bits.chunks(8).map(byte).collect()
        }

        fn template(&mut self, text: &[u8], at: usize) {
            let best = (0..TEMPLATES)
                .filter_map(|op| {
                    let mut place = at;
                    let mut fields = vec![(op as u64, OP_BITS)];
                    for part in template(op)? {
                        let wanted = &text[place..place + part.size()];
                        fields.push(match part {
                            Part::Data(size) => {
                                let value =
                                    wanted.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
                                (value, 8 * size as u32)
                            }
                            Part::Index(size) => {
                                let (bits, ring) =
                                    [(8, 512), (9, 2048), (8, 2048)][size.trailing_zeros() as usize - 1];
                                // The newest place in the ring that holds the same.
                                let from = at.saturating_sub(ring - size);
                                let found = (from.next_multiple_of(size)..at).step_by(size).find(|from| {
                                    *from + size <= at && &text[*from..*from + size] == wanted
                                })?;
                                ((found % ring / size) as u64, bits)
                            }
                        });
                        place += part.size();
                    }
                    Some(fields)
                })
                .min_by_key(|fields| fields.iter().map(|(_, bits)| bits).sum::<u32>());
            best.unwrap().into_iter().for_each(|(value, bits)| self.put(value, bits));
        }
    }

    fn text() -> Vec<u8> {
        let line = |n: u32| format!("<6>[{n:5}.{:06}] a line of the log {:x}\n", n * 7919 % 1_000_000, n * n);
        (0..120).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn what_an_encoder_wrote_is_read_back() {
        let text = [text(), vec![0; 100], vec![b'x'; 800]].concat();
        for size in [0, 1, 7, 8, 9, 16, 511, 520, 2047, 2048, 2056, 4096, text.len()] {
            for with_sum in [true, false] {
                let raw = Encoder::encode(&text[..size], with_sum);
                assert_eq!(decode(&raw, 1 << 20), (text[..size].to_vec(), true), "{size}");
                assert!(decode(&raw, size.saturating_sub(1)).0.len() <= size.saturating_sub(1));
            }
        }
        assert!(Encoder::encode(&text, true).len() < text.len(), "places were used");
    }

    #[test]
    fn templates_stand_in_the_kernels_order() {
        // `decomp_ops`, a letter and a size for each part.
        const KERNEL: &str = "D8 D4D2I2 D4I2D2 D4I2I2 D4I4 D2I2D4 D2I2D2I2 D2I2I2D2 D2I2I2I2 D2I2I4 I2D2D4 I2D2D2I2 \
                              I2D2I2D2 I2D2I2I2 I2D2I4 I2I2D4 I2I2D2I2 I2I2I2D2 I2I2I2I2 I2I2I4 I4D4 I4D2I2 \
                              I4I2D2 I4I2I2 I4I4 I8";
        let name = |part: Part| match part {
            Part::Data(size) => format!("D{size}"),
            Part::Index(size) => format!("I{size}"),
        };
        for (op, expected) in KERNEL.split(' ').enumerate() {
            assert_eq!(template(op).unwrap().into_iter().map(name).collect::<String>(), expected, "{op:#x}");
        }
        assert!(template(TEMPLATES).is_none());
    }

    #[test]
    fn a_stream_written_by_hand_is_read() {
        // 00000 and eight bytes; 11001 and place 0 of eight bytes; 11011 and one repetition; 11110.
        let mut encoder = Encoder { bits: Vec::new() };
        encoder.put(0, 5);
        b"Panic#1 ".iter().for_each(|byte| encoder.put(u64::from(*byte), 8));
        for (value, bits) in [(0x19, 5), (0, 8), (0x1b, 5), (0, 6), (0x1e, 5)] {
            encoder.put(value, bits);
        }
        let raw: Vec<u8> = encoder
            .bits
            .chunks(8)
            .map(|bits| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at)))
            .collect();
        assert_eq!(decode(&raw, 1 << 20), (b"Panic#1 Panic#1 Panic#1 ".to_vec(), true));
        // The check value of this polynomial when nothing is inverted (CRC-32/CKSUM before the length is added).
        assert_eq!(crc32(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn damage_ends_the_text_and_nothing_else() {
        let text = text();
        let raw = Encoder::encode(&text[..300], true);
        for at in 0..raw.len() {
            for bit in 0..8 {
                let mut damaged = raw.clone();
                damaged[at] ^= 1 << bit;
                let (out, _) = decode(&damaged, 4096);
                assert!(out.len() <= 4096);
            }
            assert!(text.starts_with(&decode(&raw[..at], 4096).0));
        }
        let mut other = raw;
        other[20] ^= 1;
        assert!(!decode(&other, 4096).1, "the checksum tells");
    }
}
