//! Records of a flattened stream, behind its header of one page.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut stream = b"makedumpfile\0\0\0\0".to_vec();
    stream.resize(4096, 0);
    stream.extend(data);
    vmcore_fuzz::all(stream);
});
