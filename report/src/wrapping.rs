//! What people and programs put around the lines of a log on its way to us: colour, quotes, containers, dates.
//!
//! What stands inside a line goes when the line is taken in ([`Inside`]), what stands before the kernel's own prefix is
//! passed over ([`length`]). A wrapping that other text could begin with too counts only when the kernel's stamp follows.

use std::borrow::Cow;

use crate::line::{Stamp, digits};
use crate::profile::Profile;
use crate::source;

/// A text of more bytes is not decoded: what a Windows shell wrote of a log is twice as long as the log.
const DECODED_MAX: usize = 8 << 20;

/// The text as UTF-8, without the mark that editors put before it.
pub(crate) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    let unit: fn([u8; 2]) -> u16 = match text {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Cow::Borrowed(rest),
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Cow::Borrowed(text),
    };
    if text.len() > DECODED_MAX {
        return Cow::Borrowed(text);
    }
    let units = text[2..].as_chunks().0.iter().map(|pair| unit(*pair));
    let text: String =
        char::decode_utf16(units).map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Cow::Owned(text.into_bytes())
}

/// What of a text's lines has to go when they are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Nothing: it is as the kernel wrote it.
    Nothing,
    /// Carriage returns: serial consoles end lines with `\r\n`, or with several.
    Returns,
    /// Those, the escape sequences of a terminal, what HTML made of `<`, `>` and `&`, and blanks that are none.
    All,
}

impl Inside {
    /// Looks through a whole text, so that nothing is looked for in the lines of most.
    pub(crate) fn of(text: &[u8], profile: Profile) -> Inside {
        let returns = || memchr::memchr(b'\r', text).is_some();
        let others = || {
            memchr::memchr(ESCAPE, text).is_some()
                || memchr::memmem::find(text, NBSP).is_some()
                || memchr::memchr_iter(b'&', text).any(|at| entity(&text[at..]).is_some())
        };
        match profile {
            Profile::Production if others() => Inside::All,
            _ if returns() => Inside::Returns,
            _ => Inside::Nothing,
        }
    }

    /// Takes a line in.
    pub(crate) fn push(self, line: &[u8], into: &mut Vec<u8>) {
        match self {
            Inside::Nothing => into.extend_from_slice(line),
            Inside::Returns => into.extend(line.iter().filter(|byte| **byte != b'\r')),
            Inside::All => push(line, into),
        }
    }
}

fn push(line: &[u8], into: &mut Vec<u8>) {
    let odd = |from: usize| memchr::memchr3(b'\r', ESCAPE, NBSP[0], &line[from..]).map(|at| from + at);
    let and = |from: usize| memchr::memchr(b'&', &line[from..]).map(|at| from + at);
    // Each is looked for again only when it was passed: a line may be nothing but one of them.
    let (mut next_odd, mut next_and) = (odd(0), and(0));
    let mut done = 0;
    while let Some(at) = next_odd.into_iter().chain(next_and).min() {
        into.extend_from_slice(&line[done..at]);
        let rest = &line[at..];
        let (with, length) = match rest[0] {
            b'\r' => (&b""[..], 1),
            ESCAPE => (&b""[..], escape(rest)),
            b'&' => entity(rest).unwrap_or((b"&", 1)),
            _ if rest.starts_with(NBSP) => (&b" "[..], NBSP.len()),
            _ => (&rest[..1], 1),
        };
        into.extend_from_slice(with);
        done = at + length;
        if next_odd.is_some_and(|at| at < done) {
            next_odd = odd(done);
        }
        if next_and.is_some_and(|at| at < done) {
            next_and = and(done);
        }
    }
    into.extend_from_slice(&line[done..]);
}

const ESCAPE: u8 = 0x1b;
/// The blank that web pages and word processors do not break.
const NBSP: &[u8] = "\u{a0}".as_bytes();

/// The length of the escape sequence at the start of `text` (ECMA-48): `ESC [ parameters final`, `ESC ] … BEL`, or two or
/// three bytes. What was cut off is dropped.
fn escape(text: &[u8]) -> usize {
    /// A title of a terminal's window is not longer.
    const TITLE_MAX: usize = 256;
    let until = |is_end: fn(u8) -> bool| text.iter().skip(2).take(TITLE_MAX).position(|byte| is_end(*byte));
    let length = match text.get(1) {
        Some(b'[') => until(|byte| (0x40..0x7f).contains(&byte)).map(|at| at + 3),
        Some(b']') => until(|byte| byte == 0x07 || byte == b'\\').map(|at| at + 3),
        Some(b'(' | b')' | b'#') => Some(3),
        Some(0x20..0x7f) => Some(2),
        _ => Some(1),
    };
    length.unwrap_or(1).min(text.len())
}

