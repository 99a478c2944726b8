//! Nodes: machines that handed something over.

use std::collections::BTreeMap;

use handover::{Incarnation, NodeId};
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
    /// Would a crash be captured, as it was last said; it holds until `readiness_until_us`.
    #[sqlx(try_from = "i64")]
    pub readiness: Armed,
    /// When the oldest of the checks says nothing any more, by our clock.
    pub readiness_until_us: i64,
}

impl Node {
    /// Whether a crash would be captured, as far as is known at `now_us`.
    pub fn armed(&self, now_us: i64) -> Armed {
        if now_us < self.readiness_until_us { self.readiness } else { Armed::Unknown }
    }
}

/// Whether a crash of a node would be captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Armed {
    /// Nobody said, or what was said is too old.
    #[default]
    Unknown = 0,
    /// A check fails.
    Unarmed = 1,
    /// Every check passes.
    Armed = 2,
    /// A drill proved it, and nothing changed since.
    Proven = 3,
}

impl From<i64> for Armed {
    fn from(stored: i64) -> Armed {
        match stored {
            1 => Armed::Unarmed,
            2 => Armed::Armed,
            3 => Armed::Proven,
            _ => Armed::Unknown,
        }
    }
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
    SELECT n.id, n.node_key AS node_id, n.name, n.agent_version, r.kernel, n.first_us, n.last_us, n.crashes, n.class,
           n.readiness, n.readiness_until_us
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

/// What a manifest or a boot record says of its node.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Its public id.
    pub node_id: &'a NodeId,
    /// 0 field, 1 drill, 2 canary.
    pub class: i64,
    /// Its name; empty unless its owner allowed to send it.
    pub name: &'a str,
    /// The life of its agent's state folder.
    pub incarnation: &'a Incarnation,
    /// Version of its agent.
    pub agent_version: &'a str,
    /// Row of its kernel.
    pub release: i64,
    /// Operator's words about it.
    pub labels: &'a BTreeMap<String, String>,
    /// When it came, by our clock.
    pub received_us: i64,
}

/// Takes over what is said of a node; an older word read late does not undo a newer one.
pub async fn upsert(db: &mut SqliteConnection, word: &Word<'_>) -> Result<i64> {
    let Word { node_id, class, name, incarnation, agent_version, release, labels: said, received_us } = *word;
    let (id, newest): (i64, bool) = sqlx::query_as(
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
         RETURNING id, last_us = $7",
    )
    .bind(&node_id.as_bytes()[..])
    .bind(class)
    .bind(name)
    .bind(&incarnation.as_bytes()[..])
    .bind(agent_version)
    .bind(release)
    .bind(received_us)
    .fetch_one(&mut *db)
    .await?;
    let known: BTreeMap<String, String> = labels(&mut *db, id).await?.into_iter().collect();
    if newest && known != *said {
        sqlx::query("DELETE FROM node_label WHERE node_id = $1").bind(id).execute(&mut *db).await?;
        for (name, value) in said {
            sqlx::query("INSERT INTO node_label (node_id, name, value) VALUES ($1, $2, $3)")
                .bind(id)
                .bind(name)
                .bind(value)
                .execute(&mut *db)
                .await?;
        }
    }
    Ok(id)
}

/// The newest readiness document of a node.
#[derive(Clone, Debug, FromRow)]
pub struct Readiness {
    /// Row id of the node.
    pub id: i64,
    /// When it was checked, by the node's clock.
    pub readiness_us: i64,
    /// When it came, by ours.
    pub readiness_seen_us: i64,
    /// The boot in which it was checked; empty before the first.
    pub readiness_boot: Vec<u8>,
    /// The document; empty before the first.
    pub readiness_doc: String,
}

/// The readiness of a node; none while nobody has heard of the node.
pub async fn readiness(db: impl SqliteExecutor<'_>, node: &NodeId) -> Result<Option<Readiness>> {
    sqlx::query_as(
        "SELECT id, readiness_us, readiness_seen_us, readiness_boot, readiness_doc FROM node WHERE node_key = $1",
    )
    .bind(&node.as_bytes()[..])
    .fetch_optional(db)
    .await
}

/// Keeps a readiness document. `until_us`: when the first of its checks is too old, by our clock.
pub async fn set_readiness(
    db: &mut SqliteConnection,
    readiness: &Readiness,
    state: Armed,
    until_us: i64,
) -> Result<()> {
    let Readiness { id, readiness_us, readiness_seen_us, readiness_boot, readiness_doc } = readiness;
    sqlx::query(
        "UPDATE node SET readiness = $2, readiness_us = $3, readiness_until_us = $4, readiness_seen_us = $5,
                readiness_boot = $6, readiness_doc = $7, last_us = max(last_us, $5)
          WHERE id = $1",
    )
    .bind(id)
    .bind(state as i64)
    .bind(readiness_us)
    .bind(until_us)
    .bind(readiness_seen_us)
    .bind(readiness_boot)
    .bind(readiness_doc)
    .execute(db)
    .await?;
    Ok(())
}

/// How many nodes of class field would a crash be captured of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow, Serialize)]
pub struct ArmedCounts {
    /// A drill proved it, and nothing changed since.
    pub proven: i64,
    /// Every check passes.
    pub armed: i64,
    /// A check fails.
    pub unarmed: i64,
    /// Nobody said, or what was said is too old.
    pub unknown: i64,
}

/// Counts nodes by readiness, as it holds at `now_us`.
pub async fn count_armed(db: impl SqliteExecutor<'_>, now_us: i64) -> Result<ArmedCounts> {
    sqlx::query_as(
        "SELECT count(*) FILTER (WHERE readiness = 3 AND readiness_until_us > $1) AS proven,
                count(*) FILTER (WHERE readiness = 2 AND readiness_until_us > $1) AS armed,
                count(*) FILTER (WHERE readiness = 1 AND readiness_until_us > $1) AS unarmed,
                count(*) FILTER (WHERE readiness = 0 OR readiness_until_us <= $1) AS unknown
           FROM node WHERE class = 0",
    )
    .bind(now_us)
    .fetch_one(db)
    .await
}

/// How many nodes of class field handed something over since.
pub async fn count_heard(db: impl SqliteExecutor<'_>, since_us: i64) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM node WHERE class = 0 AND last_us >= $1")
        .bind(since_us)
        .fetch_one(db)
        .await
}
