//! The ELF headers of a kernel object: sections, their contents, and where each one lies.
//!
//! Only headers are read at first (goblin's `Elf::parse` would touch every string of a table of 10 MB). A linked
//! `vmlinux` has its addresses; in a relocatable `.ko` all sections begin at zero, so that `.text+1` and
//! `.init.text+1` would be the same place. Here each executable section of such a file gets a base of its own.

use std::io::Read;
use std::ops::Range;

use goblin::container::{Container, Ctx};
use goblin::elf::compression_header::CompressionHeader;
use goblin::elf::header::{self, Header};
use goblin::elf::section_header::{
    SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR, SHN_XINDEX, SHT_NOBITS, SHT_NOTE, SHT_REL, SHT_RELA,
    SHT_SYMTAB, SectionHeader,
};
use goblin::elf::sym::Symtab;
use report::BuildId;

use crate::error::Error;

/// `-ffunction-sections` modules have some ten thousand sections; a distribution's vmlinux about 80.
const MAX_SECTIONS: usize = 1 << 17;
/// The longest section names seen are of `-ffunction-sections`: `.text.` and a symbol (kernel: `KSYM_NAME_LEN` 512).
const MAX_SECTION_NAME: usize = 1024;
/// `.debug_info` of the largest distribution kernels is some 500 MB; 32-bit DWARF ends at 4 GiB.
const MAX_UNPACKED: u64 = 2 << 30;
/// Debug sections compress about 4 : 1, never 200 : 1; what claims more is a bomb.
pub(crate) const MAX_RATIO: u64 = 200;
/// Where the first executable section of a relocatable object is put. No module's text is 256 MB long, so an
/// address below it can be read as an offset into `.text`; and no address is 0, which DWARF uses for "discarded".
pub(crate) const FIRST_BASE: u64 = 0x1000_0000;
/// Sections of a relocatable object begin on a page of their own, with an empty page between them, so that the
/// end of one is never the start of the next.
const PAGE: u64 = 0x1000;

/// Checked headers. All offsets still have to be checked against the file when they are used.
#[derive(Debug)]
pub(crate) struct Elf {
    pub machine: u16,
    /// `ET_REL`: a module, or any other object file.
    pub relocatable: bool,
    pub sections: Vec<Section>,
    /// Numbers of the sections with relocations, behind the number of the one that they change; sorted.
    relocations: Vec<(u32, u32)>,
    ctx: Ctx,
}

/// One section header; `address` is the link address, or the synthetic base in a relocatable object.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub name: String,
    pub kind: u32,
    pub flags: u64,
    pub address: u64,
    pub size: u64,
    pub link: u32,
    pub info: u32,
    pub align: u64,
    offset: u64,
}

impl Section {
    pub fn executable(&self) -> bool {
        let both = u64::from(SHF_ALLOC | SHF_EXECINSTR);
        self.flags & both == both && self.size > 0
    }

    pub fn range(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size)
    }
}

/// The bytes of a section: a part of the file, or a copy that was decompressed.
#[derive(Debug)]
pub(crate) enum Contents {
    InFile(Range<usize>),
    Owned(Vec<u8>),
}

impl Contents {
    pub fn of<'a>(&'a self, file: &'a [u8]) -> &'a [u8] {
        match self {
            Contents::InFile(range) => &file[range.clone()],
            Contents::Owned(bytes) => bytes,
        }
    }
}

