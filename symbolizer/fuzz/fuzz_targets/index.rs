//! A hostile index: refused, or answers that are wrong at worst.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use report::Code;
use symbolizer::{Image, Index};

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::parse(bytes.to_vec()) else { return };
    let base = index.meta().base;
    for at in (0..4096u64).step_by(61) {
        index.lookup(base.wrapping_add(at)).into_iter().flatten().for_each(drop);
        let _ = index.symbol_at(base.wrapping_add(at));
    }
    index.symbols_named("crashlab_init").for_each(drop);
    let addresses: Vec<u64> = (0..256).map(|at| base.wrapping_add(at * 97)).collect();
    index.lookup_many(&addresses, |_, chain| chain.into_iter().flatten().for_each(drop));
    for &at in &addresses {
        let _ = index.symbol_after(at);
        let _ = index.text(at, 64);
    }
    let code = Code { bytes: bytes[..bytes.len().min(64)].to_vec(), unit: 1, mark: Some(8) };
    if let Ok(image) = Image::parse(bytes.to_vec(), Path::new("fuzzed.lwsym")) {
        let _ = image.compare_code(base.wrapping_add(77), &code);
        let _ = image.callee(base.wrapping_add(77));
    }
});
