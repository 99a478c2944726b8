//! Bytes that are VMCOREINFO, in a dump whose memory is sound: every address and offset in it may be wrong.
#![no_main]
#![allow(dead_code, reason = "the targets share the test's builder, and none uses all of it")]

#[path = "../../tests/it/fake_kernel.rs"]
mod fake_kernel;
#[path = "../../tests/it/synthetic.rs"]
mod synthetic;
#[path = "../read.rs"]
mod read;

use fake_kernel::{AARCH64, Fake, X86_64};
use synthetic::{elf, note};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let machine = if which & 1 == 0 { X86_64 } else { AARCH64 };
    let image = Fake::new(machine).image;
    // Later lines win, so these lines change what the kernel says of itself.
    let info = [image.info.as_bytes(), data].concat();
    read::all(elf(&image.pages(), machine, &note("VMCOREINFO", 0, &info)));
});
