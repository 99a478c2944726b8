//! Reads evidence: from its bytes in custody to what the dying kernel said. Pages do it again for each view, so
//! that only what lists need is stored.

use std::panic::RefUnwindSafe;
use std::sync::Arc;

use handover::EvidenceId;
use handover::manifest::{self, Kind, Manifest};
use report::{Explanation, Parsed, Piece, Profile};
use serde::{Deserialize, Serialize};
use vmcore::Summary;

use crate::app::App;
use crate::problem::Error;
use crate::store;
use crate::store::crash::Crash;
use crate::store::custody::{self, Evidence};
use crate::store::dump::Dump;

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
    /// Who did what when the machine died, if the evidence is its memory.
    pub memory: Option<Summary>,
    /// A dump was read, or could not be.
    dump: bool,
}

impl Reading {
    /// Whether the evidence is a dump that nobody has read yet.
    pub fn waits_for_dump(&self) -> bool {
        is_dump(&self.manifest.kind) && !self.dump
    }
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
    let dump = store::dump::get(app.store.read(), evidence.id).await?;
    let app = Arc::clone(app);
    let reading = tokio::task::spawn_blocking(move || read_now(&app, &evidence, dump));
    reading.await.map_err(|_| Error::Inside("reading evidence ended badly"))?
}

/// What the evidence of a crash tells.
#[derive(Debug)]
pub struct Told {
    /// The piece of evidence with its log: of several the first whose text is whole.
    pub reading: Reading,
    /// Which of its reports the crash is.
    pub number: usize,
    /// The memory of the machine that it killed, and the evidence that this is.
    pub memory: Option<(EvidenceId, Summary)>,
}

/// Reads the evidence of a crash again. `None` when only its count is kept.
pub async fn of_crash(app: &Arc<App>, crash: &Crash) -> Result<Option<Told>, Error> {
    let (mut log, mut memory): (Option<(Reading, usize)>, _) = (None, None);
    let damaged = |(reading, number): &(Reading, usize)| {
        reading.parsed.reports.get(*number).is_none_or(|report| report.corrupted.is_some())
    };
    for source in store::crash_evidence::sources(app.store.read(), crash.id).await? {
        let number = usize::try_from(source.report_no).ok();
        let remembers = memory.is_none() && holds_memory(&Kind::from_word(&source.kind));
        let tells = number.is_some() && log.as_ref().is_none_or(damaged);
        if !remembers && !tells {
            continue;
        }
        let Some(evidence) = custody::by_id(app.store.custody(), source.evidence_row).await? else {
            continue;
        };
        let mut reading = read(app, evidence).await?;
        memory = memory.or(reading.memory.take().map(|memory| (source.evidence_id, memory)));
        let Some(number) = number.filter(|number| *number < reading.parsed.reports.len()) else { continue };
        let found = (reading, number);
        if log.is_none() || !damaged(&found) {
            log = Some(found);
        }
    }
    Ok(log.map(|(mut reading, number)| {
        if let Some((_, memory)) = &memory {
            told_by_memory(&mut reading.parsed, memory);
        }
        Told { reading, number, memory }
    }))
}

/// A log seldom says which builds were running; the kernel's memory does.
fn told_by_memory(parsed: &mut Parsed, memory: &Summary) {
    let facts = &memory.facts;
    parsed.kernel.build_id = parsed.kernel.build_id.take().or_else(|| facts.build_id.clone());
    for module in &mut parsed.modules {
        let loaded = facts.modules.iter().find(|loaded| loaded.name == module.name);
        module.build_id = module.build_id.take().or_else(|| loaded?.build_id.clone());
    }
}

fn holds_memory(kind: &Kind) -> bool {
    is_dump(kind) || *kind == Kind::VmcoreSummary
}

/// Whether evidence of this kind is read by [`crate::dump`].
pub fn is_dump(kind: &Kind) -> bool {
    matches!(kind, Kind::Vmcore | Kind::VmcoreExtract)
}

fn read_now(app: &App, evidence: &Evidence, dump: Option<Dump>) -> Result<Reading, Error> {
    let manifest = manifest(evidence)?;
    let mut notes: Vec<Note> = manifest.notes.iter().map(Note::of_agent).collect();
    let text = Text::of(app, evidence, &manifest, dump.as_ref(), &mut notes)?;
    let parsed = text.guarded(&manifest, report::read).unwrap_or_else(|| {
        tracing::error!(evidence = %evidence.evidence_id, "the reader panicked");
        let text = "our reader failed on this evidence; the bytes are kept".to_owned();
        notes.push(Note::of_reader("reader-failed", text));
        report::parse(b"")
    });
    let memory = memory(app, evidence, &manifest, dump.as_ref(), &mut notes)?;
    notes.extend(parsed.notes.iter().map(Note::of_parsed));
    if parsed.reports.is_empty() {
        // No crash, but perhaps what explains why the machine is gone.
        notes.extend(parsed.findings.iter().map(Note::of_finding));
    }
    notes.truncate(NOTES);
    Ok(Reading { manifest, parsed, notes, memory, dump: dump.is_some() })
}

