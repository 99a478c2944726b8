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
use crate::store::node::{self, Node, Sort};
use crate::text::Text;

/// The list, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Nodes {
    lede: Sentence,
    sort: Sort,
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
    let day = node::count_heard(db, now_us - 24 * 3600 * 1_000_000).await?;
    let lede = match all {
        0 => "No node has handed anything over yet.".into(),
        _ => Sentence::default()
            .strong(words::plural(all, "node", "nodes"))
            .say(" handed evidence over; ")
            .strong(words::count(day))
            .say(" of them in the last 24 hours. A node speaks when it has found something: silence is not health."),
    };
    Ok(Nodes { lede, sort, page })
}

impl Nodes {
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
                node.kernel.clone().unwrap_or_else(|| "–".into()),
            ]
        });
        text.table(&["node", ">crashes", ">last heard", "kernel"], &rows.collect::<Vec<_>>());
        if let Some(next) = self.next() {
            text.gap();
            text.line(&format!("more: {}", next.replacen("/nodes?", "/nodes.txt?", 1)));
        }
    }
}
