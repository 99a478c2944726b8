//! The bytes of a dump file: read block by block, held, or put in order from the flattened format.

use super::flattened::Flattened;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What is read of a file at once. Descriptors of pages and the pages of a table lie side by side.
const BLOCK: usize = 16 << 10;
/// Blocks of a file that are kept: 2 MiB.
const KEPT: usize = 128;

/// A file's bytes behind one way of reading.
pub(crate) enum Image {
    Read(Blocks),
    Held(Vec<u8>),
    Flat(Flattened),
}

/// A file, and the blocks of it that were read last. It is not mapped: where a file shrinks while it is read, or
/// its disk fails, bytes are missing; behind a map that would end the process (SIGBUS).
pub(crate) struct Blocks {
    file: File,
    length: u64,
    kept: RefCell<Vec<Block>>,
}

#[derive(Clone, Default)]
struct Block {
    /// Its place in the file, counted in blocks, from 1 on; 0 is none.
    number: u64,
    bytes: Vec<u8>,
}

impl Image {
    /// Reads a file when it is asked to.
    pub fn of(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self::Read(Blocks { file, length, kept: RefCell::new(vec![Block::default(); KEPT]) }))
    }

    /// Bytes in the file; of a flattened stream, the end of the file it describes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Read(blocks) => blocks.length,
            Self::Held(bytes) => bytes.len() as u64,
            Self::Flat(flat) => flat.len(),
        }
    }

    /// Reads what there is from `offset` on; the rest of `out` is zero. Returns the number of bytes from the
    /// file.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let have = match self {
            Self::Read(blocks) => blocks.read(offset, out),
            Self::Held(bytes) => {
                let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
                let have = out.len().min(bytes.len() - start);
                out[..have].copy_from_slice(&bytes[start..start + have]);
                have
            }
            Self::Flat(flat) => flat.read(offset, out),
        };
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
}

impl Blocks {
    fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let mut kept = self.kept.borrow_mut();
        let mut have = 0;
        while have < out.len() {
            let Some(at) = offset.checked_add(have as u64) else { break };
            let (number, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
            let slot = (number % KEPT as u64) as usize;
            let block = &mut kept[slot];
            if block.number != number + 1 {
                block.number = number + 1;
                block.bytes.resize(BLOCK, 0);
                let there = read_at(&self.file, &mut block.bytes, number * BLOCK as u64);
                block.bytes.truncate(there);
            }
            let there = block.bytes.get(within..).unwrap_or_default();
            let length = there.len().min(out.len() - have);
            if length == 0 {
                break;
            }
            out[have..have + length].copy_from_slice(&there[..length]);
            have += length;
        }
        have
    }
}

/// Reads as far as the file goes; a disk that does not give the bytes ends it too.
fn read_at(file: &File, out: &mut [u8], offset: u64) -> usize {
    let mut have = 0;
    while have < out.len() {
        match file.read_at(&mut out[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(length) => have += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    have
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_while_it_is_read_lacks_bytes() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 3 * BLOCK], 0).unwrap();
        let image = Image::of(file.try_clone().unwrap()).unwrap();
        let mut out = [0; 8];
        assert_eq!((image.read(BLOCK as u64 - 4, &mut out), out), (8, [7; 8]));
        file.set_len(2 * BLOCK as u64 + 3).unwrap();
        assert_eq!((image.read(2 * BLOCK as u64, &mut out), out), (3, [7, 7, 7, 0, 0, 0, 0, 0]));
        assert_eq!(image.len(), 3 * BLOCK as u64);
        assert_eq!((image.read(u64::MAX - 3, &mut out), out), (0, [0; 8]));
    }
}
