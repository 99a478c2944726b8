//! What the program `bzip2` packs, read back; and damage of it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use vmcore::bzip2::Decoder;

/// `None` where there is no such program.
pub fn packed(level: &str, plain: &[u8]) -> Option<Vec<u8>> {
    let pipe = Stdio::piped;
    let spawned = Command::new("bzip2").arg(level).stdin(pipe()).stdout(pipe()).spawn();
    let Ok(mut child) = spawned else {
        println!("no program bzip2: not held against it");
        return None;
    };
    let mut to = child.stdin.take().unwrap();
    let plain = plain.to_vec();
    let writing = std::thread::spawn(move || to.write_all(&plain).unwrap());
    let done = child.wait_with_output().unwrap();
    writing.join().unwrap();
    Some(done.stdout)
}

fn unpacked(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    Decoder::new(packed).read_to_end(&mut plain).map(|_| plain)
}

/// Bytes of every kind: runs of all lengths around four, noise, text, and more than one block of each level.
fn samples() -> Vec<Vec<u8>> {
    let mut seed = 1u32;
    let mut noise = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let runs = (0..700usize).flat_map(|length| vec![length as u8; length]).collect();
    let alike = (0..300).flat_map(|i| vec![b'a' + (i % 2) as u8; 3 + i % 4]).collect();
    let text = include_str!("bzip2.rs").repeat(40).into_bytes();
    vec![
        b"x".to_vec(),
        vec![0; 3 << 20],
        (0..=255).collect(),
        (0..1_200_000).map(|_| noise()).collect(),
        (0..400_000).map(|_| noise() & 3).collect(),
        runs,
        alike,
        text,
    ]
}

#[test]
fn what_bzip2_packs_is_read_back() {
    for plain in samples() {
        for level in ["-1", "-9"] {
            let Some(bytes) = packed(level, &plain) else { return };
            assert!(unpacked(&bytes).unwrap() == plain, "{} bytes, {level}", plain.len());
        }
    }
    let Some(nothing) = packed("-9", b"") else { return };
    assert_eq!(unpacked(&nothing).unwrap(), b"");
}

#[test]
fn streams_behind_each_other_are_one_and_what_follows_is_left() {
    let (Some(one), Some(two)) = (packed("-1", b"some "), packed("-9", b"more")) else { return };
    assert_eq!(unpacked(&[&one[..], &two].concat()).unwrap(), b"some more");
    assert_eq!(unpacked(&[&one[..], &two, &[0xd2, 4, 0, 0]].concat()).unwrap(), b"some more");
}

/// `printf 'lastwords\n' | bzip2 -9`, for where that program is not.
const LASTWORDS: &[u8] = &[
    0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0xf6, 0xa9, 0xa5, 0x8f, 0x00, 0x00, 0x01,
    0xc1, 0x80, 0x00, 0x10, 0x24, 0x04, 0x9c, 0x80, 0x20, 0x00, 0x31, 0x06, 0x4c, 0x41, 0x00, 0x6d, 0x22,
    0xd5, 0x8c, 0x01, 0xf8, 0xbb, 0x92, 0x29, 0xc2, 0x84, 0x87, 0xb5, 0x4d, 0x2c, 0x78,
];

#[test]
fn damage_is_told_and_never_ends_us() {
    assert_eq!(unpacked(LASTWORDS).unwrap(), b"lastwords\n");
    let whole_or_error = |damaged: &[u8], plain: &[u8]| unpacked(damaged).map_or(true, |got| got == plain);
    for bit in 0..LASTWORDS.len() * 8 {
        let mut damaged = LASTWORDS.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(whole_or_error(&damaged, b"lastwords\n"), "bit {bit}");
    }
    for length in 0..LASTWORDS.len() {
        assert!(unpacked(&LASTWORDS[..length]).is_err(), "{length}");
    }
    let text = include_str!("bzip2.rs").repeat(9);
    let Some(bytes) = packed("-1", text.as_bytes()) else { return };
    for at in (4..bytes.len() - 8).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        assert!(whole_or_error(&damaged, text.as_bytes()), "{at}");
    }
}
