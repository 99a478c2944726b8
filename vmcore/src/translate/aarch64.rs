//! arm64: image and linear map by arithmetic, all else through the page tables of 4, 16 or 64 KiB pages.

use crate::dump::{Lack, Physical};
use crate::vmcoreinfo::VmcoreInfo;

pub(crate) struct Aarch64 {
    /// log2 of the page size: 12, 14 or 16.
    page: u32,
    /// Bits of a virtual address that this processor translates.
    va_bits: u32,
    /// Bits that the kernel's top table is laid out for.
    table_bits: u32,
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
        let t1sz = info.number("TCR_EL1_T1SZ");
        let va_bits = t1sz.map_or(built, |t1sz| 64_u64.saturating_sub(t1sz).clamp(36, 52) as u32);
        let image = info.number("kimage_voffset").unwrap_or(0);
        let stext = info.symbol("_stext");
        // 5.4 moved the linear map to the lower half: the image then lies above the middle of what 48 bits
        // reach.
        let flipped = stext.is_none_or(|stext| stext > (1_u64 << (built.min(48) - 1)).wrapping_neg());
        // A kernel built for 52 bits that runs with 48 keeps PAGE_OFFSET of the 52, and exports a PHYS_OFFSET
        // below zero that makes up for it.
        let span = if flipped { built } else { built - 1 };
        Self {
            page,
            va_bits,
            // With 64 KiB pages that is always what the kernel was built for.
            table_bits: if page == 16 { built } else { va_bits },
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

    /// The address in the linear map.
    pub fn linear(&self, physical: u64) -> Option<u64> {
        self.phys_offset.map(|offset| self.page_offset.wrapping_add(physical.wrapping_sub(offset)))
    }

    fn walk(&self, memory: &Physical, address: u64) -> Result<u64, Lack> {
        let bits = self.page - 3;
        let levels = (self.table_bits - self.page).div_ceil(bits);
        let mut table = self.root.ok_or(Lack::Unmapped)?;
        for level in (0..levels).rev() {
            let shift = self.page + level * bits;
            let width = if level + 1 == levels { self.table_bits - shift } else { bits };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Container;
    use std::collections::HashMap;

    /// Memory in which only these words are not zero.
    struct Words(usize, HashMap<u64, u64>);

    impl Container for Words {
        fn page_size(&self) -> usize {
            self.0
        }

        fn read_page(&self, frame: u64, page: &mut [u8]) -> Result<(), Lack> {
            page.fill(0);
            for (&at, word) in self.1.iter().filter(|(at, _)| *at / self.0 as u64 == frame) {
                page[at as usize % self.0..][..8].copy_from_slice(&word.to_le_bytes());
            }
            Ok(())
        }

        fn end(&self) -> u64 {
            u64::MAX
        }
    }

    fn check(info: &str, words: &[(u64, u64)], address: u64, want: Result<u64, Lack>) {
        let rules = Aarch64::new(&VmcoreInfo::parse(info.as_bytes()));
        let memory = Physical::new(Box::new(Words(1 << rules.page, words.iter().copied().collect())));
        assert_eq!(rules.physical(&memory, address), want, "{address:#x}");
    }

    const IMAGE: &str = "SYMBOL(swapper_pg_dir)=ffffffc008010000\nSYMBOL(_stext)=ffffffc008010000\n";

    #[test]
    fn the_linear_map_of_both_layouts() {
        let flipped = "NUMBER(VA_BITS)=48\nNUMBER(PHYS_OFFSET)=0x40000000\nSYMBOL(_stext)=ffff800008010000\n";
        check(flipped, &[], 0xffff_0000_0000_1000, Ok(0x4000_1000));
        let old = "NUMBER(VA_BITS)=48\nNUMBER(PHYS_OFFSET)=0x40000000\nSYMBOL(_stext)=ffff000008080000\n";
        check(old, &[], 0xffff_8000_0000_1000, Ok(0x4000_1000));
    }

    #[test]
    fn a_kernel_for_52_bits_on_a_processor_with_48() {
        let offset = 0x4000_0000_u64.wrapping_sub((1 << 52) - (1 << 48));
        let info = format!(
            "PAGESIZE=65536\nNUMBER(VA_BITS)=52\nNUMBER(TCR_EL1_T1SZ)=0x10\nNUMBER(PHYS_OFFSET)={offset:#x}\nSYMBOL(_stext)=ffff800008010000\n"
        );
        // The lower half of what 48 bits reach is the linear map, though with 64 KiB pages tables are for 52.
        check(&info, &[], 0xffff_0000_0001_0000, Ok(0x4001_0000));
    }

    #[test]
    fn three_levels_of_64_kib_pages() {
        let info =
            format!("{IMAGE}PAGESIZE=65536\nNUMBER(VA_BITS)=48\nNUMBER(kimage_voffset)=0xffffffbfc8000000\n");
        // Root at 0x40010000; 6, 13 and 13 bits of index.
        let address = 0xffff_ffc0_0812_3456_u64;
        let (top, middle, last) = (address >> 42 & 0x3f, address >> 29 & 0x1fff, address >> 16 & 0x1fff);
        let words = [
            (0x4001_0000 + 8 * top, 0x5000_0003),
            (0x5000_0000 + 8 * middle, 0x5001_0003),
            // Bits 15 to 12 of the entry are bits 51 to 48 of the address.
            (0x5001_0000 + 8 * last, 0x6000_1003),
        ];
        check(&info, &words, address, Ok(0x0001_0000_6000_3456));
        check(&info, &words[..2], address, Err(Lack::Unmapped));
    }

    #[test]
    fn a_block_and_a_tag() {
        let info = format!("{IMAGE}NUMBER(VA_BITS)=39\nNUMBER(kimage_voffset)=0xffffffbfc8000000\n");
        let address = 0xffff_ffc0_0812_3456_u64;
        let (top, middle) = (address >> 30 & 0x1ff, address >> 21 & 0x1ff);
        let words = [(0x4001_0000 + 8 * top, 0x5000_0003), (0x5000_0000 + 8 * middle, 0x6000_0701)];
        check(&info, &words, address, Ok(0x6012_3456));
        // KASAN's tag in the top byte changes nothing.
        check(&info, &words, address & !(0xff << 56) | 0xf3 << 56, Ok(0x6012_3456));
    }
}
