//! bzip2, as `kdump-tools` may pack a dump and `CONFIG_KERNEL_BZIP2` a kernel (format: `decompress.c` of bzip2 1.0.8).
//! It is rare, and the crates at hand are C or the size of C.

use std::io::{self, BufRead, Read};

/// `BZ_MAX_CODE_LEN` of the compressor is 17; the decoder's is 20.
const MAX_CODE: u32 = 20;
/// `BZ_N_GROUPS`: tables of a block.
const MAX_TABLES: usize = 6;
/// `BZ_G_SIZE`: symbols that are read with one table.
const GROUP: usize = 50;
/// Symbols of a table: 256 bytes, less the one in front, two digits of runs and the end.
const MAX_SYMBOLS: usize = 258;
/// π, and its root: a block begins, the stream ends.
const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;

/// Decodes one stream, or several behind each other as `pbzip2` writes them. What stands behind them is not read.
pub struct Decoder<R> {
    bits: Bits<R>,
    /// The most bytes of a block of this stream; none: no stream is open.
    level: Option<usize>,
    block: Option<Block>,
    began: bool,
    ended: bool,
}

impl<R: BufRead> Decoder<R> {
    /// A decoder of what `packed` gives.
    pub fn new(packed: R) -> Self {
        let bits = Bits { packed, held: 0, count: 0 };
        Self { bits, level: None, block: None, began: false, ended: false }
    }

    /// Opens the next block; false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        loop {
            let Some(most) = self.level else {
                if !self.begin()? {
                    return Ok(false);
                }
                continue;
            };
            match self.bits.take(24)? << 24 | self.bits.take(24)? {
                BLOCK => {
                    self.block = Some(Block::read(&mut self.bits, most)?);
                    return Ok(true);
                }
                // The sum over all blocks: each was checked by its own.
                END => {
                    self.bits.take(32)?;
                    self.bits.align();
                    self.level = None;
                }
                _ => return Err(damaged("neither a block nor the end")),
            }
        }
    }

    /// Opens a stream: `BZh`, and the size of its blocks in 100,000 bytes as a digit.
    fn begin(&mut self) -> io::Result<bool> {
        let first = !std::mem::replace(&mut self.began, true);
        for want in *b"BZh" {
            match self.bits.take(8) {
                Ok(byte) if byte == u64::from(want) => {}
                _ if first => return Err(damaged("no bzip2 stream")),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => {
                    self.ended = true;
                    return Ok(false);
                }
            }
        }
        match self.bits.take(8)? {
            digit @ 0x31..=0x39 => self.level = Some((digit - 0x30) as usize * 100_000),
            _ => return Err(damaged("no such size of blocks")),
        }
        Ok(true)
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !out.is_empty() && !self.ended {
            if let Some(block) = &mut self.block {
                let written = block.write(out);
                if written > 0 {
                    return Ok(written);
                }
                let sound = !block.sum == block.expected;
                self.block = None;
                if !sound {
                    return Err(damaged("the checksum of a block differs"));
                }
            }
            if !self.next_block()? {
                break;
            }
        }
        Ok(0)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bzip2: {what}"))
}

/// Bits, the highest of a byte first.
struct Bits<R> {
    packed: R,
    held: u64,
    count: u32,
}

