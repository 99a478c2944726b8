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

/// The answers for places of one image, as far as they were asked before.
pub async fn get_all(
    db: impl SqliteExecutor<'_>,
    image: i64,
    places: &[Place],
) -> Result<Vec<(Place, String)>> {
    let asked: Vec<_> = places.iter().map(|p| (&p.function, p.offset, p.size, i64::from(p.exact))).collect();
    let asked = serde_json::to_string(&asked).expect("plain data");
    let rows: Vec<(String, i64, i64, bool, String)> = sqlx::query_as(
        "SELECT l.function, l.offset_b, l.size_b, l.exact, l.answer
           FROM json_each($2) asked CROSS JOIN location l
          WHERE l.image_id = $1 AND l.function = asked.value ->> 0 AND l.offset_b = asked.value ->> 1
            AND l.size_b = asked.value ->> 2 AND l.exact = asked.value ->> 3",
    )
    .bind(image)
    .bind(asked)
    .fetch_all(db)
    .await?;
    let place =
        |(function, offset, size, exact, answer)| (Place { image, function, offset, size, exact }, answer);
    Ok(rows.into_iter().map(place).collect())
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
