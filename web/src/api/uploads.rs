//! Large evidence in parts that can be resumed (protocol, section 6.3).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handover::manifest::Manifest;
use handover::parcel::Coding;
use handover::problem::Problem;
use handover::receipt::{Disposition, Envelope};
use handover::{CODING_HEADER, EvidenceId, Sha256, limits};

use super::read_body;
use crate::app::{App, AppState};
use crate::auth::Ingest;
use crate::clock::now_us;
use crate::problem::{self, Chain, Error, malformed, not_found, too_large, unprocessable};
use crate::random;
use crate::store::rollup;
use crate::store::upload::{self, Upload};
use crate::store::writer::Ask;

/// Open uploads of one node.
const OF_NODE: i64 = 4;
/// Open uploads in all.
const IN_ALL: i64 = 1000;
/// An upload ends this long after its last part.
const LIFE_US: i64 = 7 * rollup::DAY_US;
/// How long the one who sent the last part waits for the digest over the whole.
const PATIENCE: Duration = Duration::from_secs(20);

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Uploads that somebody writes to, or whose digest is being computed.
#[derive(Debug, Default)]
pub struct Busy(Mutex<HashSet<i64>>);

/// A place in [`Busy`], given back when dropped.
struct Hold {
    app: Arc<App>,
    id: i64,
}

impl Hold {
    fn take(app: &Arc<App>, id: i64) -> Option<Hold> {
        let free = app.busy.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        free.then(|| Hold { app: Arc::clone(app), id })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.app.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// `POST /evidence/{evidence_id}/upload`: opens an upload, or says how far it is. The body is the manifest.
pub async fn open(
    State(app): State<AppState>,
    caller: Ingest,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let path: EvidenceId =
        path.parse().map_err(|error| malformed(format!("the evidence id in the path: {error}")))?;
    let body = read_body(&headers, body, limits::MANIFEST as u64, "manifest-too-large").await?;
    let manifest = Manifest::read(&body).map_err(|error| problem::of_manifest(&error))?;
    super::evidence::admit(&caller, &path, &manifest)?;
    if manifest.withheld.is_some() {
        return Err(malformed("the manifest says that the bytes are withheld"));
    }
    let coding = coding(&headers)?;
    let coded_size = number(&headers, &LENGTH)?;
    if coded_size == 0 {
        return Err(malformed("an upload has bytes; evidence of none is a parcel"));
    }
    if coded_size > limits::LARGE_CODED || manifest.size > limits::LARGE_DECODED {
        return Err(too_large(
            "evidence-too-large",
            format!("{coded_size} coded, {} decoded bytes", manifest.size),
        ));
    }
    let again = Ask::Again { evidence_id: path, received_us: now_us() };
    if let Some(receipt) = app.writer.ask(again).await?
        && super::evidence::disposition(&receipt)? == Disposition::Duplicate
    {
        return Ok(Json(receipt).into_response());
    }

    app.blobs.has_room(coded_size)?;
    let mut transaction = app.store.write().await?;
    if let Some(open) = upload::of_evidence(&mut *transaction, &path).await?.filter(|open| !open.finished) {
        let same =
            open.manifest == *body && open.coding == coding.as_str() && open.coded_size == signed(coded_size);
        if !same {
            let problem = Problem::new(409, "upload-differs", "Another upload of this evidence is open");
            return Err(problem.detail("its manifest, length or coding is another").into());
        }
        return Ok((StatusCode::OK, place(&open)).into_response());
    }
    let (of_node, in_all) = upload::count(&mut *transaction, &manifest.node_id).await?;
    if of_node >= OF_NODE || in_all >= IN_ALL {
        let problem = Problem::new(429, "too-many-uploads", "Too many uploads are open");
        return Err(problem.detail(format!("{of_node} of this node, {in_all} in all")).into());
    }
    let new = Upload {
        id: 0,
        upload_key: random::bytes::<16>().to_vec(),
        evidence_id: path,
        node_id: manifest.node_id,
        manifest: body.to_vec(),
        coding: coding.as_str().to_owned(),
        coded_size: signed(coded_size),
        coded_offset: 0,
        finished: false,
    };
    if let Some(old) = upload::of_evidence(&mut *transaction, &path).await? {
        upload::delete(&mut transaction, old.id).await?;
    }
    upload::insert(&mut transaction, &new, now_us() + LIFE_US).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, place(&new)).into_response())
}