impl<R: BufRead> Bits<R> {
    /// The next bits, at most 32.
    fn take(&mut self, count: u32) -> io::Result<u64> {
        while self.count < count {
            let Some(&byte) = self.packed.fill_buf()?.first() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            self.packed.consume(1);
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
        self.count -= count;
        Ok(self.held >> self.count & ((1 << count) - 1))
    }

    fn bit(&mut self) -> io::Result<bool> {
        Ok(self.take(1)? == 1)
    }

    /// Drops the rest of a byte.
    fn align(&mut self) {
        self.count -= self.count % 8;
    }
}

/// A block, sorted: of each byte, which one follows it.
struct Block {
    /// The byte in the low 8 bits, the number of its successor above them.
    follows: Vec<u32>,
    /// Number of the next byte, and bytes that were not yet taken.
    next: u32,
    left: usize,
    /// Four equal bytes are followed by a count of more.
    last: u8,
    equal: u32,
    more: u8,
    expected: u32,
    /// CRC-32 of what was written, highest bit first.
    sum: u32,
}

impl Block {
    fn read<R: BufRead>(bits: &mut Bits<R>, most: usize) -> io::Result<Block> {
        let expected = bits.take(32)? as u32;
        if bits.bit()? {
            return Err(damaged("randomised blocks, of before 1999, are not read"));
        }
        let first = bits.take(24)? as usize;
        let used = used(bits)?;
        let (tables, selectors) = tables(bits, used.len() + 2)?;
        let mut follows = bytes(bits, used, &tables, &selectors, most)?;
        // The bytes are those before each rotation of the text, in the order of the rotations: the n-th of a value
        // is followed by what the n-th rotation that begins with it has.
        let mut starts = [0u32; 257];
        follows.iter().for_each(|&byte| starts[byte as usize + 1] += 1);
        (1..257).for_each(|byte| starts[byte] += starts[byte - 1]);
        for number in 0..follows.len() {
            let place = &mut starts[(follows[number] & 0xff) as usize];
            follows[*place as usize] |= (number as u32) << 8;
            *place += 1;
        }
        let next = follows.get(first).ok_or_else(|| damaged("a block begins outside itself"))? >> 8;
        let left = follows.len();
        Ok(Block { follows, next, left, last: 0, equal: 0, more: 0, expected, sum: !0 })
    }

    /// Writes as much as fits.
    fn write(&mut self, out: &mut [u8]) -> usize {
        for (written, to) in out.iter_mut().enumerate() {
            if self.more > 0 {
                self.more -= 1;
            } else {
                let Some(byte) = self.take() else { return written };
                self.equal = if self.equal > 0 && byte == self.last { self.equal + 1 } else { 1 };
                self.last = byte;
                if self.equal == 4 {
                    self.more = self.take().unwrap_or(0);
                    self.equal = 0;
                }
            }
            *to = self.last;
            self.sum = self.sum << 8 ^ SUMS[((self.sum >> 24) as u8 ^ self.last) as usize];
        }
        out.len()
    }

    fn take(&mut self) -> Option<u8> {
        self.left = self.left.checked_sub(1)?;
        let entry = *self.follows.get(self.next as usize)?;
        self.next = entry >> 8;
        Some(entry as u8)
    }
}

/// The byte values that occur, in order: which sixteenths do, and which of each.
fn used<R: BufRead>(bits: &mut Bits<R>) -> io::Result<Vec<u8>> {
    let mut used = Vec::with_capacity(256);
    let ranges = bits.take(16)?;
    for high in (0..16).filter(|high| ranges >> (15 - high) & 1 == 1) {
        let values = bits.take(16)?;
        used.extend((0..16).filter(|low| values >> (15 - low) & 1 == 1).map(|low| high << 4 | low));
    }
    if used.is_empty() { Err(damaged("a block of no bytes")) } else { Ok(used) }
}

/// A canonical Huffman code.
struct Table {
    /// Of each length, the first code that is longer, aligned to [`MAX_CODE`] bits.
    ends: [u32; MAX_CODE as usize + 1],
    /// Of each length, what its codes are less than their places in `symbols`.
    bases: [u32; MAX_CODE as usize + 1],
    symbols: Vec<u16>,
}

impl Table {
    fn of(lengths: &[u32]) -> Table {
        let (mut ends, mut bases) = ([0; MAX_CODE as usize + 1], [0u32; MAX_CODE as usize + 1]);
        let mut symbols = Vec::with_capacity(lengths.len());
        let mut code = 0u32;
        for length in 1..=MAX_CODE {
            bases[length as usize] = code.wrapping_sub(symbols.len() as u32);
            let of_length = (0..lengths.len()).filter(|&symbol| lengths[symbol] == length);
            symbols.extend(of_length.map(|symbol| symbol as u16));
            code = bases[length as usize].wrapping_add(symbols.len() as u32);
            ends[length as usize] = code << (MAX_CODE - length);
            code <<= 1;
        }
        Table { ends, bases, symbols }
    }

