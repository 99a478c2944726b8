//! Bytes that are a whole file: ELF, KDUMP and flattened headers, notes, bitmaps, records.
#![no_main]

#[path = "../read.rs"]
#[allow(dead_code, reason = "this target makes no patches")]
mod read;

libfuzzer_sys::fuzz_target!(|data: &[u8]| read::all(data.to_vec()));
