//! Debug files: put in by people and build machines, asked for by crashes.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;

use super::{content_length, stream};
use crate::app::{App, AppState};
use crate::auth::{Reader, SymbolsKeeper};
use crate::clock::now_us;
use crate::problem::{Error, malformed, not_found, too_large};
use crate::store::{image, job};
use crate::symbols::Identity;

/// A vmlinux with everything switched on (allyesconfig) has 5 GB; the next step up is a mistake.
const MOST: u64 = 8 * 1024 * 1024 * 1024;
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
    /// False: it was there before.
    new: bool,
    /// Crashes that are located again with it.
    crashes: usize,
}

/// `PUT /symbols`: the body is a vmlinux, a module, or either's separate debug file. Who it is is read from it.
pub async fn put(
    State(app): State<AppState>,
    _: SymbolsKeeper,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    if let Some(announced) = content_length(&headers)
        && announced > MOST
    {
        return Err(too_large(
            "symbols-too-large",
            format!("{announced} bytes, where at most {MOST} are taken"),
        ));
    }
    let (file, path) = app.symbols.begin()?;
    let kept = keep(&app, &file, &path, body).await;
    // Once it is in its place the temporary name is gone.
    let _ = tokio::fs::remove_file(&path).await;
    let (identity, bytes) = kept?;
    let kept = enter(&app, identity, bytes).await?;
    let status = if kept.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(kept)).into_response())
}

async fn keep(
    app: &Arc<App>,
    file: &File,
    path: &std::path::Path,
    mut body: Body,
) -> Result<(Identity, u64), Error> {
    let mut bytes = 0;
    loop {
        let frame = match tokio::time::timeout(STALL, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|error| malformed(format!("the body broke off: {error}")))?,
            Ok(None) => break,
            Err(_) => return Err(malformed("the body stood still for 30 s")),
        };
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > MOST {
            return Err(too_large("symbols-too-large", format!("more than {MOST} bytes")));
        }
        let mut writer = file.try_clone().map_err(Error::disk("writing", path))?;
        let written = tokio::task::spawn_blocking(move || writer.write_all(&data)).await;
        written
            .map_err(|_| Error::Inside("writing an upload ended badly"))?
            .map_err(Error::disk("writing", path))?;
    }
    let (app, file) = (Arc::clone(app), file.try_clone().map_err(Error::disk("writing", path))?);
    let path = path.to_owned();
    let kept = tokio::task::spawn_blocking(move || app.symbols.keep(&file, &path));
    let identity = kept.await.map_err(|_| Error::Inside("reading a debug file ended badly"))??;
    Ok((identity, bytes))
}

/// Enters a debug file and makes due again what waited for it.
async fn enter(app: &App, identity: Identity, bytes: u64) -> Result<Kept, Error> {
    let Identity { build_id, name, kernel } = identity;
    let now = now_us();
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let image = image::Image { id: 0, build_id, name, kernel, bytes, stored_us: now };
    let mut transaction = app.store.write().await?;
    let new = image::insert(&mut transaction, &image).await?;
    let waiting = image::waiting(&mut transaction, &image).await?;
    for &crash in &waiting {
        job::ask(&mut transaction, job::LOCATE, crash, now).await?;
    }
    transaction.commit().await?;
    app.jobs_due.notify_one();
    let image::Image { build_id, name, kernel, .. } = image;
    Ok(Kept { build_id: hex::encode(build_id), name, kernel, new, crashes: waiting.len() })
}

/// Debug files at hand.
#[derive(Debug, Serialize)]
pub struct Listed {
    items: Vec<image::Image>,
}

/// `GET /symbols`: the newest 500.
pub async fn list(State(app): State<AppState>, _: Reader) -> Result<Json<Listed>, Error> {
    Ok(Json(Listed { items: image::list(app.store.read(), LISTED).await? }))
}

/// Debug files that crashes wait for.
#[derive(Debug, Serialize)]
pub struct MissingList {
    items: Vec<image::Missing>,
}

/// `GET /symbols/missing`: at most 500, most waited for first.
pub async fn missing(State(app): State<AppState>, _: Reader) -> Result<Json<MissingList>, Error> {
    Ok(Json(MissingList { items: image::missing(app.store.read(), LISTED).await? }))
}

/// `GET /buildid/{build_id}/debuginfo`: the file, as debuginfod serves it, so that gdb, perf and crash find it.
pub async fn debuginfo(
    State(app): State<AppState>,
    _: Reader,
    Path(text): Path<String>,
) -> Result<Response, Error> {
    let unknown = || not_found(format!("no debug file of build-id {text:?}"));
    let build_id = hex::decode(&text).map_err(|_| unknown())?;
    let image = image::by_build_id(app.store.read(), &build_id).await?.ok_or_else(unknown)?;
    let path = app.symbols.path(&image.build_id);
    let opening = tokio::task::spawn_blocking(move || {
        let mut file = File::open(&path).map_err(Error::disk("opening", &path))?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).and_then(|()| file.rewind()).map_err(Error::disk("reading", &path))?;
        Ok::<_, Error>((file, magic))
    });
    let (file, magic) = opening.await.map_err(|_| Error::Inside("opening a debug file ended badly"))??;
    if magic != *b"\x7fELF" {
        return Err(not_found(format!(
            "the debug file of build-id {text} is kept compressed and not served"
        )));
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, image.bytes.to_string()),
        (HeaderName::from_static("x-debuginfod-size"), image.bytes.to_string()),
    ];
    Ok((headers, stream(Box::new(file))).into_response())
}
