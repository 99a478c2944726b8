//! Bytes of a dump that is packed as a whole, with zstd, gzip, xz or bzip2.
#![no_main]

use std::io::Write;

/// What it may unpack to.
const MOST: u64 = 1 << 20;
const MAGICS: [&[u8]; 4] =
    [&[0x28, 0xb5, 0x2f, 0xfd], &[0x1f, 0x8b, 8], &[0xfd, b'7', b'z', b'X', b'Z', 0], b"BZh11AY&SY"];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else { return };
    let mut file = tempfile::NamedTempFile::new().expect("the temporary folder takes a file");
    for bytes in [MAGICS[usize::from(which) % MAGICS.len()], data] {
        file.write_all(bytes).expect("it takes some bytes");
    }
    if let Ok(dump) = vmcore::open_within(file.path(), MOST) {
        dump.facts();
    }
});
