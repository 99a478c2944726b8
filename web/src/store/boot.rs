//! Boots: which crashes belong together.

use handover::BootId;
use handover::boot::{BootRecord, Ending};
use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

/// What evidence tells of a boot.
#[derive(Clone, Copy, Debug)]
pub struct Dead<'a> {
    /// Row of the node.
    pub node: i64,
    /// The boot.
    pub key: &'a BootId,
    /// Who knows it.
    pub basis: i64,
    /// Row of its kernel.
    pub release: i64,
    /// When the evidence came, by our clock.
    pub seen_us: i64,
    /// It shows that the boot ended by a crash.
    pub fatal: bool,
    /// When, by the node's clock, if anything tells.
    pub ended_us: Option<i64>,
}

/// The boot that a piece of evidence is about; made when nobody reported it.
pub async fn upsert(db: &mut SqliteConnection, dead: &Dead<'_>) -> Result<i64> {
    let Dead { node, key, basis, release, seen_us, fatal, ended_us } = *dead;
    sqlx::query_scalar(
        "INSERT INTO boot (node_id, boot_key, basis, release_id, seen_us, ending, ended_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (node_id, boot_key) DO UPDATE SET
           basis = min(basis, excluded.basis),
           seen_us = max(seen_us, excluded.seen_us),
           release_id = coalesce(release_id, excluded.release_id),
           ending = CASE WHEN excluded.ending = 0 THEN ending ELSE excluded.ending END,
           ended_us = CASE WHEN excluded.ending = 0 THEN ended_us ELSE coalesce(excluded.ended_us, ended_us) END
         RETURNING id",
    )
    .bind(node)
    .bind(&key.as_bytes()[..])
    .bind(basis)
    .bind(release)
    .bind(seen_us)
    .bind(if fatal { ENDED_BY_CRASH } else { RUNNING_OR_UNKNOWN })
    .bind(ended_us.filter(|_| fatal))
    .fetch_one(db)
    .await
}

const RUNNING_OR_UNKNOWN: i64 = 0;
const ENDED_BY_CRASH: i64 = 2;
const SILENT: i64 = 5;
/// The node's own ledger, the best there is.
const LEDGER: i64 = 0;
/// Nobody knows the boot: its id was derived from the evidence.
pub const DERIVED: i64 = 3;

/// Makes two boots of a node one, of which at least one was only derived: the one that is known better stays, and of
/// two derived ones the older. Returns its row.
pub async fn unite(db: &mut SqliteConnection, one: i64, other: i64) -> Result<i64> {
    let rows: Vec<(i64, i64, i64)> =
        sqlx::query_as("SELECT id, seen_us, ending FROM boot WHERE id IN ($1, $2) ORDER BY basis, id")
            .bind(one)
            .bind(other)
            .fetch_all(&mut *db)
            .await?;
    let [(kept, ..), (gone, seen_us, ending)] = rows[..] else { return Ok(one) };
    for statement in [
        "UPDATE crash SET boot_id = $1 WHERE boot_id = $2",
        "UPDATE evidence SET boot_id = $1 WHERE boot_id = $2",
    ] {
        sqlx::query(statement).bind(kept).bind(gone).execute(&mut *db).await?;
    }
    sqlx::query(
        "UPDATE boot SET seen_us = max(seen_us, $2), ending = CASE WHEN $3 = 0 THEN ending ELSE $3 END WHERE id = $1",
    )
    .bind(kept)
    .bind(seen_us)
    .bind(ending)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM boot WHERE id = $1").bind(gone).execute(db).await?;
    Ok(kept)
}

/// How an ending is stored.
fn stored(ending: Ending) -> i64 {
    match ending {
        Ending::Unknown => RUNNING_OR_UNKNOWN,
        Ending::Clean => 1,
        Ending::Crash => ENDED_BY_CRASH,
        Ending::Hardware => 3,
        Ending::Watchdog | Ending::Power => 4,
        Ending::Silent => SILENT,
    }
}

/// A boot record, ready to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Row of the node.
    pub node: i64,
    /// Row of its kernel in this boot.
    pub release: i64,
    /// What the node says.
    pub record: &'a BootRecord,
    /// The record as it came.
    pub doc: &'a str,
    /// When, by our clock.
    pub received_us: i64,
}

