//! The symbols of the made-up kernel, as kallsyms.

use super::image::{IMAGE, Image};

/// The three ways in which kernels have written the addresses of symbols.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// Above the base.
    Base,
    /// Below zero: relative to the base; else absolute (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`).
    PerCpu,
    /// Relative to the place of the offset itself.
    Place,
}

/// One token for each byte, addresses relative to the image.
pub fn kallsyms(image: &mut Image, symbols: &[(u64, String)]) {
    let names: Vec<u8> = symbols
        .iter()
        .flat_map(|(_, name)| [&[name.len() as u8 + 1, b'T'], name.as_bytes()].concat())
        .collect();
    let table = image.alloc(4 * symbols.len(), 8);
    image.symbol("kallsyms_offsets", table);
    for (i, (address, _)) in (0..).zip(symbols) {
        let offset = match image.offsets {
            Offsets::Base => address - IMAGE,
            Offsets::PerCpu => (IMAGE - 1).wrapping_sub(*address),
            Offsets::Place => address.wrapping_sub(table + 4 * i),
        };
        image.put32(table + 4 * i, offset as u32);
    }
    let tokens: Vec<u8> = (0..=255).flat_map(|byte| [byte, 0]).collect();
    let index: Vec<u8> = (0..256_u16).flat_map(|i| (2 * i).to_le_bytes()).collect();
    for (name, bytes) in [
        ("kallsyms_num_syms", (symbols.len() as u32).to_le_bytes().to_vec()),
        ("kallsyms_names", names),
        ("kallsyms_token_table", tokens),
        ("kallsyms_token_index", index),
        // The newest kernels have no base.
        (
            "kallsyms_relative_base",
            if image.offsets == Offsets::Place { 0 } else { IMAGE }.to_le_bytes().to_vec(),
        ),
    ] {
        let at = image.store(&bytes);
        image.symbol(name, at);
    }
}
