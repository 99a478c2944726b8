//! Dump containers: physical memory, page by page, whatever the file format.
//!
//! The magic at the start decides, never the file's name. Each container answers for single pages; a page
//! that is not there says why ([`Lack`]), and everything above goes on without it.

mod decompress;
mod elf;
mod flattened;
mod image;
mod kdump;
mod notes;
mod packed;
mod physical;
mod split;

pub(crate) use elf::write as write_elf;
pub(crate) use image::Image;
pub(crate) use notes::{ElfNote, gnu_build_id, parse as parse_notes};
pub(crate) use physical::Physical;

use crate::error::Error;
use crate::progress::Progress;
use report::Note;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;

/// Why a page of memory cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The container has no memory at this physical address.
    #[error("no memory there")]
    Hole,
    /// The memory exists, and the dump left it out (makedumpfile's `-d`, or lost by a full disk).
    #[error("left out of the dump")]
    Excluded,
    /// The page lies where the file has ended, or cannot be read.
    #[error("the file ends before it, or cannot be read there")]
    Truncated,
    /// The page's descriptor or its compressed data is damaged.
    #[error("the page is damaged")]
    Corrupt,
    /// No page table maps the virtual address.
    #[error("not mapped")]
    Unmapped,
}

/// What kind of file the dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// ELF core: `/proc/vmcore`, `makedumpfile -E`, QEMU's `dump-guest-memory`.
    Elf,
    /// makedumpfile's compressed format (`KDUMP   `), also QEMU's `-z`, `-l`, `-s`.
    Kdump,
}

/// The processor the dumped kernel ran on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// AMD64, EM64T.
    #[serde(rename = "x86_64")]
    X86_64,
    /// arm64, little-endian.
    Aarch64,
}

/// Physical memory, page by page.
pub(crate) trait Container: Send {
    /// Bytes in a page: a power of two, 4096..=65536.
    fn page_size(&self) -> usize;
    /// Fills `page` (of [`Self::page_size`] bytes) with the page of that number.
    fn read_page(&self, frame: u64, page: &mut [u8]) -> Result<(), Lack>;
    /// The first page number behind all memory.
    fn end(&self) -> u64;
}

/// A container with what its headers say.
pub(crate) struct Opened {
    pub container: Box<dyn Container>,
    pub format: Format,
    /// Was the container in the flattened stream format?
    pub flattened: bool,
    pub machine: Option<Machine>,
    pub vmcoreinfo: Option<Vec<u8>>,
    pub elf_notes: Vec<ElfNote>,
    /// From a KDUMP sub header, or from the segment that maps the kernel's text.
    pub phys_base: Option<u64>,
    /// The range of pages that one file of a split set holds.
    pub split: Option<std::ops::Range<u64>>,
    pub notes: Vec<Note>,
}

/// Opens the dump at `path`; one that is compressed as a whole is unpacked to an unnamed temporary file of
/// `most` bytes.
pub(crate) fn open(path: &Path, most: u64, progress: &Progress) -> Result<Opened, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let unpacked = packed::unpack(&file, most, progress).map_err(|cause| match cause {
        packed::Failure::Io(source) => read(source),
        packed::Failure::TooLarge(limit) => Error::TooLarge(limit),
    })?;
    from_image(Image::of(unpacked.unwrap_or(file)).map_err(read)?, progress)
}

/// Opens several files of one dump written with `makedumpfile --split`.
pub(crate) fn open_set(paths: &[&Path], most: u64, progress: &Progress) -> Result<Opened, Error> {
    split::join(paths.iter().map(|path| open(path, most, progress)).collect::<Result<_, _>>()?)
}

/// Whether a file begins as a dump does, one that we can read or one that we refuse by name. Not one that is
/// packed: what is inside shows only when it is unpacked.
pub fn is_dump(head: &[u8]) -> bool {
    match head {
        // `e_type` of a core file is ET_CORE, 4.
        [0x7f, b'E', b'L', b'F', ..] => head.get(16..18).is_some_and(|kind| kind == [4, 0] || kind == [0, 4]),
        _ => [&b"KDUMP   "[..], flattened::MAGIC, b"DISKDUMP", b"sadump\0\0", b"PAGEDU64", b"XenDump\0"]
            .iter()
            .any(|magic| head.starts_with(magic)),
    }
}

/// Finds the container by its magic.
pub(crate) fn from_image(image: Image, progress: &Progress) -> Result<Opened, Error> {
    let mut magic = [0_u8; 16];
    let have = image.read(0, &mut magic);
    if &magic == flattened::MAGIC {
        let (inner, notes) = flattened::Flattened::index(image, progress);
        // A flattened stream inside another would be a bomb, not a dump.
        let mut opened = from_plain(Image::Flat(inner))?;
        opened.flattened = true;
        opened.notes.splice(0..0, notes);
        return Ok(opened);
    }
    if have == 0 {
        return Err(Error::Unknown(Vec::new()));
    }
    from_plain(image)
}

fn from_plain(image: Image) -> Result<Opened, Error> {
    let mut magic = [0_u8; 8];
    let have = image.read(0, &mut magic);
    match &magic {
        [0x7f, b'E', b'L', b'F', ..] => elf::open(image),
        b"KDUMP   " => kdump::open(image),
        b"DISKDUMP" => Err(Error::Unsupported("diskdump")),
        b"sadump\0\0" => Err(Error::Unsupported("Fujitsu sadump")),
        b"PAGEDU64" => Err(Error::Unsupported("Windows crash dump")),
        b"XenDump\0" => Err(Error::Unsupported("Xen dump")),
        [0xd0 | 0xd2 | 0xd3, 0xbe, 0xd0 | 0xd2 | 0xd3, 0xbe, ..]
        | [0xd1 | 0xd2, 0xba, 0xd1 | 0xd2, 0xba, ..] => Err(Error::Unsupported("VMware snapshot")),
        [0x04, 0x22, 0x4d, 0x18, ..] => Err(Error::Unsupported("lz4")),
        _ => Err(Error::Unknown(magic[..have].to_vec())),
    }
}
