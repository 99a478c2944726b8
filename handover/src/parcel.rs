//! The parcel: manifest and evidence in one file, the same in the spool and on the wire.
//!
//! ```text
//! offset 0   "LWP1"
//!        4   coding: 0 identity, 1 zstd (window ≤ 8 MiB)
//!        5   three zero bytes
//!        8   manifest length, 4 bytes big-endian
//!       12   coded length, 8 bytes big-endian
//!       20   canonical manifest, then the coded evidence bytes; nothing after them
//! ```

use std::io::{self, Read, Write};

use crate::canonical::Document;
use crate::digest::{Hasher, Mismatch, Sha256};
use crate::manifest::Manifest;
use crate::{Error, limits};

const MAGIC: &[u8; 4] = b"LWP1";

/// Bytes before the manifest.
pub const HEAD: usize = 20;

/// The media type of a parcel.
pub const MEDIA_TYPE: &str = "application/vnd.lastwords.parcel";

/// zstd's own default: on 30 KB logs higher levels win some per cent for several times the time.
const LEVEL: i32 = 3;

/// Decoded bytes handled at a time.
const BUFFER: usize = 64 * 1024;

/// How the evidence bytes are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    Identity,
    /// One or more zstd frames (RFC 8878).
    Zstd,
}

impl Coding {
    /// Its word in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Identity => "identity",
            Coding::Zstd => "zstd",
        }
    }
}

/// The first 20 bytes of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How the evidence bytes are coded.
    pub coding: Coding,
    /// Bytes of the manifest.
    pub manifest: u32,
    /// Bytes of the coded evidence.
    pub coded: u64,
}

impl Head {
    /// Reads and checks the head.
    pub fn read(bytes: &[u8]) -> Result<Head, Error> {
        let (head, _) = bytes.split_first_chunk::<HEAD>().ok_or(Error::Parcel("is shorter than its head"))?;
        if head[..4] != *MAGIC {
            return Err(Error::Parcel("does not begin with LWP1"));
        }
        let coding = match head[4] {
            0 => Coding::Identity,
            1 => Coding::Zstd,
            other => return Err(Error::Coding(other)),
        };
        if head[5..8] != [0; 3] {
            return Err(Error::Parcel("has set bytes that must be zero"));
        }
        let manifest = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        if manifest as usize > limits::MANIFEST {
            let (what, limit) = ("the manifest", limits::MANIFEST as u64);
            return Err(Error::TooLarge { what, size: manifest.into(), limit });
        }
        let (_, coded) = head.split_last_chunk::<8>().expect("20 bytes hold 8");
        Ok(Head { coding, manifest, coded: u64::from_be_bytes(*coded) })
    }

    fn write(self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(MAGIC);
        head[4] = match self.coding {
            Coding::Identity => 0,
            Coding::Zstd => 1,
        };
        head[8..12].copy_from_slice(&self.manifest.to_be_bytes());
        head[12..].copy_from_slice(&self.coded.to_be_bytes());
        head
    }

    /// The length of the whole parcel; `None` if it does not fit.
    pub fn total(self) -> Option<u64> {
        (HEAD as u64 + u64::from(self.manifest)).checked_add(self.coded)
    }
}

/// A parcel in memory, its manifest read and checked, its evidence still coded.
#[derive(Clone, Debug)]
pub struct Parcel<'a> {
    /// How the evidence bytes are coded.
    pub coding: Coding,
    /// What it says of itself.
    pub manifest: Document<Manifest>,
    /// The coded evidence bytes.
    pub coded: &'a [u8],
}

/// Packs evidence with its manifest. `None` for evidence writes a parcel of withheld bytes.
pub fn encode(manifest: &Document<Manifest>, evidence: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let coded = match evidence {
        Some(bytes) => zstd::encode_all(bytes, LEVEL).map_err(Error::Decode)?,
        None => Vec::new(),
    };
    let coding = if evidence.is_some() { Coding::Zstd } else { Coding::Identity };
    Ok([begin(manifest, coding, coded.len() as u64), coded].concat())
}

