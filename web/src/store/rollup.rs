//! Exact counts, raised in the transaction that inserts a crash and only for a row that was really inserted.

use serde::Serialize;
use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// The UTC day of a time, in days since 1970.
pub fn day(at_us: i64) -> i64 {
    at_us.div_euclid(DAY_US)
}

/// A crash of class field that was inserted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Its signature.
    pub signature: i64,
    /// Its node.
    pub node: i64,
    /// Its kernel.
    pub release: i64,
    /// Its stack.
    pub variant: i64,
    /// When.
    pub at_us: i64,
    /// It killed the machine.
    pub fatal: bool,
}

/// Counts it everywhere.
pub async fn count(db: &mut SqliteConnection, crash: &Counted) -> Result<()> {
    let Counted { signature, node, release, variant, at_us, fatal } = *crash;
    let seen_on_any: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sighting WHERE signature_id = $1 AND node_id = $2)")
            .bind(signature)
            .bind(node)
            .fetch_one(&mut *db)
            .await?;
    let sightings: i64 = sqlx::query_scalar(
        "INSERT INTO sighting (signature_id, node_id, release_id, crashes, first_us, last_us)
         VALUES ($1, $2, $3, 1, $4, $4)
         ON CONFLICT (signature_id, node_id, release_id) DO UPDATE SET
           crashes = crashes + 1, first_us = min(first_us, $4), last_us = max(last_us, $4)
         RETURNING crashes",
    )
    .bind(signature)
    .bind(node)
    .bind(release)
    .bind(at_us)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query(
        "INSERT INTO signature_release (signature_id, release_id, crashes, fatal, nodes, first_us, last_us)
         VALUES ($1, $2, 1, $3, $4, $5, $5)
         ON CONFLICT (signature_id, release_id) DO UPDATE SET
           crashes = crashes + 1, fatal = fatal + $3, nodes = nodes + $4,
           first_us = min(first_us, $5), last_us = max(last_us, $5)",
    )
    .bind(signature)
    .bind(release)
    .bind(fatal)
    .bind(sightings == 1)
    .bind(at_us)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "INSERT INTO signature_day (signature_id, day, release_id, crashes, fatal) VALUES ($1, $2, $3, 1, $4)
         ON CONFLICT (signature_id, day, release_id) DO UPDATE SET crashes = crashes + 1, fatal = fatal + $4",
    )
    .bind(signature)
    .bind(day(at_us))
    .bind(release)
    .bind(fatal)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "INSERT INTO release_day (day, release_id, crashes, fatal) VALUES ($1, $2, 1, $3)
         ON CONFLICT (day, release_id) DO UPDATE SET crashes = crashes + 1, fatal = fatal + $3",
    )
    .bind(day(at_us))
    .bind(release)
    .bind(fatal)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "INSERT INTO signature_variant (signature_id, variant_id, crashes, first_us, last_us)
         VALUES ($1, $2, 1, $3, $3)
         ON CONFLICT (signature_id, variant_id) DO UPDATE SET
           crashes = crashes + 1, first_us = min(first_us, $3), last_us = max(last_us, $3)",
    )
    .bind(signature)
    .bind(variant)
    .bind(at_us)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE signature SET
           class = 0,
           crashes = crashes + 1,
           nodes = nodes + $2,
           fatal = max(fatal, $3),
           -- Late evidence of a crash before it was resolved is no return of it.
           state = CASE WHEN state = 2 AND $4 > resolved_us THEN 4 ELSE state END,
           first_release_id = CASE WHEN first_release_id IS NULL OR $4 < first_us THEN $5 ELSE first_release_id END,
           last_release_id = CASE WHEN last_release_id IS NULL OR $4 >= last_us THEN $5 ELSE last_release_id END,
           first_us = min(first_us, $4),
           last_us = max(last_us, $4)
         WHERE id = $1",
    )
    .bind(signature)
    .bind(!seen_on_any)
    .bind(fatal)
    .bind(at_us)
    .bind(release)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE node SET crashes = crashes + 1 WHERE id = $1").bind(node).execute(&mut *db).await?;
    Ok(())
}

