//! Random bytes from the operating system.

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .expect("Linux has had getrandom(2) since 3.17, and it does not fail once seeded");
    bytes
}

/// `N` random bytes in hex.
pub fn hex<const N: usize>() -> String {
    ::hex::encode(bytes::<N>())
}
