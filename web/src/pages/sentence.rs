//! A sentence that a page opens with: one value, read as HTML with its emphasis and links, as plain text, and in
//! JSON as that text.

use std::fmt;

use askama::filters::Escaper;
use serde::{Serialize, Serializer};

use super::escape::Visible;
use super::filters::Markup;

/// A sentence under construction; each method adds a run of words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    runs: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Run {
    Plain(String),
    Strong(String),
    Code(String),
    Link { href: String, words: String, code: bool },
}

impl Sentence {
    /// Words of ours.
    pub fn say(mut self, words: impl Into<String>) -> Sentence {
        self.runs.push(Run::Plain(words.into()));
        self
    }

    /// What to see first.
    pub fn strong(mut self, words: impl Into<String>) -> Sentence {
        self.runs.push(Run::Strong(words.into()));
        self
    }

    /// A name from a machine: function, release, module, place in a file.
    pub fn code(mut self, words: impl Into<String>) -> Sentence {
        self.runs.push(Run::Code(words.into()));
        self
    }

    /// A link, with an address of ours.
    pub fn link(mut self, href: impl Into<String>, words: impl Into<String>) -> Sentence {
        self.runs.push(Run::Link { href: href.into(), words: words.into(), code: false });
        self
    }

    /// A link whose words are a name from a machine.
    pub fn link_code(mut self, href: impl Into<String>, words: impl Into<String>) -> Sentence {
        self.runs.push(Run::Link { href: href.into(), words: words.into(), code: true });
        self
    }

    /// The words alone.
    pub fn plain(&self) -> String {
        let words = self.runs.iter().map(|run| match run {
            Run::Plain(words) | Run::Strong(words) | Run::Code(words) | Run::Link { words, .. } => {
                words.as_str()
            }
        });
        words.collect()
    }
}

impl From<&str> for Sentence {
    fn from(words: &str) -> Sentence {
        Sentence::default().say(words)
    }
}

impl Serialize for Sentence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.plain())
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            match run {
                Run::Plain(words) => Visible.write_escaped_str(&mut *f, words)?,
                Run::Strong(words) => element(f, "b", words)?,
                Run::Code(words) => element(f, "code", words)?,
                Run::Link { href, words, code } => {
                    f.write_str("<a href=\"")?;
                    Visible.write_escaped_str(&mut *f, href)?;
                    f.write_str("\">")?;
                    element(f, if *code { "code" } else { "bdi" }, words)?;
                    f.write_str("</a>")?;
                }
            }
        }
        Ok(())
    }
}
/// Every run is escaped above.
impl Markup for Sentence {}

fn element(f: &mut fmt::Formatter<'_>, name: &str, words: &str) -> fmt::Result {
    write!(f, "<{name}>")?;
    if name != "bdi" {
        f.write_str("<bdi>")?;
    }
    Visible.write_escaped_str(&mut *f, words)?;
    if name != "bdi" {
        f.write_str("</bdi>")?;
    }
    write!(f, "</{name}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_has_three_forms() {
        let said = Sentence::default()
            .say("While ")
            .strong("in<s>mod")
            .say(" ran, ")
            .link_code("/x?a=1&b=2", "f\u{1b}");
        assert_eq!(
            said.to_string(),
            "While <b><bdi>in&#60;s&#62;mod</bdi></b> ran, \
             <a href=\"/x?a=1&#38;b=2\"><code><bdi>f&#60;0x1b&#62;</bdi></code></a>"
        );
        assert_eq!(said.plain(), "While in<s>mod ran, f\u{1b}");
    }
}
