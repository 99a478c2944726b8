//! KDUMP files: every compression, every header, sets, damage.

use super::image::Image;
use super::{PAGE, Pages};
use std::ops::Range;

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
pub struct Kdump {
    pub pages: Pages,
    pub vmcoreinfo: String,
    pub notes: Vec<u8>,
    pub packing: Packing,
    pub version: u32,
    /// Bytes of a page: the dumped kernel's.
    pub block: usize,
    /// Pages that exist and are left out.
    pub excluded: Vec<u64>,
    /// The range of pages of one file of a split set.
    pub split: Option<Range<u64>>,
    /// Did makedumpfile run out of space?
    pub incomplete: bool,
}

impl Kdump {
    /// All of a kernel's memory, with the newest header.
    pub fn of(image: &Image, packing: Packing) -> Self {
        Self {
            pages: image.pages(),
            vmcoreinfo: image.info.clone(),
            notes: Vec::new(),
            packing,
            version: 6,
            block: 1 << image.shift,
            excluded: Vec::new(),
            split: None,
            incomplete: false,
        }
    }

    /// The pages in blocks of the file's size.
    fn blocks(&self) -> Pages {
        let each = self.block / PAGE;
        let mut blocks = Pages::new();
        for (&frame, page) in &self.pages {
            let at = frame as usize % each * PAGE;
            let block = blocks.entry(frame / each as u64).or_insert_with(|| vec![0; self.block]);
            block[at..at + PAGE].copy_from_slice(page);
        }
        blocks
    }

    pub fn write(&self) -> Vec<u8> {
        let block = self.block;
        let pages = self.blocks();
        let frames = pages.keys().chain(&self.excluded).max().map_or(0, |last| last + 1);
        let bitmap_blocks = 2 * (frames.div_ceil(8) as usize).div_ceil(block).max(1);
        let info_at = block + 104;
        let notes_at = info_at + self.vmcoreinfo.len();
        let sub_blocks = (notes_at + self.notes.len() - block).div_ceil(block);

        let mut out = vec![0; block * (1 + sub_blocks)];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"KDUMP   ");
        put(8, &self.version.to_le_bytes());
        put(424, &(if self.incomplete { 8_u32 } else { 0 }).to_le_bytes());
        put(428, &(block as u32).to_le_bytes());
        put(432, &(sub_blocks as u32).to_le_bytes());
        put(436, &(bitmap_blocks as u32).to_le_bytes());
        put(440, &(frames as u32).to_le_bytes());
        // Fields of the sub header came with versions.
        let mut since = |version: u32, at: usize, value: u64| {
            if self.version >= version {
                put(block + at, &value.to_le_bytes());
            }
        };
        if let Some(range) = &self.split {
            since(2, 12, 1);
            for (version, at) in [(2, 16), (6, 80)] {
                since(version, at, range.start);
                since(version, at + 8, range.end);
            }
        }
        since(3, 32, info_at as u64);
        since(3, 40, self.vmcoreinfo.len() as u64);
        since(4, 48, notes_at as u64);
        since(4, 56, self.notes.len() as u64);
        since(6, 96, frames);
        if self.version >= 3 {
            put(info_at, self.vmcoreinfo.as_bytes());
        }
        if self.version >= 4 {
            put(notes_at, &self.notes);
        }

        let mut bitmaps = vec![0; bitmap_blocks * block];
        let second = bitmaps.len() / 2;
        for &frame in pages.keys().chain(&self.excluded) {
            bitmaps[frame as usize / 8] |= 1 << (frame % 8);
        }
        for &frame in pages.keys() {
            bitmaps[second + frame as usize / 8] |= 1 << (frame % 8);
        }
        out.extend(bitmaps);

        let mine = |frame: u64| self.split.as_ref().is_none_or(|range| range.contains(&frame));
        let packed: Vec<(u32, Vec<u8>)> = pages
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