/// Keeps a boot record if its revision is higher than the one that is kept. Returns the revision that is kept
/// now; what it says of the boot before is taken over only with it.
pub async fn report(db: &mut SqliteConnection, word: &Word<'_>) -> Result<u64> {
    let Word { node, release, record, doc, received_us } = *word;
    let rev = i64::try_from(record.rev).unwrap_or(i64::MAX);
    let kept: Option<i64> = sqlx::query_scalar("SELECT rev FROM boot WHERE node_id = $1 AND boot_key = $2")
        .bind(node)
        .bind(&record.boot_id.as_bytes()[..])
        .fetch_optional(&mut *db)
        .await?;
    if let Some(kept) = kept.filter(|kept| *kept >= rev) {
        return Ok(kept.unsigned_abs());
    }
    let ended = record.ended.as_ref();
    sqlx::query(
        "INSERT INTO boot (node_id, boot_key, basis, release_id, ordinal, rev, started_us, seen_us, ended_us, ending,
                           doc)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (node_id, boot_key) DO UPDATE SET
           basis = excluded.basis, release_id = excluded.release_id, ordinal = excluded.ordinal, rev = excluded.rev,
           started_us = excluded.started_us, seen_us = max(seen_us, excluded.seen_us),
           ended_us = coalesce(excluded.ended_us, ended_us),
           ending = CASE WHEN excluded.ending = 0 THEN ending ELSE excluded.ending END, doc = excluded.doc",
    )
    .bind(node)
    .bind(&record.boot_id.as_bytes()[..])
    .bind(LEDGER)
    .bind(release)
    .bind(i64::try_from(record.ordinal).ok())
    .bind(rev)
    .bind(record.started.us)
    .bind(received_us)
    .bind(ended.map(|ended| ended.us))
    .bind(ended.map_or(RUNNING_OR_UNKNOWN, |ended| stored(ended.ending)))
    .bind(doc)
    .execute(&mut *db)
    .await?;
    if let Some(previous) = &record.previous {
        // Evidence of a crash is stronger than a node's word that it found none.
        sqlx::query(
            "INSERT INTO boot (node_id, boot_key, basis, seen_us, ended_us, ending) VALUES ($1, $2, $3, $4, NULL, $5)
             ON CONFLICT (node_id, boot_key) DO UPDATE SET
               basis = min(basis, excluded.basis),
               ending = CASE WHEN excluded.ending = 0 OR (ending = 2 AND excluded.ending = 5) THEN ending
                             ELSE excluded.ending END,
               -- What was heard of it later was late: it ended before this boot began.
               ended_us = CASE WHEN ended_us IS NULL AND seen_us > $6 THEN $6 ELSE ended_us END",
        )
        .bind(node)
        .bind(&previous.boot_id.as_bytes()[..])
        .bind(LEDGER)
        .bind(record.started.us.min(received_us))
        .bind(stored(previous.ending))
        .bind(record.started.us)
        .execute(&mut *db)
        .await?;
    }
    Ok(record.rev)
}

/// The number that a node's agent gave a boot; none when it never reported it.
pub async fn ordinal(db: impl SqliteExecutor<'_>, node: i64, key: &[u8]) -> Result<Option<i64>> {
    let row: Option<Option<i64>> =
        sqlx::query_scalar("SELECT ordinal FROM boot WHERE node_id = $1 AND boot_key = $2")
            .bind(node)
            .bind(key)
            .fetch_optional(db)
            .await?;
    Ok(row.flatten())
}

/// How many boots of a node are known.
pub async fn count(db: impl SqliteExecutor<'_>, node: i64) -> Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM boot WHERE node_id = $1").bind(node).fetch_one(db).await
}

/// A boot as a node's page shows it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Boot {
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub boot_id: BootId,
    /// Kernel release, where known.
    pub kernel: Option<String>,
    /// Counts the boots of the node, by its agent.
    pub ordinal: Option<i64>,
    /// When it began, by the node's clock, µs since 1970 UTC.
    pub started_us: Option<i64>,
    /// When something was last heard of it, by ours.
    pub seen_us: i64,
    /// When it ended, by the node's clock, where somebody knows.
    pub ended_us: Option<i64>,
    /// 0 ledger, 1 journal, 2 record, 3 derived from evidence.
    pub basis: i64,
    /// 0 running or unknown, 1 clean, 2 crash, 3 hardware, 4 watchdog or power, 5 silent.
    pub ending: i64,
    /// Crashes of it, survived ones included.
    pub crashes: i64,
}

/// The newest boots of a node.
pub async fn of_node(db: impl SqliteExecutor<'_>, node: i64, limit: u32) -> Result<Vec<Boot>> {
    sqlx::query_as(
        "SELECT b.id, b.boot_key AS boot_id, r.kernel, b.ordinal, b.started_us, b.seen_us, b.ended_us,
                b.basis, b.ending,
                (SELECT count(*) FROM crash c WHERE c.boot_id = b.id) AS crashes
           FROM boot b LEFT JOIN release r ON r.id = b.release_id
          WHERE b.node_id = $1 ORDER BY b.seen_us DESC, b.id DESC LIMIT $2",
    )
    .bind(node)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// How long a kernel release ran in a window, as far as nodes report their boots.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct Exposure {
    /// Kernel release.
    pub kernel: String,
    /// Time that nodes ran it, µs.
    pub up_us: i64,
    /// Distinct nodes that did.
    pub nodes: i64,
    /// Boots of it that ended and left nothing.
    pub silent: i64,
}

/// How long each kernel release ran between two moments, on nodes of class field. A boot counts from its start to
/// its end, or to when it was last heard of; one that nobody reported counts nothing.
pub async fn exposure(db: impl SqliteExecutor<'_>, from_us: i64, to_us: i64) -> Result<Vec<Exposure>> {
    sqlx::query_as(
        "WITH ran AS (
           SELECT release_id, node_id, sum(min(coalesce(ended_us, seen_us), $2) - max(started_us, $1)) AS up_us,
                  count(*) FILTER (WHERE ending = 5) AS silent
             FROM boot
            WHERE started_us IS NOT NULL AND started_us < $2
              AND min(coalesce(ended_us, seen_us), $2) > max(started_us, $1)
            GROUP BY release_id, node_id)
         SELECT r.kernel, sum(x.up_us) AS up_us, count(DISTINCT x.node_id) AS nodes, sum(x.silent) AS silent
           FROM ran x
           CROSS JOIN release r ON r.id = x.release_id
           CROSS JOIN node n ON n.id = x.node_id
          WHERE n.class = 0 GROUP BY r.kernel ORDER BY r.kernel",
    )
    .bind(from_us)
    .bind(to_us)
    .fetch_all(db)
    .await
}
