//! Bytes of a KDUMP file: both headers, bitmaps, descriptors, pages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmcore_fuzz::all([b"KDUMP   ", data].concat()));
