//! Patches to one part of a sound kernel: log, symbols, types, unwind tables, tasks, modules, BPF programs.
#![no_main]
#![allow(dead_code, reason = "the targets share the test's builder, and none uses all of it")]

#[path = "../../tests/it/fake_kernel.rs"]
mod fake_kernel;
#[path = "../../tests/it/synthetic.rs"]
mod synthetic;
#[path = "../read.rs"]
mod read;

use fake_kernel::{AARCH64, Fake, X86_64};
use synthetic::elf;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let machine = if which & 1 == 0 { X86_64 } else { AARCH64 };
    let mut image = Fake::new(machine).image;
    let (_, region) = image.regions[usize::from(which >> 1) % image.regions.len()].clone();
    read::patches(data, region.end - region.start, |at, bytes| image.put(region.start + at, bytes));
    read::all(elf(&image.pages(), machine, &image.notes()));
});
