//! arm64: image and linear map by arithmetic, all else through the page tables of 4, 16 or 64 KiB pages.

use crate::dump::{Lack, Physical};
use crate::vmcoreinfo::VmcoreInfo;

pub(crate) struct Aarch64 {
    /// log2 of the page size: 12, 14 or 16.
    page: u32,
    /// Bits of a virtual address that the page tables translate.
    va_bits: u32,
    /// Where the linear map begins, and which value of bit `va_bits - 1` is in it.
    page_offset: u64,
    flipped: bool,
    phys_offset: Option<u64>,
    /// Virtual minus physical address of the kernel's image.
    image: u64,
    root: Option<u64>,
    /// The bits of a return address that hold its authentication code.
    pac: u64,
}

impl Aarch64 {
    pub fn new(info: &VmcoreInfo) -> Self {
        let page =
            info.text("PAGESIZE").and_then(|size| size.parse::<u64>().ok()).map_or(12, u64::trailing_zeros);
        let page = if [12, 14, 16].contains(&page) { page } else { 12 };
        let built = info.number("VA_BITS").unwrap_or(48).clamp(36, 52) as u32;
        // With 64 KiB pages the kernel's table is always laid out for VA_BITS, whatever TCR says.
        let t1sz = info.number("TCR_EL1_T1SZ").filter(|_| page != 16);
        let va_bits = t1sz.map_or(built, |t1sz| 64_u64.saturating_sub(t1sz).clamp(36, 52) as u32);
        let image = info.number("kimage_voffset").unwrap_or(0);
        let stext = info.symbol("_stext");
        // 5.4 moved the linear map to the lower half: the image then lies above the middle of what 48 bits reach.
        let flipped = stext.is_none_or(|stext| stext > (1_u64 << (built.min(48) - 1)).wrapping_neg());
        let span = if flipped { va_bits } else { va_bits - 1 };
        Self {
            page,
            va_bits,
            page_offset: (1_u64 << span).wrapping_neg(),
            flipped,
            phys_offset: info.number("PHYS_OFFSET"),
            image,
            root: info.symbol("swapper_pg_dir").map(|root| root.wrapping_sub(image)),
            pac: info.number("KERNELPACMASK").unwrap_or(0),
        }
    }

    pub fn physical(&self, memory: &Physical, address: u64) -> Result<u64, Lack> {
        let address = untagged(address);
        if !self.is_kernel(address) {
            return Err(Lack::Unmapped);
        }
        let upper = address >> (self.va_bits - 1) & 1 == 1;
        match self.phys_offset {
            Some(offset) if upper != self.flipped => Ok((address & !self.page_offset).wrapping_add(offset)),
            _ => self.walk(memory, address),
        }
    }

    fn walk(&self, memory: &Physical, address: u64) -> Result<u64, Lack> {
        let bits = self.page - 3;
        let levels = (self.va_bits - self.page).div_ceil(bits);
        let mut table = self.root.ok_or(Lack::Unmapped)?;
        for level in (0..levels).rev() {
            let shift = self.page + level * bits;
            let width = if level + 1 == levels { self.va_bits - shift } else { bits };
            let entry = memory.u64(table + 8 * (address >> shift & ((1 << width) - 1)))?;
            let within = (1_u64 << shift) - 1;
            match (entry & 3, level) {
                (3, 0) => return Ok(self.output(entry) & !within | address & within),
                // A block; its page offset bits are attributes.
                (1, 1..) => return Ok(self.output(entry) & !within | address & within),
                (3, _) => table = self.output(entry),
                _ => return Err(Lack::Unmapped),
            }
        }
        Err(Lack::Unmapped)
    }

    /// The address in a descriptor: bits 47 down to the page, and with 52-bit addresses some of the low ones.
    fn output(&self, entry: u64) -> u64 {
        let low = entry & 0x0000_ffff_ffff_ffff & !((1 << self.page) - 1);
        match self.page {
            16 => low | (entry >> 12 & 0xf) << 48,
            _ if self.va_bits == 52 => low | (entry >> 48 & 3) << 48 | (entry >> 8 & 3) << 50,
            _ => low,
        }
    }

    pub fn agrees(&self, memory: &Physical, text: u64) -> bool {
        self.walk(memory, text).is_ok_and(|walked| walked == text.wrapping_sub(self.image))
    }

    pub fn is_kernel(&self, address: u64) -> bool {
        untagged(address) >= (1_u64 << self.va_bits).wrapping_neg()
    }

    pub fn without_pac(&self, address: u64) -> u64 {
        if address >> 55 & 1 == 1 { address | self.pac } else { address & !self.pac }
    }
}

/// Without KASAN's and the user's tag in the top byte: sign-extended from bit 55.
fn untagged(address: u64) -> u64 {
    ((address << 8) as i64 >> 8) as u64
}
