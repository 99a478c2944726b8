//! Work that survives a restart: due, leased, done (deleted) or dead.

use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// Find the source lines of a crash; the subject is its row.
pub const LOCATE: i64 = 1;

/// Read a dump of memory; the subject is the row of its evidence.
pub const READ_DUMP: i64 = 2;

/// How long a job of a kind may take before another worker may begin it, µs: longer than the slowest vmlinux takes to
/// open, and longer than a dump may be read, each shorter than anyone's patience.
fn lease_us(kind: i64) -> i64 {
    let minutes = if kind == READ_DUMP { 20 } else { 5 };
    minutes * 60 * 1_000_000
}

/// A job that failed this often is dead: it is kept with its error and not tried again.
const ATTEMPTS: i64 = 8;
/// Waits double from 2 s up to this.
const LONGEST_WAIT_US: i64 = 3600 * 1_000_000;

/// A leased job.
#[derive(Clone, Debug, FromRow)]
pub struct Job {
    /// Row id.
    pub id: i64,
    /// What to do.
    pub kind: i64,
    /// To what.
    pub subject: i64,
    /// How often it was begun, this time included.
    pub attempts: i64,
    /// Proves that the lease is still ours.
    pub lease_key: Vec<u8>,
}

/// Asks for work. Asking again for what is due changes nothing; for what is leased or dead it makes it due anew,
/// and a worker that holds the old lease finds it lost.
pub async fn ask(db: &mut SqliteConnection, kind: i64, subject: i64, now_us: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO job (kind, subject, run_us) VALUES ($1, $2, $3)
         ON CONFLICT (kind, subject) DO UPDATE SET
           state = 0, run_us = min(run_us, excluded.run_us), attempts = 0, lease_key = NULL",
    )
    .bind(kind)
    .bind(subject)
    .bind(now_us)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes the next due job of a kind; first gives back leases that ran out.
pub async fn lease(
    db: &mut SqliteConnection,
    kind: i64,
    lease_key: &[u8; 16],
    now_us: i64,
) -> Result<Option<Job>> {
    sqlx::query("UPDATE job SET state = 0, lease_key = NULL WHERE state = 1 AND run_us <= $1")
        .bind(now_us)
        .execute(&mut *db)
        .await?;
    sqlx::query_as(
        "UPDATE job SET state = 1, run_us = $2, lease_key = $3, attempts = attempts + 1
          WHERE id = (SELECT id FROM job WHERE kind = $4 AND state = 0 AND run_us <= $1
                        ORDER BY run_us, id LIMIT 1)
         RETURNING id, kind, subject, attempts, lease_key",
    )
    .bind(now_us)
    .bind(now_us + lease_us(kind))
    .bind(&lease_key[..])
    .bind(kind)
    .fetch_optional(db)
    .await
}

/// Ends a job. False: the lease was lost, and the caller rolls its result back.
pub async fn finish(db: &mut SqliteConnection, job: &Job) -> Result<bool> {
    let done = sqlx::query("DELETE FROM job WHERE id = $1 AND lease_key = $2")
        .bind(job.id)
        .bind(&job.lease_key)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives a job back after a failure, to be tried later, or to lie dead after too many.
pub async fn fail(db: &mut SqliteConnection, job: &Job, error: &str, now_us: i64) -> Result<()> {
    let wait = LONGEST_WAIT_US.min(1_000_000 << job.attempts.clamp(0, 30));
    sqlx::query(
        "UPDATE job SET state = $3, run_us = $4, lease_key = NULL, error = $5 WHERE id = $1 AND lease_key = $2",
    )
    .bind(job.id)
    .bind(&job.lease_key)
    .bind(if job.attempts >= ATTEMPTS { 2_i64 } else { 0 })
    .bind(now_us + wait)
    .bind(error)
    .execute(db)
    .await?;
    Ok(())
}

/// Every lease is given back: at start nobody holds one.
pub async fn release_all(db: &mut SqliteConnection) -> Result<()> {
    sqlx::query("UPDATE job SET state = 0, lease_key = NULL WHERE state = 1").execute(db).await?;
    Ok(())
}

/// Jobs due or leased, and dead ones.
pub async fn count(db: impl SqliteExecutor<'_>) -> Result<(i64, i64)> {
    sqlx::query_as("SELECT count(*) FILTER (WHERE state < 2), count(*) FILTER (WHERE state = 2) FROM job")
        .fetch_one(db)
        .await
}
