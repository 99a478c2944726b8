//! Debug files that crashes ask for, and which crashes wait for each.

use serde::Serialize;
use sqlx::{FromRow, QueryBuilder, SqliteConnection, SqliteExecutor};

use super::Result;
use super::image::Identity;

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
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Kernel release.
    pub kernel: String,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// Build-id in hex; empty when the kernel printed none.
    #[serde(with = "hex")]
    pub build_id: Vec<u8>,
    /// Crashes that wait for it.
    pub crashes: i64,
    /// When debuginfod servers were last asked for it, µs since 1970 UTC.
    pub asked_us: Option<i64>,
    /// What they said.
    pub answer: String,
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
pub async fn waiting(db: &mut SqliteConnection, identity: &Identity) -> Result<Vec<i64>> {
    sqlx::query_scalar(
        "SELECT DISTINCT x.crash_id FROM wanted w JOIN crash_wanted x ON x.wanted_id = w.id
          WHERE w.build_id = $1 OR (w.kernel = $2 AND w.name = $3 AND w.build_id = x'')",
    )
    .bind(&identity.build_id)
    .bind(&identity.kernel)
    .bind(&identity.name)
    .fetch_all(db)
    .await
}

/// Each file that is waited for, and the row that stands for it (`build`). A kernel that one crash names by its build-id
/// and another only by its release is one, unless two builds of that release are waited for: then nobody knows which of
/// them the other one ran.
const NAMED: &str = "
    WITH waited AS (
      SELECT * FROM wanted w WHERE EXISTS (SELECT 1 FROM crash_wanted x WHERE x.wanted_id = w.id)
    ), build AS (
      SELECT kernel, name, min(id) AS id FROM waited WHERE build_id <> x''
       GROUP BY kernel, name HAVING count(*) = 1
    ), named AS (
      SELECT w.id, coalesce(b.id, w.id) AS build FROM waited w
        LEFT JOIN build b ON b.kernel = w.kernel AND b.name = w.name
    )";

/// What is missing, most waited for first. A crash that names a kernel in both ways is counted where the build-id is:
/// counting distinct crashes would sort them all.
pub async fn missing(db: impl SqliteExecutor<'_>, limit: u32) -> Result<Vec<Missing>> {
    QueryBuilder::new(NAMED)
        .push(
            "
         SELECT w.id, w.kernel, w.name, w.build_id, sum((
                SELECT count(*) FROM crash_wanted x
                 WHERE x.wanted_id = n.id AND (n.id = n.build OR NOT EXISTS (
                       SELECT 1 FROM crash_wanted y WHERE y.wanted_id = n.build AND y.crash_id = x.crash_id))
                )) AS crashes, w.asked_us, w.answer
           FROM named n JOIN wanted w ON w.id = n.build
          GROUP BY w.id ORDER BY crashes DESC, w.id LIMIT ",
        )
        .push_bind(limit)
        .build_query_as()
        .fetch_all(db)
        .await
}

/// How many files are missing: the rows of [`missing`] without a limit.
pub async fn count_missing(db: impl SqliteExecutor<'_>) -> Result<i64> {
    QueryBuilder::new(NAMED)
        .push(" SELECT count(DISTINCT build) FROM named")
        .build_query_scalar()
        .fetch_one(db)
        .await
}

/// What one crash waits for. Its log and its memory may name one kernel, only one of them by its build-id: that is one.
pub async fn missing_of(db: impl SqliteExecutor<'_>, crash: i64) -> Result<Vec<Missing>> {
    sqlx::query_as(
        "WITH waited AS (
           SELECT w.* FROM crash_wanted x JOIN wanted w ON w.id = x.wanted_id WHERE x.crash_id = $1
         )
         SELECT w.id, w.kernel, w.name, w.build_id, 1 AS crashes, w.asked_us, w.answer FROM waited w
          WHERE w.build_id <> x'' OR NOT EXISTS (
                SELECT 1 FROM waited b WHERE b.kernel = w.kernel AND b.name = w.name AND b.build_id <> x'')
          ORDER BY w.id",
    )
    .bind(crash)
    .fetch_all(db)
    .await
}

/// The missing file with a build-id that servers may be asked for now, most waited for first.
pub async fn next_to_ask(db: impl SqliteExecutor<'_>, now_us: i64) -> Result<Option<Missing>> {
    sqlx::query_as(
        "SELECT w.id, w.kernel, w.name, w.build_id, count(*) AS crashes, w.asked_us, w.answer
           FROM wanted w JOIN crash_wanted x ON x.wanted_id = w.id
          WHERE w.build_id <> x'' AND w.retry_us <= $1
          GROUP BY w.id ORDER BY crashes DESC, w.id LIMIT 1",
    )
    .bind(now_us)
    .fetch_optional(db)
    .await
}

/// Notes what servers said, and when to ask again.
pub async fn answered(
    db: &mut SqliteConnection,
    id: i64,
    answer: &str,
    now_us: i64,
    retry_us: i64,
) -> Result<()> {
    sqlx::query("UPDATE wanted SET asked_us = $2, retry_us = $3, answer = $4 WHERE id = $1")
        .bind(id)
        .bind(now_us)
        .bind(retry_us)
        .bind(answer)
        .execute(db)
        .await?;
    Ok(())
}
