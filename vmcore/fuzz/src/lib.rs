//! What the targets share: the tests' builder, and what every target does with the bytes it made.
#![allow(dead_code, reason = "no target uses all of the tests' builder")]

/// The tests' builder, where it stands.
#[path = "../../tests/it"]
mod it {
    pub mod builder;
}

pub use it::builder;

use builder::elf::elf;
use builder::kernel::Fake;
use builder::{AARCH64, X86_64};

/// Reads all there is in a dump. Whatever the bytes are, this ends, and never panics.
pub fn all(bytes: Vec<u8>) {
    if let Ok(dump) = vmcore::from_bytes(bytes) {
        dump.log();
        dump.facts();
        dump.tasks().by_stack();
        dump.extract(&mut std::io::sink()).expect("a sink takes everything");
    }
}

/// Takes `data` as a list of patches, each a place and one to eight bytes for it.
pub fn patches(data: &[u8], length: u64, mut put: impl FnMut(u64, &[u8])) {
    for patch in data.chunks_exact(12) {
        let place = u64::from(u32::from_le_bytes([patch[0], patch[1], patch[2], 0])) % length.max(1);
        let size = (usize::from(patch[3] & 7) + 1).min((length - place) as usize);
        put(place, &patch[4..4 + size]);
    }
}

/// A sound kernel, but for one part of its memory. The first byte says of which processor it is, and whether the
/// others are patches or lie at the part's beginning.
pub fn part(name: &str, data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let machine = if how & 1 == 0 { X86_64 } else { AARCH64 };
    let mut image = Fake::new(machine).image;
    let (_, part) = image.regions.iter().find(|(known, _)| *known == name).cloned().expect("the kernel has it");
    let length = part.end - part.start;
    if how & 2 == 0 {
        patches(data, length, |at, bytes| image.put(part.start + at, bytes));
    } else {
        image.put(part.start, &data[..data.len().min(length as usize)]);
    }
    all(elf(&image.pages(), machine, &image.notes()));
}
