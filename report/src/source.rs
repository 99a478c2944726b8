//! The forms that other programs give to kernel lines: journald, syslog, `/dev/kmsg`, netconsole, dmesg's options.
//!
//! Each is brought to level, time and caller, as if it had come from the console. Lines of user programs between them
//! are told from the kernel's: they write `BUG:` too.

use crate::line::{Caller, Prefix, Stamp, digits, number};
use crate::log::KernelTime;

/// A date, a host and a process name are not longer than this.
const PREFIX_MAX: usize = 200;

/// The prefix of a line that does not begin as a console line does.
pub(crate) fn read(line: &[u8]) -> Option<Prefix> {
    let head = &line[..line.len().min(PREFIX_MAX)];
    match head.first()? {
        b'[' => bracketed_date(head).map(|prefix| behind_stamp(line, prefix)).or_else(|| other_stamp(line)),
        b'<' => syslog(line),
        b'0'..=b'9' => kmsg(head).or_else(|| after_date(line, iso(head)?)),
        b'k' | b'u' | b'd' | b'l' | b's' | b'a' | b'm' | b'n' | b'c' | b'f' => with_facility(line),
        byte if byte.is_ascii_uppercase() => after_date(line, calendar(head)?),
        _ => None,
    }
}

/// What some put between a console's stamp and the message: dmesg its caller (`[   12.345678] [  T115] text`), crash's
/// `log -m` the level, vendors of phones who printed it, journald's short-monotonic host and process
/// (`[   12.345678] host kernel: text`).
pub(crate) fn behind_stamp(line: &[u8], mut prefix: Prefix) -> Prefix {
    if let Some((level, length)) = level(&line[prefix.length..]) {
        prefix = Prefix { level: Some(level), length: prefix.length + length, ..prefix };
    }
    let rest = &line[prefix.length..line.len().min(prefix.length + PREFIX_MAX)];
    match rest.first() {
        // A frame, a stack's marker, a register.
        Some(b' ') if !matches!(rest.get(1), Some(b'[' | b'(' | b'.')) => return prefix,
        Some(b'R' | b'C') if rest.get(3) == Some(&b':') => return prefix,
        Some(b'[') if prefix.caller == Caller::Console => {
            if let Some((caller, length)) = spaced_caller(rest) {
                return Prefix { caller, length: prefix.length + length, ..prefix };
            }
        }
        _ => {}
    }
    if let Some(length) = phone(rest) {
        return Prefix { length: prefix.length + length, ..prefix };
    }
    match process(rest) {
        Some((true, length)) => Prefix { length: prefix.length + length, ..prefix },
        Some((false, _)) => Prefix { caller: Caller::Program, ..prefix },
        None => prefix,
    }
}

/// `<4>`
fn level(text: &[u8]) -> Option<(u8, usize)> {
    let inner = text.strip_prefix(b"<")?;
    let number = digits(inner);
    let is_level = (1..=3).contains(&number) && inner.get(number) == Some(&b'>');
    is_level.then(|| ((self::number(&inner[..number]) & 7) as u8, number + 2))
}

/// `[  T115] `
fn spaced_caller(text: &[u8]) -> Option<(Caller, usize)> {
    let inner = text.strip_prefix(b"[")?;
    let blank = inner.iter().take_while(|byte| **byte == b' ').count();
    let (kind, id) = inner[blank..].split_first()?;
    let length = digits(id);
    let end = blank + 1 + length;
    let is_caller = length > 0 && inner[end..].starts_with(b"] ");
    let (id, width) = (number(&id[..length]) as u32, (blank + length).min(255) as u8);
    let caller = match kind {
        b'T' => Caller::Task { id, width },
        b'C' => Caller::Cpu { id, width },
        _ => return None,
    };
    is_caller.then_some((caller, end + 3))
}

