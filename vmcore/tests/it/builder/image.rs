//! Physical memory being filled, the page tables in it, and VMCOREINFO beside it.

use super::elf::note;
use super::{AARCH64, Offsets, PAGE, Pages};
use std::fmt::Write;

/// Where the kernel's image is mapped, and where it lies in physical memory.
pub const IMAGE: u64 = 0xffff_ffff_8100_0000;
const IMAGE_PHYSICAL: u64 = 0x100_0000;
/// Bytes of a function. The image begins with sixteen.
pub const FUNCTION: u64 = 0x100;
/// A page table entry: present, writable.
pub const ENTRY: u64 = 3;

/// Physical memory being filled.
#[derive(Clone)]
pub struct Image {
    bytes: Vec<u8>,
    pub info: String,
    tables: u64,
    /// log2 of the page size of the page tables.
    pub shift: u32,
    pub machine: u16,
    /// How `kallsyms_offsets` stand for addresses.
    pub offsets: Offsets,
    /// The NT_PRSTATUS note of the CPU that panicked: 20 bytes, then its description.
    pub registers_of_cpu_0: u64,
    /// Parts of the memory by name, for damage in one reader's input.
    pub regions: Vec<(&'static str, std::ops::Range<u64>)>,
}

impl Image {
    pub fn new(machine: u16) -> Self {
        Self::with_pages(machine, 12)
    }

    /// With pages of another size, which arm64 has: 14, 16.
    pub fn with_pages(machine: u16, shift: u32) -> Self {
        let mut image = Self {
            bytes: vec![0; FUNCTION as usize * 16],
            info: String::new(),
            tables: 0,
            shift,
            machine,
            offsets: Offsets::Base,
            registers_of_cpu_0: 0,
            regions: Vec::new(),
        };
        image.tables = image.page();
        // The image through one large page, so that the page tables agree with the arithmetic. The levels are
        // the same on both processors, and so is an entry for a table or a small page.
        let large = 2 * shift - 3;
        let block = IMAGE_PHYSICAL >> large << large;
        image.map(IMAGE, block | if machine == AARCH64 { 1 } else { 0x80 | ENTRY }, large);
        let tables = image.tables;
        let voffset = format!("{:#x}", IMAGE - IMAGE_PHYSICAL);
        let numbers: &[(&str, &str)] = match machine {
            AARCH64 => &[
                ("VA_BITS", "48"),
                ("TCR_EL1_T1SZ", "0x10"),
                ("kimage_voffset", &voffset),
                ("PHYS_OFFSET", "0x0"),
                ("KERNELPACMASK", "0x7f000000000000"),
            ],
            _ => &[("phys_base", "0")],
        };
        writeln!(image.info, "OSRELEASE=6.12.0-fake\nPAGESIZE={}", 1 << shift).unwrap();
        for (name, value) in numbers {
            writeln!(image.info, "NUMBER({name})={value}").unwrap();
        }
        image.symbol("swapper_pg_dir", tables);
        image.symbol("_stext", IMAGE);
        image
    }

    /// Room of one page.
    fn page(&mut self) -> u64 {
        self.alloc(1 << self.shift, 1 << self.shift)
    }

    /// Room of `size` bytes; returns its virtual address.
    pub fn alloc(&mut self, size: usize, align: usize) -> u64 {
        let at = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(at + size, 0);
        IMAGE + at as u64
    }

    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = (address - IMAGE) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn put64(&mut self, address: u64, value: u64) {
        self.put(address, &value.to_le_bytes());
    }

    pub fn put32(&mut self, address: u64, value: u32) {
        self.put(address, &value.to_le_bytes());
    }

    pub fn get(&self, address: u64, length: usize) -> Vec<u8> {
        self.bytes[(address - IMAGE) as usize..][..length].to_vec()
    }

    pub fn get64(&self, address: u64) -> u64 {
        u64::from_le_bytes(*self.bytes[(address - IMAGE) as usize..].first_chunk().unwrap())
    }

    /// Does one thing, and names the memory that it takes.
    pub fn region<R>(&mut self, name: &'static str, fill: impl FnOnce(&mut Self) -> R) -> R {
        let start = IMAGE + self.bytes.len() as u64;
        let result = fill(self);
        self.regions.push((name, start..IMAGE + self.bytes.len() as u64));
        result
    }

    pub fn store(&mut self, bytes: &[u8]) -> u64 {
        let at = self.alloc(bytes.len(), 8);
        self.put(at, bytes);
        at
    }

    pub fn physical(address: u64) -> u64 {
        address - IMAGE + IMAGE_PHYSICAL
    }

    pub fn symbol(&mut self, name: &str, address: u64) {
        writeln!(self.info, "SYMBOL({name})={address:x}").unwrap();
    }

    /// Makes the page tables lead to `entry` at the level of `shift`.
    pub fn map(&mut self, address: u64, entry: u64, shift: u32) {
        let mut table = self.tables;
        for level in self.levels() {
            let slot = self.slot(table, address, level);
            if level == shift {
                return self.put64(slot, entry);
            }
            if self.get64(slot) == 0 {
                let next = self.page();
                self.put64(slot, Self::physical(next) | ENTRY);
            }
            table = self.get64(slot) - ENTRY - IMAGE_PHYSICAL + IMAGE;
        }
    }

    /// Where the image has the memory that a page of the tables maps an address to.
    pub fn memory_of(&self, address: u64) -> u64 {
        let table = self.levels().fold(self.tables, |table, level| {
            self.get64(self.slot(table, address, level)) - ENTRY - IMAGE_PHYSICAL + IMAGE
        });
        table + (address & ((1 << self.shift) - 1))
    }

    /// The top of the page tables.
    pub fn root(&self) -> u64 {
        self.tables
    }

    /// The levels of the page tables, from the top: 48 bits are translated.
    fn levels(&self) -> impl Iterator<Item = u32> + use<> {
        let (page, bits) = (self.shift, self.shift - 3);
        (0..(48 - page).div_ceil(bits)).rev().map(move |level| page + level * bits)
    }

    fn slot(&self, table: u64, address: u64, level: u32) -> u64 {
        let bits = (self.shift - 3).min(48 - level);
        table + 8 * (address >> level & ((1 << bits) - 1))
    }

    pub fn pages(&self) -> Pages {
        let first = IMAGE_PHYSICAL / PAGE as u64;
        let page = |chunk: &[u8]| [chunk, &vec![0; PAGE - chunk.len()]].concat();
        self.bytes.chunks(PAGE).enumerate().map(|(i, chunk)| (first + i as u64, page(chunk))).collect()
    }

    /// The ELF notes: VMCOREINFO alone.
    pub fn notes(&self) -> Vec<u8> {
        note("VMCOREINFO", 0, self.info.as_bytes())
    }
}
