//! The bytes of a file: mapped into memory, or decompressed into it.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memmap2::Mmap;

use crate::elf::{MAX_RATIO, unpack};
use crate::error::Error;

/// Every file that we read fits easily; an allyesconfig vmlinux has 5 GB.
const MAX_FILE: u64 = 16 << 30;

/// The contents of a file: mapped, or decompressed into memory.
#[derive(Debug)]
pub(crate) enum Bytes {
    Map(Mmap, File),
    Owned(Vec<u8>),
}

impl Bytes {
    pub fn map(path: &Path) -> Result<Bytes, Error> {
        let file = File::open(path).map_err(Error::io("open"))?;
        let meta = file.metadata().map_err(Error::io("look at"))?;
        if !meta.is_file() || meta.len() == 0 {
            return Err(Error::NotElf);
        }
        if meta.len() > MAX_FILE {
            return Err(Error::TooLarge { what: "file".into(), limit: MAX_FILE });
        }
        // SAFETY: the mapping is private and read-only, and every read of it is bounds-checked. Whoever may truncate
        // the file while we read it can stop us (SIGBUS), not mislead us; stores keep such files immutable.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map"))?;
        Ok(Bytes::Map(map, file))
    }
}

impl Bytes {
    /// Copies a few bytes out. In a mapping each first touch maps 64 KB and costs microseconds; who hops through a
    /// large file without reading it is better off with system calls.
    pub fn peek<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        match self {
            Bytes::Map(_, file) => {
                let mut bytes = [0; N];
                file.read_exact_at(&mut bytes, at as u64).ok().map(|()| bytes)
            }
            Bytes::Owned(bytes) => bytes.get(at..)?.first_chunk().copied(),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Map(map, _) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

const WHAT: &str = "the file";

/// Undoes the compression of a module file (`CONFIG_MODULE_COMPRESS_*`).
pub(crate) fn decompressed(bytes: Bytes) -> Result<Bytes, Error> {
    let unpacked =
        decoder(&bytes)?.map(|decoder| unpack(WHAT, decoder, bytes.len(), u64::MAX)).transpose()?;
    Ok(unpacked.map_or(bytes, Bytes::Owned))
}

/// Writes what a compressed object (`.gz`, `.xz`, `.zst`) decompresses to, and how many bytes that are; `None`, and
/// nothing written, where it is not compressed. Neither is held in memory. More than `limit` bytes are an error.
pub fn decompress(from: &Path, to: &mut impl Write, limit: u64) -> Result<Option<u64>, Error> {
    let mut copy = || {
        let bytes = Bytes::map(from)?;
        let Some(decoder) = decoder(&bytes)? else { return Ok(None) };
        let limit = limit.min((bytes.len() as u64).saturating_mul(MAX_RATIO));
        let mut decoder = decoder.take(limit + 1);
        let (mut buffer, mut written) = (vec![0; COPIED], 0);
        loop {
            let read = decoder.read(&mut buffer).map_err(|e| undecodable(&e))?;
            if read == 0 {
                return Ok(Some(written));
            }
            written += read as u64;
            if written > limit {
                return Err(Error::TooLarge { what: format!("{WHAT}, decompressed"), limit });
            }
            to.write_all(&buffer[..read]).map_err(Error::io("write"))?;
        }
    };
    copy().map_err(|e: Error| e.at(from))
}

/// Bytes that are decompressed at once.
const COPIED: usize = 1 << 18;

fn decoder(bytes: &[u8]) -> Result<Option<Box<dyn Read + '_>>, Error> {
    Ok(Some(match bytes {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(bytes, true)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::Decoder::with_buffer(bytes).map_err(|e| undecodable(&e))?)
        }
        _ => return Ok(None),
    }))
}

fn undecodable(error: &std::io::Error) -> Error {
    Error::Compressed { what: WHAT.into(), reason: error.to_string() }
}
