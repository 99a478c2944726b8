//! What a log holds is foreign: none of its control characters reach a terminal as such.

use std::fmt::Write;

/// The only sequences that may pass, where colours are wanted: those of [`crate::decode::Style`].
const COLOURS: [&str; 4] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[36m"];

/// A text as it may be shown: control characters as `<0x1b>`, those that turn the direction of writing as `<U+202E>`.
/// Line feeds and tabs stay, and with `colour` our own colours.
pub fn shown(text: &str, colour: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let own = COLOURS.iter().find(|sequence| colour && rest.starts_with(**sequence));
        let taken = own.map_or(c.len_utf8(), |sequence| sequence.len());
        match c {
            _ if own.is_some() => out.push_str(&rest[..taken]),
            '\n' | '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "<U+{:04X}>", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "<0x{:02x}>", u32::from(c));
            }
            c => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_steer_the_terminal() {
        assert_eq!(shown("a\x1b]0;x\x07\r\u{202e}b\tc\n", true), "a<0x1b>]0;x<0x07><0x0d><U+202E>b\tc\n");
        assert_eq!(shown("\x1b[1mbold\x1b[0m\x1b[2J", true), "\x1b[1mbold\x1b[0m<0x1b>[2J");
        assert_eq!(shown("\x1b[1mbold", false), "<0x1b>[1mbold");
    }
}
