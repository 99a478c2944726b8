//! `/`: what happened lately, and what to do next.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::signatures::DAYS;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::chart::Days;
use crate::paging::PAGE;
use crate::problem::Error;
use crate::store::crash::{self, Crash};
use crate::store::node::{self, ArmedCounts};
use crate::store::rollup::{self, Largest, OfRelease, OnDay};
use crate::store::signature::{self, Signature, Sort, State as Triage};
use crate::store::{evidence, wanted};
use crate::text::Text;

/// Newest crashes on the page.
const CRASHES: u32 = 8;
/// Signatures on the work list; the rest is one link away.
const TASKS: usize = 5;

/// The page, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    verdict: String,
    lede: Sentence,
    /// Worst first.
    todo: Vec<Task>,
    /// Kernel releases that crashed in the last 28 days.
    releases: Vec<OfRelease>,
    /// Crashes by day and release in the last 28 days.
    days: Vec<OnDay>,
    crashes: Vec<Crash>,
    numbers: Numbers,
    #[serde(skip)]
    today: i64,
}

/// What stands at the side.
#[derive(Debug, Serialize)]
struct Numbers {
    /// Crashes in the last 28 days.
    crashes: i64,
    /// Those that killed the machine.
    fatal: i64,
    /// Crashes ever.
    crashes_ever: i64,
    signatures: i64,
    nodes: i64,
    /// That handed something over in the last 24 hours.
    nodes_heard: i64,
    /// Would a crash be captured: how many nodes of each state.
    readiness: ArmedCounts,
    unnamed: i64,
    /// Debug files that crashes wait for.
    missing_images: i64,
}

/// Signs of tasks, worst first: what is wrong, what is new, what is late, what is unknown.
const RANKS: [&str; 4] = ["bad", "news", "warn", "unk"];

/// Something to do.
#[derive(Debug, Serialize)]
struct Task {
    /// Class and glyph of its state.
    #[serde(skip)]
    sign: &'static str,
    /// Its state in a word.
    state: &'static str,
    title: String,
    because: Sentence,
    href: String,
    #[serde(skip)]
    act: &'static str,
}

/// `GET /`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = load(&app, asked.now_us()).await;
    asked.answer(found)
}

async fn load(app: &App, now_us: i64) -> Result<Overview, Error> {
    let db = app.store.read();
    let today = rollup::day(now_us);
    let days = rollup::days(db, today - DAYS + 1).await?;
    let numbers = Numbers {
        crashes: days.iter().map(|day| day.crashes).sum(),
        fatal: days.iter().map(|day| day.fatal).sum(),
        crashes_ever: crash::count(db).await?,
        signatures: signature::count(db).await?,
        nodes: node::count(db).await?,
        nodes_heard: node::count_heard(db, now_us - rollup::DAY_US).await?,
        readiness: node::count_armed(db, now_us).await?,
        unnamed: evidence::count_unnamed(db).await?,
        missing_images: wanted::count_missing(db).await?,
    };
    let fresh = signature::count_new(db, (today - DAYS + 1) * rollup::DAY_US).await?;
    let waiting = Waiting::of(app).await?;
    let largest = match rollup::largest(db, today - DAYS + 1).await? {
        Some(most) => signature::by_id(db, most.signature_row).await?.map(|row| (row, most)),
        None => None,
    };
    Ok(Overview {
        verdict: verdict(&numbers, fresh),
        lede: lede(&numbers, largest.as_ref()),
        todo: todo(&numbers, &waiting, now_us),
        releases: rollup::releases(db, today - DAYS + 1).await?,
        crashes: crash::list(db, &crash::Filter::default(), None, CRASHES).await?,
        days,
        numbers,
        today,
    })
}

/// Signatures that wait for somebody.
struct Waiting {
    /// Came back after they were said to be mended, newest first, and how many there are in all.
    regressed: (Vec<Signature>, i64),
    /// Nobody looked yet, on most nodes first, and how many there are in all.
    fresh: (Vec<Signature>, i64),
}

impl Waiting {
    async fn of(app: &App) -> Result<Waiting, Error> {
        let db = app.store.read();
        let list = async |state, sort| -> Result<(Vec<Signature>, i64), Error> {
            let filter = signature::Filter { state: Some(state), ..signature::Filter::default() };
            let rows = signature::list(db, &filter, sort, None, PAGE).await?;
            Ok((rows, signature::count_in(db, state).await?))
        };
        Ok(Waiting {
            regressed: list(Triage::Regressed, Sort::Last).await?,
            fresh: list(Triage::New, Sort::Nodes).await?,
        })
    }
}

fn verdict(numbers: &Numbers, fresh: i64) -> String {
    match (numbers.nodes, numbers.crashes, fresh) {
        (0, ..) => "Nobody has reported yet".into(),
        (_, 0, _) => format!("No crash in {DAYS} days"),
        (_, _, 0) => format!("{}, nothing new", words::plural(numbers.crashes, "crash", "crashes")),
        (_, _, n) => format!("{} in {DAYS} days", words::plural(n, "new fault", "new faults")),
    }
}

