//! Whether the service is alive, and whether it can take and read evidence.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use crate::app::{App, AppState};
use crate::store::{cursor, custody, job};

/// `GET /livez`
pub async fn livez() -> &'static str {
    "ok\n"
}

/// What readiness is made of.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Evidence can be taken.
    pub ready: bool,
    /// The last commit of receipts was durable.
    pub custody: bool,
    /// Both databases answer.
    pub databases: bool,
    /// Pieces of evidence that are receipted and not read yet. Reading never delays a receipt, so this is told
    /// and does not make the service unready.
    pub unread: i64,
    /// Jobs due or under way.
    pub jobs: i64,
    /// Jobs that failed too often.
    pub dead_jobs: i64,
}

/// Looks.
pub async fn readiness(app: &App) -> Readiness {
    let custody = app.writer.healthy();
    let work = work(app).await;
    let databases = work.is_ok();
    let (unread, jobs, dead_jobs) = work.unwrap_or_default();
    Readiness { ready: custody && databases, custody, databases, unread, jobs, dead_jobs }
}

async fn work(app: &App) -> sqlx::Result<(i64, i64, i64)> {
    let unread =
        custody::newest(app.store.custody()).await? - cursor::get(app.store.read(), cursor::READ).await?;
    let (jobs, dead_jobs) = job::count(app.store.read()).await?;
    Ok((unread, jobs, dead_jobs))
}

/// `GET /readyz`
pub async fn readyz(State(app): State<AppState>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&app).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}
