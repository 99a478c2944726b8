//! `/crashes/{id}`: one crash, from its title down to the bytes.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use handover::manifest::Kind;
use handover::{CrashId, EvidenceId};
use report::Explanation;
use serde::Serialize;

use super::evidence::{Receipt, receipts, source};
use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::story::{Stack, Step, Story, shown};
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::locate::{self, Located};
use crate::problem::{Error, not_found};
use crate::reading::{self, Told};
use crate::store::crash::{self, Crash};
use crate::store::signature::{self, Signature};
use crate::store::wanted::{self, Missing};
use crate::store::{alias, crash_evidence, custody};
use crate::symbols::sources::{self, Line};
use crate::tasks::Tasks;
use crate::text::Text;

/// Neighbours shown at the side.
const NEAR: u32 = 6;

/// One crash, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    lede: Sentence,
    crash: Crash,
    signature: Signature,
    /// All titles of the signature, oldest first.
    titles: Vec<String>,
    /// What its evidence says; absent when only its count is kept.
    story: Option<Story>,
    /// The lines of the source around the fault; none where the source is not at hand.
    source: Vec<Line>,
    /// Who did what when the machine died; absent when its memory was not handed over.
    tasks: Option<Tasks>,
    /// Why it got its title; absent when there is nothing to read.
    why: Option<Explanation>,
    evidence: Vec<Piece>,
    /// Debug files that would give more source lines.
    missing: Vec<Missing>,
    /// Other crashes of the same boot.
    same_boot: Vec<Crash>,
    /// The newest crashes of the same signature.
    near: Vec<Crash>,
}

/// A piece of evidence of this crash.
#[derive(Debug, Serialize)]
struct Piece {
    evidence_id: EvidenceId,
    kind: String,
    /// `pstore, ramoops`.
    source: String,
    size: i64,
    sha256: String,
    /// Names of the artifacts it is made of.
    artifacts: Vec<String>,
    found_us: i64,
    received_us: i64,
    receipts: Vec<Receipt>,
    /// The page and the log are made from this one.
    shown: bool,
}

impl Piece {
    /// It is the machine's memory and no log.
    fn is_memory(&self) -> bool {
        self.kind == Kind::VmcoreSummary.as_str()
    }
}

/// `GET /crashes/{id}`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = load(&app, asked.key()).await;
    asked.answer(found)
}

async fn load(app: &Arc<App>, key: &str) -> Result<One, Error> {
    let missing = || not_found(format!("crash {key}"));
    let id: CrashId = key.parse().map_err(|_| missing())?;
    let db = app.store.read();
    let crash = crash::by_key(db, &id).await?.ok_or_else(missing)?;
    let signature = signature::by_id(db, crash.signature_row).await?.ok_or_else(missing)?;
    let mut tasks = None;
    let (story, read_from) = match reading::of_crash(app, &crash).await? {
        Some(Told { reading, number, memory }) => {
            let located = match reading.parsed.reports.get(number) {
                Some(report) => locate::known(app, &crash, &reading.parsed, report).await?,
                None => Located::default(),
            };
            let story = Story::tell(&reading.parsed, number, &reading.notes, &located);
            if let Some((evidence, memory)) = memory {
                let places = locate::memory::known(app, &crash.kernel, &memory).await?;
                tasks = Some(Tasks::tell(evidence, &memory, &places));
            }
            (story, Some((reading.manifest.evidence_id, number)))
        }
        None => (None, None),
    };
    let why = match read_from {
        Some((evidence, number)) => explanation(app, &evidence, number).await?,
        None => None,
    };
    let evidence = pieces(app, &crash, read_from.map(|(evidence, _)| evidence)).await?;
    let of_boot = crash::Filter { boot: Some(crash.boot_row), ..crash::Filter::default() };
    let mut same_boot = crash::list(db, &of_boot, None, NEAR + 1).await?;
    same_boot.retain(|other| other.id != crash.id);
    let of_signature = crash::Filter { signature: Some(crash.signature_row), ..crash::Filter::default() };
    let mut near = crash::list(db, &of_signature, None, NEAR + 1).await?;
    near.retain(|other| other.id != crash.id);
    let fault = story.as_ref().and_then(Story::fault).cloned();
    let source = match fault {
        Some(fault) => {
            let (symbols, kernel) = (Arc::clone(&app.symbols), crash.kernel.clone());
            let reading = move || sources::around(symbols.settings.sources.as_deref(), &kernel, &fault);
            let read = tokio::task::spawn_blocking(reading).await;
            read.map_err(|_| Error::Inside("reading a source ended badly"))?
        }
        None => Vec::new(),
    };
    Ok(One {
        source,
        lede: lede(&crash, story.as_ref()),
        missing: wanted::missing_of(db, crash.id).await?,
        titles: alias::titles(db, signature.id).await?,
        crash,
        signature,
        story,
        tasks,
        why,
        evidence,
        same_boot,
        near,
    })
}

