//! Where the bytes of a build lie: in our own folder, and in those that are watched.

use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// How a file came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[repr(i64)]
pub enum Origin {
    /// Somebody put it in.
    Put = 0,
    /// It lies in a watched folder, and stays there.
    Watched = 1,
    /// From a debuginfod server.
    Fetched = 2,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ImageFile {
    /// Below the folder `symbols`; from the root for a watched one.
    pub path: String,
    /// Row of its build; `None`: looked at, and no debug file.
    pub image_id: Option<i64>,
    /// Has debug information.
    pub lines: bool,
    /// Has the code.
    pub text: bool,
    /// As it lies on the disk.
    pub bytes: i64,
    /// When it was last changed, µs since 1970 UTC.
    pub changed_us: i64,
    /// When we first saw it, µs since 1970 UTC.
    pub stored_us: i64,
    /// How it came.
    pub origin: Origin,
}

const SELECT: &str =
    "SELECT path, image_id, lines, text, bytes, changed_us, stored_us, origin FROM image_file";

/// The files of a build; our own first, since others may take theirs away.
pub async fn of_image(db: impl SqliteExecutor<'_>, image: i64) -> Result<Vec<ImageFile>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE image_id = ")
        .push_bind(image)
        .push(" ORDER BY origin = 1, path")
        .build_query_as()
        .fetch_all(db)
        .await
}

/// Every file that was seen below a watched folder.
pub async fn below(db: impl SqliteExecutor<'_>, folder: &str) -> Result<Vec<ImageFile>> {
    let folder = format!("{}/", folder.trim_end_matches('/'));
    sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE origin = 1 AND substr(path, 1, length(")
        .push_bind(folder.clone())
        .push(")) = ")
        .push_bind(folder)
        .build_query_as()
        .fetch_all(db)
        .await
}

/// Our own files, those of builds that were not used for longest first; with the last time of use, or of coming, and
/// the crashes that were located with them.
pub async fn own(db: impl SqliteExecutor<'_>) -> Result<Vec<Own>> {
    sqlx::query_as(
        "SELECT f.path, f.bytes, f.image_id, i.build_id, i.name, i.kernel,
                max(f.stored_us, i.used_us) AS last_us,
                (SELECT count(*) FROM crash_image x WHERE x.image_id = i.id) AS crashes
           FROM image_file f JOIN image i ON i.id = f.image_id
          WHERE f.origin <> 1 ORDER BY last_us, f.path",
    )
    .fetch_all(db)
    .await
}

/// A file of our own with its use.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Own {
    /// Below the folder `symbols`.
    pub path: String,
    /// Its size.
    pub bytes: i64,
    /// Row of its build.
    pub image_id: i64,
    /// Raw build-id.
    pub build_id: Vec<u8>,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// Release that it was built for.
    pub kernel: String,
    /// When a crash last used it or, if later, when it came, µs since 1970 UTC.
    pub last_us: i64,
    /// Crashes that were located with it.
    pub crashes: i64,
}

/// How many files are our own, and their bytes.
pub async fn own_size(db: impl SqliteExecutor<'_>) -> Result<(i64, i64)> {
    sqlx::query_as("SELECT count(*), coalesce(sum(bytes), 0) FROM image_file WHERE origin <> 1")
        .fetch_one(db)
        .await
}

/// Enters a file, or what it is now.
pub async fn put(db: &mut SqliteConnection, file: &ImageFile) -> Result<()> {
    let ImageFile { path, image_id, lines, text, bytes, changed_us, stored_us, origin } = file;
    sqlx::query(
        "INSERT INTO image_file (path, image_id, lines, text, bytes, changed_us, stored_us, origin)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (path) DO UPDATE SET
           image_id = excluded.image_id, lines = excluded.lines, text = excluded.text,
           bytes = excluded.bytes, changed_us = excluded.changed_us, stored_us = excluded.stored_us,
           origin = excluded.origin",
    )
    .bind(path)
    .bind(image_id)
    .bind(lines)
    .bind(text)
    .bind(bytes)
    .bind(changed_us)
    .bind(stored_us)
    .bind(*origin as i64)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets a file that is gone.
pub async fn forget(db: &mut SqliteConnection, path: &str) -> Result<()> {
    sqlx::query("DELETE FROM image_file WHERE path = $1").bind(path).execute(db).await?;
    Ok(())
}
