//! Any payload is decompressed or refused, within the stated size.

#![no_main]

use libfuzzer_sys::fuzz_target;
use report::pstore::decompress;

fuzz_target!(|raw: &[u8]| {
    if let Some(done) = decompress(raw) {
        assert!(done.text.len() <= 1 << 20);
        // What came out is text with a header, so it is its own decompression.
        assert_eq!(decompress(&done.text).map(|again| again.text), Some(done.text));
    }
});
