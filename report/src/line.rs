//! One log line: level, time since boot, and who printed it.
//!
//! The form is `** N printk messages dropped ** host login: <6>[   12.345678][ T1234] message`; all but the time
//! stamp and the blank at the end may be missing.

use crate::log::{KernelTime, LINE_MAX};
use crate::profile::Profile;
use crate::source;
use crate::wrapping;

/// Who printed a line. Two callers are the same when they were written the same, padding included; the number of
/// blanks is therefore part of it (`[ T12]` and `[  T12]` differ).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// No time stamp, so not known to be a kernel line at all.
    None,
    /// A user program, in a journal or syslog: none of our business.
    Program,
    /// A time stamp alone.
    Console,
    /// CONFIG_PRINTK_CALLER: a task.
    Task { id: u32, width: u8 },
    /// CONFIG_PRINTK_CALLER: a CPU (an interrupt was running).
    Cpu { id: u32, width: u8 },
}

impl Caller {
    /// `T1234`, `C1`, or nothing.
    pub(crate) fn id(self) -> Option<String> {
        match self {
            Caller::None | Caller::Program | Caller::Console => None,
            Caller::Task { id, .. } => Some(format!("T{id}")),
            Caller::Cpu { id, .. } => Some(format!("C{id}")),
        }
    }

    /// A line of an interrupt or of the idle loop.
    pub(crate) fn is_cpu(self) -> bool {
        matches!(self, Caller::Cpu { .. })
    }

    /// Was it sorted out by the kernel, so that lines of others are none of this report?
    pub(crate) fn is_exact(self) -> bool {
        matches!(self, Caller::Task { .. } | Caller::Cpu { .. })
    }
}

/// The line before, as far as it matters for one that has no prefix of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub(crate) caller: Caller,
    /// Bytes before its message.
    pub(crate) length: usize,
}

impl Default for Before {
    fn default() -> Before {
        Before { caller: Caller::None, length: 0 }
    }
}

impl Before {
    /// The shortest prefix of a console line: `[    0.000000] `.
    const INDENT_MIN: usize = 15;

    /// Later lines of one record are indented by the width of the first one's prefix.
    fn continued(self, line: &[u8]) -> Option<Prefix> {
        let indented = self.length >= Before::INDENT_MIN
            && line.len() > self.length
            && line[..self.length].iter().all(|byte| *byte == b' ');
        indented.then_some(Prefix { level: None, time: None, caller: self.caller, length: self.length })
    }
}

/// What stands before the message of a line.
pub(crate) struct Prefix {
    pub(crate) level: Option<u8>,
    pub(crate) time: Option<KernelTime>,
    pub(crate) caller: Caller,
    /// Bytes before the message.
    pub(crate) length: usize,
}

impl Prefix {
    const NONE: Prefix = Prefix { level: None, time: None, caller: Caller::None, length: 0 };

    /// Reads the prefix of `line`.
    pub(crate) fn read(line: &[u8], profile: Profile, before: Before) -> Prefix {
        let line = &line[..line.len().min(LINE_MAX)];
        match (profile, Prefix::console(line)) {
            (Profile::Scoring, console) => console.unwrap_or(Prefix::NONE),
            (Profile::Production, Some(console)) => source::behind_stamp(line, console),
            (Profile::Production, None) => Prefix::wrapped(line, before),
        }
    }

    /// What stands before the message when the line does not begin as a console's does.
    fn wrapped(line: &[u8], before: Before) -> Prefix {
        let start = wrapping::length(line);
        let line = &line[start..];
        let prefix = match Prefix::console(line).filter(|_| start > 0) {
            Some(console) => source::behind_stamp(line, console),
            None => source::dmesg_iso(line)
                .or_else(|| source::read(line))
                .or_else(|| before.continued(line).filter(|_| start == 0))
                .unwrap_or(Prefix::NONE),
        };
        Prefix { length: start + prefix.length, ..prefix }
    }

    /// The console's own form.
    fn console(line: &[u8]) -> Option<Prefix> {
        if let Some(stamp) = Stamp::read(line, 0) {
            let Stamp { level, time, caller, length } = stamp;
            return Some(Prefix { level, time: Some(time), caller, length });
        }
        // A drop notice or a login prompt may be glued before the stamp. Then the message is what stands behind the
        // *first* `] `.
        let stamp = Stamp::read(line, dropped(line)).or_else(|| Stamp::read(line, login(line)?))?;
        let length = memchr::memmem::find(line, b"] ")? + 2;
        Some(Prefix { level: stamp.level, time: Some(stamp.time), caller: stamp.caller, length })
    }
}

/// `** 17 printk messages dropped ** `: its length, or 0.
fn dropped(line: &[u8]) -> usize {
    let Some(rest) = line.strip_prefix(b"** ") else { return 0 };
    let digits = digits(rest);
    if digits == 0 || !rest[digits..].starts_with(b" printk messages dropped ** ") {
        return 0;
    }
    3 + digits + b" printk messages dropped ** ".len()
}

