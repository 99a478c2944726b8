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

/// A boot as a node's page shows it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Boot {
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub boot_id: BootId,
    /// Kernel release, where known.
    pub kernel: Option<String>,
    /// When something was last heard of it, µs since 1970 UTC.
    pub seen_us: i64,
    /// 0 ledger, 1 journal, 2 record, 3 derived from evidence.
    pub basis: i64,
    /// 0 running or unknown, 1 clean, 2 crash, 3 hardware, 4 watchdog or power, 5 silent.
    pub ending: i64,
    /// Crashes of it, survived ones included.
    pub crashes: i64,
}

/// The newest boots of a node.
pub async fn of_node(db: impl SqliteExecutor<'_>, node: i64, limit: u32) -> Result<Vec<Boot>> {
    sqlx::query_as(
        "SELECT b.id, b.boot_key AS boot_id, r.kernel, b.seen_us, b.basis, b.ending,
                (SELECT count(*) FROM crash c WHERE c.boot_id = b.id) AS crashes
           FROM boot b LEFT JOIN release r ON r.id = b.release_id
          WHERE b.node_id = $1 ORDER BY b.seen_us DESC, b.id DESC LIMIT $2",
    )
    .bind(node)
    .bind(limit)
    .fetch_all(db)
    .await
}