/// Who printed it, as kernels of phones say: `[0:  kworker/0:1:   17] ` (Samsung), `.(1)[123:kworker]` and
/// `(1)[123:kworker]` (MediaTek), `c0    123 ` (Qualcomm).
fn phone(text: &[u8]) -> Option<usize> {
    const NAME_MAX: usize = 48;
    let blank = usize::from(text.first() == Some(&b' '));
    let inner = &text[blank..];
    let close =
        |from: usize| memchr::memchr(b']', &inner[..inner.len().min(NAME_MAX)]).filter(|end| *end > from);
    match inner.first()? {
        b'[' => {
            let cpu = inner[1..].iter().take_while(|byte| **byte == b' ').count() + 1;
            let number = digits(&inner[cpu..]);
            let end = close(cpu)?;
            let pid = inner[..end].rsplit(|byte| *byte == b':').next()?.trim_ascii_start();
            let told =
                number > 0 && inner[cpu + number] == b':' && !pid.is_empty() && digits(pid) == pid.len();
            (told && inner.get(end + 1) == Some(&b' ')).then_some(blank + end + 2)
        }
        b'.' | b'(' => {
            let cpu = inner.strip_prefix(b".").unwrap_or(inner).strip_prefix(b"(")?;
            let number = digits(cpu);
            let task = cpu[number..].strip_prefix(b")[").filter(|_| number > 0)?;
            let pid = digits(task);
            (pid > 0 && task.get(pid) == Some(&b':')).then_some(blank + close(0)? + 1)
        }
        b'c' => {
            let cpu = digits(&inner[1..]);
            let gap = inner[1 + cpu..].iter().take_while(|byte| **byte == b' ').count();
            let pid = digits(&inner[1 + cpu + gap..]);
            let end = 1 + cpu + gap + pid;
            (cpu > 0 && gap > 1 && pid > 0 && inner.get(end) == Some(&b' ')).then_some(blank + end + 1)
        }
        _ => None,
    }
}

/// Stamps that say more than the time: `[   12.345678,0] ` and `[   12.345678@0] ` with the CPU (phones), journald's
/// short-delta `[   12.345678 <    0.000012 >] host kernel: `.
fn other_stamp(line: &[u8]) -> Option<Prefix> {
    const LENGTH_MAX: usize = 48;
    let end = memchr::memchr(b']', &line[..line.len().min(LENGTH_MAX)])?;
    let inner = line[1..end].trim_ascii();
    let seconds = digits(inner);
    let fraction = digits(inner[seconds..].strip_prefix(b".")?);
    let time = &inner[..seconds + 1 + fraction];
    let extra = inner[time.len()..].trim_ascii_start();
    let is_known = match extra.first()? {
        b',' | b'@' => digits(&extra[1..]) + 1 == extra.len(),
        b'<' => extra.ends_with(b">"),
        _ => false,
    };
    let is_stamp = is_known && seconds > 0 && fraction == 6 && line.get(end + 1) == Some(&b' ');
    let micros =
        number(&time[..seconds]).saturating_mul(1_000_000).saturating_add(number(&time[seconds + 1..]));
    let prefix = Prefix { time: Some(KernelTime(micros)), ..plain(end + 2, Caller::Console) };
    is_stamp.then(|| behind_stamp(line, prefix))
}

/// What a syslog server was sent: `<4>Nov 22 18:54:34 host kernel: text` (RFC 3164) and
/// `<4>1 2026-11-22T18:54:34Z host kernel - - - text` (RFC 5424).
fn syslog(line: &[u8]) -> Option<Prefix> {
    let (level, start) = level(line)?;
    let head = |from: usize| &line[from..line.len().min(from + PREFIX_MAX)];
    if let Some(date) = calendar(head(start)) {
        let prefix = after_date(line, start + date)?;
        return Some(Prefix { level: prefix.level.or(Some(level)), ..prefix });
    }
    let start = start + line[start..].strip_prefix(b"1 ").map(|_| 2)?;
    let start = start + iso(head(start))?;
    let mut words = line[start..].split(|byte| *byte == b' ');
    let fields: usize = words.by_ref().take(5).map(|word| word.len() + 1).sum();
    let program = line[start..].split(|byte| *byte == b' ').nth(1)?;
    let end = start + fields;
    (end <= line.len()).then_some(())?;
    if program != b"kernel" {
        return Some(plain(end, Caller::Program));
    }
    let prefix = stamped(line, end);
    Some(Prefix { level: prefix.level.or(Some(level)), ..prefix })
}

/// `host kernel: ` or `host name[12]: `: is it the kernel's, and how long is it?
pub(crate) fn process(text: &[u8]) -> Option<(bool, usize)> {
    let host = memchr::memchr(b' ', text).filter(|length| *length > 0)?;
    let rest = &text[host + 1..];
    let end = memchr::memchr(b' ', rest)?;
    let name = rest[..end].strip_suffix(b":")?;
    if name == b"kernel" {
        return Some((true, host + 1 + end + 1));
    }
    (name.ends_with(b"]") && name.contains(&b'[')).then_some((false, host + 1 + end + 1))
}

