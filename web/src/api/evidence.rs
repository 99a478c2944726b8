//! Evidence: offers, uploads, receipts; then lists and the raw bytes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use handover::canonical::{Document, Value};
use handover::manifest::{Class, Manifest};
use handover::offer::{self, Answer, HeadAnswer, ItemAnswer, Offer, OfferAnswer, OfferItem};
use handover::receipt::{Disposition, Envelope};
use handover::{CrashId, EvidenceId, NodeId, limits, parcel};
use serde::{Deserialize, Serialize};

use super::{Id, Params, content_length, read_body, stream, uploads};
use crate::app::{App, AppState};
use crate::auth::{Ingest, Reader};
use crate::clock::now_us;
use crate::paging::{self, After, Page};
use crate::problem::{self, Error, forbidden, id_mismatch, malformed, not_found};
use crate::reading::Note;
use crate::store::writer::{Ask, Bytes};
use crate::store::{crash_evidence, custody, evidence, node, upload};

/// The largest parcel that is taken in one request.
const PARCEL: u64 = (parcel::HEAD + limits::MANIFEST) as u64 + limits::SMALL_CODED;

/// `POST /evidence/offers`
pub async fn offer(
    State(app): State<AppState>,
    caller: Ingest,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OfferAnswer>, Error> {
    let received_us = now_us();
    let body = read_body(&headers, body, limits::OFFER as u64, "offer-too-large").await?;
    let tree = Value::parse("the offer", &body).map_err(|error| malformed(error.to_string()))?;
    let offer: Offer = tree.typed("the offer").map_err(|error| malformed(error.to_string()))?;
    if offer.schema != offer::SCHEMA {
        return Err(malformed(format!("schema {:?} is not {:?}", offer.schema, offer::SCHEMA)));
    }
    if offer.items.len() > limits::OFFER_ITEMS {
        let what = format!("{} items, where at most {} are taken", offer.items.len(), limits::OFFER_ITEMS);
        return Err(problem::too_large("offer-too-large", what));
    }
    caller.speaks_for(&offer.node_id)?;
    let head = head(&app, &offer).await?;
    let mut items = Vec::with_capacity(offer.items.len());
    for item in &offer.items {
        let answer = answer(&app, &caller, &offer.node_id, item, received_us).await?;
        items.push(ItemAnswer { evidence_id: item.evidence_id, answer });
    }
    Ok(Json(OfferAnswer { schema: offer::ANSWER_SCHEMA.to_owned(), head, time_us: now_us(), items }))
}

/// Whether the newest receipt that the node holds is one of ours. If not, a backup was restored.
async fn head(app: &App, offer: &Offer) -> Result<HeadAnswer, Error> {
    let offer::Head { epoch, seq, hash } = offer.head;
    if seq == 0 {
        return Ok(HeadAnswer::Known);
    }
    let (epoch, seq) = (i64::try_from(epoch).unwrap_or(-1), i64::try_from(seq).unwrap_or(-1));
    let known = custody::has_receipt(app.store.custody(), &offer.node_id, epoch, seq, &hash).await?;
    Ok(if known { HeadAnswer::Known } else { HeadAnswer::Unknown })
}

async fn answer(
    app: &App,
    caller: &Ingest,
    node: &NodeId,
    item: &OfferItem,
    received_us: i64,
) -> Result<Answer, Error> {
    let invalid = |code: &str| Ok(Answer::Invalid { code: code.to_owned() });
    if item.evidence_id != EvidenceId::of(node, &item.kind, &item.sha256) {
        return invalid("id-mismatch");
    }
    let evidence_id = item.evidence_id;
    let ask = match &item.manifest {
        Some(tree) => {
            let Ok(manifest) = Manifest::read(&tree.bytes()) else { return invalid("malformed") };
            if manifest.evidence_id != evidence_id || manifest.node_id != *node || manifest.withheld.is_none()
            {
                return invalid("id-mismatch");
            }
            if !may_send(caller, &manifest) {
                return invalid("wrong-class");
            }
            Ask::Count { manifest: Box::new(manifest), received_us }
        }
        None if custody::node_of(app.store.custody(), &evidence_id).await?.is_none() => {
            return fresh(app, item).await;
        }
        None => Ask::Again { evidence_id, received_us },
    };
    let Some(receipt) = app.writer.ask(ask).await? else { return fresh(app, item).await };
    Ok(match disposition(&receipt)? {
        Disposition::Counted if item.manifest.is_none() => fresh(app, item).await?,
        Disposition::Counted => Answer::Counted { receipt },
        _ => Answer::Have { receipt },
    })
}

/// What is said of evidence that is not here: small comes whole, large in parts, from where it stopped.
async fn fresh(app: &App, item: &OfferItem) -> Result<Answer, Error> {
    if item.coded_size <= limits::SMALL_CODED && item.size <= limits::SMALL_DECODED {
        return Ok(Answer::Need);
    }
    let open = upload::of_evidence(app.store.read(), &item.evidence_id).await?.filter(|open| !open.finished);
    Ok(match open {
        Some(open) => {
            Answer::Parts { upload: uploads::path(&open), offset: open.coded_offset.unsigned_abs() }
        }
        None => Answer::Parts { upload: format!("/api/v1/evidence/{}/upload", item.evidence_id), offset: 0 },
    })
}

/// The disposition that a receipt of ours says.
pub(super) fn disposition(envelope: &Envelope) -> Result<Disposition, Error> {
    Ok(envelope.unverified().map_err(|_| Error::Inside("a receipt of ours cannot be read"))?.disposition)
}

/// Canaries need a scope of their own.
fn may_send(caller: &Ingest, manifest: &Manifest) -> bool {
    manifest.class != Class::Canary || caller.may_send_canaries()
}

/// Whether the caller may hand over this evidence under this id.
pub(super) fn admit(caller: &Ingest, path: &EvidenceId, manifest: &Manifest) -> Result<(), Error> {
    if manifest.evidence_id != *path {
        return Err(id_mismatch(format!("the manifest is of {}, the path of {path}", manifest.evidence_id)));
    }
    caller.speaks_for(&manifest.node_id)?;
    if !may_send(caller, manifest) {
        return Err(forbidden("wrong-class", "the token may not send canaries"));
    }
    Ok(())
}

/// `PUT /evidence/{evidence_id}`
pub async fn put(
    State(app): State<AppState>,
    caller: Ingest,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let received_us = now_us();
    let path: EvidenceId =
        path.parse().map_err(|error| malformed(format!("the evidence id in the path: {error}")))?;
    if content_length(&headers).is_none() {
        let problem = handover::problem::Problem::new(411, "length-required", "The length must be announced");
        return Err(problem.into());
    }
    let body = read_body(&headers, body, PARCEL, "use-parts").await?;
    // Taken once all is here: who sends slowly keeps nobody else waiting.
    let _place = app.uploads.acquire().await.map_err(|_| Error::Busy)?;
    let parcel = tokio::task::spawn_blocking({
        let app = Arc::clone(&app);
        move || open_parcel(&app, &caller, &path, &body)
    });
    let (manifest, bytes) = parcel.await.map_err(|_| Error::Inside("checking a parcel ended badly"))??;
    let manifest = Box::new(manifest);
    let ask = match bytes {
        Some(bytes) => Ask::Keep { manifest, bytes, received_us },
        None => Ask::Count { manifest, received_us },
    };
    let receipt = app.writer.ask(ask).await?.ok_or(Error::Inside("no receipt was made"))?;
    let status = match disposition(&receipt)? {
        Disposition::Stored | Disposition::Quarantined => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(receipt)).into_response())
}

