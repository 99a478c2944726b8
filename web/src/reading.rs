//! Reads evidence: from its bytes in custody to what the dying kernel said. Pages do it again for each view, so
//! that only what lists need is stored.

use std::panic::RefUnwindSafe;
use std::sync::Arc;

use handover::manifest::{self, Kind, Manifest};
use report::{Explanation, Parsed, Piece, Profile};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::problem::Error;
use crate::store::crash::Crash;
use crate::store::custody::{self, Evidence};
use crate::store::{self};

/// Logs above this are kept and not read: the largest kernel log buffer in use is 32 MiB
/// (`CONFIG_LOG_BUF_SHIFT` 25).
const LOG: i64 = 64 * 1024 * 1024;

/// Notes that are kept of one piece of evidence: more than this tell of nothing but noise.
const NOTES: usize = 256;

/// A piece of evidence that was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What its node said of it.
    pub manifest: Manifest,
    /// What it says.
    pub parsed: Parsed,
    /// Damage seen by the agent and by the reader.
    pub notes: Vec<Note>,
}

/// Damage or doubt, as stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who saw it.
    pub by: By,
    /// What kind, in kebab-case.
    pub code: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Line of the joined log, an index into its lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Name of the artifact that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
}

/// Who saw some damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The agent, when it gathered the evidence.
    Agent,
    /// The service, when it read it.
    Reader,
}

/// Reads a piece of evidence. Damage is in the notes; an error is a failure of ours.
pub async fn read(app: &Arc<App>, evidence: Evidence) -> Result<Reading, Error> {
    let app = Arc::clone(app);
    let reading = tokio::task::spawn_blocking(move || read_now(&app, &evidence));
    reading.await.map_err(|_| Error::Inside("reading evidence ended badly"))?
}

/// Reads the evidence of a crash again, and says which of its reports the crash is. `None` when only its count is
/// kept.
pub async fn of_crash(app: &Arc<App>, crash: &Crash) -> Result<Option<(Reading, usize)>, Error> {
    for source in store::crash_evidence::sources(app.store.read(), crash.id).await? {
        let Some(evidence) = custody::by_id(app.store.custody(), source.evidence_row).await? else {
            continue;
        };
        let reading = read(app, evidence).await?;
        let number = usize::try_from(source.report_no).unwrap_or(usize::MAX);
        if number < reading.parsed.reports.len() {
            return Ok(Some((reading, number)));
        }
    }
    Ok(None)
}

fn read_now(app: &App, evidence: &Evidence) -> Result<Reading, Error> {
    let manifest = manifest(evidence)?;
    let mut notes: Vec<Note> = manifest.notes.iter().map(Note::of_agent).collect();
    let mut say = |code: &str, text: String| notes.push(Note::of_reader(code, text));
    let bytes = if let Some(why) = left_unread(&manifest.kind) {
        say("not-read", why.to_owned());
        Vec::new()
    } else if evidence.size > LOG {
        say(
            "too-large-to-read",
            format!("{} bytes are more than any kernel's log buffer holds", evidence.size),
        );
        Vec::new()
    } else {
        match app.blobs.read(evidence) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                say("bytes-withheld", "the node counted it and did not keep its bytes".to_owned());
                Vec::new()
            }
            Err(error) => {
                let why = crate::problem::Chain(&error).to_string();
                tracing::error!(evidence = %evidence.evidence_id, error = why, "evidence cannot be read");
                say("evidence-unreadable", why);
                Vec::new()
            }
        }
    };
    let parsed = guarded(&manifest, &bytes, report::read).unwrap_or_else(|| {
        tracing::error!(evidence = %evidence.evidence_id, "the reader panicked");
        say("reader-failed", "our reader failed on this evidence; the bytes are kept".to_owned());
        report::parse(b"")
    });
    notes.extend(parsed.notes.iter().map(Note::of_parsed));
    if parsed.reports.is_empty() {
        // No crash, but perhaps what explains why the machine is gone.
        notes.extend(parsed.findings.iter().map(Note::of_finding));
    }
    notes.truncate(NOTES);
    Ok(Reading { manifest, parsed, notes })
}

/// Why each report of a piece of evidence got its title, in the order of its reports.
pub async fn explain(app: &Arc<App>, evidence: Evidence) -> Result<Vec<Explanation>, Error> {
    let app = Arc::clone(app);
    let explaining = tokio::task::spawn_blocking(move || {
        let manifest = manifest(&evidence)?;
        let bytes = app.blobs.read(&evidence)?.unwrap_or_default();
        let explained = guarded(&manifest, &bytes, |pieces| report::explain(pieces, Profile::Production).1);
        explained.ok_or(Error::Inside("our reader failed on this evidence"))
    });
    explaining.await.map_err(|_| Error::Inside("explaining a title ended badly"))?
}

/// The manifest of stored evidence.
pub fn manifest(evidence: &Evidence) -> Result<Manifest, Error> {
    let damaged = || Error::Inside("a stored manifest is damaged");
    let limit = handover::limits::MANIFEST;
    let bytes = zstd::bulk::decompress(&evidence.manifest, limit).map_err(|_| damaged())?;
    Manifest::read(&bytes).map(handover::canonical::Document::into_inner).map_err(|_| damaged())
}

/// Why evidence of this kind is kept and not read; `None` when it is a log.
fn left_unread(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::KernelLog | Kind::ConsoleLog => None,
        Kind::UserLog => Some("what user space left is kept and not read for reports"),
        Kind::HardwareError => Some("hardware error records are kept and not decoded"),
        Kind::Vmcore | Kind::VmcoreExtract | Kind::VmcoreSummary => Some("dumps are kept and not read here"),
        Kind::Other => Some("its kind is not a log's"),
        Kind::Unknown(_) => Some("its kind is not known to this version"),
    }
}

/// Reads foreign bytes; `None` if the reader panics, which is a bug of ours and no reason to lose the evidence.
fn guarded<T>(
    manifest: &Manifest,
    bytes: &[u8],
    read: impl Fn(&[Piece<'_>]) -> T + RefUnwindSafe,
) -> Option<T> {
    let pieces: Vec<Piece<'_>> =
        manifest.split(bytes).into_iter().map(|(name, bytes)| Piece { name, bytes }).collect();
    std::panic::catch_unwind(|| read(&pieces)).ok()
}

impl Note {
    fn of_finding(finding: &report::Finding) -> Note {
        let code = match serde_json::to_value(finding.family) {
            Ok(serde_json::Value::String(word)) => word,
            _ => "finding".to_owned(),
        };
        Note { line: Some(finding.line), ..Note::of_reader(&code, finding.text.clone()) }
    }

    fn of_reader(code: &str, text: String) -> Note {
        Note { by: By::Reader, code: code.to_owned(), text, line: None, piece: None }
    }

    /// A note of the log's reader.
    pub fn of_parsed(note: &report::Note) -> Note {
        let report::Note { code, line, text } = note;
        Note { line: *line, ..Note::of_reader(code, text.clone()) }
    }

    fn of_agent(note: &manifest::Note) -> Note {
        let manifest::Note { code, piece, at, detail } = note.clone();
        let at = at.map(|at| format!("at byte {at}"));
        let text = [detail, at].into_iter().flatten().collect::<Vec<_>>().join(", ");
        Note { by: By::Agent, code, text, line: None, piece }
    }
}
