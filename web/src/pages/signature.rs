//! `/signatures/{key}`: one fault: since when, where, how often, in which stacks.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::frame::{Frame, Nav};
use super::rate::Rate;
use super::sentence::Sentence;
use super::signatures::DAYS;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::chart::{Days, Icicle};
use crate::problem::{Error, not_found};
use crate::store::crash::{self, Crash};
use crate::store::node::{self, Hit};
use crate::store::rollup::{self, OnDay, OnRelease};
use crate::store::signature::{self, Signature, SignatureId};
use crate::store::{alias, boot, variant};
use crate::text::Text;

/// Rows of each list; more are behind links.
const CRASHES: u32 = 15;
const HITS: u32 = 15;
const VARIANTS: u32 = 12;
/// Frames of a variant that are shown: where two ways into one fault part is near the fault.
const FRAMES: usize = 8;

/// One signature, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    lede: Sentence,
    signature: Signature,
    /// All its titles, oldest first.
    titles: Vec<String>,
    releases: Vec<Release>,
    /// By day and release in the last 28 days.
    days: Vec<OnDay>,
    variants: Vec<Variant>,
    nodes: Vec<Hit>,
    crashes: Vec<Crash>,
    #[serde(skip)]
    today: i64,
}

/// This signature on one kernel release.
#[derive(Debug, Serialize)]
struct Release {
    #[serde(flatten)]
    ever: OnRelease,
    /// Crashes per 1,000 node-days of the last 28 days; absent where no node reported its boots.
    rate: Option<Rate>,
}

/// A stack of this signature.
#[derive(Debug, Serialize)]
struct Variant {
    crashes: i64,
    first_us: i64,
    last_us: i64,
    /// Function names, innermost first.
    frames: Vec<String>,
}

/// `GET /signatures/{key}`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = find(&app, asked.key()).await;
    let signature = match found {
        Ok(Found::Here(signature)) => signature,
        Ok(Found::Moved(to)) => return super::moved(&format!("/signatures/{to}")).into_response(),
        Err(error) => return asked.answer::<One>(Err(error)),
    };
    let found = load(&app, *signature, asked.now_us()).await;
    asked.answer(found)
}

enum Found {
    Here(Box<Signature>),
    /// It was merged into another: old links go on.
    Moved(SignatureId),
}

async fn find(app: &App, key: &str) -> Result<Found, Error> {
    let missing = || not_found(format!("signature {key}"));
    let id: SignatureId = key.parse().map_err(|_| missing())?;
    let db = app.store.read();
    let signature = signature::by_key(db, &id).await?.ok_or_else(missing)?;
    match signature.merged_into_id {
        None => Ok(Found::Here(Box::new(signature))),
        Some(row) => Ok(Found::Moved(signature::by_id(db, row).await?.ok_or_else(missing)?.signature_id)),
    }
}

async fn load(app: &App, signature: Signature, now_us: i64) -> Result<One, Error> {
    let db = app.store.read();
    let today = rollup::day(now_us);
    let filter = crash::Filter { signature: Some(signature.id), ..crash::Filter::default() };
    let crashes = crash::list(db, &filter, None, CRASHES).await?;
    let mut variants = Vec::new();
    for row in rollup::variants(db, signature.id, VARIANTS).await? {
        let frames = variant::frames(db, row.variant_row).await?;
        variants.push(Variant { crashes: row.crashes, first_us: row.first_us, last_us: row.last_us, frames });
    }
    let from_day = today - DAYS + 1;
    let days = rollup::days_of_signature(db, signature.id, from_day).await?;
    let exposed = boot::exposure(db, from_day * rollup::DAY_US, now_us).await?;
    let releases = rollup::by_release(db, signature.id).await?.into_iter().map(|ever| {
        let crashes = days.iter().filter(|day| day.kernel == ever.kernel).map(|day| day.crashes).sum();
        let exposure = exposed.iter().find(|exposure| exposure.kernel == ever.kernel);
        Release { rate: exposure.and_then(|exposure| Rate::of(crashes, exposure.up_us)), ever }
    });
    let releases: Vec<Release> = releases.collect();
    Ok(One {
        lede: lede(&signature, &releases, now_us),
        titles: alias::titles(db, signature.id).await?,
        days,
        nodes: node::hit_by(db, signature.id, HITS).await?,
        releases,
        variants,
        crashes,
        signature,
        today,
    })
}

