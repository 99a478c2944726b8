//! Kernel builds.

use handover::digest::h;
use sqlx::SqliteConnection;

use super::Result;

/// One kernel build as evidence tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release<'a> {
    /// `uname -r`; `unknown` when neither log nor manifest says it.
    pub kernel: &'a str,
    /// Raw build-id of the kernel image.
    pub build_id: Option<&'a [u8]>,
    /// `uname -m`.
    pub arch: &'a str,
}

/// The row of a release, made when it is first met. A release known by its text alone is not the one known by
/// its build-id: two builds may print the same text.
pub async fn upsert(db: &mut SqliteConnection, release: &Release<'_>, at_us: i64) -> Result<i64> {
    let key = h("lastwords/release/v1", &[release.build_id.unwrap_or(release.kernel.as_bytes())]);
    sqlx::query_scalar(
        "INSERT INTO release (release_key, kernel, build_id, arch, first_us) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (release_key) DO UPDATE SET first_us = min(first_us, excluded.first_us)
         RETURNING id",
    )
    .bind(&key[..16])
    .bind(release.kernel)
    .bind(release.build_id)
    .bind(release.arch)
    .bind(at_us)
    .fetch_one(db)
    .await
}

/// The build-id of the kernel that a crash was of; `None` when neither log nor manifest tells it.
pub async fn build_id_of(db: impl sqlx::SqliteExecutor<'_>, crash: i64) -> Result<Option<Vec<u8>>> {
    sqlx::query_scalar("SELECT r.build_id FROM crash c JOIN release r ON r.id = c.release_id WHERE c.id = $1")
        .bind(crash)
        .fetch_optional(db)
        .await
        .map(Option::flatten)
}

/// The kernel releases that were met, newest first, with when each was first met.
pub async fn list(db: impl sqlx::SqliteExecutor<'_>, limit: u32) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "SELECT kernel, min(first_us) AS first_us FROM release GROUP BY kernel ORDER BY first_us DESC, kernel DESC LIMIT $1",
    )
    .bind(limit)
    .fetch_all(db)
    .await
}
