//! The kernel's text in a report of apport: fields as `problem_report.py` writes them.
//!
//! `Key: value`, or `Key:` with lines that begin with a space, or `Key: base64` with such lines, each base64 of its own,
//! together one gzip stream (zlib in reports of before 2010). Binary fields stand last, in the order of their names,
//! so that a `VmCore` of any size may come before the `VmCoreDmesg` that is looked for: it is passed over as it streams.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::write::{GzDecoder, ZlibDecoder};

use crate::source::PIECE;

/// The fields that hold what the kernel said: of an oops, of a crash, and of one with its dump. A report has one of them.
const WANTED: [&[u8]; 3] = [b"OopsText", b"VmCoreDmesg", b"VmCoreLog"];

/// The most that is read of a report: a `VmCore` of some GB, which base64 makes a third larger.
const REPORT: u64 = 16 << 30;

/// The most that is read of a field's first line. Values of one line are a name, a date, a version.
const LINE: u64 = 64 * 1024;

/// The most that a field may unpack to. The kernel's log is at most 32 MiB (`LOG_BUF_SHIFT` 25).
const UNPACKED: u64 = 64 << 20;

/// What was found in a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The kernel's text; its end, if it is more than [`PIECE`].
    pub bytes: Vec<u8>,
    /// Whether there was more before it.
    pub cut: bool,
    /// What is wrong with the report, as far as it concerns the text.
    pub damage: Option<&'static str>,
    /// Whether a dump of memory is in the report as well.
    pub holds_dump: bool,
}

/// Reads the kernel's text out of a report. An error is one of reading the file.
pub fn text(report: impl Read) -> io::Result<Text> {
    let mut lines = BufReader::new(report.take(REPORT));
    let mut holds_dump = false;
    let mut field = None;
    while let Some(&first) = lines.fill_buf()?.first() {
        if first == b' ' {
            lines.consume(1);
            match &mut field {
                Some(field) => each_chunk(&mut lines, |chunk, ends| Field::take(field, chunk, ends))?,
                None => drop(lines.skip_until(b'\n')?),
            }
            continue;
        }
        if field.is_some() {
            break;
        }
        let mut line = Vec::new();
        (&mut lines).take(LINE).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            // Longer than any name or date, or cut off within it.
            lines.skip_until(b'\n')?;
            continue;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (key, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        holds_dump |= key == b"VmCore";
        if WANTED.contains(&key) {
            field = Some(if value == b"base64" {
                Field::Packed(Box::default())
            } else {
                Field::Plain(Tail::of(value))
            });
        }
    }
    let found = match field {
        None => Text { damage: Some("it holds no text of the kernel"), ..Text::default() },
        Some(Field::Plain(tail)) => {
            let is_empty = tail.total == 0;
            tail.finish(is_empty.then_some("its text is empty"))
        }
        Some(Field::Packed(packed)) => packed.finish(),
    };
    Ok(Text { holds_dump, ..found })
}

/// Hands on the rest of a line in pieces, and whether the line ends with them.
fn each_chunk(lines: &mut impl BufRead, mut take: impl FnMut(&[u8], bool)) -> io::Result<()> {
    loop {
        let chunk = lines.fill_buf()?;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(chunk.len(), |end| end + 1);
        let ends = end.is_some() || chunk.is_empty();
        take(&chunk[..end.unwrap_or(chunk.len())], ends);
        lines.consume(used);
        if ends {
            return Ok(());
        }
    }
}

/// A field that is being read.
enum Field {
    Plain(Tail),
    Packed(Box<Packed>),
}

impl Field {
    fn take(&mut self, chunk: &[u8], ends: bool) {
        match self {
            Field::Plain(tail) => tail.line(chunk, ends),
            Field::Packed(packed) => packed.take(chunk, ends),
        }
    }
}

/// The end of a text that may be long.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    total: u64,
    begun: bool,
}

impl Tail {
    fn of(value: &[u8]) -> Tail {
        let mut tail = Tail::default();
        tail.push(value);
        tail.begun = !value.is_empty();
        tail
    }

