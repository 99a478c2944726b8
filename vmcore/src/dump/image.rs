//! The bytes of a dump file: mapped, held, or put in order from the flattened format.

use super::flattened::Flattened;
use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io;

/// A file's bytes behind one way of reading.
pub(crate) enum Image {
    Mapped(Mmap),
    Held(Vec<u8>),
    Flat(Flattened),
}

impl Image {
    /// Maps a file read-only.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private and read-only, and nothing but plain bytes is read from it. A file that
        // another program cuts while we read it ends us with SIGBUS; callers leave files alone that are still
        // written.
        let map = unsafe { Mmap::map(file)? };
        // Pages of a dump are asked for in no order; reading ahead only fills memory. The map works without
        // it.
        let _ = map.advise(Advice::Random);
        Ok(Self::Mapped(map))
    }

    /// Bytes in the file; of a flattened stream, the end of the file it describes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Mapped(map) => map.len() as u64,
            Self::Held(bytes) => bytes.len() as u64,
            Self::Flat(flat) => flat.len(),
        }
    }

    /// Reads what there is from `offset` on; the rest of `out` is zero. Returns the number of bytes within
    /// the file.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let bytes: &[u8] = match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
            Self::Flat(flat) => return flat.read(offset, out),
        };
        let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
        let have = out.len().min(bytes.len() - start);
        out[..have].copy_from_slice(&bytes[start..start + have]);
        out[have..].fill(0);
        have
    }

    /// At most `limit` bytes from `offset` on, as far as the file goes.
    pub fn bytes(&self, offset: u64, length: u64, limit: u64) -> Vec<u8> {
        let length = length.min(limit).min(self.len().saturating_sub(offset));
        let mut out = vec![0; usize::try_from(length).unwrap_or(0)];
        let have = self.read(offset, &mut out);
        out.truncate(have);
        out
    }

    /// The mapped or held bytes themselves; none for a flattened stream.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Self::Mapped(map) => Some(map),
            Self::Held(bytes) => Some(bytes),
            Self::Flat(_) => None,
        }
    }
}
