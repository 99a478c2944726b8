//! What people decided about where crashes belong: merge, split, and back again.
//!
//! A decision is a row that every later crash is placed by; the crashes that are here are moved in the same
//! transaction, and the counts of the signatures concerned are made anew from them, so that they are exact at any
//! moment.

use sqlx::{SqliteConnection, SqliteExecutor};

use super::signature::SignatureId;
use super::{Result, rollup};

/// Who decided, and when.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Who.
    pub by: &'a str,
    /// When, µs since 1970 UTC.
    pub at_us: i64,
}

/// Merges a signature into another: its titles lead there, its crashes move there, and it stays as a redirect.
pub async fn merge(db: &mut SqliteConnection, from: i64, into: i64, decision: Decision<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO placement (title, scope, signature_id, from_id, decided_us, decided_by)
         SELECT title, scope, $2, $1, $3, $4 FROM alias WHERE signature_id = $1 AND kind = 0",
    )
    .bind(from)
    .bind(into)
    .bind(decision.at_us)
    .bind(decision.by)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE alias SET signature_id = $2, origin = 1 WHERE signature_id = $1 AND kind = 0")
        .bind(from)
        .bind(into)
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE signature SET merged_into_id = $2 WHERE id = $1")
        .bind(from)
        .bind(into)
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE crash SET signature_id = $2 WHERE signature_id = $1")
        .bind(from)
        .bind(into)
        .execute(&mut *db)
        .await?;
    rollup::rebuild(db, from).await?;
    rollup::rebuild(db, into).await
}

/// What is split off.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Everything with this title.
    Title(&'a str),
    /// Everything with this stack, by its row.
    Variant(i64),
}

/// Splits a part of a signature off into one of its own. `None` when nothing of it has that title or stack.
pub async fn split(
    db: &mut SqliteConnection,
    from: i64,
    part: Part<'_>,
    decision: Decision<'_>,
) -> Result<Option<i64>> {
    let (title, variant) = match part {
        Part::Title(title) => (Some(title), None),
        Part::Variant(variant) => (None, Some(variant)),
    };
    let titles: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT DISTINCT a.title, a.scope FROM crash c JOIN alias a ON a.id = c.title_id
          WHERE c.signature_id = $1 AND ($2 IS NULL OR a.title = $2) AND ($3 IS NULL OR c.variant_id = $3)",
    )
    .bind(from)
    .bind(title)
    .bind(variant)
    .fetch_all(&mut *db)
    .await?;
    let Some((first, _)) = titles.first() else { return Ok(None) };
    let to = open(db, from, first, variant, decision.at_us).await?;
    for (title, scope) in &titles {
        sqlx::query(
            "INSERT INTO placement (title, scope, variant_key, signature_id, from_id, decided_us, decided_by)
             VALUES ($1, $2, (SELECT variant_key FROM variant WHERE id = $3), $4, $5, $6, $7)",
        )
        .bind(title)
        .bind(scope)
        .bind(variant)
        .bind(to)
        .bind(from)
        .bind(decision.at_us)
        .bind(decision.by)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "UPDATE crash SET signature_id = $1
              WHERE signature_id = $2 AND ($3 IS NULL OR variant_id = $3)
                AND title_id = (SELECT id FROM alias WHERE title = $4 AND scope = $5 AND kind = 0)",
        )
        .bind(to)
        .bind(from)
        .bind(variant)
        .bind(title)
        .bind(scope)
        .execute(&mut *db)
        .await?;
        if variant.is_none() {
            lead(db, title, scope, to).await?;
        }
    }
    rollup::rebuild(db, from).await?;
    rollup::rebuild(db, to).await?;
    Ok(Some(to))
}

/// Opens the signature that a part is split off to. Its key tells what it came from, since its title alone may be
/// the one that opened the other.
async fn open(
    db: &mut SqliteConnection,
    from: i64,
    title: &str,
    variant: Option<i64>,
    at_us: i64,
) -> Result<i64> {
    let (mut scope, of): (Vec<u8>, Option<Vec<u8>>) = sqlx::query_as(
        "SELECT s.signature_key, (SELECT variant_key FROM variant WHERE id = $2) FROM signature s WHERE s.id = $1",
    )
    .bind(from)
    .bind(variant)
    .fetch_one(&mut *db)
    .await?;
    scope.extend(of.unwrap_or_default());
    sqlx::query_scalar(
        "INSERT INTO signature (signature_key, title, class, type, severity, fatal, corrupted, function, module,
                                subsystem, rules_version, first_us, last_us)
         SELECT $2, $3, class, type, severity, fatal, corrupted, function, module, subsystem, rules_version, $4, $4
           FROM signature WHERE id = $1
         ON CONFLICT (signature_key) DO UPDATE SET merged_into_id = NULL
         RETURNING id",
    )
    .bind(from)
    .bind(&SignatureId::of(title, &scope).as_bytes()[..])
    .bind(title)
    .bind(at_us)
    .fetch_one(db)
    .await
}

async fn lead(db: &mut SqliteConnection, title: &str, scope: &[u8], to: i64) -> Result<()> {
    sqlx::query(
        "UPDATE alias SET signature_id = $3, origin = 1 WHERE title = $1 AND scope = $2 AND kind = 0",
    )
    .bind(title)
    .bind(scope)
    .bind(to)
    .execute(db)
    .await?;
    Ok(())
}

/// A decision that holds.
#[derive(sqlx::FromRow)]
struct Held {
    id: i64,
    title: String,
    scope: Vec<u8>,
    variant_key: Option<Vec<u8>>,
    signature_id: i64,
}

/// Undoes what was decided about a signature's crashes: merging it away, or splitting parts of it off. Returns how
/// many decisions were undone.
pub async fn undo(db: &mut SqliteConnection, from: i64, at_us: i64) -> Result<usize> {
    let held: Vec<Held> = sqlx::query_as(
        "SELECT id, title, scope, variant_key, signature_id FROM placement
          WHERE from_id = $1 AND undone_us IS NULL ORDER BY id",
    )
    .bind(from)
    .fetch_all(&mut *db)
    .await?;
    let mut concerned = std::collections::BTreeSet::from([from]);
    for Held { id, title, scope, variant_key, signature_id } in &held {
        sqlx::query("UPDATE placement SET undone_us = $2 WHERE id = $1")
            .bind(id)
            .bind(at_us)
            .execute(&mut *db)
            .await?;
        if variant_key.is_none() {
            lead(db, title, scope, from).await?;
        }
        sqlx::query(
            "UPDATE crash SET signature_id = $1
              WHERE signature_id = $2
                AND title_id = (SELECT id FROM alias WHERE title = $3 AND scope = $4 AND kind = 0)
                AND ($5 IS NULL OR variant_id = (SELECT id FROM variant WHERE variant_key = $5))",
        )
        .bind(from)
        .bind(signature_id)
        .bind(title)
        .bind(scope)
        .bind(variant_key)
        .execute(&mut *db)
        .await?;
        concerned.insert(*signature_id);
    }
    sqlx::query("UPDATE signature SET merged_into_id = NULL WHERE id = $1")
        .bind(from)
        .execute(&mut *db)
        .await?;
    for signature in concerned {
        rollup::rebuild(db, signature).await?;
    }
    Ok(held.len())
}

/// The row of a stack, by its key.
pub async fn variant(db: impl SqliteExecutor<'_>, key: &[u8]) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT id FROM variant WHERE variant_key = $1").bind(key).fetch_optional(db).await
}
