//! Tokens and the browser sessions made with them. Only SHA-256 of the secrets is stored.

use handover::{NodeId, Sha256};
use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Row of the token.
    pub token: i64,
    /// What people call it.
    pub name: String,
    /// Its scopes, with spaces between.
    pub scopes: String,
    /// When set, it speaks for this node only.
    pub node: Option<NodeId>,
}

type Row = (i64, String, String, Option<Vec<u8>>);

fn grant((token, name, scopes, node): Row) -> Result<Grant> {
    let node =
        node.map(NodeId::try_from).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Grant { token, name, scopes, node })
}

/// A token that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What a caller shows. It is not kept.
    pub secret: &'a str,
    /// What people call it.
    pub name: &'a str,
    /// What it allows, with spaces between.
    pub scopes: &'a str,
    /// The only node that it speaks for.
    pub node: Option<&'a NodeId>,
    /// When it ends, µs since 1970 UTC.
    pub expires_us: Option<i64>,
}

/// Enters a token.
pub async fn insert(db: &mut SqliteConnection, new: &New<'_>, now_us: i64) -> Result<()> {
    let New { secret, name, scopes, node, expires_us } = *new;
    sqlx::query(
        "INSERT INTO token (hash, name, scopes, node_key, created_us, expires_us) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&Sha256::of(secret.as_bytes()).as_bytes()[..])
    .bind(name)
    .bind(scopes)
    .bind(node.map(|node| node.as_bytes().to_vec()))
    .bind(now_us)
    .bind(expires_us)
    .execute(db)
    .await?;
    Ok(())
}

/// A token as a list shows it.
#[derive(Clone, Debug, FromRow)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// What it allows, with spaces between.
    pub scopes: String,
    /// The only node that it speaks for.
    pub node_key: Option<Vec<u8>>,
    /// When it was made, µs since 1970 UTC.
    pub created_us: i64,
    /// When it ends.
    pub expires_us: Option<i64>,
    /// When somebody ended it.
    pub revoked_us: Option<i64>,
}

/// All tokens there ever were, oldest first.
pub async fn list(db: impl SqliteExecutor<'_>) -> Result<Vec<Token>> {
    sqlx::query_as(
        "SELECT id, name, scopes, node_key, created_us, expires_us, revoked_us FROM token ORDER BY id",
    )
    .fetch_all(db)
    .await
}

/// Ends a token, and the sessions that were opened with it. False: there is none of this number that holds.
pub async fn revoke(db: &mut SqliteConnection, id: i64, now_us: i64) -> Result<bool> {
    let done = sqlx::query("UPDATE token SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL")
        .bind(id)
        .bind(now_us)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM session WHERE token_id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// How many tokens were ever made.
pub async fn count(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM token").fetch_one(db).await
}

/// What a secret allows. It is looked up by its digest, so that no comparison of the secret itself can be timed.
pub async fn by_secret(db: impl SqliteExecutor<'_>, secret: &str, now_us: i64) -> Result<Option<Grant>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, name, scopes, node_key FROM token
          WHERE hash = $1 AND revoked_us IS NULL AND (expires_us IS NULL OR expires_us > $2)",
    )
    .bind(&Sha256::of(secret.as_bytes()).as_bytes()[..])
    .bind(now_us)
    .fetch_optional(db)
    .await?;
    row.map(grant).transpose()
}

/// Opens a session of a browser that showed a token; old ones go.
pub async fn open_session(
    db: &mut SqliteConnection,
    cookie: &str,
    token: i64,
    now_us: i64,
    expires_us: i64,
) -> Result<()> {
    sqlx::query("DELETE FROM session WHERE expires_us <= $1").bind(now_us).execute(&mut *db).await?;
    sqlx::query("INSERT INTO session (hash, token_id, expires_us) VALUES ($1, $2, $3)")
        .bind(&Sha256::of(cookie.as_bytes()).as_bytes()[..])
        .bind(token)
        .bind(expires_us)
        .execute(db)
        .await?;
    Ok(())
}

/// What the token behind a session allows; nothing once either has ended.
pub async fn by_cookie(db: impl SqliteExecutor<'_>, cookie: &str, now_us: i64) -> Result<Option<Grant>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT t.id, t.name, t.scopes, t.node_key FROM session s JOIN token t ON t.id = s.token_id
          WHERE s.hash = $1 AND s.expires_us > $2 AND t.revoked_us IS NULL
            AND (t.expires_us IS NULL OR t.expires_us > $2)",
    )
    .bind(&Sha256::of(cookie.as_bytes()).as_bytes()[..])
    .bind(now_us)
    .fetch_optional(db)
    .await?;
    row.map(grant).transpose()
}