impl Elf {
    pub fn parse(bytes: &[u8]) -> Result<Elf, Error> {
        if !bytes.starts_with(header::ELFMAG) {
            return Err(Error::NotElf);
        }
        let bad = |e: goblin::error::Error| Error::Elf(e.to_string());
        let head: Header = goblin::elf::Elf::parse_header(bytes).map_err(bad)?;
        let ctx = Ctx::new(head.container().map_err(bad)?, head.endianness().map_err(bad)?);
        if ctx.container != Container::Big || !ctx.le.is_little() {
            let bits = if ctx.container == Container::Big { 64 } else { 32 };
            let order = if ctx.le.is_little() { "little" } else { "big" };
            let machine = header::machine_to_str(head.e_machine);
            return Err(Error::Unsupported(format!(
                "{bits}-bit {order}-endian {machine}; only 64-bit little-endian objects are read"
            )));
        }
        let (offset, count) =
            (usize::try_from(head.e_shoff).unwrap_or(usize::MAX), usize::from(head.e_shnum));
        let table = SectionHeader::parse(bytes, offset, count, ctx).map_err(bad)?;
        if table.len() > MAX_SECTIONS {
            return Err(Error::TooLarge { what: "sections".into(), limit: MAX_SECTIONS as u64 });
        }
        let names_at = match u32::from(head.e_shstrndx) {
            SHN_XINDEX => table.first().map_or(0, |first| first.sh_link),
            index => index,
        };
        let names = table.get(names_at as usize).and_then(|s| bytes.get(s.file_range()?)).unwrap_or_default();
        let relocatable = head.e_type == header::ET_REL;
        let mut next = FIRST_BASE;
        let sections = table.iter().map(|s| Section {
            name: name_at(names, s.sh_name),
            kind: s.sh_type,
            flags: s.sh_flags,
            address: if relocatable { 0 } else { s.sh_addr },
            size: s.sh_size,
            link: s.sh_link,
            info: s.sh_info,
            align: s.sh_addralign,
            offset: s.sh_offset,
        });
        let mut sections: Vec<Section> = sections.collect();
        if relocatable {
            for section in sections.iter_mut().filter(|s| s.executable()) {
                section.address = next;
                next = next.saturating_add(section.size).saturating_add(2 * PAGE) & !(PAGE - 1);
            }
            if next > u64::from(u32::MAX) {
                return Err(Error::TooLarge { what: "executable sections".into(), limit: u32::MAX.into() });
            }
        }
        let tables = sections.iter().zip(0..).filter(|(s, _)| matches!(s.kind, SHT_REL | SHT_RELA));
        let mut relocations: Vec<(u32, u32)> = tables.map(|(s, number)| (s.info, number)).collect();
        relocations.sort_unstable();
        Ok(Elf { machine: head.e_machine, relocatable, sections, relocations, ctx })
    }

    /// The tables of relocations that change the section with this number.
    pub fn relocations(&self, target: usize) -> impl Iterator<Item = &Section> {
        let first = self.relocations.partition_point(|&(changed, _)| (changed as usize) < target);
        let of_target =
            self.relocations[first..].iter().take_while(move |&&(changed, _)| changed as usize == target);
        of_target.map(|&(_, number)| &self.sections[number as usize])
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// Whether there is debug information, also in the old spelling of compressed sections.
    pub fn has_debug_info(&self) -> bool {
        [".debug_info", ".zdebug_info"].iter().any(|name| self.section(name).is_some())
    }

    /// Where a section lies in the file; empty for `SHT_NOBITS` (`.ko.debug` has no text).
    pub fn span(&self, bytes: &[u8], section: &Section) -> Result<Range<usize>, Error> {
        if section.kind == SHT_NOBITS {
            return Ok(0..0);
        }
        let end = section.offset.checked_add(section.size).filter(|&end| end <= bytes.len() as u64);
        match end {
            Some(end) => Ok(section.offset as usize..end as usize),
            None => Err(Error::Elf(format!("section {} reaches beyond the end of the file", section.name))),
        }
    }

    /// The bytes of a section as they lie in the file.
    pub fn raw<'a>(&self, bytes: &'a [u8], section: &Section) -> Result<&'a [u8], Error> {
        Ok(&bytes[self.span(bytes, section)?])
    }

    /// A debug section by its standard name, decompressed where it is `SHF_COMPRESSED` or, in the old spelling,
    /// `.zdebug_…`; with its number. `None` where there is none.
    pub fn debug_section(&self, bytes: &[u8], name: &str) -> Result<Option<(usize, Contents)>, Error> {
        let old = name.strip_prefix(".debug_").map(|rest| format!(".zdebug_{rest}"));
        let is = |section: &Section| section.name == name || Some(&section.name) == old.as_ref();
        let Some(index) = self.sections.iter().position(is) else { return Ok(None) };
        let section = &self.sections[index];
        let raw = self.raw(bytes, section)?;
        let packed = if section.flags & u64::from(SHF_COMPRESSED) != 0 {
            let head = CompressionHeader::parse(raw, 0, self.ctx)
                .map_err(|e| Error::Elf(format!("compression header of {name}: {e}")))?;
            Some((head.ch_type, head.ch_size, &raw[CompressionHeader::size(self.ctx)..]))
        } else if let Some(rest) = raw.strip_prefix(b"ZLIB").filter(|_| section.name != name) {
            let head = rest.split_first_chunk::<8>();
            let (size, rest) = head.ok_or_else(|| Error::Elf(format!("{} is cut short", section.name)))?;
            Some((ELFCOMPRESS_ZLIB, u64::from_be_bytes(*size), rest))
        } else {
            None
        };
        Ok(Some((
            index,
            match packed {
                Some((kind, size, packed)) => Contents::Owned(unpack_section(name, kind, size, packed)?),
                None => Contents::InFile(self.span(bytes, section)?),
            },
        )))
    }

    /// The symbol table with its strings. `None` in a stripped object.
    pub fn symbols<'a>(&self, bytes: &'a [u8]) -> Result<Option<(Symtab<'a>, &'a [u8])>, Error> {
        let Some(table) = self.sections.iter().find(|s| s.kind == SHT_SYMTAB) else { return Ok(None) };
        let raw = self.raw(bytes, table)?;
        if raw.is_empty() {
            return Ok(None);
        }
        let strings = self.sections.get(table.link as usize).map_or(Ok(&[][..]), |s| self.raw(bytes, s))?;
        let count = raw.len() / goblin::elf::sym::Sym::size(self.ctx.container);
        let symbols =
            Symtab::parse(raw, 0, count, self.ctx).map_err(|e| Error::Elf(format!("symbol table: {e}")))?;
        Ok(Some((symbols, strings)))
    }

    /// The GNU build-id (`NT_GNU_BUILD_ID` of any note section).
    pub fn build_id(&self, bytes: &[u8]) -> Option<BuildId> {
        let notes = self.sections.iter().filter(|s| s.kind == SHT_NOTE);
        notes.filter_map(|s| self.raw(bytes, s).ok()).find_map(gnu_build_id)
    }
}

