//! Crashes: lists, and one with all that its evidence says.

use axum::Json;
use axum::extract::State;
use handover::{BootId, CrashId, NodeId};
use report::{Explanation, Finding, Report};
use serde::{Deserialize, Serialize};

use super::{Id, Params};
use crate::app::{App, AppState};
use crate::auth::Reader;
use crate::locate::{self, Located};
use crate::paging::{self, After, Page};
use crate::problem::{Error, not_found};
use crate::reading::{self, Note, Told};
use crate::store::signature::SignatureId;
use crate::store::{crash, crash_evidence, custody, node, wanted};
use crate::tasks::Tasks;

/// What a list of crashes may be asked for.
#[derive(Debug, Default, Deserialize)]
pub struct List {
    signature: Option<SignatureId>,
    node: Option<NodeId>,
    kernel: Option<String>,
    fatal: Option<bool>,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /crashes`
pub async fn list(
    State(app): State<AppState>,
    _: Reader,
    Params(List { signature, node, kernel, fatal, after, limit }): Params<List>,
) -> Result<Json<Page<crash::Crash>>, Error> {
    let db = app.store.read();
    let signature = match signature {
        Some(key) => Some(super::signatures::find(&app, &key).await?.id),
        None => None,
    };
    let node = match node {
        Some(key) => {
            Some(node::by_key(db, &key).await?.ok_or_else(|| not_found(format!("no node {key}")))?.id)
        }
        None => None,
    };
    let filter = crash::Filter { signature, node, boot: None, kernel, fatal };
    let list = ("crashes", &filter);
    let size = paging::size(limit);
    let after = paging::after(after.as_deref(), &list)?;
    let rows = crash::list(db, &filter, after, size + 1).await?;
    Ok(Json(Page::of(rows, size, &list, |row| After { key: row.at_us, id: row.id })))
}

/// A crash with its report.
#[derive(Debug, Serialize)]
pub struct Whole {
    #[serde(flatten)]
    crash: crash::Crash,
    evidence: Vec<crash_evidence::Source>,
    /// What the evidence says; absent when only its count is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    /// Where its frames are in the source, by position; null for a frame that is not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    located: Option<Located>,
    notes: Vec<Note>,
    /// What else the log tells: hardware errors, out of memory, firmware.
    findings: Vec<Finding>,
    missing: Vec<wanted::Missing>,
    /// Other crashes of the same boot.
    same_boot: Vec<Mate>,
}

/// Another crash of the same boot.
#[derive(Debug, Serialize)]
struct Mate {
    crash_id: CrashId,
    boot_id: BootId,
    title: String,
    kernel_us: Option<i64>,
    fatal: bool,
}

/// `GET /crashes/{crash_id}`
pub async fn one(State(app): State<AppState>, _: Reader, Id(key): Id<CrashId>) -> Result<Json<Whole>, Error> {
    let db = app.store.read();
    let crash = find(&app, &key).await?;
    let (report, located, notes, findings) = match reading::of_crash(&app, &crash).await? {
        Some(Told { mut reading, number, memory: _ }) => {
            let report = reading.parsed.reports.swap_remove(number);
            let located = locate::known(&app, &crash, &reading.parsed, &report).await?;
            (Some(report), Some(located), reading.notes, reading.parsed.findings)
        }
        None => (None, None, Vec::new(), Vec::new()),
    };
    let filter = crash::Filter { boot: Some(crash.boot_row), ..crash::Filter::default() };
    let mates = crash::list(db, &filter, None, paging::PAGE).await?;
    let same_boot = mates
        .into_iter()
        .filter(|mate| mate.id != crash.id)
        .map(|mate| Mate {
            crash_id: mate.crash_id,
            boot_id: mate.boot_id,
            title: mate.title,
            kernel_us: mate.kernel_us,
            fatal: mate.fatal,
        })
        .collect();
    Ok(Json(Whole {
        evidence: crash_evidence::sources(db, crash.id).await?,
        missing: wanted::missing_of(db, crash.id).await?,
        report,
        located,
        notes,
        findings,
        same_boot,
        crash,
    }))
}

/// `GET /crashes/{crash_id}/tasks`: who did what when the machine died, where its memory was handed over.
pub async fn tasks(
    State(app): State<AppState>,
    _: Reader,
    Id(key): Id<CrashId>,
) -> Result<Json<Tasks>, Error> {
    let crash = find(&app, &key).await?;
    let told = reading::of_crash(&app, &crash).await?;
    let Some((evidence, memory)) = told.and_then(|told| told.memory) else {
        return Err(not_found(format!("no memory of the machine that crash {key} was on")));
    };
    let places = locate::memory::known(&app, &crash.kernel, &memory).await?;
    Ok(Json(Tasks::tell(evidence, &memory, &places)))
}

/// The crash of an id.
pub async fn find(app: &App, key: &CrashId) -> Result<crash::Crash, Error> {
    crash::by_key(app.store.read(), key).await?.ok_or_else(|| not_found(format!("no crash {key}")))
}

/// Why a crash is called what it is called.
#[derive(Debug, Serialize)]
pub struct Explained {
    crash_id: CrashId,
    title: String,
    explanation: Explanation,
}

/// `GET /crashes/{crash_id}/explain`: which rule matched where, and which functions were passed over. Read anew by the
/// rules of now.
pub async fn explain(
    State(app): State<AppState>,
    _: Reader,
    Id(key): Id<CrashId>,
) -> Result<Json<Explained>, Error> {
    let crash = find(&app, &key).await?;
    for source in crash_evidence::sources(app.store.read(), crash.id).await? {
        let Some(evidence) = custody::by_id(app.store.custody(), source.evidence_row).await? else {
            continue;
        };
        let explained = reading::explain(&app, evidence).await?;
        let found = explained.into_iter().find(|one| i64::try_from(one.report) == Ok(source.report_no));
        if let Some(explanation) = found {
            return Ok(Json(Explained { crash_id: key, title: crash.title, explanation }));
        }
    }
    Err(not_found(format!("the evidence of crash {key} is not kept, or tells of it no more")))
}