fn lede(signature: &Signature, releases: &[Release], now_us: i64) -> Sentence {
    let sentence = Sentence::default()
        .strong(words::plural(signature.crashes, "crash", "crashes"))
        .say(" on ")
        .strong(words::plural(signature.nodes, "node", "nodes"))
        .say(format!(", first seen {} ago", words::since(signature.first_us, now_us)));
    let sentence = match &signature.first_kernel {
        Some(kernel) => sentence.say(" on ").code(kernel),
        None => sentence,
    };
    let sentence = match releases.len() {
        0 | 1 => sentence.say("; no other release has shown it."),
        n => sentence.say(format!("; {n} releases have shown it.")),
    };
    let sentence = if signature.nodes == 1 && signature.crashes > 1 {
        sentence.say(" One machine is not yet a pattern: it may be its hardware.")
    } else {
        sentence
    };
    match (signature.fatal, signature.corrupted) {
        (_, true) => sentence.say(" The text that named it was damaged, so the name deserves less trust."),
        (false, _) => sentence.say(" No machine has died of it."),
        (true, false) => sentence,
    }
}

impl One {
    fn chart(&self) -> Days {
        let counts: Vec<(i64, &str, i64)> =
            self.days.iter().map(|day| (day.day, day.kernel.as_str(), day.crashes)).collect();
        Days::new("Crashes of this signature a day", self.today - DAYS + 1, self.today, &counts)
    }

    fn icicle(&self) -> Icicle {
        Icicle::new(self.variants.iter().map(|variant| (&variant.frames[..], variant.crashes)))
    }

    fn in_window(&self) -> i64 {
        self.days.iter().map(|day| day.crashes).sum()
    }

    fn kind(&self) -> &str {
        &self.signature.r#type
    }

    /// Whom the rules blame.
    fn blamed(&self) -> String {
        let Signature { function, module, .. } = &self.signature;
        match (function.is_empty(), module.is_empty()) {
            (true, _) => "–".into(),
            (false, true) => function.clone(),
            (false, false) => format!("{function} [{module}]"),
        }
    }

    /// Its further titles: all but the one it is shown under.
    fn aliases(&self) -> impl Iterator<Item = &String> {
        self.titles.iter().filter(|title| **title != self.signature.title)
    }
}

impl Variant {
    fn shown(&self) -> String {
        let mut frames: Vec<&str> = self.frames.iter().take(FRAMES).map(String::as_str).collect();
        if self.frames.len() > FRAMES {
            frames.push("…");
        }
        frames.join(" ← ")
    }
}

#[derive(Template)]
#[template(path = "signature.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a One,
}

impl View for One {
    const AT: Nav = Nav::Signatures;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title(&self.signature.title);
        text.prose(&self.lede.plain());
        text.gap();
        text.pairs(&[
            ("state", self.signature.state.as_str().into()),
            ("kind", self.signature.r#type.clone()),
            ("severity", self.signature.severity.clone()),
            ("blamed", self.blamed()),
            ("first seen", words::whole(self.signature.first_us)),
            ("last seen", words::whole(self.signature.last_us)),
        ]);
        text.section("By release");
        let rows = self.releases.iter().map(|row| {
            vec![
                words::count(row.ever.crashes),
                words::count(row.ever.nodes),
                row.rate.map_or_else(|| "–".into(), |rate| rate.value()),
                row.rate.map_or_else(|| "–".into(), |rate| rate.range()),
                words::minute(row.ever.last_us),
                row.ever.kernel.clone(),
            ]
        });
        let head = [">crashes", ">nodes", ">per 1,000", "95 %", "last (UTC)", "kernel"];
        text.table(&head, &rows.collect::<Vec<_>>());
        text.section("Stacks");
        for variant in &self.variants {
            text.item(&format!("{:>5}  ", variant.crashes), &variant.shown());
        }
        text.section("Nodes");
        let rows = self.nodes.iter().map(|hit| {
            vec![
                words::count(hit.crashes),
                words::minute(hit.last_us),
                super::node_name(&hit.name, &hit.node_id.to_string()).to_owned(),
            ]
        });
        text.table(&[">crashes", "last (UTC)", "node"], &rows.collect::<Vec<_>>());
        text.section("Newest crashes");
        let rows = self.crashes.iter().map(|crash| {
            vec![
                words::minute(crash.at_us),
                super::node_name(&crash.node_name, &crash.node_id.to_string()).to_owned(),
                crash.kernel.clone(),
                crash.crash_id.to_string(),
            ]
        });
        text.table(&["when (UTC)", "node", "kernel", "crash"], &rows.collect::<Vec<_>>());
    }
}
