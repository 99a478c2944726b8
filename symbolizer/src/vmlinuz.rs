//! Kernels packed for booting: the image inside, and the symbols of its own kallsyms. They give names, no lines.

use std::borrow::Cow;
use std::io::Read;

use gimli::Dwarf;
use goblin::elf::header::EM_AARCH64;

use crate::code::Text;
use crate::elf::{Elf, MAX_RATIO, unpack};
use crate::error::Error;
use crate::image::{Kind, release_of_banner, sections};
use crate::index::{Index, Meta, build};
use crate::kallsyms;
use crate::symtab::{Symbol, kallsyms_keeps};

const WHAT: &str = "the kernel inside";
/// A block of `lz4 -l`.
const LZ4_BLOCK: usize = 8 << 20;
/// Blocks of a kernel of 2 GiB.
const MAX_BLOCKS: usize = 256;

/// The kernel inside the bytes of a `bzImage`, an EFI zboot image, or an arm64 `Image` (which is not packed). `None`
/// where the bytes are something else.
pub(crate) fn unpacked(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, Error> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b) as usize);
    let cut = || Error::Compressed { what: WHAT.into(), reason: "the file is cut short".into() };
    // The header of Documentation/arch/x86/boot.rst.
    if bytes.get(0x202..0x206) == Some(b"HdrS") {
        let setup = match bytes[0x1f1] {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let payload = (setup + 1) * 512 + word(0x248).ok_or_else(cut)?;
        let end = payload.saturating_add(word(0x24c).ok_or_else(cut)?);
        return decompress(bytes.get(payload..end).ok_or_else(cut)?).map(|kernel| Some(kernel.into()));
    }
    // drivers/firmware/efi/libstub/zboot-header.S
    if bytes.starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg") {
        let payload = word(8).ok_or_else(cut)?;
        let end = payload.saturating_add(word(12).ok_or_else(cut)?);
        return decompress(bytes.get(payload..end).ok_or_else(cut)?).map(|kernel| Some(kernel.into()));
    }
    // Documentation/arch/arm64/booting.rst
    Ok((bytes.get(56..60) == Some(b"ARM\x64")).then_some(Cow::Borrowed(bytes)))
}

/// One stream; behind it stands the size of what it holds, or padding.
fn decompress(packed: &[u8]) -> Result<Vec<u8>, Error> {
    let fail = |reason: String| Error::Compressed { what: WHAT.into(), reason };
    let decoder: Box<dyn Read + '_> = match packed {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::GzDecoder::new(packed)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(packed, false)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::Decoder::with_buffer(packed).map_err(|e| fail(e.to_string()))?.single_frame())
        }
        [0x5d, 0, 0, ..] => {
            let reader = lzma_rust2::LzmaReader::new_mem_limit(packed, LZMA_MEMORY_KIB, None);
            Box::new(reader.map_err(|e| fail(e.to_string()))?)
        }
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => return lz4(blocks),
        [b'B', b'Z', b'h', ..] => Box::new(vmcore::bzip2::Decoder::new(packed)),
        [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n', file @ ..] => return lzop(file),
        _ => return Err(fail("its compression is not known".into())),
    };
    unpack(WHAT, decoder, packed.len(), u64::MAX)
}

/// scripts/Makefile.lib packs with at most a 32 MiB dictionary.
const LZMA_MEMORY_KIB: u32 = 128 << 10;

/// The legacy format of lz4: blocks with their packed sizes before them.
fn lz4(mut rest: &[u8]) -> Result<Vec<u8>, Error> {
    let fail = |reason: String| Error::Compressed { what: WHAT.into(), reason };
    let limit = rest.len() as u64 * MAX_RATIO;
    let mut out = Vec::new();
    for _ in 0..MAX_BLOCKS {
        let Some((size, behind)) = rest.split_first_chunk::<4>() else { break };
        // The last four bytes are no block: the size of what was unpacked.
        let Some(block) = behind.get(..u32::from_le_bytes(*size) as usize) else { break };
        out.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).map_err(|e| fail(e.to_string()))?);
        rest = &behind[block.len()..];
        if out.len() as u64 > limit {
            return Err(Error::TooLarge { what: format!("{WHAT}, decompressed"), limit });
        }
    }
    if out.is_empty() { Err(fail("no block is whole".into())) } else { Ok(out) }
}

