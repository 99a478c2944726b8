//! One page out of its compressed form: zlib, LZO1X, snappy, zstd (`DUMP_DH_COMPRESSED_*` of makedumpfile).

use super::Lack;
use flate2::{Decompress, FlushDecompress, Status};
use report::pstore::lzo;

/// Page is a zlib stream.
pub(crate) const ZLIB: u32 = 1;
/// Page is LZO1X.
pub(crate) const LZO: u32 = 2;
/// Page is one raw snappy block.
pub(crate) const SNAPPY: u32 = 4;
/// Page is a zstd frame.
pub(crate) const ZSTD: u32 = 0x20;

/// The decoders' state, kept between pages.
pub(super) struct Decompressor {
    zlib: Decompress,
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decompressor {
    pub fn new() -> Self {
        let zstd = zstd::bulk::Decompressor::new().ok();
        Self { zlib: Decompress::new(true), snappy: snap::raw::Decoder::new(), zstd }
    }

    /// Fills `page` exactly, or says that the data is damaged.
    pub fn page(&mut self, flags: u32, data: &[u8], page: &mut [u8]) -> Result<(), Lack> {
        let filled = match flags {
            0 if data.len() == page.len() => {
                page.copy_from_slice(data);
                page.len()
            }
            ZLIB => {
                self.zlib.reset(true);
                match self.zlib.decompress(data, page, FlushDecompress::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(self.zlib.total_out()).unwrap_or(0),
                    _ => 0,
                }
            }
            LZO => match lzo::decompress(data, page) {
                (length, true) => length,
                _ => 0,
            },
            SNAPPY if snap::raw::decompress_len(data) == Ok(page.len()) => {
                self.snappy.decompress(data, page).unwrap_or(0)
            }
            ZSTD => {
                self.zstd.as_mut().and_then(|zstd| zstd.decompress_to_buffer(data, page).ok()).unwrap_or(0)
            }
            _ => 0,
        };
        if filled == page.len() { Ok(()) } else { Err(Lack::Corrupt) }
    }
}
