//! The first answer, before there is an index: only the units that hold the addresses asked for are read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gimli::{DebugInfoOffset, Dwarf};
use rayon::prelude::*;

use crate::dwarf::{self, Sections};
use crate::error::Error;
use crate::image::Object;
use crate::index::{Index, Meta, build};
use crate::symtab::{self, Symbols};
use crate::unit::Slice;

/// A unit built with `-ffunction-sections` has a range for each function, some thousand.
const MAX_UNIT_RANGES: usize = 1 << 20;

/// When a batch of addresses needs more units than this, reading all of them in parallel is faster.
const MAX_LAZY_UNITS: usize = 400;

/// The largest alignment of functions (`CONFIG_FUNCTION_ALIGNMENT_64B`).
const PADDING: u64 = 64;

/// What has been read of an object so far.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    sections: OnceLock<Sections>,
    ranges: OnceLock<Listed>,
    unlisted: OnceLock<Vec<UnitRange>>,
    symbols: OnceLock<Symbols>,
    by_name: OnceLock<Index>,
    /// By the offset of the unit. A few dozen: the units that one crash runs through.
    units: Mutex<HashMap<u64, Arc<Index>>>,
}

/// What `.debug_aranges` says.
#[derive(Debug, Default)]
struct Listed {
    ranges: Vec<UnitRange>,
    /// The units that it knows, also those without text; sorted.
    units: Vec<u64>,
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
    pub fn unit_at(&self, object: &Object, base: u64, address: u64) -> Result<Option<Arc<Index>>, Error> {
        let dwarf = self.dwarf(object)?;
        let mut lines_only = None;
        for claim in self.claims(object, &dwarf, address)? {
            let index = self.unit(&dwarf, base, claim.unit)?;
            match index.lookup(address).and_then(Iterator::last) {
                Some(step) if !step.function.is_empty() => return Ok(Some(index)),
                Some(_) => lines_only = lines_only.or(Some(index)),
                None => {}
            }
        }
        Ok(lines_only)
    }

    /// Reads the units of all these addresses; false, and nothing is read, when there are too many.
    pub fn prepare(&self, object: &Object, base: u64, addresses: &[u64]) -> Result<bool, Error> {
        let dwarf = self.dwarf(object)?;
        let mut units = Vec::new();
        for &address in addresses {
            units.extend(self.claims(object, &dwarf, address)?.iter().map(|claim| claim.unit));
        }
        units.sort_unstable();
        units.dedup();
        let few = units.len() <= MAX_LAZY_UNITS;
        if few {
            units
                .par_iter()
                .with_max_len(1)
                .try_for_each(|&unit| self.unit(&dwarf, base, unit).map(|_| ()))?;
        }
        Ok(few)
    }

    /// An index of the symbols alone, to find them by name.
    pub fn index_of_symbols(&self, object: &Object, base: u64) -> Result<&Index, Error> {
        get_or_try(&self.by_name, || {
            let symbols = object.named(self.symbols(object)?)?;
            build::build(Meta::partial(base), &symbols, &Dwarf::default(), &[], None)
        })
    }

    /// The name of the symbol at an address.
    pub fn symbol_name<'o>(&self, object: &'o Object, address: u64) -> Result<Option<Cow<'o, str>>, Error> {
        let Some((_, strings)) = object.elf.symbols(&object.bytes)? else { return Ok(None) };
        Ok(self.symbols(object)?.at(address).map(|symbol| symbol.name(strings)))
    }

    fn symbols(&self, object: &Object) -> Result<&Symbols, Error> {
        get_or_try(&self.symbols, || symtab::text_symbols(&object.elf, &object.bytes))
    }

    fn dwarf<'o>(&'o self, object: &'o Object) -> Result<Dwarf<Slice<'o>>, Error> {
        let sections = get_or_try(&self.sections, || Sections::load(&object.elf, &object.bytes))?;
        Ok(object.dwarf(sections))
    }

    /// The units that claim an address. Where they overlap the smaller claim comes first, as in `index::build`.
    fn claims(
        &self,
        object: &Object,
        dwarf: &Dwarf<Slice<'_>>,
        address: u64,
    ) -> Result<Vec<UnitRange>, Error> {
        let listed = get_or_try(&self.ranges, || listed(dwarf))?;
        let mut claims: Vec<UnitRange> = holding(&listed.ranges, address).collect();
        if claims.is_empty() {
            let unlisted = get_or_try(&self.unlisted, || self.unlisted(object, dwarf, listed))?;
            claims.extend(holding(unlisted, address));
        }
        claims.sort_by_key(|claim| (claim.end - claim.start, claim.unit));
        if claims.is_empty() {
            // Behind the last function of a unit its line table goes on to the next, over the padding.
            let before = listed.ranges.partition_point(|range| range.start <= address);
            let before = before.checked_sub(1).map(|at| listed.ranges[at]);
            claims.extend(
                before.filter(|range| address.checked_sub(range.end).is_some_and(|gap| gap < PADDING)),
            );
        }
        Ok(claims)
    }

    /// What the units that `.debug_aranges` does not know claim.
    fn unlisted(
        &self,
        object: &Object,
        dwarf: &Dwarf<Slice<'_>>,
        listed: &Listed,
    ) -> Result<Vec<UnitRange>, Error> {
        let offsets = self.sections.get().and_then(|sections| sections.unit_offsets(&object.bytes));
        if offsets.is_some_and(|units| units.iter().all(|unit| listed.units.binary_search(unit).is_ok())) {
            return Ok(Vec::new());
        }
        unlisted(dwarf, listed)
    }

    fn unit(&self, dwarf: &Dwarf<Slice<'_>>, base: u64, at: u64) -> Result<Arc<Index>, Error> {
        let known = || self.units.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = known().get(&at) {
            return Ok(Arc::clone(index));
        }
        let header = dwarf.unit_header(DebugInfoOffset(at as usize));
        let header = header.map_err(|e| Error::Dwarf { unit: at, reason: dwarf.format_error(e) })?;
        let index = Arc::new(build::build(Meta::partial(base), &[], dwarf, &[header], None)?);
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
fn listed(dwarf: &Dwarf<Slice<'_>>) -> Result<Listed, Error> {
    let (mut ranges, mut units) = (Vec::new(), Vec::new());
    let mut headers = dwarf.debug_aranges.headers();
    let fail =
        |unit: u64| move |e: gimli::Error| Error::Dwarf { unit, reason: format!(".debug_aranges: {e}") };
    while let Some(header) = headers.next().map_err(fail(0))? {
        let unit = header.debug_info_offset().0 as u64;
        units.push(unit);
        let mut entries = header.entries();
        while let Some(entry) = entries.next().map_err(fail(unit))? {
            let range = entry.range();
            if range.begin < range.end {
                ranges.push(UnitRange { start: range.begin, end: range.end, unit });
            }
        }
    }
    ranges.sort_unstable();
    units.sort_unstable();
    Ok(Listed { ranges, units })
}

/// What the units that are not in `.debug_aranges` claim, by the ranges of their root entries.
fn unlisted(dwarf: &Dwarf<Slice<'_>>, listed: &Listed) -> Result<Vec<UnitRange>, Error> {
    let mut headers = dwarf::units(dwarf)?;
    headers.retain(|header| listed.units.binary_search(&dwarf::start_of(header)).is_err());
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
