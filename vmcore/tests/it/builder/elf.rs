//! ELF cores and their notes.

use super::{PAGE, Pages};

/// An ELF core of these pages, one segment for each run, its notes before them.
pub fn elf(pages: &Pages, machine: u16, notes: &[u8]) -> Vec<u8> {
    let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
    for (&frame, page) in pages {
        match runs.last_mut() {
            Some((first, bytes)) if *first + (bytes.len() / PAGE) as u64 == frame => bytes.extend(page),
            _ => runs.push((frame, page.clone())),
        }
    }
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(4_u16.to_le_bytes());
    out.extend(machine.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    [0, 64, 0_u64].iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.extend(0_u32.to_le_bytes());
    [64, 56, runs.len() as u16 + 1, 0, 0, 0].iter().for_each(|half| out.extend(half.to_le_bytes()));
    let mut offset = 64 + 56 * (runs.len() as u64 + 1);
    let mut header = |kind: u32, paddr: u64, length: usize| {
        out.extend(kind.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        [offset, 0, paddr, length as u64, length as u64, 0]
            .iter()
            .for_each(|word| out.extend(word.to_le_bytes()));
        offset += length as u64;
    };
    header(4, 0, notes.len());
    runs.iter().for_each(|(frame, bytes)| header(1, frame * PAGE as u64, bytes.len()));
    out.extend(notes);
    runs.into_iter().for_each(|(_, bytes)| out.extend(bytes));
    out
}

/// One ELF note.
pub fn note(name: &str, kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    [name.len() as u32 + 1, desc.len() as u32, kind].iter().for_each(|word| out.extend(word.to_le_bytes()));
    for part in [[name.as_bytes(), b"\0"].concat().as_slice(), desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
