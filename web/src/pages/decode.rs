//! `/decode`: a pasted log, read and resolved as a crash would be, and not kept.

use std::sync::Arc;

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::crash::story_as_text;
use super::frame::{Frame, Nav};
use super::sentence::Sentence;
use super::story::{Event, Step, Story};
use super::{Asked, View, filters, words};
use crate::app::App;
use crate::app::AppState;
use crate::locate;
use crate::problem::{Error, malformed, too_large};
use crate::store::alias;
use crate::store::signature::{self, Signature};
use crate::text::Text;

/// The largest log that is read here: a kernel's log buffer is at most a few MiB; more belongs to the
/// command line.
const LOG: usize = 8 << 20;
/// What a form may send: a byte of the log may take three in a form.
pub(crate) const BODY: usize = 3 * LOG + 4096;
/// A log up to this is put back into the form, so that another report of it can be opened.
const ECHO: usize = 1 << 20;

/// The page, as `.json` shows it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Decode {
    /// What was found; absent before anything was pasted.
    result: Option<Found>,
    #[serde(skip)]
    log: String,
}

/// What was found in a log.
#[derive(Debug, Serialize)]
struct Found {
    lede: Sentence,
    lines: usize,
    kernel: Option<String>,
    /// Its reports, in the order of the log; `this` is the one that is told.
    reports: Vec<Event>,
    story: Option<Story>,
    /// The signature that it would be filed under; absent when it would open one.
    filed: Option<Signature>,
}

/// What the form sends.
#[derive(Debug, Default, Deserialize)]
struct Pasted {
    #[serde(default)]
    log: String,
    /// Index of the report to tell; the one that killed the machine if absent.
    report: Option<usize>,
}

/// `GET /decode`
pub(crate) async fn ask(asked: Asked) -> Response {
    asked.answer(Ok(Decode::default()))
}

/// `POST /decode`: a form, or the log itself as the body.
pub(crate) async fn answer(State(app): State<AppState>, asked: Asked, request: Request) -> Response {
    let found = load(&app, request).await;
    asked.answer(found)
}

async fn load(app: &Arc<App>, request: Request) -> Result<Decode, Error> {
    let (log, report) = pasted(request).await?;
    if log.len() > LOG {
        return Err(too_large(
            "log-too-large",
            format!("{} bytes; lastwords-decode on a command line has no such cap", log.len()),
        ));
    }
    let reading = tokio::task::spawn_blocking(move || (report::parse(&log), log));
    let (parsed, log) = reading.await.map_err(|_| Error::Inside("reading a pasted log ended badly"))?;
    let number = report.or(parsed.cause()).unwrap_or(0);
    let (parsed, located) = locate::pasted(app, parsed, number).await?;
    let notes: Vec<_> = parsed.notes.iter().map(crate::reading::Note::of_parsed).collect();
    let story = Story::tell(&parsed, number, &notes, &located);
    let reports = match &story {
        Some(story) => story.boot.iter().filter(|event| !event.finding).cloned().collect(),
        None => Vec::new(),
    };
    let filed = match &story {
        Some(story) => filed(app, &story.title).await?,
        None => None,
    };
    let result = Found {
        lede: lede(story.as_ref(), filed.as_ref(), reports.len()),
        lines: parsed.log.lines().len(),
        kernel: parsed.kernel.release.clone(),
        reports,
        story,
        filed,
    };
    let log = if log.len() <= ECHO { String::from_utf8_lossy(&log).into_owned() } else { String::new() };
    Ok(Decode { result: Some(result), log })
}

/// The log of a request. `curl --data-binary` says that it sends a form when it sends a file, so that only a body
/// that begins as ours does is one.
async fn pasted(request: Request) -> Result<(Vec<u8>, Option<usize>), Error> {
    let (parts, body) = request.into_parts();
    let kind =
        parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    let bytes = to_bytes(body, BODY)
        .await
        .map_err(|_| too_large("log-too-large", "more than a form of 8 MiB takes"))?;
    if !is_form || !bytes.starts_with(b"log=") {
        return Ok((bytes.to_vec(), None));
    }
    let form = Request::from_parts(parts, Body::from(bytes));
    let axum::Form(Pasted { log, report }) =
        axum::Form::from_request(form, &()).await.map_err(|error| malformed(error.body_text()))?;
    Ok((log.into_bytes(), report))
}

async fn filed(app: &App, title: &str) -> Result<Option<Signature>, Error> {
    match alias::leads_to(app.store.read(), title).await? {
        Some(row) => Ok(signature::by_id(app.store.read(), row).await?),
        None => Ok(None),
    }
}

fn lede(story: Option<&Story>, filed: Option<&Signature>, reports: usize) -> Sentence {
    let Some(story) = story else { return "No kernel report was found in this log.".into() };
    let mut sentence = Sentence::default();
    if let Some(function) = &story.function {
        sentence = sentence.say("In ").strong(function);
        if let Some(module) = &story.module {
            sentence = sentence.say(" of the module ").code(module);
        }
        if let Some(place) = &story.place {
            sentence = sentence.say(", at ").code(place);
        }
        sentence = sentence.say(". ");
    }
    if reports > 1 {
        sentence = sentence.say(format!(
            "The log holds {reports} reports; this is the one that matters most, unless you chose another. "
        ));
    }
    match filed {
        Some(signature) => sentence
            .say("It would be filed under ")
            .link(format!("/signatures/{}", signature.signature_id), signature.title.as_str())
            .say(format!(
                ", which {} on {} already had.",
                words::plural(signature.crashes, "crash", "crashes"),
                words::plural(signature.nodes, "node", "nodes")
            )),
        None => sentence.say("No crash here had this title yet: it would open a new signature."),
    }
}

#[derive(Template)]
#[template(path = "decode.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Decode,
}

impl View for Decode {
    const AT: Nav = Nav::Decode;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        let Some(found) = &self.result else {
            text.title("Decode a kernel log");
            text.line("curl --data-binary @dmesg.txt ADDRESS/decode.txt");
            return;
        };
        match &found.story {
            Some(story) => {
                text.title(&story.title);
                text.prose(&found.lede.plain());
                story_as_text(story, text);
            }
            None => {
                text.title("Nothing found");
                text.prose(&found.lede.plain());
            }
        }
    }
}
