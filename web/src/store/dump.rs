//! What was read from dumps of memory, kept so that a page need not read gigabytes.

use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// What a reader made of a dump.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Dump {
    /// Row of the evidence.
    pub evidence_id: i64,
    /// Version of the reader.
    pub reader: i64,
    /// The kernel's log, zstd.
    pub log: Vec<u8>,
    /// JSON of `vmcore::Summary`, zstd; none when the dump could not be read.
    pub summary: Option<Vec<u8>>,
    /// Why not; empty when it was read.
    pub failure: String,
}

/// What was read from a piece of evidence.
pub async fn get(db: impl SqliteExecutor<'_>, evidence: i64) -> Result<Option<Dump>> {
    sqlx::query_as("SELECT evidence_id, reader, log, summary, failure FROM dump WHERE evidence_id = $1")
        .bind(evidence)
        .fetch_optional(db)
        .await
}

/// The first evidence after `after` whose dump was read by a reader older than `reader`.
pub async fn next_of_older(db: impl SqliteExecutor<'_>, reader: i64, after: i64) -> Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT evidence_id FROM dump WHERE evidence_id > $1 AND reader < $2 ORDER BY evidence_id LIMIT 1",
    )
    .bind(after)
    .bind(reader)
    .fetch_optional(db)
    .await
}

/// Keeps what was read, in place of what an older reader made of it: what was named by that is stale. A reader that
/// fails where the older one did not takes nothing away.
pub async fn put(db: &mut SqliteConnection, dump: &Dump) -> Result<()> {
    let Dump { evidence_id, reader, log, summary, failure } = dump;
    sqlx::query(
        "INSERT INTO dump (evidence_id, reader, log, summary, failure) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (evidence_id) DO UPDATE SET
           reader = excluded.reader,
           log = iif(excluded.failure <> '' AND failure = '', log, excluded.log),
           summary = iif(excluded.failure <> '' AND failure = '', summary, excluded.summary),
           failure = iif(failure = '', '', excluded.failure)",
    )
    .bind(evidence_id)
    .bind(reader)
    .bind(log)
    .bind(summary)
    .bind(failure)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE evidence SET rules_version = 0 WHERE id = $1").bind(evidence_id).execute(db).await?;
    Ok(())
}
