//! What every target does with the bytes it made.

/// Reads all there is in a dump. Whatever the bytes are, this ends, and never panics.
pub fn all(bytes: Vec<u8>) {
    if let Ok(dump) = vmcore::from_bytes(bytes) {
        dump.log();
        dump.facts();
        dump.tasks().by_stack();
        dump.extract(&mut std::io::sink()).expect("a sink takes everything");
    }
}

/// Takes `data` as a list of patches, each a place and one to eight bytes for it.
pub fn patches(data: &[u8], length: u64, mut put: impl FnMut(u64, &[u8])) {
    for patch in data.chunks_exact(12) {
        let place = u64::from(u32::from_le_bytes([patch[0], patch[1], patch[2], 0])) % length.max(1);
        let size = (usize::from(patch[3] & 7) + 1).min((length - place) as usize);
        put(place, &patch[4..4 + size]);
    }
}
