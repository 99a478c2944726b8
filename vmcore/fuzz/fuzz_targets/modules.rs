//! Damage in the list of modules of a kernel that is sound otherwise.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmcore_fuzz::part("modules", data));
