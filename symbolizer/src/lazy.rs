//! The first answer, before there is an index: only the units that hold the addresses asked for are read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gimli::{DebugInfoOffset, Dwarf};
use rayon::prelude::*;

use crate::dwarf::{self, Sections};
use crate::error::Error;
use crate::image::{Image, Object};
use crate::index::{Index, build};
use crate::symtab;
use crate::unit::Slice;

/// A unit built with `-ffunction-sections` has a range for each function, some thousand.
const MAX_UNIT_RANGES: usize = 1 << 20;

/// What has been read of an object so far.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    sections: OnceLock<Sections>,
    ranges: OnceLock<Vec<UnitRange>>,
    unlisted: OnceLock<Vec<UnitRange>>,
    symbols: OnceLock<Index>,
    /// By the offset of the unit. A few dozen: the units that one crash runs through.
    units: Mutex<HashMap<u64, Arc<Index>>>,
}

/// A part of the text and the unit that claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct UnitRange {
    start: u64,
    end: u64,
    unit: u64,
}

impl Lazy {
    /// An index of the unit that holds this address.
    pub fn unit_at(&self, object: &Object, image: &Image, address: u64) -> Result<Option<Arc<Index>>, Error> {
        let sections = get_or_try(&self.sections, || Sections::load(&object.elf, &object.bytes))?;
        let dwarf = sections.dwarf(&object.bytes);
        let listed = get_or_try(&self.ranges, || listed(&dwarf))?;
        let mut claims: Vec<UnitRange> = holding(listed, address).collect();
        if claims.is_empty() {
            claims.extend(holding(get_or_try(&self.unlisted, || unlisted(&dwarf, listed))?, address));
        }
        // Where units overlap the one that knows a function wins, then the smaller claim: as in `index::build`.
        claims.sort_by_key(|claim| (claim.end - claim.start, claim.unit));
        let mut lines_only = None;
        for claim in claims {
            let index = self.unit(object, image, &dwarf, claim.unit)?;
            match index.lookup(address).and_then(|mut chain| chain.next()) {
                Some(step) if !step.function.is_empty() => return Ok(Some(index)),
                Some(_) => lines_only = lines_only.or(Some(index)),
                None => {}
            }
        }
        Ok(lines_only)
    }

    /// An index of the symbols alone.
    pub fn symbols(&self, object: &Object, image: &Image) -> Result<&Index, Error> {
        get_or_try(&self.symbols, || {
            let symbols = symtab::text_symbols(&object.elf, &object.bytes)?;
            build::build(image.meta(&object.elf), &symbols, &Dwarf::default(), &[])
        })
    }

    fn unit(
        &self,
        object: &Object,
        image: &Image,
        dwarf: &Dwarf<Slice<'_>>,
        at: u64,
    ) -> Result<Arc<Index>, Error> {
        let known = || self.units.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = known().get(&at) {
            return Ok(Arc::clone(index));
        }
        let header = dwarf.unit_header(DebugInfoOffset(at as usize));
        let header = header.map_err(|e| Error::Dwarf { unit: at, reason: dwarf.format_error(e) })?;
        let index = Arc::new(build::build(image.meta(&object.elf), &[], dwarf, &[header])?);
        known().insert(at, Arc::clone(&index));
        Ok(index)
    }
}

fn get_or_try<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
    match cell.get() {
        Some(value) => Ok(value),
        None => make().map(|value| cell.get_or_init(|| value)),
    }
}

fn holding(ranges: &[UnitRange], address: u64) -> impl Iterator<Item = UnitRange> + '_ {
    // Sorted by start; overlaps are rare, so a short walk back finds all.
    const WALK: usize = 64;
    let after = ranges.partition_point(|range| range.start <= address);
    ranges[after.saturating_sub(WALK)..after].iter().copied().filter(move |range| range.end > address)
}

/// `.debug_aranges`: which unit claims which addresses. GCC and gas write it, clang does not.
fn listed(dwarf: &Dwarf<Slice<'_>>) -> Result<Vec<UnitRange>, Error> {
    let mut ranges = Vec::new();
    let mut headers = dwarf.debug_aranges.headers();
    let fail =
        |unit: u64| move |e: gimli::Error| Error::Dwarf { unit, reason: format!(".debug_aranges: {e}") };
    while let Some(header) = headers.next().map_err(fail(0))? {
        let unit = header.debug_info_offset().0 as u64;
        let mut entries = header.entries();
        while let Some(entry) = entries.next().map_err(fail(unit))? {
            let range = entry.range();
            if range.begin < range.end {
                ranges.push(UnitRange { start: range.begin, end: range.end, unit });
            }
        }
    }
    ranges.sort_unstable();
    Ok(ranges)
}

/// What the units that are not in `.debug_aranges` claim, by the ranges of their root entries.
fn unlisted(dwarf: &Dwarf<Slice<'_>>, listed: &[UnitRange]) -> Result<Vec<UnitRange>, Error> {
    let known: HashSet<u64> = listed.iter().map(|range| range.unit).collect();
    let mut headers = dwarf::units(dwarf)?;
    headers.retain(|header| !known.contains(&dwarf::start_of(header)));
    let read = |header: &gimli::UnitHeader<_>| -> Result<Vec<UnitRange>, Error> {
        let at = dwarf::start_of(header);
        let fail = |e: gimli::Error| Error::Dwarf { unit: at, reason: dwarf.format_error(e) };
        let unit = dwarf::open(dwarf, *header)?;
        let mut ranges = Vec::new();
        let mut list = dwarf.unit_ranges(&unit).map_err(fail)?;
        while let Some(range) = list.next().map_err(fail)? {
            if ranges.len() >= MAX_UNIT_RANGES {
                return Err(Error::TooLarge {
                    what: "ranges of one unit".into(),
                    limit: MAX_UNIT_RANGES as u64,
                });
            }
            if range.begin < range.end {
                ranges.push(UnitRange { start: range.begin, end: range.end, unit: at });
            }
        }
        Ok(ranges)
    };
    let found: Vec<Vec<UnitRange>> = headers.par_iter().map(read).collect::<Result<_, Error>>()?;
    let mut ranges: Vec<UnitRange> = found.into_iter().flatten().collect();
    ranges.sort_unstable();
    Ok(ranges)
}
