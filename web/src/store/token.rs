//! Tokens and the browser sessions made with them. Only SHA-256 of the secrets is stored.

use handover::{NodeId, Sha256};
use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Row of the token.
    pub token: i64,
    /// Its scopes, with spaces between.
    pub scopes: String,
    /// When set, it speaks for this node only.
    pub node: Option<NodeId>,
}

type Row = (i64, String, Option<Vec<u8>>);

fn grant((token, scopes, node): Row) -> Result<Grant> {
    let node =
        node.map(NodeId::try_from).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Grant { token, scopes, node })
}

/// Enters a token.
pub async fn insert(
    db: &mut SqliteConnection,
    secret: &str,
    name: &str,
    scopes: &str,
    now_us: i64,
) -> Result<()> {
    sqlx::query("INSERT INTO token (hash, name, scopes, created_us) VALUES ($1, $2, $3, $4)")
        .bind(&Sha256::of(secret.as_bytes()).as_bytes()[..])
        .bind(name)
        .bind(scopes)
        .bind(now_us)
        .execute(db)
        .await?;
    Ok(())
}

/// How many tokens were ever made.
pub async fn count(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM token").fetch_one(db).await
}

/// What a secret allows. It is looked up by its digest, so that no comparison of the secret itself can be timed.
pub async fn by_secret(db: impl SqliteExecutor<'_>, secret: &str, now_us: i64) -> Result<Option<Grant>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, scopes, node_key FROM token
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
        "SELECT t.id, t.scopes, t.node_key FROM session s JOIN token t ON t.id = s.token_id
          WHERE s.hash = $1 AND s.expires_us > $2 AND t.revoked_us IS NULL
            AND (t.expires_us IS NULL OR t.expires_us > $2)",
    )
    .bind(&Sha256::of(cookie.as_bytes()).as_bytes()[..])
    .bind(now_us)
    .fetch_optional(db)
    .await?;
    row.map(grant).transpose()
}
