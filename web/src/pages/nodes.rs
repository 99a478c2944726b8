//! `/nodes`: the machines that handed something over.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::paging::{self, After, PAGE, Page};
use crate::problem::Error;
use crate::store::node::{self, Armed, ArmedCounts, Node, Sort};
use crate::store::rollup;
use crate::text::Text;

/// The list, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Nodes {
    lede: Sentence,
    sort: Sort,
    /// Would a crash be captured: how many nodes of each state.
    readiness: ArmedCounts,
    #[serde(flatten)]
    page: Page<Node>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    sort: Sort,
    after: Option<String>,
}

/// `GET /nodes`
pub(crate) async fn show(
    State(app): State<AppState>,
    Query(params): Query<Params>,
    asked: Asked,
) -> Response {
    let found = load(&app, params, asked.now_us()).await;
    asked.answer(found)
}

async fn load(app: &App, params: Params, now_us: i64) -> Result<Nodes, Error> {
    let Params { sort, after } = params;
    let db = app.store.read();
    let list = ("nodes", sort);
    let after = paging::after(after.as_deref(), &list)?;
    let rows = node::list(db, sort, after, PAGE + 1).await?;
    let page = Page::of(rows, PAGE, &list, |row| After { key: sort.key(row), id: row.id });
    let all = node::count(db).await?;
    let day = node::count_heard(db, now_us - rollup::DAY_US).await?;
    let readiness = node::count_armed(db, now_us).await?;
    let lede = lede(all, day, &readiness);
    Ok(Nodes { lede, sort, readiness, page })
}

fn lede(all: i64, day: i64, readiness: &ArmedCounts) -> Sentence {
    if all == 0 {
        return "No node has handed anything over yet.".into();
    }
    let ArmedCounts { proven, armed: _, unarmed, unknown } = *readiness;
    let mut sentence = Sentence::default();
    if proven > 0 {
        sentence = sentence
            .say("A crash on ")
            .strong(format!("{} of {}", words::count(proven), words::count(all)))
            .say(" nodes would be captured, and that is proven. ");
    }
    if unarmed > 0 {
        sentence = sentence.strong(format!("{} would leave nothing", words::count(unarmed))).say(". ");
    }
    if unknown > 0 {
        let words = words::plural(unknown, "node nobody can say", "nodes nobody can say");
        sentence = sentence.say(format!("For {words} whether a crash would be captured. "));
    }
    sentence
        .strong(words::count(day))
        .say(" handed something over in the last 24 hours; silence is not counted as health.")
}

/// The readiness of a row, as it holds at the time of the page.
fn armed_at(node: &Node, now_us: &i64) -> (&'static str, &'static str) {
    armed(&node.armed(*now_us))
}

/// Class of a badge, and words, for a node's readiness.
pub(crate) fn armed(state: &Armed) -> (&'static str, &'static str) {
    match state {
        Armed::Proven => ("good", "proven"),
        Armed::Armed => ("unk", "armed, not proven"),
        Armed::Unarmed => ("bad", "not armed"),
        Armed::Unknown => ("unk", "unknown"),
    }
}

impl Nodes {
    fn share(&self, n: &i64) -> String {
        let all =
            self.readiness.proven + self.readiness.armed + self.readiness.unarmed + self.readiness.unknown;
        if all == 0 { "–".into() } else { format!("{} %", 100 * n / all) }
    }

    fn next(&self) -> Option<String> {
        let sort = if self.sort == Sort::Last { "last" } else { "crashes" };
        self.page.next.as_ref().map(|after| format!("/nodes?sort={sort}&after={after}"))
    }
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Nodes,
}

impl View for Nodes {
    const AT: Nav = Nav::Nodes;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, now_us: i64) {
        text.title("Nodes");
        text.prose(&self.lede.plain());
        text.gap();
        let rows = self.page.items.iter().map(|node| {
            vec![
                super::node_name(&node.name, &node.node_id.to_string()).to_owned(),
                words::count(node.crashes),
                words::since(node.last_us, now_us),
                armed(&node.armed(now_us)).1.to_owned(),
                node.kernel.clone().unwrap_or_else(|| "–".into()),
            ]
        });
        text.table(&["node", ">crashes", ">last heard", "capture", "kernel"], &rows.collect::<Vec<_>>());
        text.more(self.next());
    }
}