/// What follows a date: a process name, and then perhaps the kernel's own stamp.
fn after_date(line: &[u8], date: usize) -> Option<Prefix> {
    let date = date + host_before_facility(line.get(date..)?);
    let rest = line.get(date..)?;
    match process(&rest[..rest.len().min(PREFIX_MAX)]) {
        Some((true, length)) => Some(stamped(line, date + length)),
        Some((false, length)) => Some(plain(date + length, Caller::Program)),
        // A process without a number: `host name: text`.
        None => named_program(rest).then(|| plain(date, Caller::Program)),
    }
}

/// Small systems say `host kern.warn kernel: text`: the length of the host, when the facility follows it.
fn host_before_facility(text: &[u8]) -> usize {
    let Some(host) = memchr::memchr(b' ', text) else { return 0 };
    let facility = text[host + 1..].split(|byte| matches!(byte, b'.' | b' ')).next().unwrap_or(b"");
    let dotted = text.get(host + 1 + facility.len()) == Some(&b'.');
    if dotted && FACILITIES.contains(&facility) { host + 1 } else { 0 }
}

fn named_program(text: &[u8]) -> bool {
    let mut words = text.split(|byte| *byte == b' ');
    let host = words.next().is_some_and(|host| !host.is_empty() && !host.ends_with(b":"));
    host && words.next().is_some_and(|name| name.len() > 1 && name.ends_with(b":"))
}

/// The console's own prefix behind another one, when there is one.
fn stamped(line: &[u8], start: usize) -> Prefix {
    match Stamp::read(line, start) {
        Some(Stamp { level, time, caller, length }) => {
            behind_stamp(line, Prefix { level, time: Some(time), caller, length: start + length })
        }
        None => plain(start, Caller::Console),
    }
}

fn plain(length: usize, caller: Caller) -> Prefix {
    Prefix { level: None, time: None, caller, length }
}

/// `/dev/kmsg` and extended netconsole: `[release,]priority,sequence,microseconds,flags[,caller=T12];text`.
fn kmsg(head: &[u8]) -> Option<Prefix> {
    let end = memchr::memchr(b';', head)?;
    let mut fields = head[..end].split(|byte| *byte == b',').peekable();
    let is_number = |field: &[u8]| !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    if fields.peek().is_some_and(|first| !is_number(first)) {
        fields.next();
    }
    let mut take = || fields.next().filter(|field| is_number(field)).map(number);
    let (priority, _sequence, micros) = (take()?, take()?, take()?);
    let caller = fields.find_map(|field| field.strip_prefix(b"caller=")).and_then(|id| {
        let (kind, id) = id.split_first()?;
        let (id, width) = (number(&id[..digits(id)]) as u32, 0);
        match kind {
            b'T' => Some(Caller::Task { id, width }),
            b'C' => Some(Caller::Cpu { id, width }),
            _ => None,
        }
    });
    Some(Prefix {
        level: Some((priority & 7) as u8),
        time: Some(KernelTime(micros)),
        caller: caller.unwrap_or(Caller::Console),
        length: end + 1,
    })
}

const LEVELS: [&[u8]; 8] = [b"emerg", b"alert", b"crit", b"err", b"warn", b"notice", b"info", b"debug"];
const FACILITIES: [&[u8]; 12] = [
    b"kern",
    b"user",
    b"mail",
    b"daemon",
    b"auth",
    b"syslog",
    b"lpr",
    b"news",
    b"uucp",
    b"cron",
    b"authpriv",
    b"ftp",
];

/// `dmesg -x`: `kern  :warn  : [   12.345678] text`
fn with_facility(line: &[u8]) -> Option<Prefix> {
    let colon = memchr::memchr(b':', line.get(..16.min(line.len()))?)?;
    let facility = line[..colon].trim_ascii_end();
    let rest = &line[colon + 1..];
    let second = memchr::memchr(b':', rest.get(..8.min(rest.len()))?)?;
    let level = LEVELS.iter().position(|name| *name == rest[..second].trim_ascii_end())?;
    FACILITIES.contains(&facility).then_some(())?;
    let start = colon + 1 + second + 1;
    let start = start + line[start..].iter().take_while(|byte| **byte == b' ').count();
    let inner = Stamp::read(line, start).map(|_| stamped(line, start)).or_else(|| {
        let dated = bracketed_date(&line[start..])?;
        Some(Prefix { length: start + dated.length, ..dated })
    });
    Some(Prefix { level: Some(level as u8), ..inner.unwrap_or_else(|| plain(start, Caller::Console)) })
}

