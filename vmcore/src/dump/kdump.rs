//! makedumpfile's compressed format, headers 1 to 6 (`diskdump_mod.h`), 64-bit little-endian.

use super::decompress::Decompressor;
use super::image::Image;
use super::{Container, Format, Lack, Opened, notes};
use crate::error::Error;
use report::Note;
use std::cell::RefCell;
use std::ops::Range;

const FORMAT: &str = "KDUMP";
/// Eight bytes `KDUMP   `, version, utsname, time, and the numbers that we read.
const HEADER: usize = 464;
const SUB_HEADER: usize = 104;
/// vmcoreinfo is one page in the kernel (`VMCOREINFO_BYTES`); QEMU passes on what the guest gave.
const MAX_VMCOREINFO: u64 = 1 << 20;
/// See the same limit in the ELF reader.
const MAX_NOTES: u64 = 64 << 20;
/// One bit a page: 1 GiB of bitmap stands for 32 TiB of memory in 4 KiB pages.
const MAX_BITMAP: u64 = 1 << 30;
/// The rank of a page is counted from the nearest sample; 4096 bits are 512 bytes to read.
const SAMPLE_BITS: u64 = 4096;
const SAMPLE_BYTES: usize = (SAMPLE_BITS / 8) as usize;
/// Pages at the end of the file that are looked at to tell whether it was cut.
const LAST_PAGES: u64 = 1024;
/// `DUMP_DH_COMPRESSED_INCOMPLETE`.
const INCOMPLETE: u32 = 8;

struct Kdump {
    image: Image,
    block: usize,
    /// Where the first bitmap (this memory exists) and the second (this page is in the file) begin.
    exists: u64,
    stored: u64,
    /// Pages that the bitmaps speak of.
    frames: u64,
    /// Set bits of `stored` before each multiple of [`SAMPLE_BITS`].
    ranks: Vec<u32>,
    descriptors: u64,
    /// Rank of the first page of this file of a split set.
    skipped: u64,
    split: Option<Range<u64>>,
    scratch: RefCell<(Decompressor, Vec<u8>)>,
}

pub(super) fn open(image: Image) -> Result<Opened, Error> {
    let header = |what: String| Error::Header { format: FORMAT, what };
    let mut head = [0_u8; HEADER];
    if image.read(0, &mut head) < HEADER {
        return Err(header("the file ends within it".into()));
    }
    let word = |at: usize| head[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk));
    let (version, block, sub_blocks, bitmap_blocks) = (word(8), word(428), word(432), word(436));
    if !(1..=16).contains(&version) {
        return Err(header(format!("version is {version}; 32-bit and big-endian dumps are not supported")));
    }
    if !block.is_power_of_two() || !(4096..=65536).contains(&block) {
        return Err(header(format!("block_size is {block}")));
    }
    let size = u64::from(block);
    let mut found: Vec<Note> = Vec::new();
    if word(424) & INCOMPLETE != 0 {
        found.push(Note::new("dump-incomplete", "makedumpfile marked the dump as incomplete"));
    }
    let mut sub = [0_u8; SUB_HEADER];
    image.read(size, &mut sub);
    let sub_word = |at: usize| sub[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    // Fields came with versions; in an older file the bytes belong to something else.
    let since = |since: u32, at: usize| if version >= since { sub_word(at) } else { 0 };
    let vmcoreinfo =
        Some(image.bytes(since(3, 32), since(3, 40), MAX_VMCOREINFO)).filter(|bytes| !bytes.is_empty());
    let elf_notes = notes::parse(&image.bytes(since(4, 48), since(4, 56), MAX_NOTES));
    let vmcoreinfo = vmcoreinfo
        .or_else(|| elf_notes.iter().find(|note| note.name == b"VMCOREINFO").map(|note| note.desc.clone()));
    if since(5, 72) > 0 {
        found.push(Note::new("dump-erased", "parts of memory were erased on purpose (eraseinfo)"));
    }

    let bitmaps = (1 + u64::from(sub_blocks)) * size;
    let bitmap_bytes = u64::from(bitmap_blocks) * size / 2;
    let descriptors = bitmaps + u64::from(bitmap_blocks) * size;
    let mut frames = if version >= 6 { sub_word(96) } else { u64::from(word(440)) };
    let split_flag = version >= 2 && sub[12..16] != [0; 4];
    let split = split_flag
        .then(|| if version >= 6 { sub_word(80)..sub_word(88) } else { since(2, 16)..since(2, 24) });
    let stored = bitmaps + bitmap_bytes;
    let readable = bitmap_bytes.min(MAX_BITMAP).min(image.len().saturating_sub(stored)) * 8;
    if readable < frames {
        found.push(Note::new("dump-cut", format!("the bitmap is for {readable} pages of {frames}")));
        frames = readable;
    }
    let mut kdump = Kdump {
        image,
        block: block as usize,
        exists: bitmaps,
        stored,
        frames,
        ranks: Vec::new(),
        descriptors,
        skipped: 0,
        split: split.clone(),
        scratch: RefCell::new((Decompressor::new(), Vec::new())),
    };
    let pages = kdump.sample();
    if let Some(range) = &split {
        kdump.skipped = kdump.rank(range.start.min(frames));
    }
    if let Some(missing) = kdump.cut(pages) {
        found.push(missing);
    }
    Ok(Opened {
        container: Box::new(kdump),
        format: Format::Kdump,
        flattened: false,
        machine: None,
        vmcoreinfo,
        elf_notes,
        phys_base: Some(sub_word(0)).filter(|&base| base != 0),
        split,
        notes: found,
    })
}