/// Checks a parcel in the order of the protocol's section 6.2 and makes its bytes ready to be kept; none are
/// there when they were withheld.
fn open_parcel(
    app: &App,
    caller: &Ingest,
    path: &EvidenceId,
    body: &[u8],
) -> Result<(Document<Manifest>, Option<Bytes>), Error> {
    let parcel = parcel::open(body).map_err(|error| problem::of_manifest(&error))?;
    let manifest = &parcel.manifest;
    admit(caller, path, manifest)?;
    if manifest.withheld.is_some() {
        return Ok((parcel.manifest, None));
    }
    if parcel.coded.len() as u64 > limits::SMALL_CODED {
        return Err(problem::too_large("use-parts", format!("{} coded bytes", parcel.coded.len())));
    }
    parcel.decode().map_err(|error| problem::of_bytes(&error))?;
    app.blobs.has_room(parcel.coded.len() as u64)?;
    let bytes = app.blobs.keep(&manifest.sha256, parcel.coding, parcel.coded)?;
    Ok((parcel.manifest, Some(bytes)))
}

/// A receipt with what is known of its crashes by now; the advice is outside the signature.
#[derive(Debug, Serialize)]
pub struct Advised {
    #[serde(flatten)]
    envelope: Envelope,
    advice: Vec<Advice>,
}

#[derive(Debug, Serialize)]
struct Advice {
    crash_id: CrashId,
    title: String,
}