/// `dmesg -T`, `-H`, `--time-format delta`: `[Sun Nov 22 18:54:34 2026] `, `[Nov22 18:54] `, `[  +0.000012] `.
fn bracketed_date(head: &[u8]) -> Option<Prefix> {
    let inner = head.strip_prefix(b"[")?;
    let end = memchr::memchr(b']', &inner[..inner.len().min(40)])?;
    let date = inner[..end].trim_ascii();
    let is_delta = date
        .strip_prefix(b"+")
        .is_some_and(|rest| rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'));
    let is_date = date.len() >= 11 && date.get(..3).is_some_and(|word| is_day(word) || is_month(word));
    (is_delta || is_date).then_some(())?;
    inner[end + 1..].starts_with(b" ").then(|| plain(end + 3, Caller::Console))
}

/// `Nov 22 18:54:34 `, with a fraction too, journald's short-full `Sun 2026-11-22 18:54:34 UTC `, and OpenWrt's
/// `Sun Nov 22 18:54:34 2026 `: its length.
pub(crate) fn calendar(head: &[u8]) -> Option<usize> {
    let word = head.get(..3)?;
    let with_year = is_day(word) && head.get(4..7).is_some_and(is_month);
    let mut at = if with_year { 7 } else { 3 };
    let mut blank_then = |test: &dyn Fn(u8) -> bool| {
        let blanks = head[at..].iter().take_while(|byte| **byte == b' ').count();
        let length = head[at + blanks..].iter().take_while(|byte| test(**byte)).count();
        at += blanks + length;
        (blanks > 0 && length > 0).then_some(length)
    };
    let is_time = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.');
    if is_month(word) {
        blank_then(&|byte| byte.is_ascii_digit())?;
        blank_then(&is_time).filter(|length| *length >= 8)?;
    } else if with_year {
        blank_then(&|byte| byte.is_ascii_digit())?;
        blank_then(&is_time).filter(|length| *length >= 8)?;
        blank_then(&|byte| byte.is_ascii_digit()).filter(|length| *length == 4)?;
    } else if is_day(word) {
        blank_then(&|byte| byte.is_ascii_digit() || byte == b'-').filter(|length| *length == 10)?;
        blank_then(&is_time).filter(|length| *length >= 8)?;
        blank_then(&|byte| byte != b' ')?;
    } else {
        return None;
    }
    (head.get(at) == Some(&b' ')).then_some(at + 1)
}

/// `2026-11-22T18:54:34+0000 `, with a fraction behind a point (journald, rsyslog) or a comma (`dmesg --time-format
/// iso`), and `1795373792.123456 ` (short-unix): its length.
pub(crate) fn iso(head: &[u8]) -> Option<usize> {
    let end = memchr::memchr(b' ', head)?;
    let word = &head[..end];
    let is_iso =
        word.len() >= 19 && word[4] == b'-' && word[7] == b'-' && word[10] == b'T' && word[13] == b':';
    let is_unix = word.len() >= 12
        && word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && word[10] == b'.';
    (is_iso || is_unix).then_some(end + 1)
}

/// dmesg's own iso form has no host and no process behind the date.
pub(crate) fn dmesg_iso(line: &[u8]) -> Option<Prefix> {
    let length = iso(&line[..line.len().min(PREFIX_MAX)])?;
    (line.get(19) == Some(&b',')).then(|| plain(length, Caller::Console))
}

fn is_month(word: &[u8]) -> bool {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    MONTHS.contains(&word)
}

fn is_day(word: &[u8]) -> bool {
    const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    DAYS.contains(&word)
}

#[cfg(test)]
mod tests {
    use crate::line::{Before, Caller, Prefix};
    use crate::profile::Profile;

    #[track_caller]
    fn check(line: &str, level: Option<u8>, micros: Option<u64>, caller: Caller, text: &str) {
        let prefix = Prefix::read(line.as_bytes(), Profile::Production, Before::default());
        let time = prefix.time.map(|time| time.0);
        assert_eq!(
            (prefix.level, time, prefix.caller, &line[prefix.length..]),
            (level, micros, caller, text)
        );
    }

    #[test]
    fn every_form_gives_the_kernels_own_words() {
        let console = Caller::Console;
        check("4,1234,12345678,-;text; more", Some(4), Some(12_345_678), console, "text; more");
        check("6.12.1,30,7,5,-,caller=T12;text", Some(6), Some(5), Caller::Task { id: 12, width: 0 }, "text");
        check("kern  :warn  : [   12.345678] text", Some(4), Some(12_345_678), console, "text");
        check("kern  :err   : [Sun Nov 22 18:54:34 2026] text", Some(3), None, console, "text");
        check("[Sun Nov 22 18:54:34 2026] text", None, None, console, "text");
        check("[Nov22 18:54] text", None, None, console, "text");
        check("[  +0.000012] text", None, None, console, "text");
        check("2026-11-22T18:54:34,123456+00:00 text", None, None, console, "text");
        check("Nov 22 18:54:34 host kernel: text", None, None, console, "text");
        check("Nov  2 18:54:34 host kernel: [    1.000000] text", None, Some(1_000_000), console, "text");
        check(
            "Nov  2 18:54:34.123456 host kernel: [    1.000000][ T12] x",
            None,
            Some(1_000_000),
            Caller::Task { id: 12, width: 3 },
            "x",
        );
        check("Sun 2026-11-22 18:54:34 UTC host kernel: text", None, None, console, "text");
        check("2026-11-22T18:54:34+0000 host kernel: text", None, None, console, "text");
        check("1795373792.123456 host kernel: text", None, None, console, "text");
        check("[   12.345678] host kernel: text", None, Some(12_345_678), console, "text");
        let task = Caller::Task { id: 115, width: 5 };
        check("[   12.345678] [  T115]  f+0x1/0x2", None, Some(12_345_678), task, " f+0x1/0x2");
        check("[Sun Nov 22 18:54:34 2026] [  T115] text", None, None, task, "text");
        check("kern  :warn  : [   12.345678] [  T115] text", Some(4), Some(12_345_678), task, "text");
        check("[   12.345678] <4>text", Some(4), Some(12_345_678), console, "text");
        check("[   12.345678 <    0.000012 >] host kernel: text", None, Some(12_345_678), console, "text");
        check("[Sun Nov 22 18:54:34 UTC 2026] text", None, None, console, "text");
        check("<4>Nov 22 18:54:34 host kernel: [    1.000000] x", Some(4), Some(1_000_000), console, "x");
        check("<4>1 2026-11-22T18:54:34.123Z host kernel - - - text", Some(4), None, console, "text");
        check(
            "Sun Nov 22 18:54:34 2026 kern.warn kernel: [    1.000000] x",
            None,
            Some(1_000_000),
            console,
            "x",
        );
        check("Nov 22 18:54:34 host kern.warn kernel: text", None, None, console, "text");
    }

    #[test]
    fn phones_say_who_printed_a_line() {
        for line in [
            "[   12.345678]  [0:  kworker/0:1:   17] text",
            "[   12.345678] [3:        swapper:    0] text",
            "<4>[   12.345678] .(1)[123:kworker/1:1]text",
            "[   12.345678] <4>(1)[123:kworker/1:1]text",
            "[   12.345678] c0    123 text",
            "[   12.345678,3] text",
            "[   12.345678@0] text",
        ] {
            let prefix = Prefix::read(line.as_bytes(), Profile::Production, Before::default());
            assert_eq!((prefix.caller, &line[prefix.length..]), (Caller::Console, "text"), "{line}");
        }
        for text in ["[drm] x", "[0: x", "c0de is 12 x", "(1) x", ".x", "[ T1 ] x", "<x> y"] {
            check(&format!("[   12.345678] {text}"), None, Some(12_345_678), Caller::Console, text);
        }
    }

    #[test]
    fn lines_of_programs_are_told_from_the_kernels() {
        for line in [
            "Nov 22 18:54:34 host app[12]: BUG: oh",
            "2026-11-22T18:54:34+0000 host app: BUG: oh",
            "<12>Nov 22 18:54:34 host app: BUG: oh",
            "<12>1 2026-11-22T18:54:34Z host app 12 - - BUG: oh",
            "Nov 22 18:54:34 host user.warn app[12]: BUG: oh",
        ] {
            assert_eq!(
                Prefix::read(line.as_bytes(), Profile::Production, Before::default()).caller,
                Caller::Program
            );
        }
    }

    #[test]
    fn text_that_only_looks_alike_stays_whole() {
        for line in [
            "Modules linked in: a",
            "kernel BUG at x.c:1",
            "4 of 5; done",
            "Memory: 1",
            "2026 was a year",
            "[drm] x",
        ] {
            check(line, None, None, Caller::None, line);
        }
    }

    #[test]
    fn lines_below_a_record_belong_to_it() {
        let before = Before { caller: Caller::Console, length: 15 };
        let prefix = Prefix::read(b"                 more", Profile::Production, before);
        assert_eq!((prefix.caller, prefix.length), (Caller::Console, 15));
        assert_eq!(Prefix::read(b"   more", Profile::Production, before).caller, Caller::None);
    }
}
