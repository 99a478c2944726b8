//! Damage in the type information of a kernel that is sound otherwise.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmcore_fuzz::part("btf", data));
