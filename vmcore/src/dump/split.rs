//! A set of files written with `makedumpfile --split`, each with its range of pages, read as one dump.

use super::{Container, Lack, Opened};
use crate::error::Error;
use std::ops::Range;

struct Set {
    /// Sorted by the first page.
    parts: Vec<(Range<u64>, Box<dyn Container>)>,
}

/// Puts the files together. They must have the same page size and kernel, and their ranges must not overlap.
pub(super) fn join(mut files: Vec<Opened>) -> Result<Opened, Error> {
    if files.len() < 2 {
        return files.pop().ok_or_else(|| Error::Split("there is no file".into()));
    }
    if let Some(alone) = files.iter().position(|file| file.split.is_none()) {
        return Err(Error::Split(format!("file {} is not part of a split dump", alone + 1)));
    }
    files.sort_by_key(|file| file.split.as_ref().map(|range| (range.start, range.end)));
    let mut files = files.into_iter();
    let Some(mut first) = files.next() else { return Err(Error::Split("there is no file".into())) };
    let mut parts = Vec::new();
    let range = first.split.take().unwrap_or_default();
    let page_size = first.container.page_size();
    let vmcoreinfo = first.vmcoreinfo.clone();
    parts.push((range, first.container));
    for file in files {
        let range = file.split.unwrap_or_default();
        if file.container.page_size() != page_size || file.vmcoreinfo != vmcoreinfo {
            return Err(Error::Split("they are of different kernels".into()));
        }
        if parts.last().is_some_and(|(before, _)| range.start < before.end) {
            return Err(Error::Split(format!("two files hold page {:#x}", range.start)));
        }
        first.notes.extend(file.notes);
        parts.push((range, file.container));
    }
    first.container = Box::new(Set { parts });
    Ok(first)
}

impl Container for Set {
    fn page_size(&self) -> usize {
        self.parts.first().map_or(4096, |(_, part)| part.page_size())
    }

    fn read_page(&self, frame: u64, page: &mut [u8]) -> Result<(), Lack> {
        let at = self.parts.partition_point(|(range, _)| range.end <= frame);
        match self.parts.get(at) {
            Some((range, part)) if range.contains(&frame) => part.read_page(frame, page),
            _ => Err(Lack::Hole),
        }
    }

    fn end(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.end()).max().unwrap_or(0)
    }
}
