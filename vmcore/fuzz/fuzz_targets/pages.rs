//! Patches to a whole file in each container and compression: what a damaged disk leaves.
#![no_main]

use std::sync::LazyLock;
use vmcore_fuzz::builder::elf::elf;
use vmcore_fuzz::builder::flattened::{Order, flatten};
use vmcore_fuzz::builder::kdump::{Kdump, Packing};
use vmcore_fuzz::builder::kernel::Fake;
use vmcore_fuzz::builder::X86_64;

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let image = Fake::new(X86_64).image;
    let all = [Packing::Raw, Packing::Zlib, Packing::Lzo, Packing::Snappy, Packing::Zstd];
    let mut files: Vec<Vec<u8>> = all.into_iter().map(|packing| Kdump::of(&image, packing).write()).collect();
    files.push(elf(&image.pages(), X86_64, &image.notes()));
    files.push(flatten(&files[1], 4096, Order::OddFirst));
    files
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let mut file = FILES[usize::from(which) % FILES.len()].clone();
    let length = file.len() as u64;
    vmcore_fuzz::patches(data, length, |at, bytes| file[at as usize..][..bytes.len()].copy_from_slice(bytes));
    vmcore_fuzz::all(file);
});
