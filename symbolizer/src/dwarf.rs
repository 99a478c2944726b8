//! The debug sections of an object as gimli reads them: decompressed, relocated, and divided into units.

use std::ops::Range;

use gimli::{Dwarf, DwarfSections, LittleEndian, SectionId, Unit, UnitHeader};
use rayon::prelude::*;

use crate::bytes::Bytes;
use crate::elf::{Contents, Elf};
use crate::error::Error;
use crate::relocate::Relocator;
use crate::unit::Slice;

/// A vmlinux has some 2,500 units, an allyesconfig build 40,000.
const MAX_UNITS: usize = 1 << 20;

/// The sections that lines and functions are read from; locations, frames, macros and types are never touched.
const WANTED: [SectionId; 10] = [
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugStr,
    SectionId::DebugAbbrev,
    SectionId::DebugRngLists,
    SectionId::DebugRanges,
    SectionId::DebugLineStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
];

/// Debug sections: parts of the file where they lie in it as they are needed, else copies.
#[derive(Debug)]
pub(crate) struct Sections {
    all: DwarfSections<Contents>,
    /// Where `.debug_info` lies in the file, unless it is a copy.
    info: Option<Range<usize>>,
}

impl Sections {
    /// Decompresses in parallel; relocates private copies where the object is relocatable.
    pub fn load(elf: &Elf, bytes: &[u8]) -> Result<Sections, Error> {
        let relocator = if elf.relocatable { Some(Relocator::new(elf, bytes)?) } else { None };
        let load = |id: &SectionId| -> Result<(SectionId, Contents), Error> {
            let Some((index, mut contents)) = elf.debug_section(bytes, id.name())? else {
                return Ok((*id, Contents::InFile(0..0)));
            };
            if let Some(relocator) = &relocator {
                let mut copy = match contents {
                    Contents::InFile(range) => bytes[range].to_vec(),
                    Contents::Owned(copy) => copy,
                };
                relocator.apply(index, &mut copy)?;
                contents = Contents::Owned(copy);
            }
            Ok((*id, contents))
        };
        let mut loaded: Vec<(SectionId, Contents)> =
            WANTED.par_iter().map(load).collect::<Result<_, Error>>()?;
        let info = loaded.iter().find_map(|(id, contents)| match contents {
            Contents::InFile(range) if *id == SectionId::DebugInfo => Some(range.clone()),
            _ => None,
        });
        let take = |id: SectionId| -> Result<Contents, Error> {
            let at = loaded.iter().position(|(loaded, _)| *loaded == id);
            Ok(at.map_or(Contents::InFile(0..0), |at| loaded.swap_remove(at).1))
        };
        Ok(Sections { all: DwarfSections::load(take)?, info })
    }

    /// The sections as gimli wants them; `file` is what they were loaded from.
    pub fn dwarf<'a>(&'a self, file: &'a [u8]) -> Dwarf<Slice<'a>> {
        self.all.borrow(|section| gimli::EndianSlice::new(section.of(file), LittleEndian))
    }
}

impl Sections {
    /// Where the units of `.debug_info` begin, without touching more of it than their lengths (`unit_length`: 32 bits,
    /// or an escape and 64 bits). `None` where the section is a copy, or the lengths make no sense.
    pub fn unit_offsets(&self, file: &Bytes) -> Option<Vec<u64>> {
        let info = self.info.clone()?;
        let (mut at, mut offsets) = (info.start, Vec::new());
        while at < info.end {
            let head = file.peek::<12>(at)?;
            let short = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let long = u64::from_le_bytes(*head[4..].first_chunk()?);
            let length = if short == u32::MAX { long.checked_add(12)? } else { u64::from(short) + 4 };
            offsets.push((at - info.start) as u64);
            at = at.checked_add(usize::try_from(length).ok()?).filter(|_| offsets.len() < MAX_UNITS)?;
        }
        Some(offsets)
    }
}

/// The headers of all units, by hopping over their lengths.
pub(crate) fn units<'a>(dwarf: &Dwarf<Slice<'a>>) -> Result<Vec<UnitHeader<Slice<'a>>>, Error> {
    let mut units = Vec::new();
    let mut headers = dwarf.units();
    loop {
        let at = units.last().map_or(0, end_of);
        match headers.next() {
            Ok(Some(_)) if units.len() == MAX_UNITS => {
                return Err(Error::TooLarge { what: "units of .debug_info".into(), limit: MAX_UNITS as u64 });
            }
            Ok(Some(header)) => units.push(header),
            Ok(None) => return Ok(units),
            Err(e) => return Err(Error::Dwarf { unit: at, reason: dwarf.format_error(e) }),
        }
    }
}

fn end_of(header: &UnitHeader<Slice<'_>>) -> u64 {
    start_of(header) + header.length_including_self() as u64
}

/// Offset of a unit in `.debug_info`.
pub(crate) fn start_of(header: &UnitHeader<Slice<'_>>) -> u64 {
    header.debug_info_offset().map_or(0, |offset| offset.0 as u64)
}

/// Parses a unit's abbreviations, root entry and line header.
pub(crate) fn open<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    header: UnitHeader<Slice<'a>>,
) -> Result<Unit<Slice<'a>>, Error> {
    dwarf.unit(header).map_err(|e| Error::Dwarf { unit: start_of(&header), reason: dwarf.format_error(e) })
}
