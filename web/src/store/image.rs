//! Debug files: which are at hand, which are asked for, which crashes wait for them.

use serde::Serialize;
use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// A debug file at hand.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
pub struct Image {
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Raw build-id.
    #[serde(with = "hex")]
    pub build_id: Vec<u8>,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// Release that it was built for.
    pub kernel: String,
    /// Its size.
    pub bytes: i64,
    /// When it came, µs since 1970 UTC.
    pub stored_us: i64,
}

/// A debug file that crashes ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Kernel release of the crash.
    pub kernel: String,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// Raw build-id; empty when the kernel printed none.
    pub build_id: Vec<u8>,
}

/// A debug file that is missing.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Missing {
    /// Kernel release.
    pub kernel: String,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// Build-id in hex; empty when the kernel printed none.
    #[serde(with = "hex")]
    pub build_id: Vec<u8>,
    /// Crashes that wait for it.
    pub crashes: i64,
}

const SELECT: &str = "SELECT id, build_id, name, kernel, bytes, stored_us FROM image";

/// One debug file.
pub async fn by_build_id(db: impl SqliteExecutor<'_>, build_id: &[u8]) -> Result<Option<Image>> {
    sqlx::query_as("SELECT id, build_id, name, kernel, bytes, stored_us FROM image WHERE build_id = $1")
        .bind(build_id)
        .fetch_optional(db)
        .await
}

/// All of them, newest first.
pub async fn list(db: impl SqliteExecutor<'_>, limit: u32) -> Result<Vec<Image>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" ORDER BY stored_us DESC, id DESC LIMIT ")
        .push_bind(limit)
        .build_query_as()
        .fetch_all(db)
        .await
}

/// The file that answers a want: by build-id where there is one; else by release and name, and then only if
/// exactly one build is at hand, since two builds of one release have other offsets.
pub async fn find(db: impl SqliteExecutor<'_>, wanted: &Wanted) -> Result<Option<Image>> {
    if !wanted.build_id.is_empty() {
        return by_build_id(db, &wanted.build_id).await;
    }
    let mut found: Vec<Image> = sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE kernel = ")
        .push_bind(&wanted.kernel)
        .push(" AND name = ")
        .push_bind(&wanted.name)
        .push(" LIMIT 2")
        .build_query_as()
        .fetch_all(db)
        .await?;
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// Enters a debug file; false if its build-id was there before.
pub async fn insert(db: &mut SqliteConnection, image: &Image) -> Result<bool> {
    let Image { id: _, build_id, name, kernel, bytes, stored_us } = image;
    let done = sqlx::query(
        "INSERT INTO image (build_id, name, kernel, bytes, stored_us) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (build_id) DO NOTHING",
    )
    .bind(build_id)
    .bind(name)
    .bind(kernel)
    .bind(bytes)
    .bind(stored_us)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a crash waits for a debug file.
pub async fn want(db: &mut SqliteConnection, crash: i64, wanted: &Wanted) -> Result<()> {
    let Wanted { kernel, name, build_id } = wanted;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO wanted (kernel, name, build_id) VALUES ($1, $2, $3)
         ON CONFLICT (kernel, name, build_id) DO UPDATE SET name = name RETURNING id",
    )
    .bind(kernel)
    .bind(name)
    .bind(build_id)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query("INSERT INTO crash_wanted (wanted_id, crash_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(id)
        .bind(crash)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets what a crash waited for.
pub async fn unwant(db: &mut SqliteConnection, crash: i64) -> Result<()> {
    sqlx::query("DELETE FROM crash_wanted WHERE crash_id = $1").bind(crash).execute(db).await?;
    Ok(())
}

/// The crashes that a debug file may help.
pub async fn waiting(db: &mut SqliteConnection, image: &Image) -> Result<Vec<i64>> {
    sqlx::query_scalar(
        "SELECT DISTINCT x.crash_id FROM wanted w JOIN crash_wanted x ON x.wanted_id = w.id
          WHERE w.build_id = $1 OR (w.kernel = $2 AND w.name = $3 AND w.build_id = x'')",
    )
    .bind(&image.build_id)
    .bind(&image.kernel)
    .bind(&image.name)
    .fetch_all(db)
    .await
}

/// What is missing, most waited for first.
pub async fn missing(db: impl SqliteExecutor<'_>, limit: u32) -> Result<Vec<Missing>> {
    sqlx::query_as(
        "SELECT w.kernel, w.name, w.build_id, count(*) AS crashes
           FROM wanted w JOIN crash_wanted x ON x.wanted_id = w.id
          GROUP BY w.id ORDER BY crashes DESC, w.id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(db)
    .await
}

/// What one crash waits for.
pub async fn missing_of(db: impl SqliteExecutor<'_>, crash: i64) -> Result<Vec<Missing>> {
    sqlx::query_as(
        "SELECT w.kernel, w.name, w.build_id, 1 AS crashes
           FROM crash_wanted x JOIN wanted w ON w.id = x.wanted_id
          WHERE x.crash_id = $1 ORDER BY w.id",
    )
    .bind(crash)
    .fetch_all(db)
    .await
}
