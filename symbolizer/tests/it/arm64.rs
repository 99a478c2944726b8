//! A relocatable object for arm64 (`tests/data/arm64.o`, made from `sections.c` beside it by GCC 12).

use std::path::{Path, PathBuf};

use goblin::elf::section_header::SHT_RELA;
use symbolizer::{Image, chain};

use crate::shown;

fn object() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/arm64.o")
}

#[test]
fn sections_and_inlined_calls_are_told_apart() {
    let image = Image::open(&object()).unwrap();
    let base = |name: &str| image.sections().iter().find(|(section, ..)| section == name).unwrap().1;
    for (section, offset, want) in [
        (".text", 0x8, &["read_twice sections.c:5", "running sections.c:10"][..]),
        (".text", 0xc, &["running sections.c:11"]),
        (".init.text", 0x8, &["read_twice sections.c:5", "starting sections.c:15"]),
        (".init.text", 0xc, &["starting sections.c:16"]),
    ] {
        let found = image.lookup(base(section) + offset).unwrap();
        assert_eq!(shown(&found), want, "{section}+{offset:#x}");
    }
}

#[test]
fn an_unknown_relocation_is_an_error_that_names_it() {
    let mut bytes = std::fs::read(object()).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let relocations = elf.section_headers.iter().find(|section| {
        section.sh_type == SHT_RELA && elf.shdr_strtab.get_at(section.sh_name) == Some(".rela.debug_info")
    });
    // The low half of r_info of the first entry.
    let at = relocations.unwrap().sh_offset as usize + 8;
    bytes[at..at + 4].copy_from_slice(&999u32.to_le_bytes());
    let image = Image::parse(bytes, Path::new("a.ko")).unwrap();
    let error = image.index().unwrap_err();
    let text = "a.ko: .debug_info: relocation type 999 of machine 183 is not supported";
    assert_eq!(chain(&error), text);
}

/// ftrace has made its two `nop` a `mov` and a `bl`; the rest of the printed words is the image's.
#[test]
fn instructions_that_begin_as_nops_prove_nothing_against_the_image() {
    let image = Image::open(&object()).unwrap();
    let (_, start, _) = image.sections().into_iter().find(|(name, ..)| name == ".text").unwrap();
    let mut bytes = std::fs::read(object()).unwrap();
    let text = image.text(start, 16).unwrap().unwrap().into_owned();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let nop = 0xd503_201f_u32.to_le_bytes();
    bytes[at + 4..at + 12].copy_from_slice(&[nop, nop].concat());
    let image = Image::parse(bytes, Path::new("a.ko")).unwrap();
    let words: Vec<[u8; 4]> = [0xaa1e_03e9_u32, 0x9400_1234].map(u32::to_be_bytes).to_vec();
    let own = |at: usize| text[at..at + 4].iter().rev().copied().collect::<Vec<u8>>();
    let printed = [own(0), words.concat(), own(12)].concat();
    let code = report::Code { bytes: printed, unit: 4, mark: Some(0) };
    let found = image.compare_code(start, &code).unwrap().unwrap();
    assert_eq!((found.compared, found.equal), (8, 8));
    assert!(found.is_proof());
}
