//! Where in the source a place in an image is: the symbolizer's answers, kept for every crash of that build.

use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

/// A place in an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Row of the image.
    pub image: i64,
    /// Function as the kernel printed it, suffixes kept.
    pub function: String,
    /// Bytes from its start.
    pub offset: i64,
    /// Its size as printed, which tells functions of one name apart; 0 when none was.
    pub size: i64,
    /// Looked up as it is; else it is a return address, looked up one byte before.
    pub exact: bool,
}

/// The answer for a place, JSON, if it was asked before.
pub async fn get(db: impl SqliteExecutor<'_>, place: &Place) -> Result<Option<String>> {
    let Place { image, function, offset, size, exact } = place;
    sqlx::query_scalar(
        "SELECT answer FROM location
          WHERE image_id = $1 AND function = $2 AND offset_b = $3 AND size_b = $4 AND exact = $5",
    )
    .bind(image)
    .bind(function)
    .bind(offset)
    .bind(size)
    .bind(exact)
    .fetch_optional(db)
    .await
}

/// Keeps an answer.
pub async fn put(db: &mut SqliteConnection, place: &Place, answer: &str) -> Result<()> {
    let Place { image, function, offset, size, exact } = place;
    sqlx::query(
        "INSERT INTO location (image_id, function, offset_b, size_b, exact, answer) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (image_id, function, offset_b, size_b, exact) DO UPDATE SET answer = excluded.answer",
    )
    .bind(image)
    .bind(function)
    .bind(offset)
    .bind(size)
    .bind(exact)
    .bind(answer)
    .execute(db)
    .await?;
    Ok(())
}