    fn symbol<R: BufRead>(&self, bits: &mut Bits<R>) -> io::Result<u16> {
        let mut code = 0;
        for length in 1..=MAX_CODE {
            code = code << 1 | bits.take(1)? as u32;
            if code << (MAX_CODE - length) < self.ends[length as usize] {
                let place = code.wrapping_sub(self.bases[length as usize]) as usize;
                return self.symbols.get(place).copied().ok_or_else(|| damaged("no such symbol"));
            }
        }
        Err(damaged("no such code"))
    }
}

/// The codes of a block, and which of them each group of symbols is read with.
fn tables<R: BufRead>(bits: &mut Bits<R>, symbols: usize) -> io::Result<(Vec<Table>, Vec<u8>)> {
    let count = bits.take(3)? as usize;
    let groups = bits.take(15)? as usize;
    if !(2..=MAX_TABLES).contains(&count) || groups == 0 {
        return Err(damaged("no tables"));
    }
    let mut order: Vec<u8> = (0..count as u8).collect();
    let mut selectors = Vec::with_capacity(groups);
    for _ in 0..groups {
        let mut place = 0;
        while bits.bit()? {
            place += 1;
            if place == count {
                return Err(damaged("no such table"));
            }
        }
        order[..=place].rotate_right(1);
        selectors.push(order[0]);
    }
    let mut tables = Vec::with_capacity(count);
    for _ in 0..count {
        let mut lengths = [0; MAX_SYMBOLS];
        let mut length = bits.take(5)? as u32;
        for of_symbol in &mut lengths[..symbols] {
            while (1..=MAX_CODE).contains(&length) && bits.bit()? {
                length = if bits.bit()? { length - 1 } else { length + 1 };
            }
            if !(1..=MAX_CODE).contains(&length) {
                return Err(damaged("no such length of a code"));
            }
            *of_symbol = length;
        }
        tables.push(Table::of(&lengths[..symbols]));
    }
    Ok((tables, selectors))
}

/// The bytes of a block: each as how recently it was last seen, and runs of the last one in digits of 1 and 2.
fn bytes<R: BufRead>(
    bits: &mut Bits<R>,
    mut recent: Vec<u8>,
    tables: &[Table],
    selectors: &[u8],
    most: usize,
) -> io::Result<Vec<u32>> {
    let too_long = || damaged("a block longer than the stream says");
    let end = recent.len() as u16 + 1;
    let mut bytes = Vec::with_capacity(most);
    let (mut run, mut digit) = (0usize, 1usize);
    for &selector in selectors {
        let table = &tables[usize::from(selector)];
        for _ in 0..GROUP {
            let symbol = table.symbol(bits)?;
            if symbol <= 1 {
                run += digit << symbol;
                digit <<= 1;
                if run > most {
                    return Err(too_long());
                }
                continue;
            }
            if bytes.len() + run >= most + usize::from(symbol == end) {
                return Err(too_long());
            }
            bytes.resize(bytes.len() + run, u32::from(recent[0]));
            (run, digit) = (0, 1);
            if symbol == end {
                return Ok(bytes);
            }
            recent[..usize::from(symbol)].rotate_right(1);
            bytes.push(u32::from(recent[0]));
        }
    }
    Err(damaged("a block without an end"))
}

/// CRC-32 of each byte, polynomial 0x04c11db7, highest bit first.
const SUMS: [u32; 256] = {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum >> 31 == 1 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
};