async fn explanation(app: &Arc<App>, key: &EvidenceId, number: usize) -> Result<Option<Explanation>, Error> {
    let Some(stored) = custody::by_key(app.store.custody(), key).await? else { return Ok(None) };
    Ok(reading::explain(app, stored).await?.into_iter().find(|explanation| explanation.report == number))
}

async fn pieces(app: &App, crash: &Crash, read_from: Option<EvidenceId>) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    for row in crash_evidence::sources(app.store.read(), crash.id).await? {
        let Some(stored) = custody::by_id(app.store.custody(), row.evidence_row).await? else { continue };
        let manifest = reading::manifest(&stored)?;
        let envelopes = custody::receipts_of(app.store.custody(), &row.evidence_id).await?;
        pieces.push(Piece {
            evidence_id: row.evidence_id,
            kind: row.kind,
            source: source(&manifest),
            size: stored.size,
            sha256: stored.sha256.to_string(),
            artifacts: manifest.pieces.iter().map(|piece| piece.name.clone()).collect(),
            found_us: manifest.found_us,
            received_us: row.received_us,
            receipts: receipts(&envelopes),
            shown: read_from == Some(row.evidence_id),
        });
    }
    Ok(pieces)
}

/// What died, doing what, where, and how sure we are.
fn lede(crash: &Crash, story: Option<&Story>) -> Sentence {
    let mut sentence = Sentence::default();
    if let Some(story) = story {
        if let Some(function) = &story.function {
            sentence = sentence.say("In ").strong(function);
            if let Some(module) = &story.module {
                sentence = sentence.say(" of the module ").code(module);
            }
            if let Some(place) = &story.place {
                sentence = sentence.say(", at ").code(place);
            }
        } else {
            sentence = sentence.say("The rules blame no function");
        }
        if !crash.comm.is_empty() {
            sentence = sentence.say(", while ").strong(&crash.comm).say(" ran");
        }
        sentence = sentence.say(". ");
    }
    let name = super::node_name(&crash.node_name, &crash.node_id.to_string()).to_owned();
    sentence = sentence.say("The kernel of ").link(format!("/nodes/{}", crash.node_id), name);
    sentence = sentence.say(if crash.fatal { " died of it" } else { " survived it" });
    if let Some(us) = crash.kernel_us {
        sentence = sentence.say(format!(", {} after boot", since_boot(us)));
    }
    sentence = sentence.say(". ");
    match (story, crash.corrupted.is_empty()) {
        (None, _) => sentence.say("Only its count was handed over, so there is nothing to read."),
        (Some(_), false) => sentence
            .strong("Its text is damaged")
            .say(format!(" ({}), so the name deserves less trust.", crash.corrupted)),
        (Some(story), true) if story.place.is_some() => sentence
            .say("We are ")
            .strong("sure of function and line")
            .say(": the report is whole, and the symbols fit it."),
        (Some(_), true) => {
            sentence.say("We are ").strong("sure of the function").say("; its line is not known yet.")
        }
    }
}

/// `3.2 seconds`, `4 h`.
fn since_boot(us: i64) -> String {
    match us {
        0..60_000_000 => format!("{}.{} seconds", us / 1_000_000, us / 100_000 % 10),
        _ => words::span(us),
    }
}

impl One {
    fn node(&self) -> String {
        super::node_name(&self.crash.node_name, &self.crash.node_id.to_string()).to_owned()
    }

    /// What `at_us` is taken from, in words.
    fn at_basis(&self) -> &str {
        match self.crash.at_basis.as_str() {
            "pstore-mtime" => "by the record’s time",
            "pstore-name" => "by the record’s name",
            "kdump-name" => "by the dump folder’s name",
            "journal" => "by the journal",
            "file-mtime" => "by the file’s time",
            "found" => "when it was found: nothing tells when it happened",
            "received" => "when it arrived: the node’s clock is not trusted",
            other => other,
        }
    }

    /// Functions that were passed over, each once, with the rule.
    fn skipped(&self) -> Vec<(&str, &str)> {
        let mut skipped: Vec<(&str, &str)> = Vec::new();
        for one in self.why.iter().flat_map(|why| &why.skipped) {
            if !skipped.iter().any(|(name, _)| *name == one.name) {
                skipped.push((&one.name, one.rule));
            }
        }
        skipped
    }

