//! Problem details: how a refusal is told (RFC 9457).

use serde::{Deserialize, Serialize};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Where the problem types live; `type` is this and the code.
pub const TYPES: &str = "https://lastwords.example/problems/";

/// A refusal, as in RFC 9457, with a `code` that programs can compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind in words; the same for every occurrence.
    #[serde(default)]
    pub title: String,
    /// The status of the answer.
    #[serde(default)]
    pub status: u16,
    /// The kind as one word in kebab-case.
    #[serde(default)]
    pub code: String,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The evidence it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_id: Option<String>,
    /// Versions that the service speaks, with code `protocol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<u32>>,
    /// By which the service's log finds this request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

impl Problem {
    /// A problem of the given kind.
    pub fn new(status: u16, code: &str, title: &str) -> Problem {
        Problem {
            kind: format!("{TYPES}{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: String::new(),
            evidence_id: None,
            protocols: None,
            trace_id: String::new(),
        }
    }

    /// Says what happened this time.
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = detail.into();
        self
    }
}