/// The end of a login prompt that has a stamp right behind it.
fn login(line: &[u8]) -> Option<usize> {
    const PROMPT: &[u8] = b" login: ";
    memchr::memmem::rfind_iter(line, PROMPT)
        .map(|at| at + PROMPT.len())
        .find(|end| Stamp::read(line, *end).is_some())
}

/// `<6>[   12.345678][ T1234] `
pub(crate) struct Stamp {
    pub(crate) level: Option<u8>,
    pub(crate) time: KernelTime,
    pub(crate) caller: Caller,
    /// Bytes up to the message.
    pub(crate) length: usize,
}

impl Stamp {
    pub(crate) fn read(line: &[u8], start: usize) -> Option<Stamp> {
        let mut rest = line.get(start..)?;
        let mut level = None;
        if let Some(inner) = rest.strip_prefix(b"<") {
            let (number, behind) = decimal(inner)?;
            level = Some((number & 7) as u8);
            rest = behind.strip_prefix(b">")?;
        }
        let (seconds, behind) = decimal(skip_blanks(rest.strip_prefix(b"[")?))?;
        let (micros, behind) = micros(behind.strip_prefix(b".")?)?;
        rest = behind.strip_prefix(b"]")?;
        let time = KernelTime(seconds.saturating_mul(1_000_000).saturating_add(micros));
        if let Some(message) = rest.strip_prefix(b" ") {
            return Some(Stamp {
                level,
                time,
                caller: Caller::Console,
                length: line.len() - start - message.len(),
            });
        }
        let inner = rest.strip_prefix(b"[")?;
        let blank = inner.len() - skip_blanks(inner).len();
        let (kind, id) = inner[blank..].split_first()?;
        let (number, behind) = decimal(id)?;
        let message = behind.strip_prefix(b"] ")?;
        let stamp = line.len() - start - message.len();
        let (id, width) = (number as u32, (blank + id.len() - behind.len()).min(255) as u8);
        let caller = match kind {
            b'T' => Caller::Task { id, width },
            b'C' => Caller::Cpu { id, width },
            _ => return None,
        };
        Some(Stamp { level, time, caller, length: stamp })
    }
}

pub(crate) fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| **byte == b' ').count()..]
}

/// The digits at the start of `text`: their value and what stands behind them. None when there is none.
fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut at) = (0u64, 0);
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = if at < DIGITS_MAX { value * 10 + u64::from(digit) } else { u64::MAX };
        at += 1;
    }
    (at > 0).then(|| (value, &text[at..]))
}

/// As many digits as a `u64` always holds; no kernel prints more.
const DIGITS_MAX: usize = 19;

pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// The digits behind the point, as microseconds, and what stands behind them. None when there is none.
fn micros(text: &[u8]) -> Option<(u64, &[u8])> {
    // Every kernel prints six.
    if let Some((six, behind)) = text.split_first_chunk::<6>()
        && six.iter().all(u8::is_ascii_digit)
        && !behind.first().is_some_and(u8::is_ascii_digit)
    {
        return Some((number(six), behind));
    }
    let length = digits(text);
    let digit = |at| if at < length { u64::from(text[at] - b'0') } else { 0 };
    (length > 0).then(|| ((0..6).fold(0, |sum, at| sum * 10 + digit(at)), &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<(Option<u8>, u64, Caller, &str)>) {
        let prefix = Prefix::read(line.as_bytes(), Profile::Scoring, Before::default());
        let found = prefix.time.map(|time| (prefix.level, time.0, prefix.caller, &line[prefix.length..]));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_prefix_is_level_time_and_caller() {
        check("[   12.345678] text", Some((None, 12_345_678, Caller::Console, "text")));
        check("<6>[    0.000000] text", Some((Some(6), 0, Caller::Console, "text")));
        check("<14>[    0.5] text", Some((Some(6), 500_000, Caller::Console, "text")));
        check("[1.000001][ T12] a] b", Some((None, 1_000_001, Caller::Task { id: 12, width: 3 }, "a] b")));
        check("[1.000001][    C1] x", Some((None, 1_000_001, Caller::Cpu { id: 1, width: 5 }, "x")));
        check("** 17 printk messages dropped ** [ 3.0] x", Some((None, 3_000_000, Caller::Console, "x")));
        check("Debian login: [ 3.0] x", Some((None, 3_000_000, Caller::Console, "x")));
    }

    #[test]
    fn a_line_without_a_time_stamp_has_no_prefix() {
        for line in
            ["", "text", "<6>text", "[12.3]text", "[Sun Nov 22] text", "login: [x] y", "[ 1.2][ X3] y"]
        {
            check(line, None);
        }
    }
}
