//! `/releases`: kernel releases against each other: rates with intervals, and which fault came on which release.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::frame::{Frame, Nav};
use super::rate::Rate;
use super::sentence::Sentence;
use super::signatures::DAYS;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::chart::{Axis, Interval};
use crate::problem::Error;
use crate::store::boot::{self, Exposure};
use crate::store::release;
use crate::store::rollup::{self, OfRelease};
use crate::store::signature::{self, Signature, Sort};
use crate::text::Text;

/// Releases that are compared, newest first: a map of more columns is read by nobody.
const RELEASES: u32 = 8;
/// Signatures on the map, those with most nodes.
const SIGNATURES: u32 = 30;

/// The page, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Releases {
    lede: Sentence,
    releases: Vec<Row>,
    map: Vec<MapRow>,
}

/// One kernel release in the last 28 days.
#[derive(Debug, Serialize)]
struct Row {
    kernel: String,
    /// When it was first met.
    first_us: i64,
    crashes: i64,
    /// Those that killed the machine: the rate is theirs.
    fatal: i64,
    /// How long nodes ran it; absent while none reports its boots.
    exposure: Option<Exposure>,
    /// Deaths per 1,000 node-days.
    rate: Option<Rate>,
}

/// A signature on each of the releases, in their order.
#[derive(Debug, Serialize)]
struct MapRow {
    signature: Signature,
    cells: Vec<Cell>,
}

/// What is known of a signature on a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Cell {
    crashes: i64,
    nodes: i64,
    /// Nodes reported that they ran the release, so that no crash means something.
    ran: bool,
}

/// `GET /releases`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = load(&app, asked.now_us()).await;
    asked.answer(found)
}

async fn load(app: &App, now_us: i64) -> Result<Releases, Error> {
    let db = app.store.read();
    let from_day = rollup::day(now_us) - DAYS + 1;
    let crashed = rollup::releases(db, from_day).await?;
    let exposed = boot::exposure(db, from_day * rollup::DAY_US, now_us).await?;
    let met = release::list(db, RELEASES).await?;
    let row = |(kernel, first_us): (String, i64)| row(kernel, first_us, &crashed, &exposed);
    let releases: Vec<Row> = met.into_iter().map(row).collect();
    let signatures =
        signature::list(db, &signature::Filter::default(), Sort::Nodes, None, SIGNATURES).await?;
    let ids: Vec<i64> = signatures.iter().map(|signature| signature.id).collect();
    let cells = rollup::cells(db, &ids).await?;
    let cell = |signature: i64, row: &Row| {
        let found = cells.iter().find(|cell| cell.signature_row == signature && cell.kernel == row.kernel);
        let (crashes, nodes) = found.map_or((0, 0), |cell| (cell.crashes, cell.nodes));
        Cell { crashes, nodes, ran: row.exposure.is_some() }
    };
    let map = signatures.into_iter().map(|signature| MapRow {
        cells: releases.iter().map(|row| cell(signature.id, row)).collect(),
        signature,
    });
    let map = map.collect();
    Ok(Releases { lede: lede(&releases), releases, map })
}

fn row(kernel: String, first_us: i64, crashed: &[OfRelease], exposed: &[Exposure]) -> Row {
    let (crashes, fatal) =
        crashed.iter().find(|row| row.kernel == kernel).map_or((0, 0), |row| (row.crashes, row.fatal));
    let exposure = exposed.iter().find(|row| row.kernel == kernel).cloned();
    let rate = exposure.as_ref().and_then(|exposure| Rate::of(fatal, exposure.up_us));
    Row { kernel, first_us, crashes, fatal, exposure, rate }
}

fn lede(releases: &[Row]) -> Sentence {
    let Some(newest) = releases.first() else { return "No kernel release was met yet.".into() };
    let sentence = Sentence::default().say("The newest release, ").code(&newest.kernel).say(", ");
    let Some(rate) = &newest.rate else {
        return sentence.say("had ").strong(words::plural(newest.crashes, "crash", "crashes")).say(format!(
            " in {DAYS} days. A rate needs the days that nodes ran it, and no node has reported its boots."
        ));
    };
    let sentence = sentence
        .say("killed ")
        .strong(words::plural(rate.crashes, "boot", "boots"))
        .say(format!(" in {} node-days", Rate::shown(rate.node_days)));
    if rate.is_vague() {
        return sentence.say(": ").strong("too little to tell a rate").say(".");
    }
    let range = rate.range().replace(" – ", " and ");
    sentence
        .say(": ")
        .strong(format!("{} per 1,000 node-days", rate.value()))
        .say(format!(", between {range} with 95 % confidence."))
}