/// `ch_type` of `Elf64_Chdr`, <elf.h>.
const ELFCOMPRESS_ZLIB: u32 = 1;
/// `ch_type` of `Elf64_Chdr`, <elf.h>.
const ELFCOMPRESS_ZSTD: u32 = 2;

fn unpack_section(name: &str, kind: u32, size: u64, packed: &[u8]) -> Result<Vec<u8>, Error> {
    let fail = |reason: String| Error::Compressed { what: name.into(), reason };
    let unpacked = match kind {
        ELFCOMPRESS_ZLIB => unpack(name, flate2::read::ZlibDecoder::new(packed), packed.len(), size)?,
        ELFCOMPRESS_ZSTD => {
            let decoder = zstd::Decoder::with_buffer(packed).map_err(|e| fail(e.to_string()))?;
            unpack(name, decoder, packed.len(), size)?
        }
        other => return Err(fail(format!("unknown compression type {other}"))),
    };
    if unpacked.len() as u64 != size {
        return Err(fail(format!("the header says {size} bytes, there are {}", unpacked.len())));
    }
    Ok(unpacked)
}

/// Reads a decoder to its end, within the limits on size and ratio. `claimed` is what the header promises, or
/// `u64::MAX` where nothing does; memory grows with what really comes, not with the claim.
pub(crate) fn unpack(what: &str, decoder: impl Read, packed: usize, claimed: u64) -> Result<Vec<u8>, Error> {
    let limit = MAX_UNPACKED.min((packed as u64).saturating_mul(MAX_RATIO).saturating_add(1 << 16));
    let too_large = || Error::TooLarge { what: format!("{what}, decompressed"), limit };
    if claimed != u64::MAX && claimed > limit {
        return Err(too_large());
    }
    let expected = if claimed == u64::MAX { packed as u64 * 3 } else { claimed };
    let mut out = Vec::with_capacity(usize::try_from(expected.min(limit)).unwrap_or(0));
    let fail = |e: std::io::Error| Error::Compressed { what: what.into(), reason: e.to_string() };
    decoder.take(limit + 1).read_to_end(&mut out).map_err(fail)?;
    if out.len() as u64 > limit { Err(too_large()) } else { Ok(out) }
}

fn name_at(names: &[u8], at: usize) -> String {
    let rest = names.get(at..).unwrap_or_default();
    let rest = &rest[..rest.len().min(MAX_SECTION_NAME)];
    String::from_utf8_lossy(rest.split(|&b| b == 0).next().unwrap_or_default()).into_owned()
}

/// The string at an offset of a string table, without its NUL.
pub(crate) fn string_at(strings: &[u8], at: usize) -> &[u8] {
    let rest = strings.get(at..).unwrap_or_default();
    let end = memchr::memchr(0, rest).unwrap_or(rest.len());
    &rest[..end]
}

/// `Elf64_Nhdr`: name size, descriptor size, type, each `u32`; name and descriptor padded to 4 bytes.
fn gnu_build_id(mut notes: &[u8]) -> Option<BuildId> {
    const NT_GNU_BUILD_ID: u32 = 3;
    while let Some((head, rest)) = notes.split_first_chunk::<12>() {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_len, desc_len) = (word(0) as usize, word(4) as usize);
        let name = rest.get(..name_len)?;
        let rest = rest.get(name_len.checked_next_multiple_of(4)?..)?;
        let desc = rest.get(..desc_len)?;
        if word(8) == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return BuildId::new(desc).ok();
        }
        notes = rest.get(desc_len.checked_next_multiple_of(4)?..)?;
    }
    None
}
