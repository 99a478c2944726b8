//! Notes on damage and doubt, with words for the codes that agents send without any.

use report::Parsed;
use serde::Serialize;

use super::number;
use crate::reading::{By, Note};

/// A note as a page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Remark {
    /// `agent` or `reader`.
    pub by: &'static str,
    /// What kind, in kebab-case.
    pub code: String,
    /// What the kind means; the code again where it is not known.
    pub means: String,
    /// What was seen this time.
    pub text: String,
    /// Number of the log line.
    pub line: Option<u32>,
    /// The artifact.
    pub piece: Option<String>,
    /// Something of the evidence is lost or spoiled; otherwise it is only good to know.
    pub damage: bool,
}

/// What is known of a code: its meaning, and whether it is damage.
const CODES: [(&str, &str, bool); 14] = [
    (
        "host-of-finding-boot",
        "Name, kernel and labels of the node are those of the boot that found the record",
        false,
    ),
    ("no-machine-id", "The node has no machine id: its identity lasts as long as its agent’s state", false),
    ("log-of-dump", "The log was taken out of a dump of memory", false),
    ("log-of-report", "The log was taken out of a report of apport", false),
    ("ecc", "Error correction of the record", false),
    ("part-missing", "A part of the record is missing", true),
    ("cut", "An artifact was too large and was cut", true),
    ("unreadable", "An artifact could not be read", true),
    ("empty", "An artifact holds nothing", true),
    ("not-utf-8", "An artifact holds bytes that are no text", true),
    ("holds-zeros", "An artifact holds zero bytes", true),
    ("more-notes", "There were more notes than a manifest holds", false),
    ("bytes-withheld", "Only the count was kept", true),
    ("not-read", "It is kept and not read", false),
];

impl Remark {
    /// A note about what was read.
    pub fn of(parsed: &Parsed, note: &Note) -> Remark {
        let known = CODES.iter().find(|(code, ..)| *code == note.code);
        Remark {
            by: match note.by {
                By::Agent => "agent",
                By::Reader => "reader",
            },
            code: note.code.clone(),
            means: known.map_or_else(|| note.code.replace('-', " "), |(_, means, _)| (*means).to_owned()),
            text: note.text.clone(),
            line: note.line.map(|index| number(parsed, index)),
            piece: note.piece.clone(),
            damage: known.is_none_or(|(.., damage)| *damage),
        }
    }

    /// Its glyph.
    pub fn sign(&self) -> &'static str {
        if self.damage { "warn" } else { "unk" }
    }

    /// All of it in one line.
    pub fn sentence(&self) -> String {
        let piece = self.piece.as_ref().map(|piece| format!(" in {piece}")).unwrap_or_default();
        let text = if self.text.is_empty() { String::new() } else { format!(": {}", self.text) };
        let line = self.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        format!("{}{piece}{text}{line} [{}]", self.means, self.code)
    }
}
