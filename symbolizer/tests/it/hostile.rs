//! Objects that lie: cut short, flipped, bombs, entries that refer to themselves. An error or an answer, in bounded
//! time; never a panic.

use std::io::Write;
use std::time::Instant;

use symbolizer::{Image, Library, Wanted, chain};

use crate::{RELEASES, module_path};

/// Generous for a debug build on a busy machine; the honest file takes a hundredth of it.
const SECONDS: u64 = 20;

/// Opens an object and asks everything of it.
fn exercise(path: &std::path::Path) -> Result<usize, String> {
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

#[test]
fn flipped_bytes_and_cut_files_give_an_error_with_its_file_or_an_answer() {
    let bytes = std::fs::read(module_path(RELEASES[0])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.ko");
    let begin = Instant::now();
    // Headers and debug sections are what is read: flips all over, closer together at both ends.
    let near_ends = (0..4096).step_by(37).chain((bytes.len() - 4096..bytes.len()).step_by(37));
    let (mut answers, mut errors) = (0, 0);
    for at in near_ends.chain((0..bytes.len()).step_by(1499)) {
        let mut copy = bytes.clone();
        copy[at] ^= 0x55;
        std::fs::write(&path, &copy).unwrap();
        match exercise(&path) {
            Ok(_) => answers += 1,
            Err(text) => {
                assert!(text.starts_with(path.to_str().unwrap()), "{text}");
                errors += 1;
            }
        }
    }
    for end in (0..bytes.len()).step_by(16_381) {
        std::fs::write(&path, &bytes[..end]).unwrap();
        assert!(exercise(&path).is_err(), "a file cut at {end} is not whole");
    }
    assert!(answers > 100 && errors > 10, "{answers} answers, {errors} errors");
    assert!(begin.elapsed().as_secs() < SECONDS * 6, "{:?}", begin.elapsed());
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
    let object = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/arm64.o");
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
        let image = Image::parse(copy, std::path::Path::new("a.o")).unwrap();
        if let Ok(index) = image.index() {
            for (_, start, size) in image.sections() {
                answers += (start..start + size).filter_map(|at| index.lookup(at)).flatten().count();
            }
        }
    }
    assert!(answers > 1000, "{answers}");
    assert!(begin.elapsed().as_secs() < SECONDS, "{:?}", begin.elapsed());
}