impl Releases {
    fn axis(&self) -> Axis {
        let most = self.releases.iter().filter_map(|row| Some(row.rate?.high)).fold(1.0, f64::max);
        // One release with a day of data must not flatten the others.
        let known = self.releases.iter().filter_map(|row| row.rate.filter(|rate| !rate.is_vague()));
        let calm = known.map(|rate| rate.high).fold(0.0, f64::max);
        Axis::new(if calm > 0.0 { most.min(calm * 1.5) } else { most })
    }

    fn has_rates(&self) -> bool {
        self.releases.iter().any(|row| row.rate.is_some())
    }
}

impl Row {
    fn picture(&self, axis: &Axis) -> Option<Interval> {
        let rate = self.rate?;
        Some(axis.row(rate.rate, rate.low, rate.high, format!("{}, interval {}", rate.value(), rate.range())))
    }

    fn node_days(&self) -> String {
        match &self.rate {
            Some(rate) if rate.node_days < 10.0 => format!("{:.1}", rate.node_days),
            Some(rate) => words::count(rate.node_days.round() as i64),
            None => "–".into(),
        }
    }
}

impl Cell {
    /// Step of the heat scale, or `none` where nothing is known.
    fn class(&self) -> &'static str {
        match self.crashes {
            0 if self.ran => "q0",
            0 => "none",
            1 => "q1",
            2..5 => "q2",
            5..20 => "q3",
            20..100 => "q4",
            _ => "q5",
        }
    }

    fn shown(&self) -> String {
        match (self.crashes, self.ran) {
            (0, false) => "–".into(),
            (crashes, _) => words::count(crashes),
        }
    }

    fn says(&self) -> String {
        match (self.crashes, self.ran) {
            (0, false) => "no crash, and nobody reported to have run it: nothing is known".into(),
            (crashes, _) => format!(
                "{} on {}",
                words::plural(crashes, "crash", "crashes"),
                words::plural(self.nodes, "node", "nodes")
            ),
        }
    }
}

#[derive(Template)]
#[template(path = "releases.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Releases,
}

impl View for Releases {
    const AT: Nav = Nav::Releases;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title("Releases");
        text.prose(&self.lede.plain());
        text.gap();
        let rows = self.releases.iter().map(|row| {
            let (rate, range) =
                row.rate.map_or_else(|| ("–".into(), "–".into()), |rate| (rate.value(), rate.range()));
            let silent =
                row.exposure.as_ref().map_or_else(|| "–".into(), |exposure| words::count(exposure.silent));
            vec![
                words::count(row.crashes),
                words::count(row.fatal),
                row.node_days(),
                rate,
                range,
                silent,
                row.kernel.clone(),
            ]
        });
        let head = [">crashes", ">died", ">node-days", ">per 1,000", "95 %", ">silent", "release"];
        text.table(&head, &rows.collect::<Vec<_>>());
        text.section("Which fault on which release");
        let names: Vec<String> = (1..=self.releases.len()).map(|i| format!(">({i})")).collect();
        for (i, row) in self.releases.iter().enumerate() {
            text.line(&format!("({}) {}", i + 1, row.kernel));
        }
        let rows = self.map.iter().map(|row| {
            let mut line: Vec<String> = row.cells.iter().map(Cell::shown).collect();
            line.push(row.signature.title.clone());
            line
        });
        let mut head: Vec<&str> = names.iter().map(String::as_str).collect();
        head.push("title");
        text.table(&head, &rows.collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_crash_without_node_days_is_not_a_zero() {
        let cell = |crashes, ran| Cell { crashes, nodes: crashes, ran };
        assert_eq!((cell(0, false).class(), cell(0, false).shown().as_str()), ("none", "–"));
        assert_eq!((cell(0, true).class(), cell(0, true).shown().as_str()), ("q0", "0"));
        assert_eq!((cell(7, false).class(), cell(7, false).shown().as_str()), ("q3", "7"));
    }
}
