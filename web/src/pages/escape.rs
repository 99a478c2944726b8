//! What a page does to text from outside: markup is escaped, and what would be obeyed is shown.
//!
//! Kernel logs hold terminal escapes, NUL bytes and whatever a module's author put into its name. `askama.toml`
//! names [`Visible`] as the escaper of every page, so that no template can forget it; the text forms use
//! [`visible`].

use std::borrow::Cow;
use std::fmt::{self, Write};

use askama::filters::{Escaper, Html};

/// The escaper of all pages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, dest: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(dest, &visible(text))
    }
}

/// The text with control characters spelled out as `<0x1b>`, and marks that turn the direction of writing or
/// cannot be seen as `<U+202E>`. Tab and newline stay: they are layout.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !unseen(c) {
            shown.push(c);
        } else if c.is_ascii() {
            let _ = write!(shown, "<0x{:02x}>", u32::from(c));
        } else {
            let _ = write!(shown, "<U+{:04X}>", u32::from(c));
        }
    }
    Cow::Owned(shown)
}

/// Controls (Unicode Cc) but for tab and newline; the marks of the bidirectional algorithm (UAX 9) and the
/// zero-width characters, with which a name can pass for another.
fn unseen(c: char) -> bool {
    match c {
        '\t' | '\n' => false,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        assert_eq!(visible(text), shown);
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        check("plain [crashlab] +0x5/0x10", "plain [crashlab] +0x5/0x10");
        check("\u{1b}[31mred\0", "<0x1b>[31mred<0x00>");
        check("a\tb\nc\r", "a\tb\nc<0x0d>");
        check("\u{9b}31m", "<U+009B>31m");
        check("gpj.\u{202e}exe", "gpj.<U+202E>exe");
        check("Überlauf – 東京", "Überlauf – 東京");
    }

    #[test]
    fn markup_and_controls_do_not_reach_a_page() {
        let mut page = String::new();
        Visible.write_escaped_str(&mut page, "<script>\u{1b}'\"&").expect("a String takes it");
        assert_eq!(page, "&#60;script&#62;&#60;0x1b&#62;&#39;&#34;&#38;");
    }
}
