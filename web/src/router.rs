//! Every URL of the service on one page.

use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post, put};
use handover::problem::Problem;
use handover::{PROTOCOL, PROTOCOL_HEADER, SERVICE_HEADER};

use crate::api::{
    boots, buildid, crashes, decisions, evidence, handover as protocol, nodes, readiness, reconcile,
    signatures, symbols, uploads,
};
use crate::app::AppState;
use crate::problem::{self, Error};
use crate::{drain, health, pages, random, session};

/// The service's routes, and what is around all of them.
pub fn router(app: AppState) -> Router {
    let api = Router::new()
        .route("/handover", get(protocol::capabilities))
        .route("/handover/keys", get(protocol::keys))
        .route("/evidence", get(evidence::list))
        .route("/evidence/offers", post(evidence::offer))
        .route("/evidence/{evidence_id}", get(evidence::one).put(evidence::put))
        .route("/evidence/{evidence_id}/raw", get(evidence::raw))
        .route("/evidence/{evidence_id}/receipt", get(evidence::receipt))
        .route("/evidence/{evidence_id}/upload", post(uploads::open))
        .route("/uploads/{upload}", head(uploads::head).patch(uploads::patch).delete(uploads::delete))
        .route("/crashes", get(crashes::list))
        .route("/crashes/{crash_id}", get(crashes::one))
        .route("/crashes/{crash_id}/explain", get(crashes::explain))
        .route("/crashes/{crash_id}/tasks", get(crashes::tasks))
        .route("/signatures", get(signatures::list))
        .route("/signatures/{signature_id}", get(signatures::one).patch(decisions::change))
        .route("/signatures/{signature_id}/merge", post(decisions::merge))
        .route("/signatures/{signature_id}/split", post(decisions::split))
        .route("/signatures/{signature_id}/undo", post(decisions::undo))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{node_id}", get(nodes::one))
        .route("/nodes/{node_id}/receipts", get(nodes::receipts))
        .route("/nodes/{node_id}/boots", get(boots::list))
        .route("/nodes/{node_id}/boots/{boot_id}", put(boots::put))
        .route("/nodes/{node_id}/reconcile", post(reconcile::reconcile))
        .route("/service/acknowledge", post(reconcile::acknowledge))
        .route("/nodes/{node_id}/readiness", get(readiness::get).put(readiness::put))
        .route("/symbols", put(symbols::put).post(symbols::put).get(symbols::list))
        .route("/symbols/missing", get(symbols::missing))
        .route("/symbols/{*path}", put(symbols::put_named));
    Router::new()
        .nest("/api/v1", api)
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/session", post(session::open))
        .route("/buildid/{build_id}/debuginfo", get(buildid::debuginfo))
        .route("/buildid/{build_id}/executable", get(buildid::executable))
        .route("/buildid/{build_id}/section/{*name}", get(buildid::section))
        .route("/buildid/{build_id}/source/{*path}", get(buildid::source))
        .merge(pages::routes())
        .fallback(pages::missing)
        .method_not_allowed_fallback(async |method: Method| {
            Error::from(
                Problem::new(405, "method-not-allowed", "This cannot be done here")
                    .detail(method.to_string()),
            )
        })
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(PROTOCOL_HEADER);
const SERVICE: HeaderName = HeaderName::from_static(SERVICE_HEADER);

/// Around every request: its id, the protocol's headers, the problem document, one line in the log.
async fn around(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = trace_id(request.headers()).unwrap_or_else(random::hex::<16>);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (parts, body) = request.into_parts();
    let (body, back) = drain::lend(body);
    let request = Request::from_parts(parts, body);
    let response = match spoken(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        back.drain().await;
    }
    let mut response = problem::write(response, &id);
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, trace_id = id, ms = begun.elapsed().as_millis(), "request");
    let headers = response.headers_mut();
    headers.insert(PROTOCOL_VERSION, HeaderValue::from(PROTOCOL));
    headers.insert(SERVICE, HeaderValue::from_str(&app.service.to_string()).expect("hex digits"));
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("hex digits"));
    headers.insert(axum::http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Refuses a version of the protocol that this service does not speak.
fn spoken(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get(PROTOCOL_HEADER) {
        Some(asked) if asked.as_bytes() != PROTOCOL.to_string().as_bytes() => {
            let mut problem =
                Problem::new(400, "protocol", "This version of the protocol is not spoken here");
            problem.protocols = Some(vec![PROTOCOL]);
            Err(problem.into())
        }
        _ => Ok(()),
    }
}

/// The trace id of a `traceparent` header (W3C Trace Context), by which one failure is found on both sides.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("traceparent")?.to_str().ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_ascii_lowercase())
}