impl Kdump {
    /// Counts the set bits once, keeping a sample now and then; returns all of them.
    fn sample(&mut self) -> u64 {
        let mut total = 0_u32;
        let mut chunk = [0_u8; SAMPLE_BYTES];
        for sample in 0..self.frames.div_ceil(SAMPLE_BITS) {
            self.ranks.push(total);
            self.image.read(self.stored + sample * SAMPLE_BYTES as u64, &mut chunk);
            total = total.saturating_add(ones(&chunk));
        }
        u64::from(total)
    }

    /// How many stored pages come before this one.
    fn rank(&self, frame: u64) -> u64 {
        let sample = frame / SAMPLE_BITS;
        let mut chunk = [0_u8; SAMPLE_BYTES];
        self.image.read(self.stored + sample * SAMPLE_BYTES as u64, &mut chunk);
        let bit = (frame % SAMPLE_BITS) as usize;
        let whole = ones(&chunk[..bit / 8]);
        let part = (chunk[bit / 8] & ((1_u16 << (bit % 8)) - 1) as u8).count_ones();
        u64::from(self.ranks.get(sample as usize).copied().unwrap_or(0)) + u64::from(whole + part)
    }

    fn bit(&self, bitmap: u64, frame: u64) -> bool {
        let mut byte = [0_u8];
        self.image.read(bitmap + frame / 8, &mut byte);
        byte[0] >> (frame % 8) & 1 == 1
    }

    /// A note when the file ends before the descriptors or the data of its last page.
    fn cut(&self, pages: u64) -> Option<Note> {
        let mine = match &self.split {
            Some(range) => self.rank(range.end.min(self.frames)).saturating_sub(self.skipped),
            None => pages,
        };
        // All pages of zeros share one that lies early in the file, so the very last page need not end it.
        let mut last = (mine.saturating_sub(LAST_PAGES)..mine).map(|index| self.descriptor(index));
        let beyond =
            |(offset, size, _): (u64, u32, u32)| offset.saturating_add(u64::from(size)) > self.image.len();
        let cut = last.any(|descriptor| descriptor.is_none_or(beyond));
        cut.then(|| Note::new("dump-cut", format!("the file ends before the last of its {mine} pages")))
    }

    fn descriptor(&self, index: u64) -> Option<(u64, u32, u32)> {
        let mut bytes = [0_u8; 24];
        let at = self.descriptors.checked_add(index.checked_mul(24)?)?;
        (self.image.read(at, &mut bytes) == bytes.len()).then(|| {
            let value = u128::from_le_bytes(*bytes.first_chunk().expect("24 bytes hold 16"));
            (value as u64, (value >> 64) as u32, (value >> 96) as u32)
        })
    }
}

impl Container for Kdump {
    fn page_size(&self) -> usize {
        self.block
    }

    fn read_page(&self, frame: u64, page: &mut [u8]) -> Result<(), Lack> {
        if frame >= self.frames {
            return Err(Lack::Hole);
        }
        if !self.bit(self.stored, frame) {
            return Err(if self.bit(self.exists, frame) { Lack::Excluded } else { Lack::Hole });
        }
        if self.split.as_ref().is_some_and(|range| !range.contains(&frame)) {
            return Err(Lack::Excluded);
        }
        let (offset, size, flags) =
            self.descriptor(self.rank(frame) - self.skipped).ok_or(Lack::Truncated)?;
        let size = size as usize;
        if offset == 0 {
            // Written so when the disk was full.
            return Err(Lack::Excluded);
        }
        if size == 0 || size > 2 * self.block {
            return Err(Lack::Corrupt);
        }
        let mut scratch = self.scratch.borrow_mut();
        let (decompressor, data) = &mut *scratch;
        data.resize(size, 0);
        if self.image.read(offset, data) < size {
            return Err(Lack::Truncated);
        }
        decompressor.page(flags, data, page)
    }

    fn end(&self) -> u64 {
        self.frames
    }
}

fn ones(bytes: &[u8]) -> u32 {
    bytes.iter().map(|byte| byte.count_ones()).sum()
}
