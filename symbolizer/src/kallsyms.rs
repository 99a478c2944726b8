//! kallsyms in a kernel's image that says nothing about where it lies: found by its structure.
//!
//! `scripts/kallsyms.c` writes one table behind the other: in each name the bytes are numbers of tokens, and digits and
//! letters are nearly always tokens of their own. So the table of tokens shows itself; the markers (the place of every
//! 256th name) stand before it, the names before those, and all of them check each other.

use std::ops::Range;

use vmcore::kallsyms::coding::{self, Addresses, MAX_NAME};

use crate::error::Error;

/// Debug kernels with everything built in have some 500,000.
const MAX_SYMBOLS: usize = 1 << 22;
/// Names between two markers.
const STRIDE: usize = 256;
/// Bytes of a compressed name: its length takes one or two, most have some 13.
const MAX_PACKED: usize = 2 + MAX_NAME;
/// Places in the image that look like the token table; the first real one ends the search.
const MAX_TRIES: usize = 64;
/// Tables are aligned to a machine word.
const WORD: usize = 8;
/// Above it are the addresses of 64-bit kernels; below it per-CPU offsets and constants.
const KERNEL_HALF: u64 = 1 << 63;
/// Where the image of an arm64 kernel is linked (since 6.6), for images whose base is filled in when they boot.
const UNTOLD_BASE: u64 = 0xffff_8000_8000_0000;

/// A symbol: address, type as of nm(1), name.
pub(crate) type Symbol = (u64, u8, String);

/// All symbols of an image, in the order of their addresses. `None` where there is no kallsyms.
pub(crate) fn find(image: &[u8]) -> Result<Option<Vec<Symbol>>, Error> {
    // The tokens `0` to `9` stand together, whatever the others are.
    let digits = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
    for at in memchr::memmem::find_iter(image, digits).take(MAX_TRIES) {
        let Some(tokens) = Tokens::around(image, at) else { continue };
        let Some(names) = Names::before(image, tokens.start) else { continue };
        if names.count > MAX_SYMBOLS {
            return Err(Error::TooLarge { what: "symbols of kallsyms".into(), limit: MAX_SYMBOLS as u64 });
        }
        if let Some(addresses) = addresses(image, &names, &tokens) {
            return Ok(Some(names.expand(image, &tokens, addresses)));
        }
    }
    Ok(None)
}

/// `kallsyms_token_table` and `kallsyms_token_index`.
struct Tokens {
    start: usize,
    /// Where each token stands in the image.
    places: Vec<Range<usize>>,
    /// Where what follows them begins.
    end: usize,
}

impl Tokens {
    /// The table in which the token `0` stands at `digit`: there are as many tokens before it as its number.
    fn around(image: &[u8], digit: usize) -> Option<Tokens> {
        let mut ends = memchr::memrchr_iter(0, &image[..digit]).skip(usize::from(b'0') - 1);
        let end = ends.next()?;
        let before = ends.next().map_or(0, |at| at + 1);
        (before..=end).rev().filter(|at| at.is_multiple_of(4)).find_map(|start| Tokens::at(image, start))
    }

    fn at(image: &[u8], start: usize) -> Option<Tokens> {
        let mut at = start;
        let mut places = Vec::with_capacity(256);
        for _ in 0..256 {
            let length = memchr::memchr(0, image.get(at..at.checked_add(MAX_NAME)?.min(image.len()))?)?;
            places.push(at..at + length);
            at += length + 1;
        }
        let index = at.next_multiple_of(WORD);
        let told = |i: usize| {
            image.get(index + 2 * i..).and_then(<[u8]>::first_chunk).map(|b| u16::from_le_bytes(*b))
        };
        let agrees =
            places.iter().enumerate().all(|(i, place)| told(i).map(usize::from) == Some(place.start - start));
        agrees.then_some(Tokens { start, places, end: index + 512 })
    }
}

/// `kallsyms_num_syms` and `kallsyms_names`.
struct Names {
    count: usize,
    /// Where the number stands.
    number: usize,
    start: usize,
}

