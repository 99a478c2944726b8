//! Bytes of an ELF core: headers, notes, segments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmcore_fuzz::all([b"\x7fELF\x02\x01\x01\0", data].concat()));
