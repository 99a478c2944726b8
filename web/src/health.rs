//! Whether the service is alive, and whether it can take and read evidence.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::app::{App, AppState};
use crate::store::{cursor, custody, job, service};

/// `GET /livez`
pub async fn livez() -> &'static str {
    "ok\n"
}

/// What readiness is made of.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Evidence can be taken.
    pub ready: bool,
    /// A commit to custody was durable, tried within the last minute.
    pub custody: bool,
    /// Both databases answer.
    pub databases: bool,
    /// Pieces of evidence that are receipted and not read yet. Reading never delays a receipt, so this is told
    /// and does not make the service unready.
    pub unread: i64,
    /// A node proved that receipts of ours were lost, so a backup was restored; µs since 1970 UTC, until somebody
    /// acknowledges it. The service stays ready all the same: the nodes that bring back what was lost must reach it.
    pub rolled_back_us: Option<i64>,
    /// Jobs due or under way.
    pub jobs: i64,
    /// Jobs that failed too often.
    pub dead_jobs: i64,
}

/// Looks.
pub async fn readiness(app: &App) -> Readiness {
    let custody = app.writer.proves().await;
    let work = work(app).await;
    let databases = work.is_ok();
    let Work { unread, rolled_back_us, jobs, dead_jobs } = work.unwrap_or_default();
    Readiness { ready: custody && databases, custody, databases, unread, rolled_back_us, jobs, dead_jobs }
}

#[derive(Default)]
struct Work {
    unread: i64,
    rolled_back_us: Option<i64>,
    jobs: i64,
    dead_jobs: i64,
}

async fn work(app: &App) -> sqlx::Result<Work> {
    let unread =
        custody::newest(app.store.custody()).await? - cursor::get(app.store.read(), cursor::READ).await?;
    let (jobs, dead_jobs) = job::count(app.store.read()).await?;
    let rolled_back_us = service::rolled_back_us(app.store.custody()).await?;
    Ok(Work { unread, rolled_back_us, jobs, dead_jobs })
}

/// `GET /readyz`
pub async fn readyz(State(app): State<AppState>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&app).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