/// Makes a signature's counts anew from its crashes; after some were moved.
pub async fn rebuild(db: &mut SqliteConnection, signature: i64) -> Result<()> {
    for statement in [
        "DELETE FROM sighting WHERE signature_id = $1",
        "DELETE FROM signature_release WHERE signature_id = $1",
        "DELETE FROM signature_day WHERE signature_id = $1",
        "DELETE FROM signature_variant WHERE signature_id = $1",
        "INSERT INTO sighting (signature_id, node_id, release_id, crashes, first_us, last_us)
         SELECT signature_id, node_id, release_id, count(*), min(at_us), max(at_us)
           FROM crash WHERE signature_id = $1 AND class = 0 GROUP BY node_id, release_id",
        "INSERT INTO signature_release (signature_id, release_id, crashes, fatal, nodes, first_us, last_us)
         SELECT signature_id, release_id, count(*), sum(fatal), count(DISTINCT node_id), min(at_us), max(at_us)
           FROM crash WHERE signature_id = $1 AND class = 0 GROUP BY release_id",
        // A crash before 1970 belongs to the day before it, as in `day`.
        "INSERT INTO signature_day (signature_id, day, release_id, crashes, fatal)
         SELECT signature_id, (at_us - ((at_us % 86400000000) + 86400000000) % 86400000000) / 86400000000 AS day,
                release_id, count(*), sum(fatal)
           FROM crash WHERE signature_id = $1 AND class = 0 GROUP BY day, release_id",
        "INSERT INTO signature_variant (signature_id, variant_id, crashes, first_us, last_us)
         SELECT signature_id, variant_id, count(*), min(at_us), max(at_us)
           FROM crash WHERE signature_id = $1 AND class = 0 GROUP BY variant_id",
        "UPDATE signature SET
           crashes = (SELECT count(*) FROM crash c WHERE c.signature_id = $1 AND c.class = 0),
           nodes = (SELECT count(DISTINCT node_id) FROM crash c WHERE c.signature_id = $1 AND c.class = 0),
           fatal = coalesce((SELECT max(fatal) FROM crash c WHERE c.signature_id = $1), fatal),
           class = coalesce((SELECT min(class) FROM crash c WHERE c.signature_id = $1), class),
           first_us = coalesce((SELECT min(at_us) FROM crash c WHERE c.signature_id = $1), first_us),
           last_us = coalesce((SELECT max(at_us) FROM crash c WHERE c.signature_id = $1), last_us),
           first_release_id = (SELECT release_id FROM crash c WHERE c.signature_id = $1 ORDER BY at_us LIMIT 1),
           last_release_id = (SELECT release_id FROM crash c WHERE c.signature_id = $1 ORDER BY at_us DESC LIMIT 1)
         WHERE id = $1",
    ] {
        sqlx::query(statement).bind(signature).execute(&mut *db).await?;
    }
    Ok(())
}

/// Makes the count of one kernel's day anew, after a crash of it was moved or found to be fatal.
pub async fn rebuild_day(db: &mut SqliteConnection, release: i64, at_us: i64) -> Result<()> {
    let day = day(at_us);
    sqlx::query("DELETE FROM release_day WHERE day = $1 AND release_id = $2")
        .bind(day)
        .bind(release)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "INSERT INTO release_day (day, release_id, crashes, fatal)
         SELECT $1, $2, count(*), sum(fatal) FROM crash
          WHERE release_id = $2 AND class = 0 AND at_us >= $3 AND at_us < $4 HAVING count(*) > 0",
    )
    .bind(day)
    .bind(release)
    .bind(day * DAY_US)
    .bind((day + 1) * DAY_US)
    .execute(db)
    .await?;
    Ok(())
}

/// Makes the counts that are no signature's anew: of days by release, and of nodes.
pub async fn rebuild_days(db: &mut SqliteConnection) -> Result<()> {
    for statement in [
        "DELETE FROM release_day",
        "INSERT INTO release_day (day, release_id, crashes, fatal)
         SELECT day, release_id, sum(crashes), sum(fatal) FROM signature_day GROUP BY day, release_id",
        "UPDATE node SET crashes = (SELECT count(*) FROM crash c WHERE c.node_id = node.id AND c.class = 0)",
    ] {
        sqlx::query(statement).execute(&mut *db).await?;
    }
    Ok(())
}

/// A signature on one kernel release.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct OnRelease {
    /// Kernel release.
    pub kernel: String,
    /// Crashes on it.
    pub crashes: i64,
    /// Those that killed the machine.
    pub fatal: i64,
    /// Distinct nodes.
    pub nodes: i64,
    /// First of them, µs since 1970 UTC.
    pub first_us: i64,
    /// Newest of them.
    pub last_us: i64,
}

