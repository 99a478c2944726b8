//! The index: the same answers as without it, the same bytes every time, and no trust in a damaged file.

use report::Code;
use symbolizer::{Chain, Image, Index, Query};

use crate::hostile::Random;
use crate::{RELEASES, module_path};

fn built(threads: usize, release: &str) -> (Image, Vec<u8>) {
    let image = Image::open(&module_path(release)).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let bytes = pool.install(|| image.index().unwrap().bytes().to_vec());
    (image, bytes)
}

#[test]
fn one_thread_and_many_write_the_same_bytes() {
    for release in RELEASES {
        assert_eq!(built(1, release).1, built(8, release).1);
    }
}

#[test]
fn a_written_index_answers_as_the_object_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crashlab.lwsym");
    let (image, _) = built(2, RELEASES[1]);
    image.index().unwrap().write(&path).unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["crashlab.lwsym"], "nothing temporary is left");

    Index::open(&path).unwrap().verify().unwrap();
    let again = Image::open(&path).unwrap();
    assert_eq!(again.build_id(), image.build_id());
    assert_eq!(again.kind(), image.kind());
    assert_eq!(again.release(), image.release());
    let mut chains = 0;
    for (_, start, size) in image.sections() {
        for address in start..start + size {
            let found = image.lookup(address).unwrap();
            assert_eq!(again.lookup(address).unwrap(), found);
            chains += usize::from(found.len() > 1);
        }
    }
    assert!(chains > 50, "only {chains} inlined calls");
}

#[test]
fn many_addresses_at_once_are_answered_like_one_after_the_other() {
    let (image, _) = built(2, RELEASES[0]);
    let index = image.index().unwrap();
    let sections = image.sections();
    let within = sections.iter().rev().flat_map(|(_, start, size)| (start - 3..start + size + 3).step_by(5));
    let addresses: Vec<u64> = [0, 1, u64::MAX].into_iter().chain(within).collect();
    let steps = |chain: Option<Chain<'_>>| format!("{:?}", chain.map(Iterator::collect::<Vec<_>>));
    let mut many = Vec::new();
    index.lookup_many(&addresses, |address, chain| many.push((address, steps(chain))));
    let single = addresses.iter().map(|&address| (address, steps(index.lookup(address))));
    assert_eq!(many, single.collect::<Vec<_>>());
    assert!(many.len() > 200 && many.iter().any(|(_, steps)| steps.matches("inlined: true").count() > 0));
}

#[test]
fn a_damaged_index_is_refused_or_answers_and_never_panics() {
    let (image, bytes) = built(2, RELEASES[0]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.lwsym");
    let addresses: Vec<u64> =
        image.sections().iter().flat_map(|(_, at, size)| (*at..at + size).step_by(7)).collect();
    let mut refused = 0;
    // Every 61st byte flipped, then every 997th length.
    let flips = (0..bytes.len()).step_by(61).map(|at| {
        let mut copy = bytes.clone();
        copy[at] ^= 0xff;
        copy
    });
    let cuts = (0..bytes.len()).step_by(997).map(|end| bytes[..end].to_vec());
    for copy in flips.chain(cuts) {
        std::fs::write(&path, &copy).unwrap();
        match Index::open(&path) {
            Err(_) => refused += 1,
            Ok(index) => {
                assert!(index.verify().is_err(), "a flipped byte passed");
                for &address in &addresses {
                    index.lookup(address).into_iter().flatten().for_each(drop);
                }
                index.symbols_named("crashlab_init").for_each(drop);
                for &address in &addresses {
                    let _ = (index.symbol_at(address), index.symbol_after(address), index.text(address, 16));
                }
                index.lookup_many(&addresses, |_, chain| chain.into_iter().flatten().for_each(drop));
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn an_index_alone_has_the_code_and_knows_what_may_differ() {
    for release in RELEASES {
        let (image, bytes) = built(2, release);
        let alone = Image::parse(bytes, std::path::Path::new("crashlab.ko.lwsym")).unwrap();
        let (mut closed, mut open) = (0, 0);
        for (name, start, size) in image.sections() {
            let text = image.text(start, size as usize).unwrap().unwrap();
            assert_eq!(alone.text(start, usize::MAX).unwrap().unwrap(), text, "{name}");
            assert_eq!(text.len() as u64, size);
            // One byte after another is printed wrongly: it counts only where the kernel leaves it alone.
            for at in 0..text.len().min(400) {
                let from = at.saturating_sub(20);
                let mut code = Code { bytes: text[from..].to_vec(), unit: 1, mark: Some(at - from) };
                code.bytes.truncate(64);
                code.bytes[at - from] ^= 0x40;
                let found = image.compare_code(start + at as u64, &code).unwrap().unwrap();
                assert_eq!(alone.compare_code(start + at as u64, &code).unwrap(), Some(found));
                assert!(found.compared - found.equal <= 1, "{name}+{at:#x}: {found:?}");
                *(if found.compared == found.equal { &mut closed } else { &mut open }) += 1;
            }
        }
        // Calls to the kernel, and to ftrace at the start of every function.
        assert!(closed > 100 && open > 250, "{closed} bytes may differ, {open} may not");
    }
}

#[test]
fn an_index_of_wrong_numbers_answers_wrongly_and_never_panics() {
    let (image, bytes) = built(2, RELEASES[1]);
    let sections = image.sections();
    let addresses: Vec<u64> =
        sections.iter().flat_map(|(_, at, size)| (at - 1..*at + size).step_by(9)).collect();
    let code = Code { bytes: vec![0x90; 64], unit: 1, mark: Some(40) };
    let mut found = 0;
    for seed in 1..=SEEDS {
        let mut random = Random(seed);
        let mut copy = bytes.clone();
        for _ in 0..=random.below(40) {
            // Whole words, so that what one table says of another is wrong; the directory stays as it is.
            let at = 512 + random.below((copy.len() - 520) / 4) * 4;
            let word = match random.below(3) {
                0 => u32::MAX - random.below(4) as u32,
                1 => random.below(1 << 16) as u32,
                _ => u32::from_le_bytes(*copy[at..].first_chunk().unwrap()) ^ 1 << random.below(32),
            };
            copy[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        // A word of its description is refused by its checksum.
        let Ok(index) = Index::parse(copy.clone()) else { continue };
        index.lookup_many(&addresses, |_, chain| found += chain.into_iter().flatten().count());
        for &address in &addresses {
            let _ = (index.symbol_at(address), index.symbol_after(address), index.text(address, 16));
        }
        let image = Image::parse(copy, std::path::Path::new("a.lwsym")).unwrap();
        for name in ["crashlab_init", "start_engine.isra.0", "read_rpm"] {
            let query = Query { symbol: name, offset: 5, size: Some(0x10), exact: false, reliable: true };
            let _ = image.resolve(&query).unwrap();
        }
        let _ = (
            image.compare_code(addresses[7], &code),
            image.callee(addresses[9]),
            image.resolve_address(addresses[5], false),
        );
    }
    assert!(found > 1000, "{found}");
}

/// So many kinds of damage.
const SEEDS: u64 = 100;
