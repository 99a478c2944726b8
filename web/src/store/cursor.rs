//! How far background readers have come.

use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

/// The cursor of the pipeline: the highest evidence id that is counted.
pub const READ: &str = "read";

/// Where a reader stands; 0 before its first step.
pub async fn get(db: impl SqliteExecutor<'_>, name: &str) -> Result<i64> {
    let value =
        sqlx::query_scalar("SELECT value FROM cursor WHERE name = $1").bind(name).fetch_optional(db).await?;
    Ok(value.unwrap_or(0))
}

/// Moves it.
pub async fn set(db: &mut SqliteConnection, name: &str, value: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO cursor (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(db)
    .await?;
    Ok(())
}
