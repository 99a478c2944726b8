//! `System.map` and `/proc/kallsyms`: addresses and names, for want of anything better.
//!
//! They give no lines, but sizes, so that a log can be told to be of this build, and names for bare addresses.

use std::borrow::Cow;

use gimli::Dwarf;

use crate::error::Error;
use crate::image::Kind;
use crate::index::{Index, Meta, build};
use crate::symtab::{Symbol, kallsyms_keeps};

/// With everything built in and all data symbols some 400,000 lines.
const MAX_LINES: usize = 1 << 23;
/// Above it on 64-bit kernels; below it stand per-CPU offsets and constants.
const KERNEL_HALF: u64 = 1 << 63;

/// The text symbols of a map, or `None` when the bytes are something else: each line is an address in hex, a type as
/// of nm(1), a name, and in kallsyms perhaps a module.
pub(crate) fn read(bytes: &[u8]) -> Option<Result<Vec<(u64, &str)>, Error>> {
    let first = bytes.split(|&b| b == b'\n').next()?;
    line(first)?;
    Some(symbols(bytes))
}

fn symbols(bytes: &[u8]) -> Result<Vec<(u64, &str)>, Error> {
    let mut symbols = Vec::new();
    for (number, text) in bytes.split(|&b| b == b'\n').enumerate() {
        if number >= MAX_LINES {
            return Err(Error::TooLarge { what: "lines".into(), limit: MAX_LINES as u64 });
        }
        // Modules move; their lines (`name [module]`) are of one boot only.
        if let Some((address, kind, name)) = line(text)
            && matches!(kind, b't' | b'T' | b'w' | b'W')
            && address >= KERNEL_HALF
            && kallsyms_keeps(name.as_bytes())
        {
            symbols.push((address, name));
        }
    }
    symbols.sort_unstable();
    if symbols.is_empty() {
        // Without CAP_SYSLOG all addresses of /proc/kallsyms are zero.
        return Err(Error::NoSymbols);
    }
    Ok(symbols)
}

fn line(text: &[u8]) -> Option<(u64, u8, &str)> {
    let mut parts = std::str::from_utf8(text).ok()?.split_ascii_whitespace();
    let (address, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    if !(8..=16).contains(&address.len()) || kind.len() != 1 || parts.next().is_some() {
        return None;
    }
    Some((u64::from_str_radix(address, 16).ok()?, kind.as_bytes()[0], name))
}

/// An index of these symbols.
pub(crate) fn index(symbols: &[(u64, &str)], release: Option<String>) -> Result<Index, Error> {
    let base = symbols.first().map_or(0, |first| first.0);
    let mut listed = Vec::with_capacity(symbols.len());
    let mut next = symbols.last().map_or(0, |last| last.0);
    for (at, &(address, name)) in symbols.iter().enumerate().rev() {
        if let Some(after) = symbols.get(at + 1).filter(|after| after.0 != address) {
            next = after.0;
        }
        listed.push((Cow::Borrowed(name), Symbol::listed(address, next - address)));
    }
    listed.reverse();
    let meta = Meta { kind: Kind::Kernel, release, ..Meta::partial(base) };
    let symbols: Vec<_> = listed.iter().map(|(name, symbol)| (name.clone(), symbol)).collect();
    build::build(meta, &symbols, &Dwarf::default(), &[], None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &[u8] = b"0000000000000000 A fixed_percpu_data
ffffffff81000000 T startup_64
ffffffff81000000 T _text
ffffffff81000040 t helper
ffffffff81000060 d data
ffffffff81000080 T last
";

    #[test]
    fn sizes_reach_to_the_next_text_symbol() {
        let symbols = read(MAP).unwrap().unwrap();
        let index = index(&symbols, None).unwrap();
        let sizes: Vec<_> = index.symbols_named("helper").map(|s| (s.address, s.ksize)).collect();
        assert_eq!(sizes, [(0xffff_ffff_8100_0040, 0x40)]);
        assert_eq!(index.symbol_at(0xffff_ffff_8100_003f).unwrap().name, "_text");
        assert_eq!(index.symbol_at(0xffff_ffff_8100_0080), None, "the end of the last one is not known");
    }

    #[test]
    fn what_is_no_map_is_left_to_others_and_hidden_addresses_are_told() {
        for bytes in [&b"\x7fELF"[..], b"", b"BUG: something", b"ffffffff81000000 T a b c"] {
            assert!(read(bytes).is_none());
        }
        assert!(read(b"0000000000000000 T _text\n").unwrap().is_err());
    }
}
