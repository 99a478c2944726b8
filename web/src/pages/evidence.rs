//! `/evidence/{id}`: what was handed over: where it was found, its digest, its receipts, all of its log.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use handover::manifest::{Kind, Manifest};
use handover::receipt::Envelope;
use handover::{CrashId, EvidenceId, NodeId};
use serde::{Deserialize, Serialize};

use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::story::{Excerpt, MOST, Remark};
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::problem::{Error, not_found};
use crate::reading;
use crate::store::evidence::Evidence;
use crate::store::{crash_evidence, custody};
use crate::text::Text;

/// One piece of evidence, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    lede: Sentence,
    evidence_id: EvidenceId,
    node_id: NodeId,
    received_us: i64,
    kind: String,
    size: i64,
    sha256: String,
    manifest: Manifest,
    receipts: Vec<Receipt>,
    /// Crashes it tells of, in the order of its reports.
    crashes: Vec<(CrashId, String)>,
    notes: Vec<Remark>,
    log: Excerpt,
    /// Index of the first line shown.
    from: usize,
}

/// A receipt, as far as a page shows it; the whole of it is in the API.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Receipt {
    /// Number in the node's stream.
    pub seq: u64,
    /// What became of the evidence.
    pub disposition: &'static str,
    /// When it was signed.
    pub issued_us: i64,
    /// Its hash, to which the next one chains.
    pub hash: String,
}

/// A note of an evidence row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Damage {
    /// What kind.
    pub code: String,
    /// In words.
    #[serde(default)]
    pub text: String,
}

/// The notes as a row keeps them; what is not a list of them is none.
pub(crate) fn damage(notes: &str) -> Vec<Damage> {
    serde_json::from_str(notes).unwrap_or_default()
}

/// The receipts as a page shows them; an envelope that does not read is left to the health checks.
pub(crate) fn receipts(envelopes: &[Envelope]) -> Vec<Receipt> {
    let shown = |envelope: &Envelope| {
        let receipt = envelope.unverified().ok()?;
        Some(Receipt {
            seq: receipt.seq,
            disposition: receipt.disposition.as_str(),
            issued_us: receipt.issued_us,
            hash: envelope.hash().to_string(),
        })
    };
    envelopes.iter().filter_map(shown).collect()
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params {
    /// Index of the first line.
    #[serde(default)]
    from: usize,
}

/// `GET /evidence/{id}`
pub(crate) async fn show(
    State(app): State<AppState>,
    Query(params): Query<Params>,
    asked: Asked,
) -> Response {
    let found = load(&app, asked.key(), params.from).await;
    asked.answer(found)
}

async fn load(app: &Arc<App>, key: &str, from: usize) -> Result<One, Error> {
    let missing = || not_found(format!("evidence {key}"));
    let id: EvidenceId = key.parse().map_err(|_| missing())?;
    let stored = custody::by_key(app.store.custody(), &id).await?.ok_or_else(missing)?;
    let receipts = receipts(&custody::receipts_of(app.store.custody(), &id).await?);
    let crashes = crash_evidence::of_evidence(app.store.read(), stored.id).await?;
    let custody::Evidence { node_id, received_us, size, sha256, kind, .. } = stored.clone();
    let reading = reading::read(app, stored).await?;
    let log = Excerpt::of(&reading.parsed, from, from.saturating_add(MOST), None);
    let lede = lede(&crashes, &reading.manifest, log.total);
    Ok(One {
        lede,
        evidence_id: id,
        node_id,
        received_us,
        kind,
        size,
        sha256: sha256.to_string(),
        manifest: reading.manifest,
        receipts,
        crashes,
        notes: reading.notes.iter().map(|note| Remark::of(&reading.parsed, note)).collect(),
        log,
        from,
    })
}

fn lede(crashes: &[(CrashId, String)], manifest: &Manifest, lines: usize) -> Sentence {
    let memory = manifest.kind == Kind::VmcoreSummary;
    let sentence = Sentence::default().say("Found in ").strong(source(manifest)).say(match lines {
        0 if memory => ", what the machine’s memory held of its tasks".to_owned(),
        0 => ", nothing in it that is read as a log".to_owned(),
        lines => format!(", {}", words::plural(lines as i64, "line of log", "lines of log")),
    });
    match crashes {
        [] => sentence.say(". No report was found in it."),
        [(id, title)] => {
            sentence.say(". It tells of ").link(format!("/crashes/{id}"), title.as_str()).say(".")
        }
        several => sentence.say(format!(". It tells of {} reports.", several.len())),
    }
}

/// `pstore, ramoops`.
pub(crate) fn source(manifest: &Manifest) -> String {
    match &manifest.source.backend {
        Some(backend) => format!("{}, {backend}", manifest.source.kind),
        None => manifest.source.kind.clone(),
    }
}

/// Evidence as a table of the text form.
pub(crate) fn rows_as_text(evidence: &[Evidence], text: &mut Text) {
    let rows = evidence.iter().map(|row| {
        let tells =
            if row.crashes == 0 { "no name".into() } else { words::plural(row.crashes, "report", "reports") };
        vec![
            words::minute(row.received_us),
            row.kind.clone(),
            tells,
            words::short(&row.evidence_id.to_string()),
        ]
    });
    text.table(&["received (UTC)", "kind", "tells of", "evidence"], &rows.collect::<Vec<_>>());
}

impl One {
    /// It is what an agent made of a dump.
    fn is_memory(&self) -> bool {
        self.manifest.kind == Kind::VmcoreSummary
    }

    /// The pages of a long log: index of the next first line.
    fn more(&self) -> Option<usize> {
        let shown = self.from + self.log.lines.len();
        (!self.log.lines.is_empty() && shown < self.log.total).then_some(shown)
    }

    fn replaced(&self) -> String {
        let counts = self.manifest.redaction.counts.iter().map(|(class, n)| format!("{n} {class}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Template)]
#[template(path = "evidence.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a One,
}

impl View for One {
    const AT: Nav = Nav::Nowhere;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title(&format!("Evidence {}", self.evidence_id));
        text.prose(&self.lede.plain());
        text.gap();
        let mut pairs = vec![
            ("node", self.node_id.to_string()),
            ("kind", self.kind.clone()),
            ("source", source(&self.manifest)),
            ("received", words::whole(self.received_us)),
            ("bytes", words::count(self.size)),
            ("sha256", self.sha256.clone()),
        ];
        pairs.extend(self.receipts.iter().map(|r| ("receipt", format!("{}, {}", r.seq, r.disposition))));
        pairs.extend(
            self.manifest
                .pieces
                .iter()
                .map(|piece| ("piece", format!("{}, {} bytes", piece.name, piece.size))),
        );
        text.pairs(&pairs);
        if !self.notes.is_empty() {
            text.section("Damage and doubt");
            for note in &self.notes {
                text.item("- ", &note.sentence());
            }
        }
        text.section("Log");
        for line in &self.log.lines {
            text.line(&line.text);
        }
        if let Some(from) = self.more() {
            text.line(&format!("more: /evidence/{}.txt?from={from}", self.evidence_id));
        }
    }
}
