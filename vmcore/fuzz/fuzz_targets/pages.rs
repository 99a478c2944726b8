//! Patches to a whole file in each container and compression: what a damaged disk leaves.
#![no_main]
#![allow(dead_code, reason = "the targets share the test's builder, and none uses all of it")]

#[path = "../../tests/it/fake_kernel.rs"]
mod fake_kernel;
#[path = "../../tests/it/synthetic.rs"]
mod synthetic;
#[path = "../read.rs"]
mod read;

use fake_kernel::{Fake, X86_64};
use std::sync::LazyLock;
use synthetic::{Kdump, Packing, elf, flatten};

static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let image = Fake::new(X86_64).image;
    let pages = image.pages();
    let kdump = |packing| {
        let file = Kdump {
            pages: &pages,
            vmcoreinfo: &image.info,
            notes: &[],
            packing,
            version: 6,
            excluded: &[],
            split: None,
        };
        file.write()
    };
    let all = [Packing::Raw, Packing::Zlib, Packing::Lzo, Packing::Snappy, Packing::Zstd];
    let mut files: Vec<Vec<u8>> = all.into_iter().map(kdump).collect();
    files.push(elf(&pages, X86_64, &image.notes()));
    files.push(flatten(&files[1], 4096));
    files
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let mut file = FILES[usize::from(which) % FILES.len()].clone();
    read::patches(data, file.len() as u64, |at, bytes| file[at as usize..][..bytes.len()].copy_from_slice(bytes));
    read::all(file);
});
