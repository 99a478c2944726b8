//! The few values of a report by which parsers are compared.

use serde::Serialize;

use crate::read::Parsed;

/// One report in the form that the scorer of the corpus reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// See [`crate::Report::title`].
    pub title: String,
    /// See [`crate::Report::alts`].
    pub alts: Vec<String>,
    /// See [`crate::Report::kind`].
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// See [`crate::Report::frame`]; empty when the title names no function.
    pub frame: String,
    /// Was the text damaged?
    pub corrupted: bool,
    /// Did the machine die of it?
    pub fatal: bool,
    /// A log that shows no kernel bug at all (scoring profile only).
    pub suppressed: bool,
    /// Is there a panic in the log?
    pub panicked: bool,
    /// See [`crate::Report::guilty`].
    pub guilty: Option<String>,
}

/// The summaries of all reports, in the order of the log.
pub fn summary(parsed: &Parsed) -> Vec<Summary> {
    parsed
        .reports
        .iter()
        .map(|report| Summary {
            title: report.title.clone(),
            alts: report.alts.clone(),
            kind: report.kind.as_str(),
            frame: report.frame.clone().unwrap_or_default(),
            corrupted: report.corrupted.is_some(),
            fatal: report.fatal,
            suppressed: parsed.suppressed,
            panicked: parsed.panicked,
            guilty: report.guilty.as_ref().map(|guilty| guilty.name.clone()),
        })
        .collect()
}
