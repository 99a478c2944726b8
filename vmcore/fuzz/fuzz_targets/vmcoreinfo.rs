//! Bytes that are VMCOREINFO, in a dump whose memory is sound: every address and offset in it may be wrong.
#![no_main]

use vmcore_fuzz::builder::elf::{elf, note};
use vmcore_fuzz::builder::kernel::Fake;
use vmcore_fuzz::builder::{AARCH64, X86_64};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let machine = if which & 1 == 0 { X86_64 } else { AARCH64 };
    let image = Fake::new(machine).image;
    // Later lines win, so these lines change what the kernel says of itself.
    let info = [image.info.as_bytes(), data].concat();
    vmcore_fuzz::all(elf(&image.pages(), machine, &note("VMCOREINFO", 0, &info)));
});
