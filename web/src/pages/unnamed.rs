//! `/unnamed`: evidence in which nothing could be named, so that nothing is hidden.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::evidence::{Damage, damage};
use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::paging::{self, After, PAGE, Page};
use crate::problem::Error;
use crate::store::evidence::{self, Evidence, Filter};
use crate::text::Text;

/// The list, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Unnamed {
    lede: Sentence,
    #[serde(flatten)]
    page: Page<Row>,
}

/// A piece of evidence and what was noticed.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    evidence: Evidence,
    notes: Vec<Damage>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params {
    after: Option<String>,
}

/// `GET /unnamed`
pub(crate) async fn show(
    State(app): State<AppState>,
    Query(params): Query<Params>,
    asked: Asked,
) -> Response {
    let found = load(&app, params).await;
    asked.answer(found)
}

async fn load(app: &App, params: Params) -> Result<Unnamed, Error> {
    let db = app.store.read();
    let filter = Filter { node: None, unnamed: true };
    let list = ("evidence", &filter);
    let after = paging::after(params.after.as_deref(), &list)?;
    let rows = evidence::list(db, &filter, after, PAGE + 1).await?;
    let page = Page::of(rows, PAGE, &list, |row| After { key: row.received_us, id: row.id });
    let all = evidence::count_unnamed(db).await?;
    let lede = match all {
        0 => "Everything that was handed over has a name.".into(),
        _ => Sentence::default()
            .strong(words::plural(all, "piece of evidence", "pieces of evidence"))
            .say(" in which no crash was found, or that could not be read. Their bytes are kept; a later version of the naming rules reads them again."),
    };
    let row = |evidence: Evidence| Row { notes: damage(&evidence.notes), evidence };
    let page = Page { items: page.items.into_iter().map(row).collect(), next: page.next };
    Ok(Unnamed { lede, page })
}

#[derive(Template)]
#[template(path = "unnamed.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Unnamed,
}

impl View for Unnamed {
    const AT: Nav = Nav::Nowhere;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title("Evidence without a name");
        text.prose(&self.lede.plain());
        for row in &self.page.items {
            text.gap();
            text.line(&format!(
                "{}  {}  {}",
                words::minute(row.evidence.received_us),
                row.evidence.kind,
                row.evidence.evidence_id
            ));
            for note in &row.notes {
                text.item("  - ", &format!("{}: {}", note.code, note.text));
            }
        }
        text.more(self.page.next.as_ref().map(|after| format!("/unnamed?after={after}")));
    }
}
