//! A remark about damage or doubt, kept beside the value.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Something a reader of the result should know: a hole, a cut, a guess.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Stable, kebab-case: `part-missing`, `not-utf8`, `log-excerpt` …
    pub code: Cow<'static, str>,
    /// The line of the joined log it belongs to (index into [`crate::Log::lines`]).
    pub line: Option<usize>,
    /// One sentence for people.
    pub text: String,
}

impl Note {
    /// A note on the whole log.
    pub fn new(code: &'static str, text: impl Into<String>) -> Note {
        Note { code: code.into(), line: None, text: text.into() }
    }

    /// A note at one line.
    pub fn at(code: &'static str, line: usize, text: impl Into<String>) -> Note {
        Note { code: code.into(), line: Some(line), text: text.into() }
    }
}
