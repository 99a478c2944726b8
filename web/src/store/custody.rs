//! What was handed over, to read: evidence, its bytes' home, receipts. The one who writes is [`super::writer`].

use handover::receipt::Envelope;
use handover::{EvidenceId, NodeId, ReceiptHash, Sha256};
use sqlx::{FromRow, SqliteExecutor};

use super::Result;

/// A piece of evidence as it was handed over.
#[derive(Clone, Debug, FromRow)]
pub struct Evidence {
    /// Row id: the order of arrival.
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub evidence_id: EvidenceId,
    /// Who handed it over.
    #[sqlx(try_from = "Vec<u8>")]
    pub node_id: NodeId,
    /// What the bytes are.
    pub kind: String,
    /// Digest of the decoded bytes.
    #[sqlx(try_from = "Vec<u8>")]
    pub sha256: Sha256,
    /// Decoded bytes.
    pub size: i64,
    /// Canonical manifest, zstd.
    pub manifest: Vec<u8>,
    /// When it came, µs since 1970 UTC.
    pub received_us: i64,
    /// Where the bytes are: null none, 0 the row, 1 a file.
    pub home: Option<i64>,
    /// The coded bytes if they are in the row.
    pub bytes: Option<Vec<u8>>,
}

const SELECT: &str = "
    SELECT e.id, e.evidence_key AS evidence_id, e.node_key AS node_id, e.kind, e.sha256, e.size, e.manifest,
           e.received_us, b.home, b.bytes
      FROM evidence e LEFT JOIN blob b ON b.id = e.blob_id";

/// One piece of evidence.
pub async fn by_key(db: impl SqliteExecutor<'_>, key: &EvidenceId) -> Result<Option<Evidence>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE e.evidence_key = ")
        .push_bind(&key.as_bytes()[..])
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// One piece of evidence by its row id.
pub async fn by_id(db: impl SqliteExecutor<'_>, id: i64) -> Result<Option<Evidence>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE e.id = ")
        .push_bind(id)
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// The next pieces after a row id, in the order of arrival.
pub async fn after(db: impl SqliteExecutor<'_>, id: i64, limit: u32) -> Result<Vec<Evidence>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE e.id > ")
        .push_bind(id)
        .push(" ORDER BY e.id LIMIT ")
        .push_bind(limit)
        .build_query_as()
        .fetch_all(db)
        .await
}

/// The highest row id.
pub async fn newest(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM evidence").fetch_one(db).await
}

/// Of which node a piece of evidence is.
pub async fn node_of(db: impl SqliteExecutor<'_>, key: &EvidenceId) -> Result<Option<NodeId>> {
    let node: Option<Vec<u8>> = sqlx::query_scalar("SELECT node_key FROM evidence WHERE evidence_key = $1")
        .bind(&key.as_bytes()[..])
        .fetch_optional(db)
        .await?;
    node.map(NodeId::try_from).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn envelope(text: &str) -> Result<Envelope> {
    Envelope::read(text.as_bytes()).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The newest receipt for a piece of evidence.
pub async fn newest_receipt(db: impl SqliteExecutor<'_>, key: &EvidenceId) -> Result<Option<Envelope>> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT envelope FROM receipt WHERE evidence_key = $1 ORDER BY id DESC LIMIT 1")
            .bind(&key.as_bytes()[..])
            .fetch_optional(db)
            .await?;
    text.as_deref().map(envelope).transpose()
}

/// All receipts for a piece of evidence, oldest first.
pub async fn receipts_of(db: impl SqliteExecutor<'_>, key: &EvidenceId) -> Result<Vec<Envelope>> {
    let texts: Vec<String> =
        sqlx::query_scalar("SELECT envelope FROM receipt WHERE evidence_key = $1 ORDER BY id")
            .bind(&key.as_bytes()[..])
            .fetch_all(db)
            .await?;
    texts.iter().map(|text| envelope(text)).collect()
}

/// Receipts of a node in one epoch after a number, with their numbers.
pub async fn receipts(
    db: impl SqliteExecutor<'_>,
    node: &NodeId,
    epoch: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, Envelope)>> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT seq, envelope FROM receipt WHERE node_key = $1 AND epoch = $2 AND seq > $3 ORDER BY seq LIMIT $4",
    )
    .bind(&node.as_bytes()[..])
    .bind(epoch)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|(seq, text)| Ok((seq, envelope(&text)?))).collect()
}

/// Whether a receipt was given by this database.
pub async fn has_receipt(
    db: impl SqliteExecutor<'_>,
    node: &NodeId,
    epoch: i64,
    seq: i64,
    hash: &ReceiptHash,
) -> Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM receipt WHERE node_key = $1 AND epoch = $2 AND seq = $3 AND hash = $4)",
    )
    .bind(&node.as_bytes()[..])
    .bind(epoch)
    .bind(seq)
    .bind(&hash.as_bytes()[..])
    .fetch_one(db)
    .await
}
