//! `/nodes/{id}`: one machine, its boots, crashes and evidence.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use handover::NodeId;
use handover::readiness::{Check, Readiness, Verdict};
use serde::Serialize;

use super::frame::{Frame, Nav};
use super::nodes::armed;
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::api;
use crate::app::{App, AppState};
use crate::problem::{Error, not_found};
use crate::store::boot::{self, Boot};
use crate::store::crash::{self, Crash};
use crate::store::evidence::{self, Evidence};
use crate::store::node::{self, Armed, Node};
use crate::text::Text;

/// Rows of each list; the rest is behind a link.
const ROWS: u32 = 20;

/// One node, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    lede: Sentence,
    node: Node,
    labels: Vec<(String, String)>,
    /// Would a crash be captured: the node's checks, as they hold now; absent when it told nothing.
    readiness: Option<Capture>,
    boots: Vec<Boot>,
    crashes: Vec<Crash>,
    evidence: Vec<Evidence>,
}

/// What a node said of its readiness.
#[derive(Debug, Serialize)]
struct Capture {
    state: Armed,
    received_us: i64,
    #[serde(flatten)]
    document: Readiness,
}

/// `GET /nodes/{id}`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = load(&app, asked.key(), asked.now_us()).await;
    asked.answer(found)
}

async fn load(app: &App, key: &str, now_us: i64) -> Result<One, Error> {
    let missing = || not_found(format!("node {key}"));
    let id: NodeId = key.parse().map_err(|_| missing())?;
    let db = app.store.read();
    let node = node::by_key(db, &id).await?.ok_or_else(missing)?;
    let labels = node::labels(db, node.id).await?;
    let boots = boot::of_node(db, node.id, ROWS).await?;
    let filter = crash::Filter { node: Some(node.id), ..crash::Filter::default() };
    let crashes = crash::list(db, &filter, None, ROWS).await?;
    let filter = evidence::Filter { node: Some(node.id), unnamed: false };
    let evidence = evidence::list(db, &filter, None, ROWS).await?;
    let readiness = node::readiness(db, &id).await?.and_then(|kept| {
        let (document, state) = api::readiness::at(&kept, now_us)?;
        Some(Capture { state, received_us: kept.readiness_seen_us, document })
    });
    let lede = lede(&node, &crashes, evidence.is_empty());
    Ok(One { lede, node, labels, readiness, boots, crashes, evidence })
}

fn lede(node: &Node, crashes: &[Crash], quiet: bool) -> Sentence {
    let sentence = Sentence::default();
    let sentence = match crashes.first() {
        None if quiet => sentence.say("It tells of its boots, and never handed over a crash."),
        None => sentence.say("It handed evidence over, but no crash that is counted."),
        Some(newest) => sentence
            .strong(words::plural(node.crashes, "crash", "crashes"))
            .say(format!("; the newest on {}: ", words::minute(newest.at_us)))
            .link(format!("/crashes/{}", newest.crash_id), newest.title.as_str())
            .say("."),
    };
    match node.class {
        0 => sentence,
        _ => sentence.say(" It is a drill: what it sends is not counted."),
    }
}

/// How a boot ended: sign and words.
fn ending(boot: &Boot) -> (&'static str, &'static str) {
    match boot.ending {
        1 => ("good", "clean"),
        2 => ("bad", "crash"),
        3 => ("bad", "hardware"),
        4 => ("warn", "watchdog or power"),
        5 => ("unk", "silent"),
        _ => ("unk", "not known"),
    }
}

/// Glyph and word of a check.
fn verdict(check: &Check) -> (&'static str, &'static str) {
    match check.verdict {
        Verdict::Pass => ("good", "pass"),
        Verdict::Unknown => ("unk", "unknown"),
        Verdict::Fail => ("bad", "fail"),
    }
}

/// How we know of a boot.
fn basis(boot: &Boot) -> &'static str {
    match boot.basis {
        0 => "the node's ledger",
        1 => "the node's journal",
        2 => "a record it left",
        _ => "its evidence alone",
    }
}

impl One {
    fn name(&self) -> String {
        super::node_name(&self.node.name, &self.node.node_id.to_string()).to_owned()
    }
}

#[derive(Template)]
#[template(path = "node.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a One,
}

impl View for One {
    const AT: Nav = Nav::Nodes;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, now_us: i64) {
        text.title(&format!("Node {}", self.name()));
        text.prose(&self.lede.plain());
        text.gap();
        let mut pairs = vec![
            ("id", self.node.node_id.to_string()),
            ("kernel", self.node.kernel.clone().unwrap_or_else(|| "–".into())),
            ("agent", self.node.agent_version.clone()),
            ("first heard", words::whole(self.node.first_us)),
            (
                "last heard",
                format!(
                    "{} ({} ago)",
                    words::whole(self.node.last_us),
                    words::since(self.node.last_us, now_us)
                ),
            ),
        ];
        pairs.extend(self.labels.iter().map(|(name, value)| ("label", format!("{name}={value}"))));
        text.pairs(&pairs);
        text.section("Would a crash be captured?");
        match &self.readiness {
            None => text.prose("The node said nothing of it yet."),
            Some(capture) => {
                text.prose(armed(&capture.state).1);
                for check in &capture.document.checks {
                    text.item(
                        &format!("{:<8}", verdict(check).1),
                        &format!("{}: {}", check.id, check.evidence),
                    );
                    if !check.fix.is_empty() {
                        text.line(&format!("        mend: {}", check.fix));
                    }
                }
            }
        }
        text.section("Boots");
        let rows = self.boots.iter().map(|boot| {
            vec![
                words::minute(boot.seen_us),
                ending(boot).1.to_owned(),
                words::count(boot.crashes),
                boot.kernel.clone().unwrap_or_else(|| "–".into()),
            ]
        });
        text.table(&["seen (UTC)", "ended in", ">crashes", "kernel"], &rows.collect::<Vec<_>>());
        text.section("Crashes");
        super::crashes::rows_as_text(&self.crashes, text);
        text.section("Evidence");
        super::evidence::rows_as_text(&self.evidence, text);
    }
}
