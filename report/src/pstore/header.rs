//! The first line of a dmesg record, `Panic#2 Part7`, and the ECC line at its end.

use serde::Serialize;

/// Why the kernel dumped its log (`kmsg_dump_reason_str`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The kernel panicked.
    Panic,
    /// An oops; with panic_on_oops a panic follows, otherwise the machine went on.
    Oops,
    /// An emergency restart.
    Emergency,
    /// An orderly shutdown, restart, halt or power-off.
    Shutdown,
    /// The kernel did not say.
    Unknown,
}

/// The first line of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PartHeader {
    /// Why it was written.
    pub reason: Reason,
    /// Dumps since boot, over all reasons.
    pub count: u32,
    /// 1 is the newest chunk.
    pub part: u32,
}

/// The longest header line: `Emergency#4294967295 Part4294967295`.
const HEADER_MAX: usize = 40;

/// The length of a whole header: the line, and the one that block devices and flash put before it.
pub const HEAD_MAX: usize = 2 * HEADER_MAX;

impl PartHeader {
    /// Reads the header at the start of `record`; also gives its length with the line feed. [`HEAD_MAX`] bytes are
    /// enough.
    pub fn read(record: &[u8]) -> Option<(PartHeader, usize)> {
        let (first, length) = first_line(record)?;
        if !is_total(first) {
            return Some((PartHeader::parse(first)?, length));
        }
        let (line, more) = first_line(&record[length..])?;
        Some((PartHeader::parse(line)?, length + more))
    }

    /// Takes one line for a header, if it is one.
    pub fn parse(line: &str) -> Option<PartHeader> {
        let (reason, rest) = line.split_once('#')?;
        let (count, part) = rest.split_once(" Part")?;
        Some(PartHeader {
            reason: Reason::parse(reason)?,
            count: count.parse().ok()?,
            part: part.parse().ok()?,
        })
    }
}

impl Reason {
    fn parse(word: &str) -> Option<Reason> {
        Some(match word {
            "Panic" => Reason::Panic,
            "Oops" => Reason::Oops,
            "Emergency" => Reason::Emergency,
            "Shutdown" | "Restart" | "Halt" | "Poweroff" => Reason::Shutdown,
            "Unknown" => Reason::Unknown,
            _ => return None,
        })
    }
}

fn first_line(record: &[u8]) -> Option<(&str, usize)> {
    let window = &record[..record.len().min(HEADER_MAX)];
    let end = memchr::memchr(b'\n', window)?;
    Some((std::str::from_utf8(&window[..end]).ok()?.trim_end_matches('\r'), end + 1))
}

/// Is it `Panic: Total 3 times`? fs/pstore/zone.c (block devices, flash) puts it before a record that it kept
/// uncompressed; the number counts the dumps of this reason over all boots.
pub(crate) fn is_total(line: &str) -> bool {
    line.split_once(": Total ").is_some_and(|(reason, rest)| {
        let count = rest.strip_suffix(" times").unwrap_or("");
        Reason::parse(reason).is_some()
            && !count.is_empty()
            && count.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Splits `\nECC: …\n`, which ramoops puts behind a record, from its text. The second value is the line.
pub(crate) fn split_ecc(record: &[u8]) -> (&[u8], Option<&[u8]>) {
    let trimmed = record.trim_ascii_end();
    let start = memchr::memrchr(b'\n', trimmed).map_or(0, |at| at + 1);
    if !trimmed[start..].starts_with(b"ECC: ") {
        return (record, None);
    }
    // The kernel prints a line feed of its own before it; the one of the last log line stays.
    let text = record[..start].strip_suffix(b"\n").unwrap_or(&record[..start]);
    (text, Some(&trimmed[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_reason_count_and_part() {
        let (header, length) = PartHeader::read(b"Panic#2 Part14\n<6>[ 1.0] x\n").unwrap();
        assert_eq!((header, length), (PartHeader { reason: Reason::Panic, count: 2, part: 14 }, 15));
        for wrong in ["", "Panic#2", "Panic#2 Part", "Panic: Part1", "Fear#1 Part1"] {
            assert_eq!(PartHeader::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn block_devices_count_dumps_in_a_line_of_their_own() {
        let record = b"Panic: Total 3 times\nPanic#2 Part1\n<6>[ 1.0] x\n";
        let (header, length) = PartHeader::read(record).unwrap();
        assert_eq!((header.count, &record[length..]), (2, &b"<6>[ 1.0] x\n"[..]));
        for wrong in ["Panic: Total times", "Panic: Total 3 time", "Fear: Total 3 times", "Total 3 times"] {
            assert!(!is_total(wrong), "{wrong}");
        }
        let longest = "Emergency: Total 4294967295 times\nEmergency#4294967295 Part4294967295\n";
        assert!(longest.len() <= HEAD_MAX && PartHeader::read(longest.as_bytes()).is_some());
    }

    #[test]
    fn the_ecc_line_is_no_text() {
        let (text, ecc) = split_ecc(b"a\nb\n\nECC: No errors detected\n");
        assert_eq!((text, ecc), (&b"a\nb\n"[..], Some(&b"ECC: No errors detected"[..])));
        assert_eq!(split_ecc(b"a\n"), (&b"a\n"[..], None));
    }
}