/// A signature by kernel release, newest crash first.
pub async fn by_release(db: impl SqliteExecutor<'_>, signature: i64) -> Result<Vec<OnRelease>> {
    sqlx::query_as(
        "SELECT r.kernel, x.crashes, x.fatal, x.nodes, x.first_us, x.last_us
           FROM signature_release x JOIN release r ON r.id = x.release_id
          WHERE x.signature_id = $1 ORDER BY x.last_us DESC",
    )
    .bind(signature)
    .fetch_all(db)
    .await
}

/// Crashes of one day on one kernel release.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct OnDay {
    /// Days since 1970 UTC.
    pub day: i64,
    /// Kernel release.
    pub kernel: String,
    /// Crashes.
    pub crashes: i64,
    /// Those that killed the machine.
    pub fatal: i64,
}

/// A signature by day and release, from `from_day` on, oldest first.
pub async fn days_of_signature(
    db: impl SqliteExecutor<'_>,
    signature: i64,
    from_day: i64,
) -> Result<Vec<OnDay>> {
    sqlx::query_as(
        "SELECT x.day, r.kernel, x.crashes, x.fatal FROM signature_day x JOIN release r ON r.id = x.release_id
          WHERE x.signature_id = $1 AND x.day >= $2 ORDER BY x.day, r.kernel",
    )
    .bind(signature)
    .bind(from_day)
    .fetch_all(db)
    .await
}

/// All crashes by day and release, from `from_day` on, oldest first.
pub async fn days(db: impl SqliteExecutor<'_>, from_day: i64) -> Result<Vec<OnDay>> {
    sqlx::query_as(
        "SELECT x.day, r.kernel, x.crashes, x.fatal FROM release_day x JOIN release r ON r.id = x.release_id
          WHERE x.day >= $1 ORDER BY x.day, r.kernel",
    )
    .bind(from_day)
    .fetch_all(db)
    .await
}

/// A stack of a signature.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct OfVariant {
    /// Row id, for `variant::frames`.
    #[serde(skip)]
    pub variant_row: i64,
    /// Its key.
    #[serde(with = "hex")]
    pub stack: Vec<u8>,
    /// Crashes with this stack.
    pub crashes: i64,
    /// First of them.
    pub first_us: i64,
    /// Newest of them.
    pub last_us: i64,
}

/// The stacks of a signature, most crashes first.
pub async fn variants(db: impl SqliteExecutor<'_>, signature: i64, limit: u32) -> Result<Vec<OfVariant>> {
    sqlx::query_as(
        "SELECT x.variant_id AS variant_row, v.variant_key AS stack, x.crashes, x.first_us, x.last_us
           FROM signature_variant x JOIN variant v ON v.id = x.variant_id
          WHERE x.signature_id = $1 ORDER BY x.crashes DESC, x.variant_id LIMIT $2",
    )
    .bind(signature)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// A count that differs from the rows it was made of.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Difference {
    /// Signature row.
    pub signature: i64,
    /// What the roll-up says.
    pub counted: i64,
    /// What the rows say.
    pub rows: i64,
}

/// Holds the roll-ups against the rows of `crash`; empty when they agree.
pub async fn differences(db: impl SqliteExecutor<'_>) -> Result<Vec<Difference>> {
    sqlx::query_as(
        "SELECT s.id AS signature, s.crashes AS counted,
                (SELECT count(*) FROM crash c WHERE c.signature_id = s.id AND c.class = 0) AS \"rows\"
           FROM signature s
          WHERE s.class = 0 AND (s.crashes <> \"rows\"
             OR s.crashes <> (SELECT coalesce(sum(d.crashes), 0) FROM signature_day d WHERE d.signature_id = s.id)
             OR s.nodes <> (SELECT count(DISTINCT x.node_id) FROM sighting x WHERE x.signature_id = s.id))",
    )
    .fetch_all(db)
    .await
}

/// The signature with most crashes in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Largest {
    /// Row id of the signature.
    pub signature_row: i64,
    /// Crashes in the window.
    pub crashes: i64,
    /// Distinct nodes that had one of them.
    pub nodes: i64,
}

