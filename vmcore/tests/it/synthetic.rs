//! Writes dumps of chosen pages in every container and compression, so that tests need no crash.

use std::collections::BTreeMap;

pub const PAGE: usize = 4096;

/// Physical memory: page number to page.
pub type Pages = BTreeMap<u64, Vec<u8>>;

/// How pages are packed (`DUMP_DH_COMPRESSED_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Raw,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

/// A KDUMP file to be.
pub struct Kdump<'a> {
    pub pages: &'a Pages,
    pub vmcoreinfo: &'a str,
    pub notes: &'a [u8],
    pub packing: Packing,
    pub version: u32,
    /// Pages that exist and are left out.
    pub excluded: &'a [u64],
    /// The range of pages of one file of a split set.
    pub split: Option<std::ops::Range<u64>>,
}

impl Kdump<'_> {
    pub fn write(&self) -> Vec<u8> {
        let frames = self.pages.keys().chain(self.excluded).max().map_or(0, |last| last + 1);
        let bitmap_blocks = 2 * (frames.div_ceil(8) as usize).div_ceil(PAGE).max(1);
        let info_at = PAGE + 104;
        let notes_at = info_at + self.vmcoreinfo.len();
        let sub_blocks = (notes_at + self.notes.len() - PAGE).div_ceil(PAGE);

        let mut out = vec![0; PAGE * (1 + sub_blocks)];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"KDUMP   ");
        put(8, &self.version.to_le_bytes());
        put(428, &(PAGE as u32).to_le_bytes());
        put(432, &(sub_blocks as u32).to_le_bytes());
        put(436, &(bitmap_blocks as u32).to_le_bytes());
        put(440, &(frames as u32).to_le_bytes());
        if let Some(range) = &self.split {
            put(PAGE + 12, &1_u32.to_le_bytes());
            for at in [16, 80] {
                put(PAGE + at, &range.start.to_le_bytes());
                put(PAGE + at + 8, &range.end.to_le_bytes());
            }
        }
        for (at, value) in [
            (32, info_at),
            (40, self.vmcoreinfo.len()),
            (48, notes_at),
            (56, self.notes.len()),
            (96, frames as usize),
        ] {
            put(PAGE + at, &(value as u64).to_le_bytes());
        }
        put(info_at, self.vmcoreinfo.as_bytes());
        put(notes_at, self.notes);

        let mut bitmaps = vec![0; bitmap_blocks * PAGE];
        let second = bitmaps.len() / 2;
        for &frame in self.pages.keys().chain(self.excluded) {
            bitmaps[frame as usize / 8] |= 1 << (frame % 8);
        }
        for &frame in self.pages.keys() {
            bitmaps[second + frame as usize / 8] |= 1 << (frame % 8);
        }
        out.extend(bitmaps);

        let mine = |frame: u64| self.split.as_ref().is_none_or(|range| range.contains(&frame));
        let packed: Vec<(u32, Vec<u8>)> = self
            .pages
            .iter()
            .filter(|(frame, _)| mine(**frame))
            .map(|(_, page)| pack(self.packing, page))
            .collect();
        let mut offset = out.len() + 24 * packed.len();
        for (flags, data) in &packed {
            out.extend((offset as u64).to_le_bytes());
            out.extend((data.len() as u32).to_le_bytes());
            out.extend(flags.to_le_bytes());
            out.extend(0_u64.to_le_bytes());
            offset += data.len();
        }
        packed.into_iter().for_each(|(_, data)| out.extend(data));
        out
    }
}

fn pack(packing: Packing, page: &[u8]) -> (u32, Vec<u8>) {
    use std::io::Write;
    match packing {
        Packing::Raw => (0, page.to_vec()),
        Packing::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(page).unwrap();
            (1, encoder.finish().unwrap())
        }
        Packing::Lzo => (2, lzokay_native::compress(page).unwrap()),
        Packing::Snappy => (4, snap::raw::Encoder::new().compress_vec(page).unwrap()),
        Packing::Zstd => (0x20, zstd::bulk::compress(page, 1).unwrap()),
    }
}

/// An ELF core of these pages, one segment for each run, its notes before them.
pub fn elf(pages: &Pages, machine: u16, notes: &[u8]) -> Vec<u8> {
    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    for (&frame, page) in pages {
        match runs.last_mut() {
            Some((first, bytes)) if *first + (bytes.len() / PAGE) as u64 == frame => bytes.extend(page),
            _ => runs.push((frame, page.clone())),
        }
    }
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(4_u16.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    [0, 64, 0_u64].iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.extend(0_u32.to_le_bytes());
    [64, 56, runs.len() as u16 + 1, 0, 0, 0].iter().for_each(|half| out.extend(half.to_le_bytes()));
    let mut offset = 64 + 56 * (runs.len() as u64 + 1);
    let mut header = |kind: u32, paddr: u64, length: usize| {
        out.extend(kind.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        [offset, 0, paddr, length as u64, length as u64, 0]
            .iter()
            .for_each(|word| out.extend(word.to_le_bytes()));
        offset += length as u64;
    };
    header(4, 0, notes.len());
    runs.iter().for_each(|(frame, bytes)| header(1, frame * PAGE as u64, bytes.len()));
    out.extend(notes);
    runs.into_iter().for_each(|(_, bytes)| out.extend(bytes));
    out
}

/// One ELF note.
pub fn note(name: &str, kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    [name.len() as u32 + 1, desc.len() as u32, kind].iter().for_each(|word| out.extend(word.to_le_bytes()));
    for part in [[name.as_bytes(), b"\0"].concat().as_slice(), desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// The flattened form of a file: records of `size` bytes, every other one first.
pub fn flatten(file: &[u8], size: usize) -> Vec<u8> {
    let mut out = b"makedumpfile\0\0\0\0".to_vec();
    [1_i64, 1].iter().for_each(|word| out.extend(word.to_be_bytes()));
    out.resize(4096, 0);
    let records: Vec<(usize, &[u8])> = file.chunks(size).enumerate().collect();
    let (odd, even): (Vec<_>, Vec<_>) = records.into_iter().partition(|(i, _)| i % 2 == 1);
    for (i, data) in odd.into_iter().chain(even) {
        out.extend(((i * size) as i64).to_be_bytes());
        out.extend((data.len() as i64).to_be_bytes());
        out.extend(data);
    }
    out.extend([0xff; 16]);
    out
}
