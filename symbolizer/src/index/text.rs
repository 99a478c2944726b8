//! The code in an index: small frames of zstd, so that a look at a few bytes unpacks no more than it must.

use rayon::prelude::*;

use super::format::{Table, u32_at};
use super::{Index, Meta};
use crate::code::Text;
use crate::error::Error;

/// Bytes of code in a frame: unpacked in some 100 µs.
const FRAME: usize = 1 << 16;
/// Kernels have some 15 MB; what they store is half of that at this level, packed at 300 MB/s.
const LEVEL: i32 = 1;

/// The tables [`Table::Site`], [`Table::Frame`] and [`Table::Text`].
pub(crate) fn pack(meta: &Meta, text: &Text, file: &[u8]) -> Result<[Vec<u8>; 3], Error> {
    let mut joined = Vec::new();
    for (_, address, size) in &meta.sections {
        // Sections without bytes (a debug file's) end it: what is told is told for all.
        let section = text.at(file, *address).unwrap_or_default();
        let Some(section) = usize::try_from(*size).ok().and_then(|size| section.get(..size)) else {
            return Ok(Default::default());
        };
        joined.extend_from_slice(section);
    }
    let fail = |e: std::io::Error| Error::Io { doing: "compress the code", source: e };
    let frames: Vec<Vec<u8>> = joined
        .par_chunks(FRAME)
        .map(|code| zstd::bulk::compress(code, LEVEL).map_err(fail))
        .collect::<Result<_, Error>>()?;
    let (mut ends, mut end) = (Vec::new(), 0u32);
    for frame in &frames {
        end = end.saturating_add(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        ends.extend(end.to_le_bytes());
    }
    let relative = |address: u64| u32::try_from(address.saturating_sub(meta.base)).unwrap_or(u32::MAX);
    let bounds = text.sites.0.iter().flat_map(|site| [relative(site.start), relative(site.end)]);
    Ok([bounds.flat_map(u32::to_le_bytes).collect(), ends, frames.concat()])
}

impl Index {
    /// Whether the code itself is there.
    pub fn has_text(&self) -> bool {
        !self.table(Table::Text).is_empty()
    }

    /// The code from a link address on: at most `length` bytes, and not beyond the end of the section.
    pub fn text(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut before = 0u64;
        for &(_, start, size) in &self.meta.sections {
            if let Some(into) = address.checked_sub(start).filter(|&into| into < size) {
                let length = usize::try_from(size - into).unwrap_or(usize::MAX).min(length);
                return self.joined(usize::try_from(before.checked_add(into)?).ok()?, length);
            }
            before = before.checked_add(size)?;
        }
        None
    }

    /// Bytes of the joined sections.
    fn joined(&self, from: usize, length: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let (first, skip) = (from / FRAME, from % FRAME);
        let wanted = skip.checked_add(length)?;
        for number in first.. {
            let ends = self.table(Table::Frame);
            let start = number.checked_sub(1).map_or(Some(0), |last| u32_at(ends, last))?;
            let frame = self.table(Table::Text).get(start as usize..u32_at(ends, number)? as usize)?;
            // A frame of a damaged file may claim to be larger than ours are: then it does not unpack.
            out.extend(zstd::bulk::decompress(frame, FRAME).ok()?);
            if out.len() >= wanted {
                break;
            }
        }
        out.get(skip..wanted).map(<[u8]>::to_vec)
    }

    /// Whether a running kernel may have another byte at this address.
    pub(crate) fn may_differ(&self, address: u64) -> bool {
        let Some(address) = self.relative(address) else { return false };
        let sites = self.table(Table::Site).as_chunks::<8>().0;
        let bound = |site: &[u8; 8], at: usize| u32_at(site, at).unwrap_or(u32::MAX);
        let after = sites.partition_point(|site| bound(site, 0) <= address);
        after.checked_sub(1).is_some_and(|at| address < bound(&sites[at], 1))
    }
}
