//! Debug files: put in by people and build machines, asked for by crashes.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;

use super::content_length;
use crate::app::{App, AppState};
use crate::auth::{Reader, SymbolsKeeper};
use crate::problem::{Error, malformed, too_large};
use crate::store::image::{self, Identity, Image};
use crate::store::image_file::Origin;
use crate::store::wanted::{self, Missing};
use crate::symbols::enter::{self, Entered, Found};
use crate::symbols::package::{self, Package};
use crate::symbols::{self, LARGEST, Part};

/// A body may stand still this long.
const STALL: Duration = Duration::from_secs(30);
/// Rows of a list.
const LISTED: u32 = 500;

/// A debug file that was put in.
#[derive(Debug, Serialize)]
pub struct Kept {
    build_id: String,
    name: String,
    kernel: String,
    /// False: all that is in it was there before.
    new: bool,
    /// Crashes that are located again with it.
    crashes: usize,
}

/// `PUT /symbols`: the body is a vmlinux, a module, or either's separate debug file, also compressed. Who it is is read
/// from it.
pub async fn put(
    State(app): State<AppState>,
    _: SymbolsKeeper,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    take(&app, PathBuf::new(), &headers, body).await
}

/// `PUT /symbols/{path}`: the same, with the path that the file has where it comes from. It says the name and release
/// that a module's separate debug file does not say itself.
pub async fn put_named(
    State(app): State<AppState>,
    _: SymbolsKeeper,
    Path(named): Path<PathBuf>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    take(&app, named, &headers, body).await
}

async fn take(app: &Arc<App>, named: PathBuf, headers: &HeaderMap, body: Body) -> Result<Response, Error> {
    let announced = content_length(headers).unwrap_or(0);
    if announced > LARGEST {
        return Err(too_large(
            "symbols-too-large",
            format!("{announced} bytes, where at most {LARGEST} are taken"),
        ));
    }
    enter::room(app.store.read(), &app.symbols, announced).await?;
    let _place = app.symbols.uploads.try_acquire().map_err(|_| Error::Busy)?;
    let part = receive(app.symbols.begin()?, body).await?;
    let reading = Arc::clone(app);
    let read = tokio::task::spawn_blocking(move || {
        let part = reading.symbols.whole(part)?;
        symbols::read(&part.path, &named).map(|read| (read, part))
    });
    let (read, part) = read.await.map_err(|_| Error::Inside("reading a debug file ended badly"))??;
    let entered = enter::enter(&app.store, &app.symbols, read, Found::Part(part, Origin::Put)).await?;
    app.jobs_due.notify_one();
    let Entered { identity: Identity { build_id, name, kernel }, new, crashes } = entered;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Kept { build_id: hex::encode(build_id), name, kernel, new, crashes })).into_response())
}

async fn receive(part: Part, mut body: Body) -> Result<Part, Error> {
    let mut bytes = 0;
    loop {
        let frame = match tokio::time::timeout(STALL, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|error| malformed(format!("the body broke off: {error}")))?,
            Ok(None) => return Ok(part),
            Err(_) => return Err(malformed("the body stood still for 30 s")),
        };
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > LARGEST {
            return Err(too_large("symbols-too-large", format!("more than {LARGEST} bytes")));
        }
        let mut writer = part.file.try_clone().map_err(Error::disk("writing", &part.path))?;
        let written = tokio::task::spawn_blocking(move || writer.write_all(&data)).await;
        written
            .map_err(|_| Error::Inside("writing an upload ended badly"))?
            .map_err(Error::disk("writing", &part.path))?;
    }
}

/// Debug files at hand.
#[derive(Debug, Serialize)]
pub struct Listed {
    items: Vec<Image>,
}

/// `GET /symbols`: the newest 500.
pub async fn list(State(app): State<AppState>, _: Reader) -> Result<Json<Listed>, Error> {
    Ok(Json(Listed { items: image::list(app.store.read(), LISTED).await? }))
}

/// Debug files that crashes wait for.
#[derive(Debug, Serialize)]
pub struct MissingList {
    items: Vec<Lacking>,
}

/// A debug file that is missing, and where it usually is.
#[derive(Debug, Serialize)]
pub struct Lacking {
    #[serde(flatten)]
    pub(crate) missing: Missing,
    /// The distribution's package, where the release tells it.
    pub(crate) package: Option<Package>,
}

impl From<Missing> for Lacking {
    fn from(missing: Missing) -> Lacking {
        Lacking { package: package::of(&missing.kernel), missing }
    }
}

/// `GET /symbols/missing`: at most 500, most waited for first.
pub async fn missing(State(app): State<AppState>, _: Reader) -> Result<Json<MissingList>, Error> {
    let missing = wanted::missing(app.store.read(), LISTED).await?;
    Ok(Json(MissingList { items: missing.into_iter().map(Lacking::from).collect() }))
}
