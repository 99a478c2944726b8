//! ELF64 cores: `/proc/vmcore`, `makedumpfile -E`, QEMU's `dump-guest-memory`, and our own small dumps.

use super::image::Image;
use super::notes::{self, ElfNote};
use super::{Container, Format, Lack, Machine, Opened};
use crate::error::Error;
use report::Note;
use std::io::{self, Write};

const FORMAT: &str = "ELF";
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `e_phnum` when there are more: the number stands in `sh_info` of the first section header.
const PN_XNUM: u16 = 0xffff;
/// `makedumpfile -E -d 31` writes tens of thousands for a large machine; each takes 56 bytes of the file.
const MAX_SEGMENTS: u64 = 4 << 20;
/// All notes together. A CPU's registers are some 350 bytes; this is room for 100 000 CPUs.
const MAX_NOTES: u64 = 64 << 20;
/// `DUMP_DH_EXCLUDED…`: makedumpfile sets this in `e_flags` of a dump that it could not finish.
const EF_INCOMPLETE: u32 = 1;
const PAGE: usize = 4096;
/// The kernel maps its text here on x86-64 (`__START_KERNEL_map`).
const X86_TEXT: u64 = 0xffff_ffff_8000_0000;

struct Segment {
    paddr: u64,
    offset: u64,
    filesz: u64,
    memsz: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.paddr.saturating_add(self.memsz.max(self.filesz))
    }
}

struct Elf {
    image: Image,
    /// Sorted by address; none lies wholly within another.
    segments: Vec<Segment>,
}

pub(super) fn open(image: Image) -> Result<Opened, Error> {
    let header = |what: String| Error::Header { format: FORMAT, what };
    let mut head = [0_u8; 64];
    image.read(0, &mut head);
    if head[4] != 2 || head[5] != 1 {
        return Err(Error::Unsupported("32-bit or big-endian ELF"));
    }
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    if half(16) != ET_CORE {
        return Err(header(format!("e_type is {}, not ET_CORE", half(16))));
    }
    let machine = match half(18) {
        EM_X86_64 => Machine::X86_64,
        EM_AARCH64 => Machine::Aarch64,
        other => return Err(header(format!("e_machine {other} is neither x86-64 nor arm64"))),
    };
    let mut found = Vec::new();
    if word32(&head, 48) & EF_INCOMPLETE != 0 {
        found.push(Note::new("dump-incomplete", "makedumpfile marked the dump as incomplete"));
    }
    let (phoff, phentsize) = (word64(&head, 32), u64::from(half(54)));
    if phentsize < 56 {
        return Err(header(format!("e_phentsize is {phentsize}")));
    }
    let count = match half(56) {
        PN_XNUM => {
            let mut section = [0_u8; 64];
            image.read(word64(&head, 40), &mut section);
            u64::from(word32(&section, 44))
        }
        count => u64::from(count),
    };
    let count = count.min(MAX_SEGMENTS).min(image.len() / phentsize);
    let mut segments = Vec::new();
    let mut elf_notes = Vec::new();
    let mut phys_base = None;
    for i in 0..count {
        let mut entry = [0_u8; 56];
        if image.read(phoff.saturating_add(i * phentsize), &mut entry) < entry.len() {
            found.push(Note::new("dump-cut", format!("the file ends within program header {i} of {count}")));
            break;
        }
        let (offset, vaddr, paddr) = (word64(&entry, 8), word64(&entry, 16), word64(&entry, 24));
        let (filesz, memsz) = (word64(&entry, 32), word64(&entry, 40));
        match word32(&entry, 0) {
            PT_NOTE => elf_notes.extend(notes::parse(&image.bytes(offset, filesz, MAX_NOTES))),
            // /proc/kcore style: no physical address.
            PT_LOAD if paddr == u64::MAX => {}
            PT_LOAD => {
                if machine == Machine::X86_64 && vaddr >= X86_TEXT {
                    phys_base = Some(paddr.wrapping_sub(vaddr - X86_TEXT));
                }
                segments.push(Segment { paddr, offset, filesz, memsz });
            }
            _ => {}
        }
    }
    if let Some(cut) =
        segments.iter().find(|segment| segment.offset.saturating_add(segment.filesz) > image.len())
    {
        found.push(Note::new("dump-cut", format!("the file ends before the memory at {:#x}", cut.paddr)));
    }
    let vmcoreinfo = elf_notes.iter().find(|note| note.name == b"VMCOREINFO").map(|note| note.desc.clone());
    if elf_notes.iter().any(|note| note.name == b"VMCOREINFO_XEN" || note.name == b"Xen") {
        return Err(Error::Unsupported("Xen dump"));
    }
    Ok(Opened {
        container: Box::new(Elf { image, segments: outermost(segments) }),
        format: Format::Elf,
        flattened: false,
        machine: Some(machine),
        vmcoreinfo,
        elf_notes,
        phys_base,
        split: None,
        notes: found,
    })
}