/// `HEAD /uploads/{upload}`
pub async fn head(
    State(app): State<AppState>,
    caller: Ingest,
    Path(key): Path<String>,
) -> Result<Response, Error> {
    let upload = find(&app, &caller, &key).await?;
    Ok((StatusCode::OK, place(&upload)).into_response())
}

/// `PATCH /uploads/{upload}`: one part, durable before it is answered. The one that makes it whole is answered
/// with the receipt, or 202 while the digest over the whole is computed.
pub async fn patch(
    State(app): State<AppState>,
    caller: Ingest,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let found = find(&app, &caller, &key).await?;
    let busy = || Error::from(Problem::new(423, "upload-busy", "Somebody writes to this upload"));
    let hold = Hold::take(&app, found.id).ok_or_else(busy)?;
    // Again, now that nobody else writes.
    let upload = find(&app, &caller, &key).await?;
    let offset = number(&headers, &OFFSET)?;
    if signed(offset) != upload.coded_offset {
        let problem = Problem::new(409, "offset-mismatch", "The part does not begin where the upload ends");
        let problem = Error::from(problem.detail(format!("the upload has {} bytes", upload.coded_offset)));
        return Ok((place(&upload), problem).into_response());
    }
    let digest = digest(&headers)?;
    let body = read_body(&headers, body, limits::PART, "part-too-large").await?;
    if Sha256::of(&body) != digest {
        return Err(unprocessable("part-digest", "The part's digest does not match", "it is not kept"));
    }
    let upload = Upload { coded_offset: upload.coded_offset + signed(body.len() as u64), ..upload };
    if upload.coded_offset > upload.coded_size {
        return Err(malformed(format!(
            "the part goes beyond the {} bytes that were announced",
            upload.coded_size
        )));
    }
    app.blobs.has_room(body.len() as u64)?;
    let written = tokio::task::spawn_blocking({
        let (app, key) = (Arc::clone(&app), upload.upload_key.clone());
        move || app.blobs.write_part(&key, offset, &body)
    });
    written.await.map_err(|_| Error::Inside("writing a part ended badly"))??;
    let mut transaction = app.store.write().await?;
    upload::advance(&mut transaction, upload.id, upload.coded_offset, now_us() + LIFE_US).await?;
    transaction.commit().await?;
    if upload.coded_offset < upload.coded_size {
        return Ok((StatusCode::NO_CONTENT, place(&upload)).into_response());
    }
    let finishing = tokio::spawn(finish(app, upload, hold));
    match tokio::time::timeout(PATIENCE, finishing).await {
        Ok(finished) => {
            let receipt = finished.map_err(|_| Error::Inside("finishing an upload ended badly"))??;
            Ok((StatusCode::CREATED, Json(receipt)).into_response())
        }
        Err(_) => {
            Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, HeaderValue::from_static("2"))]).into_response())
        }
    }
}

