//! Payloads of records that the kernel could not decompress (`.enc.z`).

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use serde::Serialize;

use super::header::{PartHeader, split_ecc};
use super::{lzo, sw842};

/// What came out of a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decompressed {
    /// The text, with its part header.
    #[serde(skip)]
    pub text: Vec<u8>,
    /// How it had been compressed.
    pub method: Method,
    /// The stream ended where it should; otherwise `text` is what came before the damage.
    pub complete: bool,
}

/// The algorithms of `fs/pstore/platform.c` over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// It was text all along.
    Plain,
    /// 4.18 to 6.5, when chosen.
    Zstd,
    /// Before 4.18: deflate with a zlib header.
    Zlib,
    /// 4.18 and later: raw deflate.
    Deflate,
    /// 4.9 to 6.5, when chosen.
    Lzo,
    /// 4.9 to 6.5, when chosen.
    Lz4,
    /// 4.9 to 6.5, when chosen: IBM's format, which POWER machines compress in hardware.
    #[serde(rename = "842")]
    Sw842,
}

/// The largest text that is accepted: a record is a chunk of the log of a few KiB (`kmsg_bytes`), 1 MiB leaves
/// room for odd settings and none for a bomb.
const TEXT_MAX: usize = 1 << 20;

/// Tries the algorithms in turn and takes the first whose output begins with a part header. None when none fits: the
/// payload is damaged from its start.
pub fn decompress(raw: &[u8]) -> Option<Decompressed> {
    let accept = |text: Vec<u8>, method, complete| {
        PartHeader::read(&text)?;
        Some(Decompressed { text, method, complete })
    };
    if raw.len() <= TEXT_MAX && PartHeader::read(raw).is_some() {
        return accept(raw.to_vec(), Method::Plain, true);
    }
    // ramoops puts its plain-text ECC line behind the payload.
    let raw = split_ecc(raw).0;
    if raw.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let (text, complete) = unpack_zstd(raw);
        if let Some(done) = accept(text, Method::Zstd, complete) {
            return Some(done);
        }
    }
    if let [cmf, flags, ..] = *raw
        && cmf & 15 == 8
        && (u16::from(cmf) << 8 | u16::from(flags)).is_multiple_of(31)
    {
        let (text, complete) = inflate(raw, true);
        if let Some(done) = accept(text, Method::Zlib, complete) {
            return Some(done);
        }
    }
    let (text, complete) = inflate(raw, false);
    if let Some(done) = accept(text, Method::Deflate, complete) {
        return Some(done);
    }
    let (text, complete) = unpack_lzo(raw);
    if let Some(done) = accept(text, Method::Lzo, complete) {
        return Some(done);
    }
    if let Some(done) =
        lz4_flex::block::decompress(raw, TEXT_MAX).ok().and_then(|text| accept(text, Method::Lz4, true))
    {
        return Some(done);
    }
    let (text, complete) = sw842::decode(raw, TEXT_MAX);
    accept(text, Method::Sw842, complete)
}

fn unpack_lzo(raw: &[u8]) -> (Vec<u8>, bool) {
    // A byte of LZO gives 255 at most, when a length goes on in zeroes.
    let mut text = vec![0; raw.len().saturating_mul(255).min(TEXT_MAX)];
    let (length, complete) = lzo::decompress(raw, &mut text);
    text.truncate(length);
    (text, complete)
}

/// Unpacks what it can; damage ends the text early.
fn unpack_zstd(raw: &[u8]) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    let complete = zstd::Decoder::with_buffer(raw)
        .and_then(|stream| stream.single_frame().take(TEXT_MAX as u64).read_to_end(&mut text))
        .is_ok();
    (text, complete)
}

/// Inflates what it can; bytes behind the stream are ignored, and damage ends the text early.
fn inflate(raw: &[u8], zlib_header: bool) -> (Vec<u8>, bool) {
    let mut stream = Decompress::new(zlib_header);
    let mut text = Vec::with_capacity(raw.len().saturating_mul(4).min(TEXT_MAX));
    loop {
        if text.len() >= TEXT_MAX {
            return (text, false);
        }
        text.reserve((TEXT_MAX - text.len()).min(64 * 1024));
        let (before_in, before_out) = (stream.total_in(), text.len());
        let status = stream.decompress_vec(&raw[before_in as usize..], &mut text, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) => return (text, true),
            Err(_) => return (text, false),
            Ok(_) if stream.total_in() == before_in && text.len() == before_out => return (text, false),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    fn text() -> Vec<u8> {
        let mut text = b"Panic#1 Part1\n".to_vec();
        for line in 0..200 {
            text.extend_from_slice(format!("<6>[    {line}.000000] a line of the log\n").as_bytes());
        }
        text
    }

    fn deflated(zlib_header: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 * 1024);
        let mut stream = Compress::new(Compression::default(), zlib_header);
        stream.compress_vec(&text(), &mut out, FlushCompress::Finish).unwrap();
        out
    }

    #[test]
    fn each_algorithm_is_told_by_what_it_gives() {
        let lz4 = lz4_flex::block::compress(&text());
        let lzo = lzokay_native::compress(&text()).unwrap();
        let zstd = zstd::bulk::compress(&text(), 3).unwrap();
        let cases = [
            (text(), Method::Plain),
            (deflated(true), Method::Zlib),
            (deflated(false), Method::Deflate),
            (lz4, Method::Lz4),
            (lzo, Method::Lzo),
            (zstd, Method::Zstd),
        ];
        for (raw, method) in cases {
            let done = decompress(&raw).unwrap();
            assert_eq!((done.method, done.complete, done.text), (method, true, text()));
        }
    }

    #[test]
    fn half_a_part_is_still_given() {
        let lzo = lzokay_native::compress(&text()).unwrap();
        for raw in [deflated(false), deflated(true), lzo] {
            let done = decompress(&raw[..raw.len() / 2]).unwrap();
            assert!(!done.complete && done.text.len() > 20 && text().starts_with(&done.text));
        }
    }

    #[test]
    fn the_ecc_line_behind_the_payload_does_no_harm() {
        let mut raw = deflated(false);
        raw.extend_from_slice(b"\nECC: No errors detected\n");
        assert!(decompress(&raw).unwrap().complete);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for raw in [&b""[..], b"\0\0\0\0", b"not a record", &[0xff; 300]] {
            assert_eq!(decompress(raw), None);
        }
    }
}