impl Names {
    /// The names before the markers before the tokens. From 6.1 to 6.3 a table of 3 bytes a symbol
    /// (`kallsyms_seqs_of_names`) stands between those two, so that the markers have to be looked for.
    fn before(image: &[u8], tokens: usize) -> Option<Names> {
        let word = |at: usize| image.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b) as usize);
        let nearest = tokens.saturating_sub(3 * MAX_SYMBOLS + 4 * MAX_SYMBOLS / STRIDE);
        let apart = |at: usize| {
            let gap = word(at + 4)?.checked_sub(word(at)?)?;
            Some(at + 4).filter(|&next| (STRIDE..=STRIDE * MAX_PACKED).contains(&gap) && next < tokens)
        };
        let first = (nearest..tokens.checked_sub(4)?).rev().filter(|at| at.is_multiple_of(4));
        let runs = first.filter(|&at| word(at) == Some(0) && apart(at).and_then(apart).is_some());
        runs.take(MAX_TRIES).find_map(|first| {
            let markers: Vec<usize> =
                std::iter::successors(Some(first), |&at| apart(at)).map_while(word).collect();
            Names::of(image, &markers, first)
                .or_else(|| Names::of(image, &markers[..markers.len() - 1], first))
        })
    }

    /// The names that end where their markers begin.
    fn of(image: &[u8], markers: &[usize], end: usize) -> Option<Names> {
        // Behind the last marker come at most as many names as between two of them, so they begin somewhere here.
        let furthest = end.checked_sub(*markers.last()?)?;
        let nearest = furthest.saturating_sub(STRIDE * MAX_PACKED);
        let begins = |start: usize| -> Option<Names> {
            let number = start.checked_sub(WORD)?;
            let count = u32::from_le_bytes(*image.get(number..)?.first_chunk()?) as usize;
            if count.div_ceil(STRIDE) != markers.len() {
                return None;
            }
            let mut at = start;
            for i in 0..count {
                if i % STRIDE == 0 && at - start != markers[i / STRIDE] {
                    return None;
                }
                let (length, tokens) = length(image, at)?;
                at = tokens + length;
            }
            (at <= end && end - at < 2 * WORD).then_some(Names { count, number, start })
        };
        (nearest..=furthest).rev().filter(|at| at.is_multiple_of(4)).find_map(begins)
    }

    fn expand(&self, image: &[u8], tokens: &Tokens, addresses: Vec<u64>) -> Vec<Symbol> {
        let mut symbols = Vec::with_capacity(self.count);
        let (mut at, mut name) = (self.start, Vec::new());
        for address in addresses {
            let Some((length, start)) = length(image, at) else { break };
            at = start + length;
            let packed = image.get(start..at).unwrap_or_default();
            coding::expand(packed, |token| &image[tokens.places[usize::from(token)].clone()], &mut name);
            // The first character is the type.
            if let Some((&kind, name)) = name.split_first() {
                symbols.push((address, kind, String::from_utf8_lossy(name).into_owned()));
            }
        }
        symbols
    }
}

/// How many tokens a name has, and where they begin. No name has none.
fn length(image: &[u8], at: usize) -> Option<(usize, usize)> {
    coding::length(image, at).filter(|(length, _)| *length > 0)
}

