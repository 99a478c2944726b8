//! The kernel's virtual memory: reads by address, whatever pages lie under it.

use crate::dump::{Lack, Physical};
use crate::translate::Translation;
use std::cell::RefCell;

/// Translations kept: small enough to search nothing, large enough for the tables and one stack.
const KEPT: usize = 256;
/// Pages translate in this size, the smallest of any processor.
const SHIFT: u32 = 12;

/// Pages of one range that are loaded for a small dump: 64 MiB, more than any table that we know of.
const MAX_TOUCHED: usize = 16384;

/// A read that failed: where, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory at {address:#x}: {lack}")]
pub(crate) struct Fault {
    pub address: u64,
    pub lack: Lack,
}

pub(crate) struct Memory {
    pub physical: Physical,
    pub translation: Translation,
    /// (virtual page, physical page), by the low bits of the virtual one.
    kept: RefCell<Vec<(u64, u64)>>,
}

impl Memory {
    pub fn new(physical: Physical, translation: Translation) -> Self {
        Self { physical, translation, kept: RefCell::new(vec![(u64::MAX, 0); KEPT]) }
    }

    /// Loads the pages of a range, as far as they are there, so that a small dump keeps them.
    pub fn touch(&self, address: u64, length: u64) {
        let (first, last) = (address >> SHIFT, address.saturating_add(length.saturating_sub(1)) >> SHIFT);
        for page in (first..=last).take(if length == 0 { 0 } else { MAX_TOUCHED }) {
            let _ = self.array::<1>(page << SHIFT);
        }
    }

    fn translate(&self, address: u64) -> Result<u64, Fault> {
        let page = address >> SHIFT;
        let slot = page as usize % KEPT;
        let (virt, phys) = self.kept.borrow()[slot];
        let within = address & ((1 << SHIFT) - 1);
        if virt == page {
            return Ok(phys << SHIFT | within);
        }
        let found =
            self.translation.physical(&self.physical, address).map_err(|lack| Fault { address, lack })?;
        self.kept.borrow_mut()[slot] = (page, found >> SHIFT);
        Ok(found)
    }

    /// Fills `out` from `address` on, or not at all.
    pub fn read(&self, mut address: u64, mut out: &mut [u8]) -> Result<(), Fault> {
        while !out.is_empty() {
            let length = out.len().min((1 << SHIFT) - (address as usize & ((1 << SHIFT) - 1)));
            let (now, rest) = out.split_at_mut(length);
            let physical = self.translate(address)?;
            self.physical.read(physical, now).map_err(|lack| Fault { address, lack })?;
            out = rest;
            address = address.wrapping_add(length as u64);
        }
        Ok(())
    }

    /// Fills what can be read, page by page; returns the first fault and how many bytes are missing (they are
    /// zero).
    pub fn read_with_holes(&self, address: u64, out: &mut [u8]) -> Option<(Fault, usize)> {
        let mut missing: Option<(Fault, usize)> = None;
        let mut done = 0;
        while done < out.len() {
            let at = address.wrapping_add(done as u64);
            let length = (out.len() - done).min((1 << SHIFT) - (at as usize & ((1 << SHIFT) - 1)));
            let part = &mut out[done..done + length];
            if let Err(fault) = self.read(at, part) {
                part.fill(0);
                missing.get_or_insert((fault, 0)).1 += length;
            }
            done += length;
        }
        missing
    }

    pub fn u16(&self, address: u64) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array(address)?))
    }

    pub fn u32(&self, address: u64) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array(address)?))
    }

    pub fn i32(&self, address: u64) -> Result<i32, Fault> {
        Ok(i32::from_le_bytes(self.array(address)?))
    }

    pub fn u64(&self, address: u64) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array(address)?))
    }

    pub fn array<const N: usize>(&self, address: u64) -> Result<[u8; N], Fault> {
        let mut out = [0; N];
        self.read(address, &mut out)?;
        Ok(out)
    }

    /// A NUL-terminated string of at most `limit` bytes; what is not UTF-8 is replaced.
    pub fn string(&self, address: u64, limit: usize) -> Result<String, Fault> {
        let mut out = Vec::new();
        while out.len() < limit {
            let at = address.wrapping_add(out.len() as u64);
            let mut chunk = [0_u8; 64];
            // Up to the end of a page, so that a string's page is all it needs.
            let length = (limit - out.len()).min(64).min((1 << SHIFT) - (at as usize & ((1 << SHIFT) - 1)));
            self.read(at, &mut chunk[..length])?;
            match chunk[..length].iter().position(|&byte| byte == 0) {
                Some(end) => {
                    out.extend(&chunk[..end]);
                    break;
                }
                None => out.extend(&chunk[..length]),
            }
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}
