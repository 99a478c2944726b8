//! Numbers and times in words, the same on a page and in its text form.

use std::fmt::{self, Write};

use jiff::Timestamp;

use super::escape::visible;

// Microseconds in each.
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Now, by the machine's clock, µs since 1970 UTC.
pub fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

/// A moment by a `strftime` format, in UTC; `–` for one that no calendar holds.
fn format(at_us: i64, format: &str) -> String {
    match Timestamp::from_microsecond(at_us) {
        Ok(at) => at.strftime(format).to_string(),
        Err(_) => "–".into(),
    }
}

/// `2026-11-22 20:11:46 UTC`.
pub fn whole(at_us: i64) -> String {
    format(at_us, "%Y-%m-%d %H:%M:%S UTC")
}

/// `22 Nov`.
pub fn day(at_us: i64) -> String {
    format(at_us, "%-d %b")
}

/// `22 Nov 20:11`.
pub fn minute(at_us: i64) -> String {
    format(at_us, "%-d %b %H:%M")
}

/// `22 Nov 20:11:46 UTC`.
pub fn second(at_us: i64) -> String {
    format(at_us, "%-d %b %H:%M:%S UTC")
}

/// `16 min`: how long ago, in one unit.
pub fn since(at_us: i64, now_us: i64) -> String {
    span(now_us.saturating_sub(at_us))
}

/// A moment as an element: in words, with the whole of it in the title.
#[derive(Clone, Debug)]
pub struct Time {
    /// µs since 1970 UTC.
    pub at_us: i64,
    /// The words.
    pub shown: String,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let datetime = format(self.at_us, "%Y-%m-%dT%H:%M:%SZ");
        write!(f, r#"<time datetime="{datetime}" title="{}">{}</time>"#, whole(self.at_us), self.shown)
    }
}

/// A span of time in one unit: `4 s`, `16 min`, `7 h`, `13 d`. A moment to come is `0 s`.
pub fn span(us: i64) -> String {
    match us {
        ..MINUTE => format!("{} s", us.max(0) / SECOND),
        MINUTE..HOUR => format!("{} min", us / MINUTE),
        HOUR..DAY => format!("{} h", us / HOUR),
        DAY.. => format!("{} d", count(us / DAY)),
    }
}

/// Seconds since boot as the kernel prints them, without the brackets: `3.234975`.
pub fn kernel_time(us: i64) -> String {
    format!("{}.{:06}", us / SECOND, us % SECOND)
}

/// `400`, `4k`, `1.5k`: a number beside an axis, where there is no room for more.
pub fn brief(n: &i64) -> String {
    match n {
        0..1000 => n.to_string(),
        _ => format!("{}k", *n as f64 / 1000.0),
    }
}

/// `4,707`.
pub fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if n < 0 {
        shown.push('−');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// [`count`] of a size that a manifest states.
pub fn grouped(n: &u64) -> String {
    count(i64::try_from(*n).unwrap_or(i64::MAX))
}

/// `1 crash`, `12 crashes`.
pub fn plural(n: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// `512 bytes`, `29.8 KiB`, `1.1 GiB`.
pub fn bytes(n: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n.abs() < 1024 {
        return plural(n, "byte", "bytes");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Raw bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// The first and last digits of a long hexadecimal name, which is enough to tell two apart by eye.
pub fn short(hex: &str) -> String {
    if hex.len() <= 20 || !hex.is_ascii() {
        return hex.to_owned();
    }
    format!("{}…{}", &hex[..8], &hex[hex.len() - 4..])
}

/// A value for the query of an address: everything but letters, digits and `-_.~` as `%XX` (RFC 3986).
pub fn in_query(value: &str) -> String {
    let mut coded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            coded.push_str(&format!("%{byte:02X}"));
        }
    }
    coded
}

/// A title with the function at its end told apart: `divide error in ` and `crash_div0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title<'a> {
    before: &'a str,
    function: &'a str,
}

impl<'a> Title<'a> {
    /// Titles name a function after the last ` in `; one that ends otherwise is shown whole.
    pub fn new(title: &'a str) -> Title<'a> {
        match title.rsplit_once(" in ") {
            Some((before, function)) if !function.is_empty() && !function.contains(' ') => {
                Title { before: &title[..before.len() + 4], function }
            }
            _ => Title { before: title, function: "" },
        }
    }

    /// The function, or the whole title where it names none.
    pub fn short(&self) -> &'a str {
        if self.function.is_empty() { self.before } else { self.function }
    }
}

impl Title<'_> {
    /// The function first, for where there is little room: what is cut off is the kind of fault.
    pub fn function_first(&self) -> String {
        let mut out = String::from("<bdi>");
        let _ = escaped(&mut out, self.function, "code");
        let before = self.before.strip_suffix(" in ").unwrap_or(self.before);
        if !self.function.is_empty() {
            out.push(' ');
        }
        let _ = escaped(&mut out, before, "span");
        out.push_str("</bdi>");
        out
    }
}

/// Text in an element, or nothing of nothing.
fn escaped(out: &mut String, text: &str, element: &str) -> fmt::Result {
    use askama::filters::{Escaper, Html};
    if text.is_empty() {
        return Ok(());
    }
    write!(out, "<{element}>")?;
    Html.write_escaped_str(&mut *out, &visible(text))?;
    write!(out, "</{element}>")
}

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use askama::filters::{Escaper, Html};
        f.write_str("<bdi>")?;
        Html.write_escaped_str(&mut *f, &visible(self.before))?;
        if !self.function.is_empty() {
            f.write_str("<code>")?;
            Html.write_escaped_str(&mut *f, &visible(self.function))?;
            f.write_str("</code>")?;
        }
        f.write_str("</bdi>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_they_are_spoken() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(4707), "4,707");
        assert_eq!(count(-1_234_567), "−1,234,567");
        assert_eq!(plural(1, "crash", "crashes"), "1 crash");
        assert_eq!(plural(0, "crash", "crashes"), "0 crashes");
        assert_eq!(bytes(1023), "1,023 bytes");
        assert_eq!(bytes(30_515), "29.8 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn a_moment_has_one_unit_and_a_whole_title() {
        let now = 1_795_378_306_000_000;
        let crash = now - 16 * MINUTE - 5;
        assert_eq!(since(crash, now), "16 min");
        assert_eq!(whole(now), "2026-11-22 20:11:46 UTC");
        assert_eq!(
            Time { at_us: crash, shown: since(crash, now) }.to_string(),
            r#"<time datetime="2026-11-22T19:55:45Z" title="2026-11-22 19:55:45 UTC">16 min</time>"#
        );
        assert_eq!(since(now + 5, now), "0 s");
        assert_eq!(whole(i64::MAX), "–");
    }

    #[test]
    fn a_value_stays_one_value_in_an_address() {
        assert_eq!(in_query("a&b=c d/é"), "a%26b%3Dc%20d%2F%C3%A9");
    }

    #[test]
    fn the_function_of_a_title_is_told_apart() {
        let title = Title::new("BUG: unable to handle kernel paging request in crash_paging");
        assert_eq!(title.short(), "crash_paging");
        assert_eq!(
            Title::new("kernel panic: engine on fire in code NUM").short(),
            "kernel panic: engine on fire in code NUM"
        );
        assert_eq!(
            Title::new("WARNING in <b>\u{1b}").to_string(),
            "<bdi>WARNING in <code>&#60;b&#62;&#60;0x1b&#62;</code></bdi>"
        );
    }
}
