//! Physical memory with a bounded cache of decompressed pages.

use super::{Container, Lack};
use crate::progress::Progress;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Decompressed pages kept, in bytes: a page walk hits the same few pages again and again.
const CACHE: usize = 2 << 20;

/// One page, or why it is not there.
struct Slot {
    frame: u64,
    lack: Option<Lack>,
    page: Box<[u8]>,
}

/// Reads of any length from physical memory.
pub(crate) struct Physical {
    container: Box<dyn Container>,
    shift: u32,
    slots: RefCell<Vec<Option<Slot>>>,
    /// The pages read so far: what a small dump must hold.
    loaded: RefCell<BTreeSet<u64>>,
}

impl Physical {
    pub fn new(container: Box<dyn Container>) -> Self {
        let slots = (CACHE / container.page_size()).max(16);
        Self {
            shift: container.page_size().trailing_zeros(),
            container,
            slots: RefCell::new((0..slots).map(|_| None).collect()),
            loaded: RefCell::default(),
        }
    }

    pub fn page_size(&self) -> usize {
        1 << self.shift
    }

    /// The first page number behind all memory.
    pub fn end(&self) -> u64 {
        self.container.end()
    }

    /// The first page, of the first `limit`, that has what is asked for. Pages on the way are not remembered.
    pub fn find(&self, limit: u64, is_it: impl Fn(&[u8]) -> bool, progress: &Progress) -> Option<Vec<u8>> {
        let mut page = vec![0; self.page_size()];
        let found = (0..self.end().min(limit)).any(|frame| {
            progress.reach(frame);
            self.container.read_page(frame, &mut page).is_ok() && is_it(&page)
        });
        found.then_some(page)
    }

    /// The numbers of all pages read so far.
    pub fn loaded(&self) -> BTreeSet<u64> {
        self.loaded.borrow().clone()
    }

    /// Fills `out` from the physical address on.
    pub fn read(&self, mut address: u64, mut out: &mut [u8]) -> Result<(), Lack> {
        while !out.is_empty() {
            let within = (address as usize) & (self.page_size() - 1);
            let length = out.len().min(self.page_size() - within);
            let (now, rest) = out.split_at_mut(length);
            self.page(address >> self.shift, |page| now.copy_from_slice(&page[within..within + length]))?;
            out = rest;
            address = address.checked_add(length as u64).ok_or(Lack::Hole)?;
        }
        Ok(())
    }

    /// The u64 at an aligned address: an entry of a page table.
    pub fn u64(&self, address: u64) -> Result<u64, Lack> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn page<R>(&self, frame: u64, use_it: impl FnOnce(&[u8]) -> R) -> Result<R, Lack> {
        let mut slots = self.slots.borrow_mut();
        let at = (frame % slots.len() as u64) as usize;
        let slot = match &mut slots[at] {
            Some(slot) if slot.frame == frame => slot,
            other => {
                let mut page =
                    other.take().map_or_else(|| vec![0; self.page_size()].into(), |slot| slot.page);
                let lack = self.container.read_page(frame, &mut page).err();
                if lack.is_none() {
                    self.loaded.borrow_mut().insert(frame);
                }
                other.insert(Slot { frame, lack, page })
            }
        };
        if let Some(lack) = slot.lack {
            return Err(lack);
        }
        Ok(use_it(&slot.page))
    }
}
