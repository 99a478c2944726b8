//! Stacks, as the function names that the kernel stood behind.

use handover::digest::h;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

/// The key of a stack: architecture and names, innermost first.
pub fn key(arch: &str, names: &[&str]) -> [u8; 16] {
    let mut fields = vec![arch.as_bytes()];
    fields.extend(names.iter().map(|name| name.as_bytes()));
    *h("lastwords/variant/v1", &fields).first_chunk().expect("32 is more than 16")
}

/// The row of a stack; its frames are written once, with it.
pub async fn upsert(db: &mut SqliteConnection, key: &[u8; 16], arch: &str, names: &[&str]) -> Result<i64> {
    let known: Option<i64> = sqlx::query_scalar("SELECT id FROM variant WHERE variant_key = $1")
        .bind(&key[..])
        .fetch_optional(&mut *db)
        .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let id: i64 = sqlx::query_scalar("INSERT INTO variant (variant_key, arch) VALUES ($1, $2) RETURNING id")
        .bind(&key[..])
        .bind(arch)
        .fetch_one(&mut *db)
        .await?;
    for (position, name) in (0_i64..).zip(names) {
        sqlx::query("INSERT INTO frame (variant_id, position, function) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(position)
            .bind(name)
            .execute(&mut *db)
            .await?;
    }
    Ok(id)
}

/// The functions of a stack, innermost first.
pub async fn frames(db: impl SqliteExecutor<'_>, variant: i64) -> Result<Vec<String>> {
    sqlx::query_scalar("SELECT function FROM frame WHERE variant_id = $1 ORDER BY position")
        .bind(variant)
        .fetch_all(db)
        .await
}
