//! Large evidence on its way, part by part.

use handover::{EvidenceId, NodeId};
use sqlx::{FromRow, QueryBuilder, SqliteConnection, SqliteExecutor};

use super::Result;

/// An upload.
#[derive(Clone, Debug, FromRow)]
pub struct Upload {
    /// Row id.
    pub id: i64,
    /// Names its address and its file.
    pub upload_key: Vec<u8>,
    /// Of which evidence.
    #[sqlx(try_from = "Vec<u8>")]
    pub evidence_id: EvidenceId,
    /// Who sends it.
    #[sqlx(try_from = "Vec<u8>")]
    pub node_id: NodeId,
    /// Canonical manifest.
    pub manifest: Vec<u8>,
    /// `identity` or `zstd`.
    pub coding: String,
    /// Coded bytes in all.
    pub coded_size: i64,
    /// Coded bytes that are durable.
    pub coded_offset: i64,
    /// There is a receipt.
    pub finished: bool,
}

const SELECT: &str = "
    SELECT id, upload_key, evidence_key AS evidence_id, node_key AS node_id, manifest, coding, coded_size,
           coded_offset, finished
      FROM upload";

/// One upload by its key.
pub async fn by_key(db: impl SqliteExecutor<'_>, key: &[u8]) -> Result<Option<Upload>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE upload_key = ")
        .push_bind(key)
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// The upload of some evidence.
pub async fn of_evidence(db: impl SqliteExecutor<'_>, key: &EvidenceId) -> Result<Option<Upload>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE evidence_key = ")
        .push_bind(&key.as_bytes()[..])
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// Uploads whose parts are all there and which have no receipt yet.
pub async fn complete(db: impl SqliteExecutor<'_>) -> Result<Vec<Upload>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE coded_offset = coded_size AND finished = 0")
        .build_query_as()
        .fetch_all(db)
        .await
}

/// Uploads whose time is over.
pub async fn expired(db: impl SqliteExecutor<'_>, now_us: i64) -> Result<Vec<Upload>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE expires_us <= ")
        .push_bind(now_us)
        .build_query_as()
        .fetch_all(db)
        .await
}

/// Open uploads: of one node, and in all.
pub async fn count(db: impl SqliteExecutor<'_>, node: &NodeId) -> Result<(i64, i64)> {
    sqlx::query_as("SELECT count(*) FILTER (WHERE node_key = $1), count(*) FROM upload WHERE finished = 0")
        .bind(&node.as_bytes()[..])
        .fetch_one(db)
        .await
}

/// Opens an upload.
pub async fn insert(db: &mut SqliteConnection, upload: &Upload, expires_us: i64) -> Result<()> {
    let Upload {
        id: _,
        upload_key,
        evidence_id,
        node_id,
        manifest,
        coding,
        coded_size,
        coded_offset,
        finished: _,
    } = upload;
    sqlx::query(
        "INSERT INTO upload (upload_key, evidence_key, node_key, manifest, coding, coded_size, coded_offset,
                             expires_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(upload_key)
    .bind(&evidence_id.as_bytes()[..])
    .bind(&node_id.as_bytes()[..])
    .bind(manifest)
    .bind(coding)
    .bind(coded_size)
    .bind(coded_offset)
    .bind(expires_us)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes how many bytes are durable, and gives the upload more time.
pub async fn advance(db: &mut SqliteConnection, id: i64, offset: i64, expires_us: i64) -> Result<()> {
    sqlx::query("UPDATE upload SET coded_offset = $2, expires_us = $3 WHERE id = $1")
        .bind(id)
        .bind(offset)
        .bind(expires_us)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that there is a receipt.
pub async fn finish(db: &mut SqliteConnection, id: i64) -> Result<()> {
    sqlx::query("UPDATE upload SET finished = 1 WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// Forgets an upload.
pub async fn delete(db: &mut SqliteConnection, id: i64) -> Result<()> {
    sqlx::query("DELETE FROM upload WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}
