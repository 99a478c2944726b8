//! `/crashes`: all crashes, newest first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use handover::NodeId;
use serde::{Deserialize, Serialize};

use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::paging::{self, After, PAGE, Page};
use crate::problem::{Error, malformed, not_found};
use crate::store::crash::{self, Crash, Filter};
use crate::store::signature::SignatureId;
use crate::store::{node, signature};
use crate::text::Text;

/// The list, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Crashes {
    lede: Sentence,
    #[serde(flatten)]
    page: Page<Crash>,
    /// What was asked for, to ask for more of it.
    #[serde(skip)]
    query: Vec<(&'static str, String)>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params {
    signature: Option<String>,
    node: Option<String>,
    kernel: Option<String>,
    fatal: Option<bool>,
    after: Option<String>,
}

/// `GET /crashes`
pub(crate) async fn show(
    State(app): State<AppState>,
    Query(params): Query<Params>,
    asked: Asked,
) -> Response {
    let found = load(&app, params).await;
    asked.answer(found)
}

async fn load(app: &App, params: Params) -> Result<Crashes, Error> {
    let Params { signature, node, kernel, fatal, after } = params;
    let db = app.store.read();
    let mut filter =
        Filter { kernel: kernel.filter(|kernel| !kernel.is_empty()), fatal, ..Filter::default() };
    let mut query = Vec::new();
    let mut lede = Sentence::default().say("All crashes");
    if let Some(key) = signature.filter(|key| !key.is_empty()) {
        let id: SignatureId = key.parse().map_err(|_| malformed("signature: 32 hex digits"))?;
        let found = signature::by_key(db, &id).await?.ok_or_else(|| not_found(format!("signature {id}")))?;
        filter.signature = Some(found.id);
        lede = lede.say(" of ").link(format!("/signatures/{id}"), found.title);
        query.push(("signature", key));
    }
    if let Some(key) = node.filter(|key| !key.is_empty()) {
        let id: NodeId =
            key.parse().map_err(|_| malformed("node: an id as in the address of a node's page"))?;
        let found = node::by_key(db, &id).await?.ok_or_else(|| not_found(format!("node {id}")))?;
        filter.node = Some(found.id);
        lede = lede
            .say(" of node ")
            .link(format!("/nodes/{id}"), super::node_name(&found.name, &id.to_string()));
        query.push(("node", key));
    }
    if let Some(kernel) = &filter.kernel {
        lede = lede.say(" on ").code(kernel);
        query.push(("kernel", kernel.clone()));
    }
    if let Some(fatal) = fatal {
        lede = lede.say(if fatal { " that killed the machine" } else { " that the machine survived" });
        query.push(("fatal", fatal.to_string()));
    }
    let list = ("crashes", &filter);
    let after = paging::after(after.as_deref(), &list)?;
    let rows = crash::list(db, &filter, after, PAGE + 1).await?;
    let page = Page::of(rows, PAGE, &list, |row| After { key: row.at_us, id: row.id });
    Ok(Crashes { lede: lede.say(", newest first."), page, query })
}

impl Crashes {
    fn next(&self) -> Option<String> {
        let after = self.page.next.as_ref()?;
        let mut query: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{name}={}", words::in_query(value))).collect();
        query.push(format!("after={after}"));
        Some(format!("/crashes?{}", query.join("&")))
    }
}

#[derive(Template)]
#[template(path = "crashes.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Crashes,
}

impl View for Crashes {
    const AT: Nav = Nav::Crashes;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title("Crashes");
        text.prose(&self.lede.plain());
        text.gap();
        rows_as_text(&self.page.items, text);
        text.more(self.next());
    }
}

/// Crashes as a table of the text form.
pub(crate) fn rows_as_text(crashes: &[Crash], text: &mut Text) {
    let rows = crashes.iter().map(|crash| {
        vec![
            words::minute(crash.at_us),
            super::node_name(&crash.node_name, &crash.node_id.to_string()).to_owned(),
            if crash.fatal { "died".into() } else { "survived".into() },
            crash.title.clone(),
        ]
    });
    text.table(&["when (UTC)", "node", "", "title"], &rows.collect::<Vec<_>>());
}