/// `DELETE /uploads/{upload}`
pub async fn delete(
    State(app): State<AppState>,
    caller: Ingest,
    Path(key): Path<String>,
) -> Result<StatusCode, Error> {
    let upload = find(&app, &caller, &key).await?;
    let busy = || Error::from(Problem::new(423, "upload-busy", "Somebody writes to this upload"));
    let _hold = Hold::take(&app, upload.id).ok_or_else(busy)?;
    drop_upload(&app, &upload).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks the whole and takes it into custody. What fails the check goes, and the node starts over.
async fn finish(app: Arc<App>, upload: Upload, hold: Hold) -> Result<Envelope, Error> {
    let received_us = now_us();
    let manifest =
        Manifest::read(&upload.manifest).map_err(|_| Error::Inside("a stored manifest is damaged"))?;
    let place = app.checks.acquire().await.map_err(|_| Error::Busy)?;
    let adopting = tokio::task::spawn_blocking({
        let (app, upload, manifest) = (Arc::clone(&app), upload.clone(), manifest.clone());
        move || {
            let coding = if upload.coding == Coding::Zstd.as_str() { Coding::Zstd } else { Coding::Identity };
            app.blobs.adopt(&upload.upload_key, coding, &manifest)
        }
    });
    let adopted = adopting.await.map_err(|_| Error::Inside("checking an upload ended badly"))?;
    drop(place);
    let bytes = match adopted {
        Ok(bytes) => bytes,
        Err(error) => {
            if matches!(error, Error::Problem(_)) {
                drop_upload(&app, &upload).await?;
            }
            return Err(error);
        }
    };
    let ask = Ask::Keep { manifest: Box::new(manifest), bytes, received_us };
    let receipt = app.writer.ask(ask).await?.ok_or(Error::Inside("no receipt was made"))?;
    let mut transaction = app.store.write().await?;
    upload::finish(&mut transaction, upload.id).await?;
    transaction.commit().await?;
    app.blobs.drop_part(&upload.upload_key)?;
    drop(hold);
    Ok(receipt)
}

/// Ends uploads whose time is over, and finishes those that were whole when the service was stopped.
pub async fn tidy(app: &Arc<App>) -> Result<(), Error> {
    for upload in upload::expired(app.store.read(), now_us()).await? {
        if let Some(_hold) = Hold::take(app, upload.id) {
            drop_upload(app, &upload).await?;
        }
    }
    for upload in upload::complete(app.store.read()).await? {
        let Some(hold) = Hold::take(app, upload.id) else { continue };
        let evidence = upload.evidence_id;
        if let Err(error) = finish(Arc::clone(app), upload, hold).await {
            tracing::warn!(%evidence, error = %Chain(&error), "finishing an upload");
        }
    }
    Ok(())
}

async fn drop_upload(app: &App, upload: &Upload) -> Result<(), Error> {
    let mut transaction = app.store.write().await?;
    upload::delete(&mut transaction, upload.id).await?;
    transaction.commit().await?;
    app.blobs.drop_part(&upload.upload_key)
}

/// An open upload of a node that the caller may speak for.
async fn find(app: &App, caller: &Ingest, key: &str) -> Result<Upload, Error> {
    let unknown = || not_found(format!("no upload {key}"));
    let bytes = hex::decode(key).map_err(|_| unknown())?;
    let upload = upload::by_key(app.store.read(), &bytes).await?.ok_or_else(unknown)?;
    caller.speaks_for(&upload.node_id).map_err(|_| unknown())?;
    if upload.finished {
        let problem = Problem::new(410, "upload-finished", "The upload is finished");
        return Err(problem.detail("its receipt says what became of it").into());
    }
    Ok(upload)
}

/// Whether the digest over some evidence is being computed.
pub async fn is_being_checked(app: &App, key: &EvidenceId) -> Result<bool, Error> {
    let upload = upload::of_evidence(app.store.read(), key).await?;
    Ok(upload.is_some_and(|upload| !upload.finished && upload.coded_offset == upload.coded_size))
}

/// What is said of the place and the length of an upload.
fn place(upload: &Upload) -> [(HeaderName, HeaderValue); 3] {
    let location = HeaderValue::from_str(&path(upload)).expect("hex digits");
    [
        (header::LOCATION, location),
        (OFFSET, HeaderValue::from(upload.coded_offset)),
        (LENGTH, HeaderValue::from(upload.coded_size)),
    ]
}

/// The address of an upload.
pub fn path(upload: &Upload) -> String {
    format!("/api/v1/uploads/{}", hex::encode(&upload.upload_key))
}

fn coding(headers: &HeaderMap) -> Result<Coding, Error> {
    match headers.get(CODING_HEADER).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(Coding::Identity),
        Some(b"zstd") => Ok(Coding::Zstd),
        Some(other) => {
            let problem = Problem::new(415, "unknown-coding", "The coding is not known");
            Err(problem.detail(String::from_utf8_lossy(other)).into())
        }
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Error> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    value.ok_or_else(|| malformed(format!("the header {name} must be a number")))
}

/// `Content-Digest: sha-256=:…:` (RFC 9530).
fn digest(headers: &HeaderMap) -> Result<Sha256, Error> {
    let wrong = || malformed("the header content-digest must be sha-256=:base64:");
    let text = headers.get(&DIGEST).and_then(|value| value.to_str().ok()).ok_or_else(wrong)?;
    let coded = text.split(',').find_map(|one| one.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    let bytes = STANDARD.decode(coded.ok_or_else(wrong)?).map_err(|_| wrong())?;
    Sha256::from_slice(&bytes).ok_or_else(wrong)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