/// What an entity of HTML stands for, and its length.
fn entity(text: &[u8]) -> Option<(&'static [u8], usize)> {
    const ENTITIES: [(&[u8], &[u8]); 9] = [
        (b"&gt;", b">"),
        (b"&lt;", b"<"),
        (b"&amp;", b"&"),
        (b"&quot;", b"\""),
        (b"&nbsp;", b" "),
        (b"&#39;", b"'"),
        (b"&#x27;", b"'"),
        (b"&#34;", b"\""),
        (b"&#43;", b"+"),
    ];
    ENTITIES.iter().find(|(entity, _)| text.starts_with(entity)).map(|(entity, with)| (*with, entity.len()))
}

/// A quote in a quote in a quote, and a container's name before a date.
const LAYERS_MAX: usize = 8;

/// How many bytes at the start of `line` are none of the kernel's.
pub(crate) fn length(line: &[u8]) -> usize {
    let mut start = 0;
    for _ in 0..LAYERS_MAX {
        match layer(&line[start..]) {
            Some(length) => start += length,
            None => break,
        }
    }
    start
}

fn layer(line: &[u8]) -> Option<usize> {
    match line.first()? {
        b'>' => quote(line),
        b'[' => pod(line).or_else(|| before_stamp(line, bracketed_time(line)?)),
        b'0'..=b'9' => container(line)
            .or_else(|| before_stamp(line, clock(line)?))
            .or_else(|| before_stamp(line, line_number(line)?)),
        b' ' | b'\t' => {
            let blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            before_stamp(line, blanks).or_else(|| {
                let number = line_number(&line[blanks..])?;
                before_stamp(line, blanks + number)
            })
        }
        _ => {
            let dated = source::calendar(line).and_then(|date| before_stamp(line, date));
            dated.or_else(|| before_stamp(line, service(line)?))
        }
    }
}

/// `length`, when the kernel's stamp stands there.
fn before_stamp(line: &[u8], length: usize) -> Option<usize> {
    Stamp::read(line, length).map(|_| length)
}

/// A mail's or a page's quote: `> `; a `>` alone on its line, or right before a stamp.
fn quote(line: &[u8]) -> Option<usize> {
    match line.get(1) {
        None | Some(b'>') => Some(1),
        Some(b' ') => Some(2),
        Some(_) => before_stamp(line, 1),
    }
}

/// `kubectl logs --prefix`: `[pod/name/container] `.
fn pod(line: &[u8]) -> Option<usize> {
    line.starts_with(b"[pod/").then(|| memchr::memmem::find(line, b"] ").map(|at| at + 2))?
}

/// `[2026-11-22 18:54:34] ` of terminal programs, `[Sun Nov 22 18:54:34 2026] ` of console servers.
fn bracketed_time(line: &[u8]) -> Option<usize> {
    const LENGTH_MAX: usize = 40;
    let end = memchr::memchr(b']', &line[..line.len().min(LENGTH_MAX)])?;
    let colons = line[..end].iter().filter(|byte| **byte == b':').count();
    (colons == 2 && line.get(end + 1) == Some(&b' ')).then_some(end + 2)
}

/// `2026-11-22T18:54:34.123456789Z ` of containers and cloud consoles, `… stdout F ` of a node's own container logs. A
/// date in UTC before a host and a process is syslog's.
fn container(line: &[u8]) -> Option<usize> {
    const LENGTH_MAX: usize = 64;
    let date = source::iso(&line[..line.len().min(LENGTH_MAX)])?;
    let rest = &line[date..];
    let stream = [b"stdout ", b"stderr "].iter().any(|stream| rest.starts_with(*stream));
    if stream && matches!(rest.get(7..9), Some(b"F " | b"P ")) {
        return Some(date + 9);
    }
    let plain = line[date - 2] == b'Z' && source::process(rest).is_none();
    if plain { Some(date) } else { before_stamp(line, date) }
}

/// `18:54:34 `, with a fraction.
fn clock(line: &[u8]) -> Option<usize> {
    let length = line.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')).count();
    let is_clock = length >= 8 && line[2] == b':' && line[5] == b':';
    let blanks = line[length..].iter().take_while(|byte| **byte == b' ').count();
    (is_clock && blanks > 0).then_some(length + blanks)
}

/// The number of a line in an editor, a pager or `grep -n`: `123: `.
fn line_number(line: &[u8]) -> Option<usize> {
    const DIGITS_MAX: usize = 9;
    let number = digits(line);
    let gap =
        line[number..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b':' | b'|' | b'-')).count();
    ((1..=DIGITS_MAX).contains(&number) && gap > 0).then_some(number + gap)
}

