//! Hostile ELF and DWARF: an error or an answer, without and with the whole index, never a panic.
//!
//! A good seed is `fixtures/modules/*/crashlab.ko`: cargo +nightly fuzz run object corpus ../fixtures/modules
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use report::{Arch, Code};
use symbolizer::{Image, Query, listing};

fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = Image::parse(bytes.to_vec(), Path::new("fuzzed.ko")) else { return };
    let sections = image.sections();
    let places =
        sections.iter().flat_map(|(_, at, size)| [*at, at.wrapping_add(1), at.wrapping_add(size / 2)]);
    let addresses: Vec<u64> = places.take(64).collect();
    // First by the few units that claim them, then by the whole index.
    for _ in 0..2 {
        for &at in &addresses {
            let _ = image.lookup(at);
        }
        let _ = image.index();
    }
    for name in ["read_rpm", "start_engine.isra.0", "crashlab_init"] {
        let query = Query { symbol: name, offset: 5, size: Some(0x10), exact: false, reliable: true };
        let _ = image.resolve(&query);
    }
    let code = Code { bytes: bytes[..bytes.len().min(64)].to_vec(), unit: 1, mark: Some(8) };
    let _ = listing(&code, Arch::X86_64);
    for &at in &addresses {
        let _ = image.compare_code(at, &code);
        let _ = image.callee(at);
    }
    let _ = image.source_roots();
});
