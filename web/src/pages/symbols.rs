//! `/symbols`: debug files that crashes wait for, those at hand, how to add one.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::api::symbols::Lacking;
use crate::app::{App, AppState};
use crate::problem::Error;
use crate::store::image::{self, Image};
use crate::store::{job, wanted};
use crate::symbols::KERNEL;
use crate::text::Text;

/// Rows of each list: a fleet runs some dozen kernels with some dozen modules that crash.
const ROWS: u32 = 500;

/// The page, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Symbols {
    lede: Sentence,
    /// Most waited for first.
    missing: Vec<Lacking>,
    /// Newest first.
    present: Vec<Image>,
    /// Crashes whose frames are being looked up.
    jobs: i64,
    /// Look-ups that were given up.
    dead_jobs: i64,
}

/// `GET /symbols`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = load(&app).await;
    asked.answer(found)
}

async fn load(app: &App) -> Result<Symbols, Error> {
    let db = app.store.read();
    let missing = wanted::missing(db, ROWS).await?;
    let missing: Vec<Lacking> = missing.into_iter().map(Lacking::from).collect();
    let present = image::list(db, ROWS).await?;
    let (jobs, dead_jobs) = job::count(db).await?;
    let lede = match (missing.len(), present.len()) {
        (0, 0) => "No crash asks for a debug file, and none is at hand.".into(),
        (0, n) => Sentence::default()
            .say("Every frame that can have a source line has its debug file: ")
            .strong(words::plural(n as i64, "file", "files"))
            .say(" at hand."),
        (n, at_hand) => {
            Sentence::default().strong(words::plural(n as i64, "debug file", "debug files")).say(format!(
                " missing, {} at hand. Crashes keep their name without them; what is missing is the line.",
                words::count(at_hand as i64)
            ))
        }
    };
    Ok(Symbols { lede, missing, present, jobs, dead_jobs })
}

/// Where the file usually comes from.
fn package(lacking: &Lacking) -> Sentence {
    let name = &lacking.missing.name;
    let of_kernel = match &lacking.package {
        Some(package) => Sentence::default().code(package.name.clone()),
        None => Sentence::default().say("the debug package of this kernel"),
    };
    if name == KERNEL {
        return of_kernel;
    }
    of_kernel.say(", or for a module of your own ").code(format!("{name}.ko")).say(" built with ").code("-g")
}

/// What debuginfod servers said, and when.
fn asked(lacking: &Lacking, now_us: &i64) -> Option<String> {
    let at = lacking.missing.asked_us?;
    Some(format!("debuginfod, {}: {}", words::since(at, *now_us), lacking.missing.answer))
}

#[derive(Template)]
#[template(path = "symbols.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Symbols,
}

impl View for Symbols {
    const AT: Nav = Nav::Symbols;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, now_us: i64) {
        text.title("Symbols");
        text.prose(&self.lede.plain());
        if !self.missing.is_empty() {
            text.section("Missing");
            let rows = self.missing.iter().map(|Lacking { missing: row, .. }| {
                let build_id =
                    if row.build_id.is_empty() { "–".into() } else { hex::encode(&row.build_id) };
                vec![words::count(row.crashes), row.name.clone(), row.kernel.clone(), words::short(&build_id)]
            });
            text.table(&[">crashes", "image", "kernel", "build-id"], &rows.collect::<Vec<_>>());
            text.gap();
            let commands: BTreeSet<&str> =
                self.missing.iter().filter_map(|row| Some(row.package.as_ref()?.command.as_str())).collect();
            commands.into_iter().for_each(|command| text.line(command));
        }
        if !self.present.is_empty() {
            text.section("At hand");
            let rows = self.present.iter().map(|row| {
                vec![
                    row.name.clone(),
                    row.kernel.clone(),
                    words::bytes(row.bytes),
                    words::since(row.stored_us, now_us),
                    words::short(&hex::encode(&row.build_id)),
                ]
            });
            text.table(&["image", "kernel", ">size", ">stored", "build-id"], &rows.collect::<Vec<_>>());
        }
        text.section("Add one");
        text.line("lastwords symbols add --data DIR PATH…");
        text.line("curl -T FILE -H \"Authorization: Bearer $(cat TOKEN-FILE)\" ADDRESS/api/v1/symbols/");
    }
}
