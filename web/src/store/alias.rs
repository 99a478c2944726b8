//! Titles that lead to a signature, and how a crash is placed by them.

use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;
use super::signature::{self, Opening};

const TITLE: i64 = 0;
const ALT: i64 = 1;
const BY_RULES: i64 = 0;

/// A title and where it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The title.
    pub title: String,
    /// A node; empty: everywhere.
    pub scope: Vec<u8>,
}

/// The signature that a title leads to.
pub async fn by_title(db: impl SqliteExecutor<'_>, named: &Named) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT signature_id FROM alias WHERE title = $1 AND scope = $2 AND kind = 0")
        .bind(&named.title)
        .bind(&named.scope)
        .fetch_optional(db)
        .await
}

/// Leads a title that leads nowhere yet to a signature.
pub async fn lead(db: &mut SqliteConnection, named: &Named, signature: i64, now_us: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO alias (title, scope, kind, signature_id, origin, rules_version, created_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (title, scope) WHERE kind = 0 DO NOTHING",
    )
    .bind(&named.title)
    .bind(&named.scope)
    .bind(TITLE)
    .bind(signature)
    .bind(BY_RULES)
    .bind(report::RULES_VERSION)
    .bind(now_us)
    .execute(db)
    .await?;
    Ok(())
}

/// Where a crash belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Row of its signature.
    pub signature: i64,
    /// Row of the title that it printed.
    pub title: i64,
}

/// Places a crash by the first rule that answers: what a person decided for its title and stack, or for its
/// title; its title; a signature that shares an ALT; a new signature. `alts` are empty for a damaged report.
pub async fn place(
    db: &mut SqliteConnection,
    new: &Opening<'_>,
    alts: &[String],
    variant_key: &[u8; 16],
    now_us: i64,
) -> Result<Place> {
    let known: Option<(i64, i64)> =
        sqlx::query_as("SELECT id, signature_id FROM alias WHERE title = $1 AND scope = $2 AND kind = 0")
            .bind(new.title)
            .bind(new.scope)
            .fetch_optional(&mut *db)
            .await?;
    let decided = decided(&mut *db, new, variant_key).await?;
    if let Some((title, by_title)) = known {
        return Ok(Place { signature: decided.unwrap_or(by_title), title });
    }
    let joined = match decided {
        Some(signature) => Some(signature),
        None => sharing(&mut *db, new.title, alts).await?,
    };
    let signature = match joined {
        Some(signature) => signature::end(&mut *db, signature).await?,
        None => signature::open(&mut *db, new).await?,
    };
    let title = sqlx::query_scalar(
        "INSERT INTO alias (title, scope, kind, signature_id, origin, rules_version, created_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
    )
    .bind(new.title)
    .bind(new.scope)
    .bind(TITLE)
    .bind(signature)
    .bind(BY_RULES)
    .bind(report::RULES_VERSION)
    .bind(now_us)
    .fetch_one(&mut *db)
    .await?;
    for alt in alts {
        sqlx::query(
            "INSERT INTO alias (title, kind, signature_id, origin, rules_version, created_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (title, signature_id) WHERE kind = 1 DO NOTHING",
        )
        .bind(alt)
        .bind(ALT)
        .bind(signature)
        .bind(BY_RULES)
        .bind(report::RULES_VERSION)
        .bind(now_us)
        .execute(&mut *db)
        .await?;
    }
    Ok(Place { signature, title })
}

async fn decided(
    db: &mut SqliteConnection,
    new: &Opening<'_>,
    variant_key: &[u8; 16],
) -> Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT signature_id FROM placement
          WHERE title = $1 AND scope = $2 AND undone_us IS NULL AND (variant_key = $3 OR variant_key IS NULL)
          ORDER BY variant_key IS NULL, id DESC LIMIT 1",
    )
    .bind(new.title)
    .bind(new.scope)
    .bind(&variant_key[..])
    .fetch_optional(db)
    .await
}

/// A signature that shares an ALT: first one whose title is among them, then one that has this title among its
/// ALTs, then the oldest.
async fn sharing(db: &mut SqliteConnection, title: &str, alts: &[String]) -> Result<Option<i64>> {
    if alts.is_empty() {
        return Ok(None);
    }
    let mut query = sqlx::QueryBuilder::new(
        "SELECT a.signature_id FROM alias a WHERE (a.kind = 0 AND a.scope = x'' AND a.title IN (",
    );
    list(&mut query, alts);
    query.push(")) OR (a.kind = 1 AND (a.title = ").push_bind(title).push(" OR a.title IN (");
    list(&mut query, alts);
    query.push("))) ORDER BY a.kind, a.title <> ").push_bind(title).push(", a.signature_id LIMIT 1");
    query.build_query_scalar().fetch_optional(db).await
}

fn list(query: &mut sqlx::QueryBuilder<sqlx::Sqlite>, values: &[String]) {
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value.clone());
    }
}

/// The titles of a signature, oldest first.
pub async fn titles(db: impl SqliteExecutor<'_>, signature: i64) -> Result<Vec<String>> {
    sqlx::query_scalar("SELECT title FROM alias WHERE signature_id = $1 AND kind = 0 ORDER BY id")
        .bind(signature)
        .fetch_all(db)
        .await
}

/// The signature that a title leads to by the rules; none when it would open one.
pub async fn leads_to(db: impl SqliteExecutor<'_>, title: &str) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT signature_id FROM alias WHERE title = $1 AND kind = 0")
        .bind(title)
        .fetch_optional(db)
        .await
}
