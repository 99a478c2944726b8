//! Nodes: machines that handed something over.

use handover::NodeId;
use handover::manifest::Manifest;
use serde::Serialize;
use sqlx::{FromRow, QueryBuilder, SqliteConnection, SqliteExecutor};

use super::Result;
use crate::paging::After;

/// A node as lists and pages show it.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Node {
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub node_id: NodeId,
    /// Its name; empty unless its owner allowed to send it.
    pub name: String,
    /// Version of the agent that spoke last.
    pub agent_version: String,
    /// Newest kernel it was seen with.
    pub kernel: Option<String>,
    /// When it first handed something over, by our clock, µs since 1970 UTC.
    pub first_us: i64,
    /// When it last did.
    pub last_us: i64,
    /// Its crashes of class field.
    pub crashes: i64,
    /// 0 field, 1 drill, 2 canary.
    pub class: i64,
}

/// What a list of nodes is sorted by, falling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// Last heard of.
    #[default]
    Last,
    /// Crashes.
    Crashes,
}

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Sort::Last => "n.last_us",
            Sort::Crashes => "n.crashes",
        }
    }

    /// The value of a row that the next page goes on after.
    pub fn key(self, row: &Node) -> i64 {
        match self {
            Sort::Last => row.last_us,
            Sort::Crashes => row.crashes,
        }
    }
}

const SELECT: &str = "
    SELECT n.id, n.node_key AS node_id, n.name, n.agent_version, r.kernel, n.first_us, n.last_us, n.crashes, n.class
      FROM node n LEFT JOIN release r ON r.id = n.release_id";

/// One node.
pub async fn by_key(db: impl SqliteExecutor<'_>, key: &NodeId) -> Result<Option<Node>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE n.node_key = ")
        .push_bind(&key.as_bytes()[..])
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// At most `limit` nodes of class field, falling by `sort`.
pub async fn list(
    db: impl SqliteExecutor<'_>,
    sort: Sort,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Node>> {
    let mut query = QueryBuilder::new(SELECT);
    query.push(" WHERE n.class = 0");
    if let Some(after) = after {
        query.push(" AND (").push(sort.column()).push(", n.id) < (").push_bind(after.key);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY ").push(sort.column()).push(" DESC, n.id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(db).await
}

/// How many nodes of class field there are.
pub async fn count(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM node WHERE class = 0").fetch_one(db).await
}

/// Its labels, by name.
pub async fn labels(db: impl SqliteExecutor<'_>, node: i64) -> Result<Vec<(String, String)>> {
    sqlx::query_as("SELECT name, value FROM node_label WHERE node_id = $1 ORDER BY name")
        .bind(node)
        .fetch_all(db)
        .await
}

/// A node that has crashes of one signature.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Hit {
    /// Its public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Crashes of this signature on it.
    pub crashes: i64,
    /// The newest of them.
    pub last_us: i64,
}

/// The nodes with most crashes of a signature.
pub async fn hit_by(db: impl SqliteExecutor<'_>, signature: i64, limit: u32) -> Result<Vec<Hit>> {
    sqlx::query_as(
        "SELECT n.node_key AS node_id, n.name, sum(x.crashes) AS crashes, max(x.last_us) AS last_us
           FROM sighting x JOIN node n ON n.id = x.node_id
          WHERE x.signature_id = $1 GROUP BY n.id ORDER BY crashes DESC, last_us DESC LIMIT $2",
    )
    .bind(signature)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// Takes over what a manifest says of its node; an older manifest read late does not undo a newer one's word.
pub async fn upsert(
    db: &mut SqliteConnection,
    manifest: &Manifest,
    class: i64,
    release: i64,
    received_us: i64,
) -> Result<i64> {
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO node (node_key, class, name, incarnation, agent_version, release_id, first_us, last_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
         ON CONFLICT (node_key) DO UPDATE SET
           class = min(class, excluded.class),
           name = CASE WHEN excluded.last_us >= last_us THEN excluded.name ELSE name END,
           incarnation = CASE WHEN excluded.last_us >= last_us THEN excluded.incarnation ELSE incarnation END,
           agent_version = CASE WHEN excluded.last_us >= last_us THEN excluded.agent_version ELSE agent_version END,
           release_id = CASE WHEN excluded.last_us >= last_us THEN excluded.release_id ELSE release_id END,
           first_us = min(first_us, excluded.first_us),
           last_us = max(last_us, excluded.last_us)
         RETURNING id",
    )
    .bind(&manifest.node_id.as_bytes()[..])
    .bind(class)
    .bind(&manifest.host.name)
    .bind(&manifest.incarnation.as_bytes()[..])
    .bind(&manifest.agent.version)
    .bind(release)
    .bind(received_us)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query("DELETE FROM node_label WHERE node_id = $1").bind(id).execute(&mut *db).await?;
    for (name, value) in &manifest.labels {
        sqlx::query("INSERT INTO node_label (node_id, name, value) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(name)
            .bind(value)
            .execute(&mut *db)
            .await?;
    }
    Ok(id)
}

/// How many nodes of class field handed something over since.
pub async fn count_heard(db: impl SqliteExecutor<'_>, since_us: i64) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM node WHERE class = 0 AND last_us >= $1")
        .bind(since_us)
        .fetch_one(db)
        .await
}