/// Drops segments that lie within another: x86 has one for the kernel's text that repeats RAM of a larger
/// one.
fn outermost(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.sort_by_key(|segment| (segment.paddr, u64::MAX - segment.end()));
    let mut kept: Vec<Segment> = Vec::new();
    for segment in segments {
        if kept.last().is_none_or(|last| segment.end() > last.end()) {
            kept.push(segment);
        }
    }
    kept
}

impl Container for Elf {
    fn page_size(&self) -> usize {
        PAGE
    }

    fn read_page(&self, frame: u64, page: &mut [u8]) -> Result<(), Lack> {
        let start = frame.checked_mul(PAGE as u64).ok_or(Lack::Hole)?;
        let end = start.saturating_add(PAGE as u64);
        page.fill(0);
        let first = self.segments.partition_point(|segment| segment.end() <= start);
        let mut lack = Lack::Hole;
        let mut have = 0;
        for segment in self.segments[first..].iter().take_while(|segment| segment.paddr < end) {
            let from = segment.paddr.max(start);
            let to = segment.paddr.saturating_add(segment.filesz).min(end);
            if from >= to {
                lack = Lack::Excluded;
                continue;
            }
            let target = &mut page[(from - start) as usize..(to - start) as usize];
            let Some(offset) = segment.offset.checked_add(from - segment.paddr) else { continue };
            if self.image.read(offset, target) < target.len() {
                lack = Lack::Truncated;
            } else {
                have += target.len();
            }
        }
        // A page that a segment covers in part (QEMU's low memory) is readable, the rest of it zero.
        if have > 0 && lack != Lack::Truncated { Ok(()) } else { Err(lack) }
    }

    fn end(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end().div_ceil(PAGE as u64)).max().unwrap_or(0)
    }
}

/// Writes an ELF core: the notes, and `pages` of `page_size` bytes in ascending order. `fill` reads one page;
/// `vaddr` is what the segment of a physical address gives as its virtual one.
pub(crate) fn write(
    out: &mut dyn Write,
    machine: Machine,
    notes: &[ElfNote],
    pages: &[u64],
    page_size: usize,
    vaddr: &dyn Fn(u64) -> u64,
    fill: &mut dyn FnMut(u64, &mut [u8]),
) -> io::Result<()> {
    let notes: Vec<u8> = notes.iter().flat_map(notes::elf_note).collect();
    let runs: Vec<&[u64]> = pages.chunk_by(|a, b| a + 1 == *b).collect();
    let size = page_size as u64;
    let count = runs.len() as u64 + 1;
    let wide = count >= u64::from(PN_XNUM);
    let section_at = 64 + count * 56;
    let notes_at = section_at + if wide { 64 } else { 0 };
    let data_at = (notes_at + notes.len() as u64).next_multiple_of(size);
    let e_machine = match machine {
        Machine::X86_64 => EM_X86_64,
        Machine::Aarch64 => EM_AARCH64,
    };
    let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [ET_CORE, e_machine] {
        head.extend(half.to_le_bytes());
    }
    head.extend(1_u32.to_le_bytes());
    for word in [0, 64, if wide { section_at } else { 0 }] {
        head.extend(u64::to_le_bytes(word));
    }
    head.extend(0_u32.to_le_bytes());
    for half in [64, 56, if wide { PN_XNUM } else { count as u16 }, 64, u16::from(wide), 0] {
        head.extend(u16::to_le_bytes(half));
    }
    program_header(&mut head, PT_NOTE, [notes_at, 0, 0, notes.len() as u64, notes.len() as u64]);
    let mut offset = data_at;
    for run in &runs {
        let (paddr, length) = (run[0] * size, run.len() as u64 * size);
        program_header(&mut head, PT_LOAD, [offset, vaddr(paddr), paddr, length, length]);
        offset += length;
    }
    if wide {
        // SHT_NULL with the true number of program headers in sh_info.
        let mut section = [0_u8; 64];
        section[44..48].copy_from_slice(&(count as u32).to_le_bytes());
        head.extend(section);
    }
    head.extend(notes);
    head.resize(data_at as usize, 0);
    out.write_all(&head)?;
    let mut page = vec![0; page_size];
    for &frame in pages {
        fill(frame, &mut page);
        out.write_all(&page)?;
    }
    Ok(())
}

fn program_header(out: &mut Vec<u8>, kind: u32, [offset, vaddr, paddr, filesz, memsz]: [u64; 5]) {
    out.extend(kind.to_le_bytes());
    out.extend(7_u32.to_le_bytes());
    for word in [offset, vaddr, paddr, filesz, memsz, 0] {
        out.extend(word.to_le_bytes());
    }
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
