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
        [b'B', b'Z', b'h', ..] => return Err(fail("bzip2 is not read".into())),
        [0x89, b'L', b'Z', b'O', ..] => return Err(fail("lzo is not read".into())),
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

    fn packed(kernel: &[u8]) -> [(&'static str, Vec<u8>); 5] {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(kernel).unwrap();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(kernel).unwrap();
        let options = lzma_rust2::LzmaOptions::with_preset(1);
        let mut lzma = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
        lzma.write_all(kernel).unwrap();
        let block = lz4_flex::block::compress(kernel);
        let lz4 = [&[0x02, 0x21, 0x4c, 0x18], &(block.len() as u32).to_le_bytes()[..], &block].concat();
        [
            ("gzip", gz.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("lzma", lzma.finish().unwrap()),
            ("zstd", zstd::encode_all(kernel, 1).unwrap()),
            ("lz4", lz4),
        ]
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
        assert!(refused(&bz_image(b"BZh91AY")).contains("bzip2 is not read"));
        assert!(refused(&bz_image(b"nonsense")).contains("its compression is not known"));
        assert!(unpacked(b"\x7fELF").unwrap().is_none());
    }
}