/// The signature with most crashes from `from_day` on; none when nothing crashed. Only signatures that were seen
/// since are looked at, by the index over their newest crash.
pub async fn largest(db: impl SqliteExecutor<'_>, from_day: i64) -> Result<Option<Largest>> {
    sqlx::query_as(
        "SELECT s.id AS signature_row, sum(d.crashes) AS crashes,
                (SELECT count(DISTINCT x.node_id) FROM sighting x
                  WHERE x.signature_id = s.id AND x.last_us >= $2) AS nodes
           FROM signature s JOIN signature_day d ON d.signature_id = s.id AND d.day >= $1
          WHERE s.class = 0 AND s.merged_into_id IS NULL AND s.last_us >= $2
          GROUP BY s.id ORDER BY crashes DESC, s.last_us DESC, s.id LIMIT 1",
    )
    .bind(from_day)
    .bind(from_day * DAY_US)
    .fetch_optional(db)
    .await
}

/// Crashes of one signature on one day.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct OfDay {
    /// Row id of the signature.
    #[serde(skip)]
    pub signature_row: i64,
    /// Days since 1970 UTC.
    pub day: i64,
    /// Crashes.
    pub crashes: i64,
}

/// Several signatures by day, from `from_day` on, oldest first.
pub async fn days_of_signatures(
    db: impl SqliteExecutor<'_>,
    signatures: &[i64],
    from_day: i64,
) -> Result<Vec<OfDay>> {
    if signatures.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = sqlx::QueryBuilder::new(
        "SELECT signature_id AS signature_row, day, sum(crashes) AS crashes FROM signature_day WHERE day >= ",
    );
    query.push_bind(from_day).push(" AND signature_id IN (");
    let mut list = query.separated(", ");
    for id in signatures {
        list.push_bind(*id);
    }
    query.push(") GROUP BY signature_id, day ORDER BY signature_id, day");
    query.build_query_as().fetch_all(db).await
}

/// All crashes on one kernel release in a window of days.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct OfRelease {
    /// Kernel release.
    pub kernel: String,
    /// Crashes.
    pub crashes: i64,
    /// Those that killed the machine.
    pub fatal: i64,
    /// Distinct nodes that crashed on it, ever.
    pub nodes: i64,
    /// Distinct signatures seen on it, ever.
    pub signatures: i64,
    /// When it was first met.
    pub first_us: i64,
}

/// Kernel releases that crashed from `from_day` on, most crashes first.
pub async fn releases(db: impl SqliteExecutor<'_>, from_day: i64) -> Result<Vec<OfRelease>> {
    sqlx::query_as(
        "SELECT r.kernel, sum(d.crashes) AS crashes, sum(d.fatal) AS fatal, min(r.first_us) AS first_us,
                (SELECT count(DISTINCT x.node_id) FROM release y CROSS JOIN sighting x ON x.release_id = y.id
                  WHERE y.kernel = r.kernel) AS nodes,
                (SELECT count(DISTINCT x.signature_id) FROM signature_release x JOIN release y ON y.id = x.release_id
                  WHERE y.kernel = r.kernel) AS signatures
           FROM release_day d JOIN release r ON r.id = d.release_id
          WHERE d.day >= $1 GROUP BY r.kernel ORDER BY crashes DESC, r.kernel",
    )
    .bind(from_day)
    .fetch_all(db)
    .await
}

/// A signature on a release, for the map of both.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Cell {
    /// Row id of the signature.
    #[serde(skip)]
    pub signature_row: i64,
    /// Kernel release.
    pub kernel: String,
    /// Crashes.
    pub crashes: i64,
    /// Distinct nodes.
    pub nodes: i64,
}

/// Several signatures by kernel release.
pub async fn cells(db: impl SqliteExecutor<'_>, signatures: &[i64]) -> Result<Vec<Cell>> {
    if signatures.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = sqlx::QueryBuilder::new(
        "SELECT x.signature_id AS signature_row, r.kernel, sum(x.crashes) AS crashes, sum(x.nodes) AS nodes
           FROM signature_release x JOIN release r ON r.id = x.release_id WHERE x.signature_id IN (",
    );
    let mut list = query.separated(", ");
    for id in signatures {
        list.push_bind(*id);
    }
    query.push(") GROUP BY x.signature_id, r.kernel");
    query.build_query_as().fetch_all(db).await
}
