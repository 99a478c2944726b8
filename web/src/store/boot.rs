//! Boots: which crashes belong together.

use handover::BootId;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

/// The boot that a piece of evidence is about; made when nobody reported it. `fatal`: the evidence shows how it
/// ended.
pub async fn upsert(
    db: &mut SqliteConnection,
    node: i64,
    key: &BootId,
    basis: i64,
    release: i64,
    seen_us: i64,
    fatal: bool,
) -> Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO boot (node_id, boot_key, basis, release_id, seen_us, ending) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (node_id, boot_key) DO UPDATE SET
           basis = min(basis, excluded.basis),
           seen_us = max(seen_us, excluded.seen_us),
           ending = CASE WHEN excluded.ending = 0 THEN ending ELSE excluded.ending END
         RETURNING id",
    )
    .bind(node)
    .bind(&key.as_bytes()[..])
    .bind(basis)
    .bind(release)
    .bind(seen_us)
    .bind(if fatal { ENDED_BY_CRASH } else { RUNNING_OR_UNKNOWN })
    .fetch_one(db)
    .await
}

const RUNNING_OR_UNKNOWN: i64 = 0;
const ENDED_BY_CRASH: i64 = 2;

/// How many boots of a node are known.
pub async fn count(db: impl SqliteExecutor<'_>, node: i64) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM boot WHERE node_id = $1").bind(node).fetch_one(db).await
}
