//! `/signatures`: the list of faults.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::chart::Spark;
use crate::paging::{self, After, PAGE, Page};
use crate::problem::Error;
use crate::store::rollup::{self, OfDay};
use crate::store::signature::{self, Filter, Signature, Sort, State as Triage};
use crate::text::Text;

/// Days that a row's picture shows.
pub(crate) const DAYS: i64 = 28;

/// The list, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Signatures {
    lede: Sentence,
    sort: Sort,
    filter: Filter,
    #[serde(flatten)]
    page: Page<Row>,
    #[serde(skip)]
    first_day: i64,
    #[serde(skip)]
    last_day: i64,
}

/// One fault.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    signature: Signature,
    /// Crashes by day in the last 28 days; days without one are left out.
    days: Vec<OfDay>,
}

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Params {
    #[serde(default)]
    sort: Sort,
    q: Option<String>,
    r#type: Option<String>,
    module: Option<String>,
    fatal: Option<bool>,
    state: Option<Triage>,
    after: Option<String>,
}

/// `GET /signatures`
pub(crate) async fn show(
    State(app): State<AppState>,
    Query(params): Query<Params>,
    mut asked: Asked,
) -> Response {
    asked.frame.query = params.q.clone().unwrap_or_default();
    let found = load(&app, params, asked.now_us()).await;
    asked.answer(found)
}

async fn load(app: &App, params: Params, now_us: i64) -> Result<Signatures, Error> {
    let Params { sort, q, r#type, module, fatal, state, after } = params;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = Filter { r#type: given(r#type), module: given(module), q: given(q), fatal, state };
    let list = ("signatures", sort, &filter);
    let after = paging::after(after.as_deref(), &list)?;
    let first = after.is_none();
    let db = app.store.read();
    let rows = signature::list(db, &filter, sort, after, PAGE + 1).await?;
    let page = Page::of(rows, PAGE, &list, |row| After { key: sort.key(row), id: row.id });
    let last_day = rollup::day(now_us);
    let first_day = last_day - DAYS + 1;
    let ids: Vec<i64> = page.items.iter().map(|row| row.id).collect();
    let mut days: HashMap<i64, Vec<OfDay>> = HashMap::new();
    for day in rollup::days_of_signatures(db, &ids, first_day).await? {
        days.entry(day.signature_row).or_default().push(day);
    }
    let lede = lede(app, &filter, page.items.len(), first && page.next.is_none()).await?;
    let row = |signature: Signature| Row { days: days.remove(&signature.id).unwrap_or_default(), signature };
    let page = Page { items: page.items.into_iter().map(row).collect(), next: page.next };
    Ok(Signatures { lede, sort, filter, page, first_day, last_day })
}

async fn lede(app: &App, filter: &Filter, shown: usize, whole: bool) -> Result<Sentence, Error> {
    let db = app.store.read();
    let all = signature::count(db).await?;
    let crashes = crate::store::crash::count(db).await?;
    if *filter != Filter::default() {
        let of = words::plural(all, "signature", "signatures");
        let some = words::count(shown as i64);
        let (before, behind) = if whole {
            ("", format!(" of {of} match."))
        } else {
            ("This page holds ", format!(" that match, of {of}."))
        };
        return Ok(Sentence::default().say(before).strong(some).say(behind));
    }
    Ok(match all {
        0 => "No crash has a name yet.".into(),
        _ => Sentence::default()
            .strong(words::plural(all, "signature", "signatures"))
            .say(format!(", {} in all.", words::plural(crashes, "crash", "crashes"))),
    })
}

impl Row {
    fn spark(&self, page: &Signatures) -> Spark {
        let most = page.page.items.iter().flat_map(|row| &row.days).map(|day| day.crashes).max().unwrap_or(1);
        Spark::new(page.first_day, page.last_day, self.days.iter().map(|day| (day.day, day.crashes)), most)
    }

    /// Where the fault lives, as far as the rules know.
    fn place(&self) -> String {
        let Signature { function, module, subsystem, .. } = &self.signature;
        let parts = [function.as_str(), if module.is_empty() { subsystem.as_str() } else { module.as_str() }];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }
}

impl Signatures {
    /// This list sorted otherwise.
    fn by(&self, sort: &str) -> String {
        address(sort, &self.filter)
    }

    /// This list with another answer to whether the machine died.
    fn died(&self, fatal: &Option<bool>) -> String {
        address(self.sort(), &Filter { fatal: *fatal, ..self.filter.clone() })
    }

    /// This list with another state.
    fn in_state(&self, state: Option<Triage>) -> String {
        address(self.sort(), &Filter { state, ..self.filter.clone() })
    }

    /// The filters that hold a word: what each is called, the word, and the list without it.
    fn held(&self) -> Vec<(&'static str, &str, String)> {
        let Filter { r#type, module, q, fatal: _, state: _ } = &self.filter;
        let whole = || self.filter.clone();
        [
            ("Kind", r#type, Filter { r#type: None, ..whole() }),
            ("Module", module, Filter { module: None, ..whole() }),
            ("Title holds", q, Filter { q: None, ..whole() }),
        ]
        .into_iter()
        .filter_map(|(name, word, rest)| Some((name, word.as_deref()?, address(self.sort(), &rest))))
        .collect()
    }

    fn sort(&self) -> &'static str {
        match self.sort {
            Sort::Last => "last",
            Sort::First => "first",
            Sort::Nodes => "nodes",
            Sort::Crashes => "crashes",
        }
    }

    fn next(&self) -> Option<String> {
        self.page.next.as_ref().map(|after| format!("{}&after={after}", self.by(self.sort())))
    }
}

/// Where a list is found: every filter and the order are in the address.
fn address(sort: &str, filter: &Filter) -> String {
    let mut query = vec![format!("sort={sort}")];
    let Filter { r#type, module, q, fatal, state } = filter;
    for (name, value) in [("type", r#type), ("module", module), ("q", q)] {
        if let Some(value) = value {
            query.push(format!("{name}={}", words::in_query(value)));
        }
    }
    if let Some(fatal) = fatal {
        query.push(format!("fatal={fatal}"));
    }
    if let Some(state) = state {
        query.push(format!("state={}", state.as_str()));
    }
    format!("/signatures?{}", query.join("&"))
}

/// The states that a list can be held to, in the order of the work.
const STATES: [Triage; 5] =
    [Triage::Regressed, Triage::New, Triage::Acknowledged, Triage::Resolved, Triage::Muted];

#[derive(Template)]
#[template(path = "signatures.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Signatures,
}

impl View for Signatures {
    const AT: Nav = Nav::Signatures;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, now_us: i64) {
        text.title("Signatures");
        text.prose(&self.lede.plain());
        text.gap();
        let rows = self.page.items.iter().map(|row| {
            let s = &row.signature;
            vec![
                words::count(s.nodes),
                words::count(s.crashes),
                words::since(s.last_us, now_us),
                s.state.as_str().to_owned(),
                s.title.clone(),
            ]
        });
        text.table(&[">nodes", ">crashes", ">last", "state", "title"], &rows.collect::<Vec<_>>());
        text.more(self.next());
    }
}
