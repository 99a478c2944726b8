//! What an agent asks before anything else: capabilities and keys. No token.

use axum::Json;
use axum::extract::State;
use handover::key::Keys;
use handover::{PROTOCOL, ServiceId, limits};
use serde::Serialize;

use crate::app::AppState;
use crate::clock::now_us;
use crate::problem::Error;
use crate::store;

/// What the service speaks and takes.
#[derive(Debug, Serialize)]
pub struct Capabilities {
    schema: &'static str,
    service: ServiceId,
    protocols: [u32; 1],
    codings: [&'static str; 2],
    kinds_wanted: [&'static str; 8],
    limits: Limits,
    server: &'static str,
    time_us: i64,
}

#[derive(Debug, Serialize)]
struct Limits {
    manifest: usize,
    offer_items: usize,
    small_coded: u64,
    small_decoded: u64,
    part: u64,
    large_coded: u64,
}

/// `GET /handover`
pub async fn capabilities(State(app): State<AppState>) -> Json<Capabilities> {
    Json(Capabilities {
        schema: "lastwords.capabilities/1",
        service: app.service,
        protocols: [PROTOCOL],
        codings: ["identity", "zstd"],
        kinds_wanted: [
            "kernel-log",
            "console-log",
            "user-log",
            "hardware-error",
            "vmcore",
            "vmcore-extract",
            "vmcore-summary",
            "other",
        ],
        limits: Limits {
            manifest: limits::MANIFEST,
            offer_items: limits::OFFER_ITEMS,
            small_coded: limits::SMALL_CODED,
            small_decoded: limits::SMALL_DECODED,
            part: limits::PART,
            large_coded: limits::LARGE_CODED,
        },
        server: env!("CARGO_PKG_VERSION"),
        time_us: now_us(),
    })
}

/// `GET /handover/keys`
pub async fn keys(State(app): State<AppState>) -> Result<Json<Keys>, Error> {
    Ok(Json(store::service::keys(app.store.custody(), app.service, app.key).await?))
}
