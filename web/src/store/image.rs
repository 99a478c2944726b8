//! Builds of kernels and modules that are known: who they are, what is at hand of them, how much they are used.

use serde::Serialize;
use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;
use super::wanted::Wanted;

/// A build with what is at hand of it.
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
    /// A file with debug information is at hand.
    pub lines: bool,
    /// A file with the code is at hand.
    pub text: bool,
    /// Size of its files, also of those in watched folders.
    pub bytes: i64,
    /// Every file of it lies in a watched folder.
    pub watched: bool,
    /// Crashes that were located with it.
    pub crashes: i64,
    /// When a crash last asked for it, µs since 1970 UTC; 0 never.
    pub used_us: i64,
    /// When it was first seen, µs since 1970 UTC.
    pub stored_us: i64,
}

impl Image {
    /// What is at hand of it, in words.
    pub fn has(&self) -> &'static str {
        match (self.lines, self.text) {
            (true, true) => "lines, code",
            (true, false) => "lines",
            (false, true) => "code",
            (false, false) => "nothing",
        }
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its raw build-id.
    pub build_id: Vec<u8>,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// The release that it was built for; empty if it does not say.
    pub kernel: String,
}

const SELECT: &str = "
SELECT i.id, i.build_id, i.name, i.kernel, i.used_us, i.stored_us,
       coalesce(max(f.lines), 0) AS lines, coalesce(max(f.text), 0) AS text,
       coalesce(sum(f.bytes), 0) AS bytes, coalesce(min(f.origin = 1), 0) AS watched,
       (SELECT count(*) FROM crash_image x WHERE x.image_id = i.id) AS crashes
  FROM image i LEFT JOIN image_file f ON f.image_id = i.id";

/// One build.
pub async fn by_build_id(db: impl SqliteExecutor<'_>, build_id: &[u8]) -> Result<Option<Image>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE i.build_id = ")
        .push_bind(build_id)
        .push(" GROUP BY i.id")
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// Those with a file at hand, newest first.
pub async fn list(db: impl SqliteExecutor<'_>, limit: u32) -> Result<Vec<Image>> {
    sqlx::QueryBuilder::new(SELECT)
        .push(" GROUP BY i.id HAVING count(f.path) > 0 ORDER BY i.stored_us DESC, i.id DESC LIMIT ")
        .push_bind(limit)
        .build_query_as()
        .fetch_all(db)
        .await
}

/// The build that answers a want: by build-id where there is one; else by release and name, and then only if
/// exactly one build is known, since two builds of one release have other offsets.
pub async fn find(db: impl SqliteExecutor<'_>, wanted: &Wanted) -> Result<Option<Image>> {
    if !wanted.build_id.is_empty() {
        return by_build_id(db, &wanted.build_id).await;
    }
    let mut found: Vec<Image> = sqlx::QueryBuilder::new(SELECT)
        .push(" WHERE i.kernel = ")
        .push_bind(&wanted.kernel)
        .push(" AND i.name = ")
        .push_bind(&wanted.name)
        .push(" GROUP BY i.id LIMIT 2")
        .build_query_as()
        .fetch_all(db)
        .await?;
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// Enters a build, and answers its row. What it says of itself completes what another file of it did not say: the
/// separate debug file of a module knows neither its name nor its release.
pub async fn enter(db: &mut SqliteConnection, identity: &Identity, now_us: i64) -> Result<i64> {
    let Identity { build_id, name, kernel } = identity;
    sqlx::query_scalar(
        "INSERT INTO image (build_id, name, kernel, stored_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT (build_id) DO UPDATE SET
           name = CASE WHEN excluded.kernel <> '' AND kernel = '' THEN excluded.name ELSE name END,
           kernel = CASE WHEN kernel = '' THEN excluded.kernel ELSE kernel END
         RETURNING id",
    )
    .bind(build_id)
    .bind(name)
    .bind(kernel)
    .bind(now_us)
    .fetch_one(db)
    .await
}

/// Notes that a crash was located with it.
pub async fn used(db: &mut SqliteConnection, image: i64, crash: i64, now_us: i64) -> Result<()> {
    sqlx::query("UPDATE image SET used_us = max(used_us, $2) WHERE id = $1")
        .bind(image)
        .bind(now_us)
        .execute(&mut *db)
        .await?;
    sqlx::query("INSERT INTO crash_image (image_id, crash_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(image)
        .bind(crash)
        .execute(db)
        .await?;
    Ok(())
}