/// The bytes of a parcel before `coded` bytes of evidence, for one that is written piece by piece.
pub fn begin(manifest: &Document<Manifest>, coding: Coding, coded: u64) -> Vec<u8> {
    let manifest = manifest.bytes();
    let head = Head { coding, manifest: manifest.len() as u32, coded };
    [&head.write(), manifest].concat()
}

/// Codes evidence of any length on its way to `W`, and digests it: memory is bounded by zstd's window.
pub struct Encoder<'a, W: Write> {
    coder: zstd::stream::write::Encoder<'a, Counted<W>>,
    hasher: Hasher,
    size: u64,
}

/// What went through an [`Encoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// Bytes of evidence.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// Bytes that they were coded to, by [`Coding::Zstd`].
    pub coded: u64,
}

struct Counted<W> {
    sink: W,
    count: u64,
}

impl<W: Write> Encoder<'_, W> {
    /// Begins with nothing.
    pub fn new(sink: W) -> io::Result<Self> {
        let coder = zstd::stream::write::Encoder::new(Counted { sink, count: 0 }, LEVEL)?;
        Ok(Encoder { coder, hasher: Hasher::default(), size: 0 })
    }

    /// Writes what is still held back. Gives the sink back, and what to say in a manifest.
    pub fn finish(self) -> io::Result<(W, Coded)> {
        let Counted { sink, count } = self.coder.finish()?;
        Ok((sink, Coded { size: self.size, sha256: self.hasher.finish(), coded: count }))
    }
}

impl<W: Write> Write for Encoder<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.coder.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.coder.flush()
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Reads the framing and the manifest.
pub fn open(bytes: &[u8]) -> Result<Parcel<'_>, Error> {
    let head = Head::read(bytes)?;
    if head.total() != Some(bytes.len() as u64) {
        return Err(Error::Parcel("is not as long as its head says"));
    }
    let (manifest, coded) = bytes[HEAD..].split_at(head.manifest as usize);
    Ok(Parcel { coding: head.coding, manifest: Manifest::read(manifest)?, coded })
}

impl Parcel<'_> {
    /// Decodes the evidence into memory and checks it; for small evidence.
    pub fn decode(&self) -> Result<Vec<u8>, Error> {
        let announced = self.manifest.size;
        if announced > limits::SMALL_DECODED {
            let (what, limit) = ("the evidence", limits::SMALL_DECODED);
            return Err(Error::TooLarge { what, size: announced, limit });
        }
        let mut bytes = Vec::new();
        decode_to(&mut bytes, self.coding, self.coded, &self.manifest)?;
        Ok(bytes)
    }
}

/// Decodes coded evidence into `sink` and checks size and digest against the manifest. Decoding stops at one
/// byte more than announced, whatever the body claims; memory is bounded by the window.
pub fn decode_to(
    sink: &mut impl Write,
    coding: Coding,
    coded: impl Read,
    manifest: &Manifest,
) -> Result<(), Error> {
    let announced = manifest.size;
    let mut decoded = decoder(coding, coded)?.take(announced.saturating_add(1));
    let mut hasher = Hasher::default();
    let (mut found, mut buffer) = (0, vec![0; BUFFER]);
    loop {
        let count = decoded.read(&mut buffer).map_err(Error::Decode)?;
        if count == 0 {
            break;
        }
        found += count as u64;
        hasher.update(&buffer[..count]);
        sink.write_all(&buffer[..count]).map_err(Error::Decode)?;
    }
    if found != announced {
        return Err(Error::Size { found, announced });
    }
    Mismatch::check("the evidence's SHA-256", &hasher.finish(), &manifest.sha256)
}

/// Decodes evidence bytes as a stream, with a bounded window.
pub fn decoder<'a>(coding: Coding, coded: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Error> {
    Ok(match coding {
        Coding::Identity => Box::new(coded),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(coded).map_err(Error::Decode)?;
            decoder.window_log_max(limits::ZSTD_WINDOW_LOG).map_err(Error::Decode)?;
            Box::new(decoder)
        }
    })
}