    fn kind(&self) -> &str {
        &self.crash.r#type
    }

    fn kernel_time(&self) -> Option<String> {
        self.crash.kernel_us.map(words::kernel_time)
    }

    fn also(&self) -> impl Iterator<Item = &String> {
        self.titles.iter().filter(|title| **title != self.crash.title)
    }

    fn total_bytes(&self) -> i64 {
        self.evidence.iter().map(|piece| piece.size).sum()
    }

    /// The id of the evidence that the log is from.
    fn log_of(&self) -> Option<&EvidenceId> {
        self.evidence.iter().find(|piece| piece.shown).map(|piece| &piece.evidence_id)
    }
}

#[derive(Template)]
#[template(path = "crash.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a One,
}

impl View for One {
    const AT: Nav = Nav::Crashes;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        let crash = &self.crash;
        text.title(&crash.title);
        text.prose(&self.lede.plain());
        text.gap();
        let mut pairs = vec![
            ("when", format!("{} ({})", words::whole(crash.at_us), self.at_basis())),
            ("node", self.node()),
            ("kernel", crash.kernel.clone()),
            ("task", format!("{} {}", crash.comm, crash.pid.map(|pid| pid.to_string()).unwrap_or_default())),
            ("taint", if crash.taint.is_empty() { "none".into() } else { crash.taint.clone() }),
            (
                "signature",
                format!(
                    "{} ({})",
                    crash.signature,
                    words::plural(self.signature.crashes, "crash", "crashes")
                ),
            ),
            ("crash", crash.crash_id.to_string()),
        ];
        if let Some(address) = self.story.as_ref().and_then(|story| story.fault_address.as_ref()) {
            pairs.insert(4, ("address", address.words.clone()));
        }
        text.pairs(&pairs);
        if let Some(story) = &self.story {
            story_as_text(story, text);
        }
        if let Some(tasks) = &self.tasks {
            super::tasks::as_text(tasks, text);
        }
        text.section("Evidence");
        for piece in &self.evidence {
            text.item(
                "- ",
                &format!(
                    "{}, {}, {} bytes, {}",
                    piece.kind,
                    piece.source,
                    piece.size,
                    piece.artifacts.join(" ")
                ),
            );
            text.line(&format!("  sha256 {}", piece.sha256));
            for receipt in &piece.receipts {
                text.line(&format!("  receipt {}, {}", receipt.seq, receipt.disposition));
            }
        }
    }
}

/// Stack, registers, damage and boot of a report.
pub(crate) fn story_as_text(story: &Story, text: &mut Text) {
    text.section("Stack");
    stack_as_text(&story.stack, text);
    for other in &story.others {
        text.section(&other.heading);
        stack_as_text(other, text);
    }
    if !story.registers.is_empty() {
        text.section("Registers");
        for register in &story.registers {
            text.line(&format!("{:<8} {}  {}", register.name, register.value, register.says));
        }
    }
    if !story.listing.rows.is_empty() {
        text.section("Code");
        for row in &story.listing.rows {
            let mark = if row.faulting { ">" } else { " " };
            text.line(&format!("{mark} {:<26} {}", row.at, row.text));
        }
    } else if let Some(code) = &story.code {
        text.section("Code");
        text.prose(&format!("{} <{}> {}", code.before, code.at, code.after));
    }
    if !story.notes.is_empty() {
        text.section("Damage and doubt");
        for note in &story.notes {
            text.item("- ", &note.sentence());
        }
    }
    if story.boot.len() > 1 {
        text.section("This boot");
        let rows = story.boot.iter().map(|event| {
            let mark = if event.this { "this" } else { "" };
            vec![event.time.clone().unwrap_or_default(), mark.to_owned(), event.title.clone()]
        });
        text.table(&[">since boot", "", "title"], &rows.collect::<Vec<_>>());
    }
}

fn stack_as_text(stack: &Stack, text: &mut Text) {
    for step in &stack.steps {
        match step {
            Step::Edge { words } => text.line(&format!("    -- {words}")),
            Step::Frame(entry) => {
                for call in entry.inner() {
                    text.line(&format!("    {:<38} {}  inlined", call.function, shown(call)));
                }
                let mark = entry.index.map_or_else(|| "  ?".into(), |index| format!("{index:>3}"));
                let module = entry.module.as_ref().map(|module| format!(" [{module}]")).unwrap_or_default();
                let function = format!("{}{}{module}", entry.function, entry.offset);
                text.line(&format!("{mark} {function:<38} {}", entry.place_shown()));
            }
        }
    }
}
