//! The one place where an error becomes a status and a problem document (RFC 9457).
//!
//! A handler returns [`Error`]; the answer carries the [`Problem`] as an extension, and [`write`], the outermost
//! layer, writes it as JSON under `/api` and for programs, with the request's id in it.

use std::io;
use std::path::{Path, PathBuf};

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use handover::problem::{MEDIA_TYPE, Problem};

use crate::store;
use crate::store::writer::Refused;

/// Why a request, or the service, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The one who asked can mend it; told as it is.
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// A database did not do what it was told.
    #[error("asking the database")]
    Database(#[from] sqlx::Error),
    /// A database could not be brought up to date.
    #[error("bringing the tables up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The disk did not.
    #[error("{doing} {}", path.display())]
    Disk {
        /// What we were doing.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Debug files cannot be asked for.
    #[error("asking debuginfod servers")]
    Servers(#[from] symbolizer::debuginfod::Error),
    /// Too much at once.
    #[error("too much at once")]
    Busy,
    /// Something inside ended that must not.
    #[error("{0}")]
    Inside(&'static str),
}

/// Seconds after which a refused client tries again. The queue drains in well under one, and who waits adds up to half
/// as much by chance.
const QUEUE_S: u16 = 2;
/// Room on the disk, or for another upload, is made by people or by days.
const ROOM_S: u16 = 300;

impl Error {
    /// A failure of the disk.
    pub fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Disk { doing, path, source }
    }

    fn problem(&self) -> Problem {
        match self {
            Error::Problem(problem) => (**problem).clone(),
            Error::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => no_space(),
            Error::Database(error) if store::is_full(error) => no_space(),
            Error::Busy => Problem::new(503, "busy", "Too much at once"),
            Error::Database(_)
            | Error::Migrate(_)
            | Error::Disk { .. }
            | Error::Servers(_)
            | Error::Inside(_) => Problem::new(500, "internal", "The service failed")
                .detail("its log says why, under the trace id"),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        match refused {
            Refused::Busy => Error::Busy,
            Refused::Full => no_space().into(),
            Refused::Failed => Error::Problem(Box::new(
                Problem::new(503, "not-durable", "Nothing was taken")
                    .detail("the evidence could not be made durable; the service's log says why"),
            )),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        Error::Problem(Box::new(problem))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        if problem.status == 500 {
            tracing::error!(error = %Chain(&self), "a request failed");
        }
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let retry_after_s = match problem.status {
            408 | 503 => Some(QUEUE_S),
            429 | 507 => Some(ROOM_S),
            _ => None,
        };
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if problem.status == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// An error with its causes, on one line.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Writes the problem that an answer carries as its body.
pub fn write(response: Response, trace_id: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let Some(problem) = parts.extensions.remove::<Problem>() else {
        return Response::from_parts(parts, body);
    };
    let problem = Problem { trace_id: trace_id.to_owned(), ..problem };
    let mut document = Json(&problem).into_response();
    document.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(std::mem::take(document.headers_mut()));
    Response::from_parts(parts, Body::new(document.into_body()))
}

/// 400: the request breaks a rule of its form.
pub fn malformed(detail: impl Into<String>) -> Error {
    Problem::new(400, "malformed", "The request is malformed").detail(detail).into()
}

/// 507: nothing was taken, and nothing is lost.
fn no_space() -> Problem {
    Problem::new(507, "no-space", "The service has no space left")
}

/// 401: no token, or none that is valid.
pub fn unauthorized(detail: impl Into<String>) -> Error {
    Problem::new(401, "unauthorized", "A valid token is needed").detail(detail).into()
}

/// 403: the token does not allow this.
pub fn forbidden(code: &str, detail: impl Into<String>) -> Error {
    Problem::new(403, code, "The token does not allow this").detail(detail).into()
}

/// 404: there is no such thing.
pub fn not_found(what: impl Into<String>) -> Error {
    Problem::new(404, "not-found", "There is no such thing").detail(what).into()
}

/// 408: the request comes too slowly; nothing is wrong with what it brings.
pub fn too_slow(detail: impl Into<String>) -> Error {
    Problem::new(408, "too-slow", "The request took too long").detail(detail).into()
}

/// 409: ids contradict each other.
pub fn id_mismatch(detail: impl Into<String>) -> Error {
    Problem::new(409, "id-mismatch", "The ids do not match").detail(detail).into()
}

/// 413: more than the cap.
pub fn too_large(code: &str, detail: impl Into<String>) -> Error {
    Problem::new(413, code, "More than the service takes at once").detail(detail).into()
}

/// 422: the content contradicts what was said of it.
pub fn unprocessable(code: &str, title: &str, detail: impl Into<String>) -> Error {
    Problem::new(422, code, title).detail(detail).into()
}

/// What is wrong with a parcel's framing or manifest.
pub fn of_manifest(error: &handover::Error) -> Error {
    match error {
        handover::Error::TooLarge { what: "the manifest", .. } => {
            too_large("manifest-too-large", error.to_string())
        }
        handover::Error::TooLarge { .. } => too_large("too-large", error.to_string()),
        handover::Error::Mismatch(_) => id_mismatch(error.to_string()),
        handover::Error::Coding(_) => {
            Problem::new(415, "unknown-coding", "The coding is not known").detail(error.to_string()).into()
        }
        _ => malformed(error.to_string()),
    }
}

/// What is wrong with the evidence bytes of a parcel.
pub fn of_bytes(error: &handover::Error) -> Error {
    match error {
        handover::Error::TooLarge { .. } => too_large("use-parts", error.to_string()),
        handover::Error::Size { .. } => {
            unprocessable("size-mismatch", "The size does not match", error.to_string())
        }
        handover::Error::Mismatch(_) => {
            unprocessable("digest-mismatch", "The digest does not match", error.to_string())
        }
        handover::Error::Decode(source) => {
            unprocessable("undecodable", "The evidence cannot be decoded", format!("{error}: {source}"))
        }
        _ => malformed(error.to_string()),
    }
}