fn lede(numbers: &Numbers, largest: Option<&(Signature, Largest)>) -> Sentence {
    if numbers.nodes == 0 {
        return Sentence::default()
            .say("The service runs and waits. It shows the first crash as soon as an agent hands one over: ")
            .code("lastwords-agent collect --server … --token-file …")
            .say(".");
    }
    let sentence = Sentence::default()
        .strong(words::plural(numbers.crashes, "crash", "crashes"))
        .say(format!(" in {DAYS} days, "))
        .strong(words::count(numbers.fatal))
        .say(" of which killed the machine; ")
        .strong(words::plural(numbers.nodes, "node is", "nodes are"))
        .say(" known.");
    match largest {
        Some((signature, most)) => {
            let share = words::plural(most.crashes, "crash", "crashes");
            let nodes = words::plural(most.nodes, "node", "nodes");
            let name = words::Title::new(&signature.title).short().to_owned();
            sentence
                .say(format!(" The largest fault of these days, {share} on {nodes}, is "))
                .link_code(format!("/signatures/{}", signature.signature_id), name)
                .say(".")
        }
        None => sentence,
    }
}

/// The work list: what came back, what is new, what is missing.
fn todo(numbers: &Numbers, waiting: &Waiting, now_us: i64) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    let Waiting { regressed: (regressed, all_regressed), fresh: (fresh, all_fresh) } = waiting;
    let mut fresh: Vec<&Signature> = fresh.iter().collect();
    // A fault on many machines first; among equals the one that kills, then the newest.
    fresh.sort_by_key(|row| (-row.nodes, !row.fatal, -row.first_us));
    for row in regressed.iter().take(TASKS).chain(fresh.into_iter().take(TASKS)) {
        let back = row.state == Triage::Regressed;
        let nodes = words::plural(row.nodes, "node", "nodes");
        let crashes = words::plural(row.crashes, "crash", "crashes");
        let alone = if row.nodes == 1 { ": one machine is not yet a pattern" } else { "" };
        tasks.push(Task {
            sign: if back { "bad" } else { "news" },
            state: row.state.as_str(),
            title: row.title.clone(),
            because: Sentence::default().say(format!(
                "{crashes} on {nodes}, first {} ago{}{alone}",
                words::since(row.first_us, now_us),
                if row.fatal { "" } else { ", survived" },
            )),
            href: format!("/signatures/{}", row.signature_id),
            act: "Look",
        });
    }
    // What has no line of its own is one line, and a list.
    for (sign, state, all, one, many, because) in [
        (
            "bad",
            Triage::Regressed,
            all_regressed,
            "more signature that came back",
            "more signatures that came back",
            "they were said to be mended",
        ),
        (
            "news",
            Triage::New,
            all_fresh,
            "more new signature",
            "more new signatures",
            "nobody has looked at them",
        ),
    ] {
        let more = all - TASKS as i64;
        if more > 0 {
            let state = state.as_str();
            tasks.push(Task {
                sign,
                state,
                title: words::plural(more, one, many),
                because: because.into(),
                href: format!("/signatures?state={state}&sort=nodes"),
                act: "List",
            });
        }
    }
    let unarmed = numbers.readiness.unarmed;
    if unarmed > 0 {
        tasks.push(Task {
            sign: "bad",
            state: "not armed",
            title: words::plural(unarmed, "node would leave nothing", "nodes would leave nothing"),
            because: "a check of their own doctor fails, and says what mends it".into(),
            href: "/nodes".into(),
            act: "Arm",
        });
    }
    if numbers.missing_images > 0 {
        tasks.push(Task {
            sign: "warn",
            state: "symbols",
            title: words::plural(numbers.missing_images, "debug file is missing", "debug files are missing"),
            because: "frames of theirs have no source line".into(),
            href: "/symbols".into(),
            act: "Get them",
        });
    }
    if numbers.unnamed > 0 {
        tasks.push(Task {
            sign: "unk",
            state: "unnamed",
            title: words::plural(
                numbers.unnamed,
                "piece of evidence has no name",
                "pieces of evidence have no name",
            ),
            because: "nothing in them was recognised; their bytes are kept".into(),
            href: "/unnamed".into(),
            act: "Read",
        });
    }
    // Stable: what is of one rank stays in its order.
    tasks.sort_by_key(|task| RANKS.iter().position(|sign| *sign == task.sign));
    tasks
}

impl Overview {
    fn chart(&self) -> Days {
        let counts: Vec<(i64, &str, i64)> =
            self.days.iter().map(|day| (day.day, day.kernel.as_str(), day.crashes)).collect();
        Days::new("Crashes a day", self.today - DAYS + 1, self.today, &counts)
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Overview,
}

impl View for Overview {
    const AT: Nav = Nav::Overview;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title(&self.verdict);
        text.prose(&self.lede.plain());
        if !self.todo.is_empty() {
            text.section("What to do next");
            for task in &self.todo {
                text.item(&format!("{:<10}", task.state), &task.title);
                text.item("          ", &task.because.plain());
            }
        }
        text.section(&format!("By kernel release, {DAYS} days"));
        let rows = self.releases.iter().map(|row| {
            vec![
                words::count(row.crashes),
                words::count(row.fatal),
                words::count(row.nodes),
                words::count(row.signatures),
                row.kernel.clone(),
            ]
        });
        text.table(&[">crashes", ">died", ">nodes", ">faults", "kernel"], &rows.collect::<Vec<_>>());
        text.section("Newest crashes");
        super::crashes::rows_as_text(&self.crashes, text);
    }
}