/// `service  | ` of a group of containers, `file:` of `grep`.
fn service(line: &[u8]) -> Option<usize> {
    const NAME_MAX: usize = 80;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./".contains(byte);
    let name = line.iter().take(NAME_MAX).take_while(|byte| is_name(byte)).count();
    let rest = &line[name..];
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    match rest.get(blanks)? {
        b'|' if rest.get(blanks + 1) == Some(&b' ') => Some(name + blanks + 2),
        b':' if blanks == 0 && name > 0 => Some(name + 1 + line_number(&rest[1..]).unwrap_or(0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_windows_shell_wrote_is_text() {
        let text = "[    1.000000] x\r\n\u{1f980}";
        let bytes = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
        };
        assert_eq!(decode(&bytes(u16::to_le_bytes)), text.as_bytes());
        assert_eq!(decode(&bytes(u16::to_be_bytes)), text.as_bytes());
        assert_eq!(decode(format!("\u{feff}{text}").as_bytes()), text.as_bytes());
        assert_eq!(decode(b"\xff\xfe\x00\xd8x"), "\u{fffd}".as_bytes());
    }

    #[test]
    fn what_a_medium_put_inside_a_line_goes() {
        for (line, expected) in [
            ("plain & simple", "plain & simple"),
            ("dos\r", "dos"),
            ("\u{1b}[32m[    1.000000] \u{1b}[0m\u{1b}[1mBUG: x\u{1b}[0m", "[    1.000000] BUG: x"),
            ("\u{1b}]0;window\u{7}text\u{1b}(B", "text"),
            ("&lt;4&gt;a&amp;b&nbsp;c &amp;gt; &x;", "<4>a&b c &gt; &x;"),
            ("a\u{a0}b\u{c3}", "a b\u{c3}"),
            ("cut \u{1b}[3", "cut [3"),
            ("\u{1b}", ""),
            ("&\u{1b}[0m&gt;&\r&lt;\r", "&>&<"),
        ] {
            let mut text = Vec::new();
            Inside::of(line.as_bytes(), Profile::Production).push(line.as_bytes(), &mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn a_long_line_of_nothing_else_takes_no_longer_than_its_length() {
        const LENGTH: usize = 1 << 18;
        for (line, left) in [("\u{1b}", 0), ("\r", 0), ("&", LENGTH), ("\u{a0}", LENGTH)] {
            let mut text = Vec::new();
            push(line.repeat(LENGTH).as_bytes(), &mut text);
            assert!(text.len() <= left, "{line:?}");
        }
    }

    #[test]
    fn what_stands_before_the_kernels_prefix_is_passed_over() {
        for (line, text) in [
            ("> > [    1.000000] x", "[    1.000000] x"),
            (">[    1.000000] x", "[    1.000000] x"),
            (">>  x", " x"),
            (">", ""),
            (">ffff888101234580: fb fb", ">ffff888101234580: fb fb"),
            ("    [    1.000000] x", "[    1.000000] x"),
            ("    x", "    x"),
            ("2026-11-22T18:54:34.123456789Z Call Trace:", "Call Trace:"),
            ("2026-11-22T18:54:34.123456789Z  f+0x1/0x2", " f+0x1/0x2"),
            ("2026-11-22T18:54:34.123456789Z stdout F [    1.000000] x", "[    1.000000] x"),
            ("2026-11-22T18:54:34.123Z host kernel: x", "2026-11-22T18:54:34.123Z host kernel: x"),
            ("[pod/node-shell-1/debug] <4>[    1.000000] x", "<4>[    1.000000] x"),
            ("[2026-11-22 18:54:34] [    1.000000] x", "[    1.000000] x"),
            ("[Sun Nov 22 18:54:34 2026] [    1.000000] x", "[    1.000000] x"),
            ("[Sun Nov 22 18:54:34 2026] x", "[Sun Nov 22 18:54:34 2026] x"),
            ("18:54:34.123456  [    1.000000] x", "[    1.000000] x"),
            ("Nov 22 18:54:34 [    1.000000] x", "[    1.000000] x"),
            ("guest-1  | [    1.000000] x", "[    1.000000] x"),
            ("dmesg.txt:12:[    1.000000] x", "[    1.000000] x"),
            ("  12\t[    1.000000] x", "[    1.000000] x"),
            ("RAX: 0000000000000000 | x", "RAX: 0000000000000000 | x"),
            ("12 of 13", "12 of 13"),
        ] {
            assert_eq!(&line[length(line.as_bytes())..], text, "{line}");
        }
    }
}
