//! Objects that lie: cut short, flipped, bombs, entries that refer to themselves. An error or an answer, in bounded
//! time; never a panic.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use symbolizer::{Image, Library, Wanted, chain};

use crate::{RELEASES, module_path};

/// Generous for a debug build on a busy machine; the honest file takes a hundredth of it.
const SECONDS: u64 = 20;

/// Opens an object and asks everything of it.
fn exercise(path: &Path) -> Result<usize, String> {
    let image = Image::open(path).map_err(|e| chain(&e))?;
    let index = image.index().map_err(|e| chain(&e))?;
    let mut found = 0;
    for (_, start, size) in image.sections() {
        for address in (start..start.saturating_add(size)).step_by(61).take(1_000) {
            found += index.lookup(address).into_iter().flatten().count();
        }
    }
    Ok(found)
}

/// xorshift64*, of a seed that a failure names.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

/// A module, an object of another machine, one of linked sections with a supplementary file.
fn objects() -> [PathBuf; 3] {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    [module_path(RELEASES[0]), data.join("arm64.o"), data.join("dwz/first.elf")]
}

#[test]
fn damaged_objects_give_an_error_with_their_file_or_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.ko");
    std::fs::copy(objects()[2].with_file_name("shared.debug"), folder.path().join("shared.debug")).unwrap();
    let begin = Instant::now();
    let (mut answers, mut errors) = (0, 0);
    for object in objects() {
        let bytes = std::fs::read(&object).unwrap();
        for seed in 1..=150 {
            let mut random = Random(seed);
            let mut copy = bytes.clone();
            // Headers and debug sections are what is read; a third of all damage is near the ends, where the headers are.
            for _ in 0..=random.below(4) {
                let near = random.below(copy.len().min(4096));
                let at = match random.below(6) {
                    0 => near,
                    1 => copy.len() - 1 - near,
                    _ => random.below(copy.len()),
                };
                match random.below(3) {
                    0 => copy[at] ^= 1 << random.below(8),
                    1 => copy[at] = 0xff,
                    _ => {
                        let from = random.below(copy.len() - 16);
                        let at = at.min(copy.len() - 16);
                        copy.copy_within(from..from + 16, at);
                    }
                }
            }
            std::fs::write(&path, &copy).unwrap();
            match exercise(&path) {
                Ok(_) => answers += 1,
                Err(text) => {
                    assert!(text.starts_with(path.to_str().unwrap()), "{} {seed}: {text}", object.display());
                    errors += 1;
                }
            }
        }
    }
    assert!(answers > 100 && errors > 30, "{answers} answers, {errors} errors");
    assert!(begin.elapsed().as_secs() < SECONDS * 6, "{:?}", begin.elapsed());
}

#[test]
fn a_file_that_ends_at_any_section_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.ko");
    for object in objects() {
        let bytes = std::fs::read(&object).unwrap();
        let elf = goblin::elf::Elf::parse(&bytes).unwrap();
        let bounds = elf.section_headers.iter().filter_map(goblin::elf::SectionHeader::file_range);
        let mut ends: Vec<usize> = bounds.flat_map(|range| [range.start, range.end]).collect();
        ends.extend([0, 1, 4, 16, 63, 64, elf.header.e_shoff as usize, bytes.len() - 1]);
        ends.sort_unstable();
        ends.dedup();
        assert!(ends.len() > 20);
        for end in ends.into_iter().filter(|&end| end < bytes.len()) {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let error = exercise(&path).expect_err("a cut file is not whole");
            assert!(error.starts_with(path.to_str().unwrap()), "{end}: {error}");
        }
    }
}

#[test]
fn a_bomb_is_refused_before_it_bursts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.ko.zst");
    // 1 GiB of zeros in some 100 KB.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    std::fs::write(&path, encoder.finish().unwrap()).unwrap();
    let error = exercise(&path).unwrap_err();
    assert!(error.contains("the file, decompressed: more than"), "{error}");
}

#[test]
fn modules_are_read_through_every_compression() {
    let bytes = std::fs::read(module_path(RELEASES[1])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bytes).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&bytes).unwrap();
    let packed = [
        ("gz", gz.finish().unwrap()),
        ("xz", xz.finish().unwrap()),
        ("zst", zstd::encode_all(&bytes[..], 1).unwrap()),
    ];
    for (ending, packed) in packed {
        let path = folder.path().join(format!("crashlab.ko.{ending}"));
        std::fs::write(&path, packed).unwrap();
        let mut library = Library::new();
        library.add_folder(folder.path()).unwrap();
        let wanted =
            Wanted { build_id: None, module: Some("crashlab".into()), release: Some(RELEASES[1].into()) };
        let image = library.find(&wanted).unwrap();
        assert_eq!(image.lookup(image.sections()[0].1 + 0x15).unwrap()[0].function, "read_rpm", "{ending}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn entries_that_refer_to_themselves_come_to_an_end() {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/arm64.o");
    let bytes = std::fs::read(object).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let named = |name: &str| {
        let mut sections = elf.section_headers.iter();
        sections.find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(name)).unwrap().file_range().unwrap()
    };
    let info = named(".debug_info");
    let begin = Instant::now();
    let mut answers = 0;
    // An entry's code has one byte; `DW_AT_abstract_origin` often stands first behind it. So one of these makes it
    // refer to itself.
    for at in 1..info.len() - 4 {
        let mut copy = bytes.clone();
        copy[info.start + at..][..4].copy_from_slice(&(at as u32 - 1).to_le_bytes());
        let image = Image::parse(copy, Path::new("a.o")).unwrap();
        if let Ok(index) = image.index() {
            for (_, start, size) in image.sections() {
                answers += (start..start + size).filter_map(|at| index.lookup(at)).flatten().count();
            }
        }
    }
    assert!(answers > 1000, "{answers}");
    assert!(begin.elapsed().as_secs() < SECONDS, "{:?}", begin.elapsed());
}

#[test]
fn sections_that_share_the_bytes_of_the_file_are_refused() {
    let mut bytes = std::fs::read(module_path(RELEASES[0])).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let (headers, length) = (elf.header.e_shoff as usize, bytes.len() as u64);
    let code: Vec<usize> = (0..elf.section_headers.len())
        .filter(|&at| elf.section_headers[at].is_executable() && elf.section_headers[at].sh_size > 0)
        .collect();
    assert!(code.len() > 2);
    for at in code {
        // sh_offset and sh_size of Elf64_Shdr
        bytes[headers + at * 64 + 24..][..8].copy_from_slice(&0u64.to_le_bytes());
        bytes[headers + at * 64 + 32..][..8].copy_from_slice(&length.to_le_bytes());
    }
    let image = Image::parse(bytes, Path::new("a.ko")).unwrap();
    let error = chain(&image.index().unwrap_err());
    assert_eq!(error, "a.ko: damaged ELF: sections of code and relocations claim more than the file holds");
}