/// `kallsyms_offsets` and `kallsyms_relative_base`: before the names up to 6.3, behind the tokens since.
fn addresses(image: &[u8], names: &Names, tokens: &Tokens) -> Option<Vec<u64>> {
    let length = names.count * 4;
    let before = names.number.checked_sub(WORD + length.next_multiple_of(WORD));
    let places = [before, Some(tokens.end.next_multiple_of(WORD))];
    places.into_iter().flatten().find_map(|start| {
        let base = image
            .get((start + length).next_multiple_of(WORD)..)?
            .first_chunk()
            .map(|b| u64::from_le_bytes(*b))?;
        let base = if base == 0 { UNTOLD_BASE } else { base };
        let offsets = image.get(start..start + length)?.as_chunks::<4>().0;
        let sound = |addresses: &Vec<u64>| {
            base >= KERNEL_HALF && addresses.is_sorted() && addresses.last() > Some(&base)
        };
        let coded = [Addresses::AbsolutePerCpu { base }, Addresses::Relative { base }];
        coded.into_iter().find_map(|coded| {
            let offsets = offsets.iter().map(|offset| u32::from_le_bytes(*offset)).enumerate();
            Some(offsets.map(|(i, offset)| coded.of(i, offset)).collect()).filter(sound)
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As scripts/kallsyms.c writes it, with one token that stands for two characters.
    pub fn written(symbols: &[(u64, &str)], base: u64, new: bool, sequences: bool) -> Vec<u8> {
        let align = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(WORD), 0);
        let mut offsets = Vec::new();
        symbols.iter().for_each(|(at, _)| offsets.extend(((at - base) as u32).to_le_bytes()));
        align(&mut offsets);
        offsets.extend(base.to_le_bytes());
        let (mut names, mut markers) = (Vec::new(), Vec::new());
        for (i, (_, name)) in symbols.iter().enumerate() {
            if i % STRIDE == 0 {
                markers.extend((names.len() as u32).to_le_bytes());
            }
            let packed = name.replace("st", "\x01").into_bytes();
            if packed.len() < 0x80 {
                names.push(packed.len() as u8);
            } else {
                names.extend([packed.len() as u8 | 0x80, (packed.len() >> 7) as u8]);
            }
            names.extend(packed);
        }
        let (mut table, mut index) = (Vec::new(), Vec::new());
        for token in 0..=255u8 {
            index.extend((table.len() as u16).to_le_bytes());
            match token {
                1 => table.extend(b"st"),
                b'!'..=b'~' => table.push(token),
                _ => table.extend(b"qq"),
            }
            table.push(0);
        }
        let mut out = b"something else\0\0".to_vec();
        if !new {
            out.extend(&offsets);
        }
        out.extend((symbols.len() as u64).to_le_bytes());
        let sequences: Vec<u8> =
            (0..symbols.len() * 3 * usize::from(sequences)).map(|i| (i % 251) as u8).collect();
        for part in [names, markers, sequences, table, index] {
            out.extend(part);
            align(&mut out);
        }
        if new {
            out.extend(&offsets);
        }
        out.extend([7; 40]);
        out
    }

    fn symbols() -> Vec<(u64, String)> {
        let named = |i: u64| {
            format!(
                "{}_start_{i}_{}",
                if i.is_multiple_of(3) { 'd' } else { 't' },
                "x".repeat((i % 150) as usize)
            )
        };
        (0..1000).map(|i| (0xffff_ffff_8100_0000 + i * 16, named(i))).collect()
    }

    #[test]
    fn tables_of_old_and_new_kernels_are_found_and_read() {
        let symbols = symbols();
        let given: Vec<(u64, &str)> = symbols.iter().map(|(at, name)| (*at, name.as_str())).collect();
        for (new, sequences) in [(false, false), (false, true), (true, false)] {
            let image = written(&given, 0xffff_ffff_8100_0000, new, sequences);
            let found = find(&image).unwrap().unwrap();
            assert_eq!(found.len(), 1000);
            for ((at, kind, name), (address, want)) in found.iter().zip(&given) {
                assert_eq!(
                    (*at, &want[..1], name.as_str()),
                    (*address, &*char::from(*kind).to_string(), &want[1..])
                );
            }
        }
    }

    #[test]
    fn damaged_tables_are_none_or_something_and_never_a_panic() {
        let symbols = symbols();
        let given: Vec<(u64, &str)> = symbols.iter().map(|(at, name)| (*at, name.as_str())).collect();
        let image = written(&given, 0xffff_ffff_8100_0000, true, false);
        for at in (0..image.len()).step_by(997) {
            let mut copy = image.clone();
            copy[at] ^= 0xff;
            let _ = find(&copy).unwrap();
            let _ = find(&image[..at]).unwrap();
        }
        assert!(find(&image[..image.len() / 2]).unwrap().is_none());
    }
}
