//! A hostile index: refused, or answers that are wrong at worst.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolizer::Index;

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::parse(bytes.to_vec()) else { return };
    let base = index.meta().base;
    for at in (0..4096u64).step_by(61) {
        index.lookup(base.wrapping_add(at)).into_iter().flatten().for_each(drop);
        let _ = index.symbol_at(base.wrapping_add(at));
    }
    index.symbols_named("crashlab_init").for_each(drop);
});
