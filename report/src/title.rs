//! Taking the volatile parts out of a title, and the function out of the rest.

use std::sync::LazyLock;

use regex::Regex;

/// The longest title.
const TITLE_MAX: usize = 120;
/// A rule is repeated until nothing changes; each round shortens the text or turns a number into a word.
const ROUNDS_MAX: usize = 128;

/// What changes from machine to machine and from boot to boot, and what stands for it. Order counts.
static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"syz-executor\.?[0-9]+(?:(?:/|:)[0-9]+)?", "syz-executor"),
        (r"syzkaller[0-9]+(?:(?:/|:)[0-9]+)?", "syzkaller"),
        (r"([^a-zA-Z0-9])(?:0x)?[0-9a-f]{6,}", "${1}ADDR"),
        (r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", "IP"),
        (r"(\.\w+)(?::[0-9]+)+", "${1}:LINE"),
        (r"([a-zA-Z][a-zA-Z0-9_.]+)\+0x[0-9a-z]+/0x[0-9a-z]+", "${1}"),
        (r"CPU#[0-9]+", "CPU"),
        (r"(\W)([0-9]+)(\W|$)", "${1}NUM${3}"),
        (r"[0-9]{7,}", "NUM"),
    ]
    .into_iter()
    .map(|(source, with)| (Regex::new(&ascii(source)).expect("a constant pattern, used by the tests"), with))
    .collect()
});

/// `\w` and `\W` of ASCII only, on text that is UTF-8.
fn ascii(source: &str) -> String {
    source.replace(r"\w", "[0-9A-Za-z_]").replace(r"\W", "[^0-9A-Za-z_]")
}

/// Cleans a title: addresses, numbers, lines and offsets become words, so that the same bug has the same title.
pub(crate) fn clean(title: &str) -> String {
    let mut text = title.to_owned();
    if may_change(&text) {
        for (pattern, with) in VOLATILE.iter() {
            for _ in 0..ROUNDS_MAX {
                let next = pattern.replace_all(&text, *with);
                if next == text {
                    break;
                }
                text = next.into_owned();
            }
        }
    }
    cut(&text)
}

/// Every rule needs a digit, or six hex digits in a row.
fn may_change(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { run + 1 } else { 0 };
        byte.is_ascii_digit() || run == 6
    })
}

/// One line of printable ASCII, single blanks, not too long.
fn cut(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(TITLE_MAX));
    for byte in text.bytes().take(TITLE_MAX) {
        let byte = if byte == b'\t' { b' ' } else { byte };
        if (0x20..0x7f).contains(&byte) && !(byte == b' ' && (out.is_empty() || out.ends_with(' '))) {
            out.push(byte as char);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The function in a title: the word behind the last ` in `, with its Rust path.
pub(crate) fn frame(title: &str) -> Option<&str> {
    title.rmatch_indices(" in ").find_map(|(at, word)| function(&title[at + word.len()..]))
}

/// `name`, or `<path of a type>::name`.
fn function(text: &str) -> Option<&str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let name = |text: &str| text.bytes().take_while(|byte| is_name(*byte)).count();
    let path = match text.strip_prefix('<') {
        Some(inner) => {
            let length = inner.bytes().take_while(|byte| is_name(*byte) || *byte == b' ').count();
            (length > 0 && inner[length..].starts_with('>')).then_some(length + 2)?
        }
        None => 0,
    };
    let length = name(&text[path..]);
    (length > 0).then(|| &text[..path + length])
}

/// Does a title hold a time stamp, because two lines were merged?
pub(crate) fn has_time_stamp(title: &str) -> bool {
    static FORM: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[ *[0-9]+\.[0-9]+\]").expect("a constant pattern, used by the tests"));
    title.contains('[') && FORM.is_match(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_between_boots_becomes_a_word() {
        for (title, expected) in [
            ("kernel panic: engine on fire, code 42", "kernel panic: engine on fire, code NUM"),
            ("bad at 0xffff8880deadbeef now", "bad at ADDR now"),
            ("from 192.168.0.17 to 10.0.0.1", "from IP to IP"),
            ("10.0.0.1 of v1.2.3.4", "IP of vIP"),
            ("at foo.c:12:3 and bar.rs:7", "at foo.c:LINE and bar.rs:LINE"),
            ("jump foo+0x12/0x34 done", "jump foo done"),
            ("on CPU#3 of 4", "on CPU of NUM"),
            ("0,1,2,3,", "0,NUM,NUM,NUM,"),
            ("in cfg80211_get_bss", "in cfg80211_get_bss"),
            ("a12345678b", "aNUMb"),
            ("  a\t\u{1}b \u{fc} c  ", "a b c"),
            ("deep 1", "deep NUM"),
        ] {
            assert_eq!(clean(title), expected);
        }
        assert_eq!(clean(&"x".repeat(300)).len(), 120);
    }

    #[test]
    fn the_frame_is_the_last_function() {
        assert_eq!(frame("KASAN: use-after-free Read in foo_bar"), Some("foo_bar"));
        assert_eq!(frame("WARNING in foo/usb_submit_urb"), Some("foo"));
        assert_eq!(frame("bug in <a::b::C>::update"), Some("<a::b::C>::update"));
        assert_eq!(frame("kernel panic: oh"), None);
        assert_eq!(frame("lost in f in (null)"), Some("f"));
    }

    #[test]
    fn a_time_stamp_in_a_title_shows() {
        assert!(has_time_stamp("BUG: x [  12.345678] y"));
        assert!(!has_time_stamp("BUG: x [mod]"));
    }
}