/// What `lzop` writes (lib/decompress_unlzo.c): a header, then blocks with their sizes and checksums before them.
fn lzop(file: &[u8]) -> Result<Vec<u8>, Error> {
    let fail = |reason: &str| Error::Compressed { what: WHAT.into(), reason: reason.into() };
    let mut rest = file;
    let (method, flags) = lzop_header(&mut rest).ok_or_else(|| fail("the header of lzop is cut short"))?;
    if !LZO_METHOD.contains(&method) {
        return Err(fail("this method of lzop is not known"));
    }
    // Adler-32 and CRC-32, of the block as it was, and of the packed one.
    let sums = |masks: u32| (flags & masks).count_ones() as usize * 4;
    let mut out = Vec::new();
    for _ in 0..MAX_LZO_BLOCKS {
        let cut = || fail("a block of lzop is cut short");
        let size = be32(&mut rest).ok_or_else(cut)? as usize;
        if size == 0 {
            return Ok(out);
        }
        let stored = be32(&mut rest).ok_or_else(cut)? as usize;
        let packed_sums = if stored < size { sums(0x202) } else { 0 };
        rest = rest.get(sums(0x101) + packed_sums..).ok_or_else(cut)?;
        let (block, behind) = rest.split_at_checked(stored).ok_or_else(cut)?;
        rest = behind;
        if size > LZO_BLOCK || stored > size {
            return Err(fail("a block of lzop is larger than it may be"));
        }
        if stored == size {
            out.extend(block);
            continue;
        }
        let start = out.len();
        out.resize(start + size, 0);
        if report::pstore::lzo::decompress(block, &mut out[start..]) != (size, true) {
            return Err(fail("a block of lzop is damaged"));
        }
    }
    Err(Error::TooLarge { what: format!("{WHAT}, blocks"), limit: MAX_LZO_BLOCKS as u64 })
}

/// `-1` to `-9` of `lzop` are all LZO1X.
const LZO_METHOD: std::ops::RangeInclusive<u8> = 1..=3;
/// `LZO_BLOCK_SIZE` of lib/decompress_unlzo.c.
const LZO_BLOCK: usize = 256 << 10;
/// Those of a kernel of 2 GiB.
const MAX_LZO_BLOCKS: usize = 1 << 13;

fn be32(rest: &mut &[u8]) -> Option<u32> {
    let (word, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u32::from_be_bytes(*word))
}

/// Method and flags; `rest` is moved to the first block.
fn lzop_header(rest: &mut &[u8]) -> Option<(u8, u32)> {
    const FILTER: u32 = 0x800;
    let header = *rest;
    let version = u16::from_be_bytes(*header.first_chunk()?);
    // Since 0.94 there are a level, and a time of 64 bits.
    let recent = usize::from(version >= 0x0940);
    // Versions of the file, of the library and of who may unpack it: two bytes each.
    let method = *header.get(6)?;
    let mut at = header.get(7 + recent..)?;
    let flags = be32(&mut at)?;
    let filter = if flags & FILTER != 0 { 4 } else { 0 };
    // Mode and time, the name with its length before it, the checksum of all that.
    let (&name, behind) = at.get(filter + 8 + 4 * recent..)?.split_first()?;
    *rest = behind.get(usize::from(name) + 4..)?;
    Some((method, flags))
}

/// An index of the names, with the code where the kernel inside is an ELF (x86).
pub(crate) fn index(kernel: &[u8], release: Option<String>) -> Result<Index, Error> {
    let symbols = kallsyms::find(kernel)?.ok_or(Error::NoSymbols)?;
    let elf = Elf::parse(kernel).ok();
    let first = symbols.iter().find(|(_, kind, _)| is_text(*kind)).ok_or(Error::NoSymbols)?.0;
    let sections = elf.as_ref().map(sections).unwrap_or_default();
    let base = sections.iter().map(|(_, at, _)| *at).filter(|&at| at != 0).fold(first, u64::min);
    let meta = Meta {
        tool: concat!("lastwords ", env!("CARGO_PKG_VERSION")).into(),
        kind: Kind::Kernel,
        machine: elf.as_ref().map_or(EM_AARCH64, |elf| elf.machine),
        build_id: elf.as_ref().and_then(|elf| elf.build_id(kernel)),
        release: release_of_banner(kernel).or(release),
        sections,
        ..Meta::partial(base)
    };
    let mut listed = Vec::new();
    let mut after = symbols.last().map_or(0, |(at, ..)| *at);
    let mut here = after;
    for (address, kind, name) in symbols.iter().rev() {
        if *address != here {
            (after, here) = (here, *address);
        }
        if is_text(*kind) && *address >= base && kallsyms_keeps(name.as_bytes()) {
            listed.push((Cow::Borrowed(name.as_str()), Symbol::listed(*address, after - address)));
        }
    }
    listed.reverse();
    let symbols: Vec<_> = listed.iter().map(|(name, symbol)| (name.clone(), symbol)).collect();
    let text = elf.map(|elf| Text::read(&elf, kernel)).transpose()?;
    build::build(meta, &symbols, &Dwarf::default(), &[], text.as_ref().map(|text| (text, kernel)))
}