    /// A part of a line; lines are set apart, not ended, by their ends.
    fn line(&mut self, chunk: &[u8], ends: bool) {
        if std::mem::take(&mut self.begun) {
            self.push(b"\n");
        }
        self.push(chunk);
        self.begun = ends;
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() as u64 > 2 * PIECE {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let excess = self.bytes.len().saturating_sub(usize::try_from(PIECE).unwrap_or(usize::MAX));
        self.bytes.drain(..excess);
    }

    fn finish(mut self, damage: Option<&'static str>) -> Text {
        self.shorten();
        let cut = self.total > self.bytes.len() as u64;
        let damage = damage.or_else(|| self.bytes.is_empty().then_some("its text is empty"));
        Text { bytes: self.bytes, cut, damage, holds_dump: false }
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.total > UNPACKED {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Base64 of a packed stream.
#[derive(Default)]
struct Packed {
    base64: Base64,
    unpacker: Option<Unpacker>,
    damage: Option<&'static str>,
}

enum Unpacker {
    Gzip(GzDecoder<Tail>),
    Zlib(ZlibDecoder<Tail>),
}

impl Packed {
    fn take(&mut self, chunk: &[u8], ends: bool) {
        if self.damage.is_some() {
            return;
        }
        let mut bytes = Vec::with_capacity(chunk.len());
        if !self.base64.decode(chunk, ends, &mut bytes) {
            self.damage = Some("its base64 is damaged");
        }
        if bytes.is_empty() {
            return;
        }
        let unpacker = self.unpacker.get_or_insert_with(|| match bytes.first() {
            Some(0x1f) => Unpacker::Gzip(GzDecoder::new(Tail::default())),
            _ => Unpacker::Zlib(ZlibDecoder::new(Tail::default())),
        });
        let written = match unpacker {
            Unpacker::Gzip(gzip) => gzip.write_all(&bytes),
            Unpacker::Zlib(zlib) => zlib.write_all(&bytes),
        };
        if let Err(error) = written {
            self.damage = Some(match error.kind() {
                io::ErrorKind::FileTooLarge => "its text is longer than the kernel's log can be",
                _ => "its packed text is damaged",
            });
        }
    }

    fn finish(self) -> Text {
        let (ended, tail) = match self.unpacker {
            None => return Text { damage: self.damage.or(Some("its text is empty")), ..Text::default() },
            Some(Unpacker::Gzip(mut gzip)) => (gzip.try_finish(), std::mem::take(gzip.get_mut())),
            Some(Unpacker::Zlib(mut zlib)) => (zlib.try_finish(), std::mem::take(zlib.get_mut())),
        };
        tail.finish(self.damage.or(ended.err().map(|_| "its packed text is cut off")))
    }
}

/// Base64 as it comes; each line is padded for itself (RFC 4648, section 4).
#[derive(Default)]
struct Base64 {
    bits: u32,
    digits: u32,
}

impl Base64 {
    /// Whether there was nothing but base64; what comes before damage is decoded.
    fn decode(&mut self, chunk: &[u8], ends: bool, out: &mut Vec<u8>) -> bool {
        for &byte in chunk {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' | b'\r' => continue,
                _ => return false,
            };
            self.bits = self.bits << 6 | u32::from(digit);
            self.digits += 1;
            if self.digits == 4 {
                out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                *self = Base64::default();
            }
        }
        if !ends {
            return true;
        }
        // Two digits hold a byte, three hold two; a lone one holds none.
        let Base64 { bits, digits } = std::mem::take(self);
        let [_, rest @ ..] = (bits << (6 * (4 - digits.clamp(1, 4)))).to_be_bytes();
        out.extend_from_slice(&rest[..(digits.saturating_sub(1)) as usize]);
        digits != 1
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use flate2::Compression;

    use super::*;

    const LOG: &str = "[   27.100776] BUG: kernel NULL pointer dereference\n[   27.101902] Kernel panic\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As `ProblemReport.write` does: the header on a line of its own, then blocks.
    fn packed(key: &str, stream: &[u8], header: usize, block: usize) -> String {
        let (header, rest) = stream.split_at(header);
        let lines = std::iter::once(header).chain(rest.chunks(block)).filter(|line| !line.is_empty());
        let code = |line| format!(" {}\n", base64::engine::general_purpose::STANDARD.encode(line));
        format!("{key}: base64\n{}", lines.map(code).collect::<String>())
    }

    fn report(fields: &str) -> String {
        format!(
            "ProblemType: KernelCrash\nDate: Sun Nov 22 08:07:55 2026\nPackage: linux-image-6.8.0-31-generic\n{fields}Zz: last\n"
        )
    }

    fn read(report: &str) -> Text {
        text(report.as_bytes()).unwrap()
    }

    #[test]
    fn a_packed_log_is_found_in_each_way_of_writing_it() {
        let stream = gzip(LOG.as_bytes());
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(LOG.as_bytes()).unwrap();
        for field in [
            packed("VmCoreDmesg", &stream, 10, 20),
            packed("VmCoreDmesg", &stream, 10, 1),
            // Written again by a program that had loaded it.
            packed("VmCoreDmesg", &stream, stream.len(), 1),
            packed("VmCoreDmesg", &zlib.finish().unwrap(), 0, 1 << 20),
        ] {
            let found = read(&report(&field));
            assert_eq!(found, Text { bytes: LOG.as_bytes().to_vec(), ..Text::default() }, "{field}");
        }
    }

    #[test]
    fn a_plain_text_is_what_was_given() {
        let lines = LOG.replace('\n', "\n ");
        assert_eq!(read(&report(&format!("OopsText:\n {lines}\n"))).bytes, LOG.as_bytes());
        assert_eq!(read(&report("OopsText: one line\n")).bytes, b"one line");
    }

    #[test]
    fn a_dump_before_the_log_is_passed_over() {
        let dump = packed("VmCore", &vec![7; 300_000], 10, 100_000);
        let found = read(&report(&(dump + &packed("VmCoreDmesg", &gzip(LOG.as_bytes()), 10, 99))));
        assert_eq!((found.bytes.as_slice(), found.holds_dump, found.damage), (LOG.as_bytes(), true, None));
        let alone = read(&report(&packed("VmCore", b"dump", 0, 9)));
        assert!(alone.bytes.is_empty() && alone.holds_dump && alone.damage.is_some(), "{alone:?}");
    }

    #[test]
    fn of_a_long_text_the_end_is_kept_and_no_bomb_is_unpacked() {
        let lines: String = (0..400_000).map(|n| format!("[{n:5}.000000] line\n")).collect();
        let found = read(&report(&packed("VmCoreDmesg", &gzip(lines.as_bytes()), 10, 1 << 16)));
        assert!(found.cut && found.damage.is_none() && lines.as_bytes().ends_with(&found.bytes));
        assert_eq!(found.bytes.len() as u64, PIECE);
        let bomb = gzip(&vec![b'x'; usize::try_from(UNPACKED).unwrap() + (8 << 20)]);
        let found = read(&report(&packed("VmCoreDmesg", &bomb, 10, 1 << 16)));
        assert!(found.damage.is_some_and(|damage| damage.contains("longer")), "{:?}", found.damage);
        assert!(found.bytes.len() as u64 <= PIECE);
    }

    #[test]
    fn a_report_that_is_cut_or_changed_anywhere_is_read_as_far_as_it_goes() {
        let whole = report(&packed("VmCoreDmesg", &gzip(LOG.as_bytes()), 10, 20));
        for end in 0..whole.len() {
            let found = text(&whole.as_bytes()[..end]).unwrap();
            assert!(LOG.as_bytes().starts_with(&found.bytes), "cut at {end}");
            let lacks = found.bytes.len() < LOG.len();
            assert!(!lacks || found.damage.is_some(), "cut at {end}: {found:?}");
        }
        for at in 0..whole.len() {
            for byte in [b'\n', b' ', b':', 0, 0xff] {
                let mut changed = whole.clone().into_bytes();
                changed[at] = byte;
                let found = text(changed.as_slice()).unwrap();
                assert!(found.bytes.len() <= LOG.len() + 64, "{at}: {found:?}");
            }
        }
        // Nothing but a line without an end.
        assert!(text(io::repeat(b'x').take(1 << 20)).unwrap().bytes.is_empty());
    }
}
