//! x86-64: the kernel's text at a fixed distance, all else through four or five levels of page tables.

use crate::dump::{Lack, Physical};
use crate::vmcoreinfo::VmcoreInfo;

/// `__START_KERNEL_map`.
const TEXT: u64 = 0xffff_ffff_8000_0000;
/// `KERNEL_IMAGE_SIZE` with KASLR.
const IMAGE_SIZE: u64 = 1 << 30;
/// Bits 12 to 51 of an entry are the address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;

pub(crate) struct X86_64 {
    phys_base: u64,
    image_size: u64,
    /// Physical address of the top page table; none when nothing tells it.
    root: Option<u64>,
    five_levels: bool,
    /// Bits of an entry that are the address: all of [`ADDRESS`] but the encryption bit of AMD's SME.
    address: u64,
}

impl X86_64 {
    pub fn new(info: &VmcoreInfo, phys_base: Option<u64>, cr3: Option<u64>) -> Self {
        let phys_base = info.number("phys_base").or(phys_base).unwrap_or(0);
        let symbol =
            ["swapper_pg_dir", "init_top_pgt", "init_level4_pgt"].iter().find_map(|name| info.symbol(name));
        Self {
            phys_base,
            image_size: info.number("KERNEL_IMAGE_SIZE").unwrap_or(IMAGE_SIZE),
            root: symbol
                .map(|at| at.wrapping_sub(TEXT).wrapping_add(phys_base))
                .or(cr3.map(|cr3| cr3 & ADDRESS)),
            five_levels: info.number("pgtable_l5_enabled") == Some(1),
            address: ADDRESS & !info.number("sme_mask").unwrap_or(0),
        }
    }

    pub fn physical(&self, memory: &Physical, address: u64) -> Result<u64, Lack> {
        if address.wrapping_sub(TEXT) < self.image_size {
            return Ok(self.text(address));
        }
        self.walk(memory, address)
    }

    fn text(&self, address: u64) -> u64 {
        address.wrapping_sub(TEXT).wrapping_add(self.phys_base)
    }

    fn walk(&self, memory: &Physical, address: u64) -> Result<u64, Lack> {
        let top = if self.five_levels { 48 } else { 39 };
        if !canonical(address, top + 9) {
            return Err(Lack::Unmapped);
        }
        let mut table = self.root.ok_or(Lack::Unmapped)?;
        for shift in (12..=top).rev().step_by(9) {
            let entry = memory.u64(table + 8 * (address >> shift & 0x1ff))?;
            if entry & PRESENT == 0 {
                return Err(Lack::Unmapped);
            }
            let within = (1_u64 << shift) - 1;
            if shift == 12 || (entry & LARGE != 0 && shift <= 30) {
                return Ok(entry & self.address & !within | address & within);
            }
            table = entry & self.address;
        }
        Err(Lack::Unmapped)
    }

    pub fn agrees(&self, memory: &Physical, text: u64) -> bool {
        self.walk(memory, text).is_ok_and(|walked| walked == self.text(text))
    }

    pub fn is_kernel(&self, address: u64) -> bool {
        address >> 63 == 1 && canonical(address, 57)
    }
}

/// Are the bits from `bits - 1` up all alike?
fn canonical(address: u64, bits: u32) -> bool {
    let high = address as i64 >> (bits - 1);
    high == 0 || high == -1
}