fn is_text(kind: u8) -> bool {
    matches!(kind, b't' | b'T' | b'w' | b'W')
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::error::chain;
    use crate::kallsyms::tests::written;

    const BASE: u64 = 0xffff_ffff_8100_0000;

    /// What is in the packed kernels of these tests: no ELF, but a banner and kallsyms.
    fn kernel() -> Vec<u8> {
        let names: Vec<String> = (0..600).map(|i| format!("tfunction_{i}")).collect();
        let symbols: Vec<(u64, &str)> =
            names.iter().zip(0..).map(|(name, i)| (BASE + i * 64, name.as_str())).collect();
        let mut kernel = b"Linux version %s\0Linux version 6.1.0-test (gcc) #1\0".to_vec();
        kernel.resize(64, 0);
        kernel.extend(written(&symbols, BASE, true, false));
        kernel
    }

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
        image.extend(payload);
        image.extend(4242u32.to_le_bytes());
        image
    }

    /// What a program packs that there is no encoder in Rust for; `None` where it is not installed.
    fn by_program(program: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        std::fs::write(&path, plain).unwrap();
        let done = std::process::Command::new(program).args(["-9", "-c"]).arg(&path).output();
        done.inspect_err(|_| println!("no program {program}: not held against it"))
            .ok()
            .map(|done| done.stdout)
    }

    fn packed(kernel: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(kernel).unwrap();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(kernel).unwrap();
        let options = lzma_rust2::LzmaOptions::with_preset(1);
        let mut lzma = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
        lzma.write_all(kernel).unwrap();
        let block = lz4_flex::block::compress(kernel);
        let lz4 = [&[0x02, 0x21, 0x4c, 0x18], &(block.len() as u32).to_le_bytes()[..], &block].concat();
        let mut packed = vec![
            ("gzip", gz.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("lzma", lzma.finish().unwrap()),
            ("zstd", zstd::encode_all(kernel, 1).unwrap()),
            ("lz4", lz4),
        ];
        for program in ["bzip2", "lzop"] {
            packed.extend(by_program(program, kernel).map(|bytes| (program, bytes)));
        }
        packed
    }

    /// `lastwords ` twenty times and a line feed, by `lzop -9`.
    const LZOP: &[u8] = &[
        0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a, 0x10, 0x40, 0x20, 0xa0, 0x09, 0x40, 0x03, 0x09,
        0x03, 0x00, 0x00, 0x01, 0x00, 0x00, 0x81, 0xa4, 0x6b, 0x03, 0xdf, 0x44, 0x00, 0x00, 0x00, 0x00, 0x02,
        0x6c, 0x77, 0x40, 0x36, 0x05, 0x05, 0x00, 0x00, 0x00, 0xc9, 0x00, 0x00, 0x00, 0x13, 0xeb, 0xb4, 0x50,
        0x47, 0x1b, 0x6c, 0x61, 0x73, 0x74, 0x77, 0x6f, 0x72, 0x64, 0x73, 0x20, 0x20, 0x9d, 0x25, 0x00, 0x0a,
        0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ];

    #[test]
    fn what_lzop_wrote_is_read_and_its_damage_told() {
        let plain = b"lastwords ".repeat(20);
        assert_eq!(decompress(LZOP).unwrap(), [&plain[..], b"\n"].concat());
        for at in 9..LZOP.len() {
            assert!(decompress(&LZOP[..at]).is_err(), "{at}");
            let mut damaged = LZOP.to_vec();
            damaged[at] ^= 0x81;
            let _ = decompress(&damaged);
        }
    }

    #[test]
    fn names_come_out_of_every_compression() {
        let kernel = kernel();
        for (name, payload) in packed(&kernel) {
            let image = bz_image(&payload);
            let inside = unpacked(&image).unwrap().unwrap();
            assert!(*inside == kernel, "{name}");
            let mut zboot = b"MZ\0\0zimg".to_vec();
            zboot.extend([24u32, payload.len() as u32].iter().flat_map(|word| word.to_le_bytes()));
            zboot.resize(24, 0);
            zboot.extend(&payload);
            assert!(*unpacked(&zboot).unwrap().unwrap() == kernel, "{name} in zboot");
            let index = index(&inside, None).unwrap();
            assert_eq!(index.meta().release.as_deref(), Some("6.1.0-test"));
            let symbol = index.symbol_at(BASE + 5 * 64 + 63).unwrap();
            assert_eq!((symbol.name, symbol.address, symbol.ksize), ("function_5", BASE + 5 * 64, 64));
            assert!(index.lookup(BASE).is_none());
        }
    }

    #[test]
    fn what_is_cut_or_a_bomb_or_unknown_is_an_error_that_says_so() {
        let refused = |bytes: &[u8]| chain(&unpacked(bytes).unwrap_err());
        let image = bz_image(&packed(&kernel())[0].1);
        assert_eq!(refused(&image[..1100]), "cannot decompress the kernel inside: the file is cut short");
        let bomb = zstd::encode_all(&vec![0; 64 << 20][..], 1).unwrap();
        assert!(refused(&bz_image(&bomb)).contains("decompressed: more than"));
        assert!(refused(&bz_image(b"BZh91AY")).contains("bzip2: neither a block nor the end"));
        assert!(refused(&bz_image(&LZOP[..50])).contains("lzop is cut short"));
        assert!(refused(&bz_image(b"nonsense")).contains("its compression is not known"));
        assert!(unpacked(b"\x7fELF").unwrap().is_none());
    }
}
