//! REST under `/api/v1`: one file a resource, each handler beside what it takes and gives.

pub mod boots;
pub mod buildid;
pub mod crashes;
pub mod decisions;
pub mod evidence;
pub mod handover;
pub mod nodes;
pub mod readiness;
pub mod reconcile;
pub mod signatures;
pub mod symbols;
pub mod uploads;

use std::io::{self, Read};
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::problem::{self, Error, malformed, not_found};

/// What must come of a body in a while: 1 KiB/s (protocol, chapter 5).
const FLOOR: (usize, Duration) = (30 * 1024, Duration::from_secs(30));
/// And how long it may take in all.
const WHOLE: Duration = Duration::from_secs(600);

/// KiB of bodies that are in memory at once, of all requests: 32 parts of a large upload. They are counted as they come,
/// so that who announces much and sends nothing takes no room.
const BODIES: usize = 256 * 1024;
static ROOM: Semaphore = Semaphore::const_new(BODIES);
/// Room is taken in steps of this.
const STEP: usize = 64 * 1024;

/// A body in memory; the room that it takes is given back with it.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    room: Option<SemaphorePermit<'static>>,
}

impl std::ops::Deref for Held {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Held {
    fn push(&mut self, data: &[u8]) -> Result<(), Error> {
        let taken = self.room.as_ref().map_or(0, |room| room.num_permits() * 1024);
        let wanted = self.bytes.len() + data.len();
        if wanted > taken {
            let more = (wanted - taken).next_multiple_of(STEP) / 1024;
            let more = u32::try_from(more).map_err(|_| Error::Busy)?;
            let more = ROOM.try_acquire_many(more).map_err(|_| Error::Busy)?;
            match &mut self.room {
                Some(room) => room.merge(more),
                none => *none = Some(more),
            }
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

/// An id in the path. What is not even the form of one is as unknown as any other.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr + Send,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id<T>, Error> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_found("no id"))?;
        text.parse().map(Id).map_err(|_| not_found(format!("{text:?} is not an id of this kind")))
    }
}

/// The query of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<T>(pub T);

impl<T, S> FromRequestParts<S> for Params<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Error> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(params)| Params(params)).map_err(|rejection| malformed(rejection.body_text()))
    }
}

/// A small JSON body.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

/// What people write fits easily.
const JSON: u64 = 64 * 1024;

impl<T, S> FromRequest<S> for JsonBody<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T>, Error> {
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, JSON, "too-large").await?;
        serde_json::from_slice(&body).map(JsonBody).map_err(|error| malformed(error.to_string()))
    }
}

/// Reads a body of at most `cap` bytes; more is `code`, told before it is read where the length is announced.
pub async fn read_body(headers: &HeaderMap, body: Body, cap: u64, code: &str) -> Result<Held, Error> {
    let over =
        |size: u64| problem::too_large(code, format!("{size} bytes or more, where at most {cap} are taken"));
    if let Some(announced) = content_length(headers)
        && announced > cap
    {
        return Err(over(announced));
    }
    let mut held = Held { bytes: Vec::new(), room: None };
    let mut body = body;
    let whole = async {
        let (floor, window) = FLOOR;
        let (mut since, mut until) = (0, Instant::now() + window);
        loop {
            let frame = match tokio::time::timeout_at(until, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(malformed(format!("the body broke off: {error}"))),
                Ok(None) => return Ok(()),
                Err(_) if held.len() - since >= floor => {
                    (since, until) = (held.len(), Instant::now() + window);
                    continue;
                }
                Err(_) => return Err(problem::too_slow("less than 1 KiB a second came")),
            };
            if let Some(data) = frame.data_ref() {
                if (held.len() + data.len()) as u64 > cap {
                    return Err(over((held.len() + data.len()) as u64));
                }
                held.push(data)?;
            }
        }
    };
    let whole = tokio::time::timeout(WHOLE, whole).await;
    whole.map_err(|_| problem::too_slow("the body took more than 10 min"))??;
    Ok(held)
}

/// What `Content-Length` announces.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes of a stream on the way to a client.
const CHUNK: usize = 64 * 1024;

/// A body that is read while it is sent. If reading fails the answer breaks off short of its length.
pub fn stream(mut from: Box<dyn Read + Send>) -> Body {
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(4);
    tokio::spawn(async move {
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; CHUNK];
                let read = from.read(&mut chunk).map(|read| {
                    chunk.truncate(read);
                    chunk
                });
                (from, read)
            });
            let Ok((again, read)) = read.await else { return };
            from = again;
            match read {
                Ok(chunk) if chunk.is_empty() => return,
                Ok(chunk) => {
                    if sender.send_data(Bytes::from(chunk)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "reading what is being sent");
                    sender.abort(error);
                    return;
                }
            }
        }
    });
    Body::new(body)
}