/// The log in a piece of evidence.
enum Text {
    /// Its bytes, in the pieces that the manifest names.
    Bytes(Vec<u8>),
    /// Found in a dump of memory.
    OfDump(Vec<u8>),
}

impl Text {
    /// What can be had of it; why not all can is noted.
    fn of(
        app: &App,
        evidence: &Evidence,
        manifest: &Manifest,
        dump: Option<&Dump>,
        notes: &mut Vec<Note>,
    ) -> Result<Text, Error> {
        let mut say = |code: &str, text: String| notes.push(Note::of_reader(code, text));
        if is_dump(&manifest.kind) {
            let Some(dump) = dump else {
                say("waits", "the dump is being read".to_owned());
                return Ok(Text::OfDump(Vec::new()));
            };
            if !dump.failure.is_empty() {
                say("dump-unreadable", dump.failure.clone());
            }
            return Ok(Text::OfDump(unpack(&dump.log)?));
        }
        if let Some(why) = left_unread(&manifest.kind) {
            say("not-read", why.to_owned());
        } else if evidence.size > LOG {
            say(
                "too-large-to-read",
                format!("{} bytes are more than any kernel's log buffer holds", evidence.size),
            );
        } else if manifest.kind != Kind::VmcoreSummary {
            return Ok(Text::Bytes(bytes(app, evidence, notes)));
        }
        Ok(Text::Bytes(Vec::new()))
    }

    /// Reads foreign bytes; `None` if the reader panics, which is a bug of ours and no reason to lose the evidence.
    fn guarded<T>(&self, manifest: &Manifest, read: impl Fn(&[Piece<'_>]) -> T + RefUnwindSafe) -> Option<T> {
        let pieces: Vec<Piece<'_>> = match self {
            Text::Bytes(bytes) => {
                manifest.split(bytes).into_iter().map(|(name, bytes)| Piece { name, bytes }).collect()
            }
            Text::OfDump(bytes) => vec![Piece { name: "the log in the dump", bytes }],
        };
        std::panic::catch_unwind(|| read(&pieces)).ok()
    }
}

/// The bytes of evidence; none, with a note, when they are not to be had.
fn bytes(app: &App, evidence: &Evidence, notes: &mut Vec<Note>) -> Vec<u8> {
    let (code, why) = match app.blobs.read(evidence) {
        Ok(Some(bytes)) => return bytes,
        Ok(None) => ("bytes-withheld", "the node counted it and did not keep its bytes".to_owned()),
        Err(error) => {
            let why = crate::problem::Chain(&error).to_string();
            tracing::error!(evidence = %evidence.evidence_id, error = why, "evidence cannot be read");
            ("evidence-unreadable", why)
        }
    };
    notes.push(Note::of_reader(code, why));
    Vec::new()
}

/// Who did what when the machine died, where evidence tells it.
fn memory(
    app: &App,
    evidence: &Evidence,
    manifest: &Manifest,
    dump: Option<&Dump>,
    notes: &mut Vec<Note>,
) -> Result<Option<Summary>, Error> {
    let summary = match (&manifest.kind, dump) {
        (Kind::VmcoreSummary, _) => bytes(app, evidence, notes),
        (_, Some(Dump { summary: Some(summary), .. })) => unpack(summary)?,
        _ => return Ok(None),
    };
    if summary.is_empty() {
        return Ok(None);
    }
    match Summary::read(&summary) {
        Ok(summary) => Ok(Some(summary)),
        Err(error) => {
            let why = crate::problem::Chain(&error).to_string();
            notes.push(Note::of_reader("summary-unreadable", why));
            Ok(None)
        }
    }
}

/// What [`crate::dump`] packed; its sizes were bounded then.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, Error> {
    zstd::decode_all(packed).map_err(|_| Error::Inside("what was read of a dump is damaged"))
}

/// Why each report of a piece of evidence got its title, in the order of its reports.
pub async fn explain(app: &Arc<App>, evidence: Evidence) -> Result<Vec<Explanation>, Error> {
    let dump = store::dump::get(app.store.read(), evidence.id).await?;
    let app = Arc::clone(app);
    let explaining = tokio::task::spawn_blocking(move || {
        let manifest = manifest(&evidence)?;
        let text = Text::of(&app, &evidence, &manifest, dump.as_ref(), &mut Vec::new())?;
        let explained = text.guarded(&manifest, |pieces| report::explain(pieces, Profile::Production).1);
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

/// Why evidence of this kind is kept and not read; `None` when it is a log or a machine's memory.
fn left_unread(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::KernelLog | Kind::ConsoleLog => None,
        Kind::Vmcore | Kind::VmcoreExtract | Kind::VmcoreSummary => None,
        Kind::UserLog => Some("what user space left is kept and not read for reports"),
        Kind::HardwareError => Some("hardware error records are kept and not decoded"),
        Kind::Other => Some("its kind is not a log's"),
        Kind::Unknown(_) => Some("its kind is not known to this version"),
    }
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
