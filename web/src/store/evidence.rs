//! What was read from each piece of evidence. The bytes are in [`super::custody`], under the same row id.

use handover::{BootId, EvidenceId, NodeId};
use serde::Serialize;
use sqlx::{FromRow, QueryBuilder, SqliteConnection, SqliteExecutor};

use super::Result;
use crate::paging::After;

/// A piece of evidence as lists and pages show it.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Evidence {
    /// Row id, the same in both databases; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub evidence_id: EvidenceId,
    /// Who handed it over.
    #[sqlx(try_from = "Vec<u8>")]
    pub node_id: NodeId,
    /// What the bytes are.
    pub kind: String,
    /// When it came, by our clock, µs since 1970 UTC.
    pub received_us: i64,
    /// The naming rules that read it.
    pub rules_version: i64,
    /// Crashes that it tells of; 0: nobody could name it.
    pub crashes: i64,
    /// Occurrences it stands for: above 1 when a loop's bytes were withheld.
    pub weight: i64,
    /// Damage seen by agent and reader: a JSON list of `{code, …}`.
    #[serde(skip)]
    pub notes: String,
}

/// Which evidence a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Of one node, by row id.
    pub node: Option<i64>,
    /// Only what nobody could name.
    pub unnamed: bool,
}

const SELECT: &str = "
    SELECT e.id, e.evidence_key AS evidence_id, n.node_key AS node_id, e.kind, e.received_us, e.rules_version,
           e.crashes, e.weight, e.notes
      FROM evidence e JOIN node n ON n.id = e.node_id";

/// One piece of evidence; none until the pipeline has read it.
pub async fn by_key(db: impl SqliteExecutor<'_>, key: &EvidenceId) -> Result<Option<Evidence>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE e.evidence_key = ")
        .push_bind(&key.as_bytes()[..])
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// At most `limit` pieces of evidence, newest first. Sort key of the page: (`received_us`, `id`).
pub async fn list(
    db: impl SqliteExecutor<'_>,
    filter: &Filter,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Evidence>> {
    let Filter { node, unnamed } = filter;
    let mut query = QueryBuilder::new(SELECT);
    query.push(" WHERE true");
    if let Some(node) = node {
        query.push(" AND e.node_id = ").push_bind(node);
    }
    if *unnamed {
        query.push(" AND e.crashes = 0");
    }
    if let Some(after) = after {
        query
            .push(" AND (e.received_us, e.id) < (")
            .push_bind(after.key)
            .push(", ")
            .push_bind(after.id)
            .push(")");
    }
    query.push(" ORDER BY e.received_us DESC, e.id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(db).await
}

/// The boot that a piece of evidence was found to be about; none until it was read.
pub async fn boot_of(db: impl SqliteExecutor<'_>, id: i64) -> Result<Option<BootId>> {
    let key: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT b.boot_key FROM evidence e JOIN boot b ON b.id = e.boot_id WHERE e.id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    key.map(BootId::try_from).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// How many pieces nobody could name.
pub async fn count_unnamed(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM evidence WHERE crashes = 0").fetch_one(db).await
}

/// What the reader has to say of a piece of evidence.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Row id in custody.db.
    pub id: i64,
    /// Public id.
    pub key: &'a EvidenceId,
    /// Its node.
    pub node: i64,
    /// The boot it is about.
    pub boot: i64,
    /// What the bytes are.
    pub kind: &'a str,
    /// 0 field, 1 drill, 2 canary.
    pub class: i64,
    /// When it came.
    pub received_us: i64,
    /// Reports found.
    pub crashes: i64,
    /// Occurrences it stands for.
    pub weight: i64,
    /// JSON list of notes.
    pub notes: &'a str,
}

/// Writes it, or what is now known of it: evidence that was withheld and came after all is read again.
pub async fn upsert(db: &mut SqliteConnection, new: &New<'_>) -> Result<()> {
    let New { id, key, node, boot, kind, class, received_us, crashes, weight, notes } = *new;
    sqlx::query(
        "INSERT INTO evidence (id, evidence_key, node_id, boot_id, kind, class, received_us, rules_version, crashes,
                               weight, notes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET
           rules_version = excluded.rules_version, crashes = excluded.crashes, notes = excluded.notes
         ON CONFLICT (evidence_key) DO UPDATE SET
           id = excluded.id, rules_version = excluded.rules_version, crashes = excluded.crashes,
           notes = excluded.notes",
    )
    .bind(id)
    .bind(&key.as_bytes()[..])
    .bind(node)
    .bind(boot)
    .bind(kind)
    .bind(class)
    .bind(received_us)
    .bind(report::RULES_VERSION)
    .bind(crashes)
    .bind(weight)
    .bind(notes)
    .execute(db)
    .await?;
    Ok(())
}

/// Row ids after `after` of evidence that older rules named, or of `all`.
pub async fn stale(db: impl SqliteExecutor<'_>, all: bool, after: i64, limit: u32) -> Result<Vec<i64>> {
    sqlx::query_scalar(
        "SELECT id FROM evidence WHERE id > $1 AND ($2 OR rules_version < $3) ORDER BY id LIMIT $4",
    )
    .bind(after)
    .bind(all)
    .bind(report::RULES_VERSION)
    .bind(limit)
    .fetch_all(db)
    .await
}