/// `GET /evidence/{evidence_id}/receipt`
pub async fn receipt(
    State(app): State<AppState>,
    caller: Ingest,
    Id(key): Id<EvidenceId>,
) -> Result<Response, Error> {
    let unknown = || not_found(format!("no receipt for evidence {key}"));
    if uploads::is_being_checked(&app, &key).await? {
        let wait = [(header::RETRY_AFTER, HeaderValue::from_static("2"))];
        return Ok((StatusCode::ACCEPTED, wait).into_response());
    }
    let node = custody::node_of(app.store.custody(), &key).await?.ok_or_else(unknown)?;
    // A foreign id is as unknown as one that never was.
    caller.speaks_for(&node).map_err(|_| unknown())?;
    let envelope = custody::newest_receipt(app.store.custody(), &key).await?.ok_or_else(unknown)?;
    let advice = match evidence::by_key(app.store.read(), &key).await? {
        Some(read) => crash_evidence::of_evidence(app.store.read(), read.id).await?,
        None => Vec::new(),
    };
    let advice = advice.into_iter().map(|(crash_id, title)| Advice { crash_id, title }).collect();
    Ok(Json(Advised { envelope, advice }).into_response())
}

/// What a list of evidence may be asked for.
#[derive(Debug, Default, Deserialize)]
pub struct List {
    node: Option<NodeId>,
    /// Only what nobody could name.
    #[serde(default)]
    unnamed: bool,
    after: Option<String>,
    limit: Option<u32>,
}

/// A piece of evidence in a list.
#[derive(Debug, Serialize)]
pub struct Listed {
    #[serde(flatten)]
    evidence: evidence::Evidence,
    notes: Vec<Note>,
}

/// `GET /evidence`
pub async fn list(
    State(app): State<AppState>,
    _: Reader,
    Params(List { node, unnamed, after, limit }): Params<List>,
) -> Result<Json<Page<Listed>>, Error> {
    let db = app.store.read();
    let node = match node {
        Some(key) => {
            Some(node::by_key(db, &key).await?.ok_or_else(|| not_found(format!("no node {key}")))?.id)
        }
        None => None,
    };
    let filter = evidence::Filter { node, unnamed };
    let list = ("evidence", &filter);
    let size = paging::size(limit);
    let after = paging::after(after.as_deref(), &list)?;
    let rows = evidence::list(db, &filter, after, size + 1).await?;
    let page = Page::of(rows, size, &list, |row| After { key: row.received_us, id: row.id });
    Ok(Json(Page { items: page.items.into_iter().map(Listed::from).collect(), next: page.next }))
}

impl From<evidence::Evidence> for Listed {
    fn from(evidence: evidence::Evidence) -> Listed {
        Listed { notes: serde_json::from_str(&evidence.notes).unwrap_or_default(), evidence }
    }
}

/// One piece of evidence, with all that is known of it.
#[derive(Debug, Serialize)]
pub struct Whole {
    evidence_id: EvidenceId,
    manifest: Manifest,
    received_us: i64,
    /// Reports found in it; absent until it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    reports: Option<i64>,
    crashes: Vec<Advice>,
    notes: Vec<Note>,
    receipts: Vec<Envelope>,
}

/// `GET /evidence/{evidence_id}`
pub async fn one(
    State(app): State<AppState>,
    _: Reader,
    Id(key): Id<EvidenceId>,
) -> Result<Json<Whole>, Error> {
    let kept = kept(&app, &key).await?;
    let read = evidence::by_key(app.store.read(), &key).await?;
    let crashes = match &read {
        Some(read) => crash_evidence::of_evidence(app.store.read(), read.id).await?,
        None => Vec::new(),
    };
    Ok(Json(Whole {
        evidence_id: key,
        manifest: crate::reading::manifest(&kept)?,
        received_us: kept.received_us,
        reports: read.as_ref().map(|read| read.crashes),
        crashes: crashes.into_iter().map(|(crash_id, title)| Advice { crash_id, title }).collect(),
        notes: read.map(|read| serde_json::from_str(&read.notes).unwrap_or_default()).unwrap_or_default(),
        receipts: custody::receipts_of(app.store.custody(), &key).await?,
    }))
}

/// `GET /evidence/{evidence_id}/raw`: the bytes as they were handed over.
pub async fn raw(State(app): State<AppState>, _: Reader, Id(key): Id<EvidenceId>) -> Result<Response, Error> {
    let kept = kept(&app, &key).await?;
    let size = kept.size;
    let opening = tokio::task::spawn_blocking({
        let app = Arc::clone(&app);
        move || app.blobs.stream(&kept)
    });
    let bytes = opening.await.map_err(|_| Error::Inside("opening evidence ended badly"))??;
    let bytes = bytes.ok_or_else(|| not_found(format!("the bytes of evidence {key} were withheld")))?;
    let name = format!("attachment; filename=\"{key}.bin\"");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, stream(bytes)).into_response())
}

async fn kept(app: &App, key: &EvidenceId) -> Result<custody::Evidence, Error> {
    custody::by_key(app.store.custody(), key).await?.ok_or_else(|| not_found(format!("no evidence {key}")))
}
