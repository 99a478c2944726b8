//! Which report of which evidence tells of a crash.

use handover::{CrashId, EvidenceId};
use serde::Serialize;
use sqlx::{FromRow, SqliteConnection, SqliteExecutor};

use super::Result;

/// A piece of evidence that tells of a crash.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Source {
    /// Row id, the same in both databases.
    #[serde(skip)]
    pub evidence_row: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub evidence_id: EvidenceId,
    /// Which report of the evidence it is, from 0; -1 for the memory of its boot.
    pub report_no: i64,
    /// What the bytes are: `kernel-log`, …
    pub kind: String,
    /// When it came.
    pub received_us: i64,
    /// Damage seen by agent and reader: a JSON list of `{code, …}`.
    #[serde(skip)]
    pub notes: String,
}

/// The evidence of a crash, oldest first.
pub async fn sources(db: impl SqliteExecutor<'_>, crash: i64) -> Result<Vec<Source>> {
    sqlx::query_as(
        "SELECT e.id AS evidence_row, e.evidence_key AS evidence_id, x.report_no, e.kind, e.received_us, e.notes
           FROM crash_evidence x JOIN evidence e ON e.id = x.evidence_id
          WHERE x.crash_id = $1 ORDER BY e.id",
    )
    .bind(crash)
    .fetch_all(db)
    .await
}

/// The crashes that a piece of evidence tells of, in the order of its reports: public ids and titles.
pub async fn of_evidence(db: impl SqliteExecutor<'_>, evidence: i64) -> Result<Vec<(CrashId, String)>> {
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(
        "SELECT c.crash_key, a.title FROM crash_evidence x
           JOIN crash c ON c.id = x.crash_id
           JOIN alias a ON a.id = c.title_id
          WHERE x.evidence_id = $1 ORDER BY x.report_no",
    )
    .bind(evidence)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(key, title)| match CrashId::try_from(key) {
            Ok(key) => Ok((key, title)),
            Err(error) => Err(sqlx::Error::Decode(Box::new(error))),
        })
        .collect()
}

/// Says which report of which evidence tells of a crash, by the rules of now.
pub async fn link(db: &mut SqliteConnection, crash: i64, evidence: i64, report_no: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO crash_evidence (crash_id, evidence_id, report_no) VALUES ($1, $2, $3)
         ON CONFLICT (crash_id, evidence_id) DO UPDATE SET report_no = excluded.report_no",
    )
    .bind(crash)
    .bind(evidence)
    .bind(report_no)
    .execute(db)
    .await?;
    Ok(())
}

/// Whether no evidence that came before this tells of the crash.
pub async fn is_first(db: impl SqliteExecutor<'_>, crash: i64, evidence: i64) -> Result<bool> {
    sqlx::query_scalar(
        "SELECT NOT EXISTS (SELECT 1 FROM crash_evidence
                             WHERE crash_id = $1 AND evidence_id < $2 AND report_no >= 0)",
    )
    .bind(crash)
    .bind(evidence)
    .fetch_one(db)
    .await
}

/// Of what is no report of its own: a dump of memory, which tells of the crash that ended its boot.
const WHOLE: i64 = -1;

/// Puts the memory of a boot to the crash that ended it: the last that was fatal, or else the last. Called whenever
/// either of them may be new. Returns the row of the crash, if there are both.
pub async fn attach_memory(db: &mut SqliteConnection, boot: i64) -> Result<Option<i64>> {
    let dumps: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM evidence
          WHERE boot_id = $1 AND kind IN ('vmcore', 'vmcore-extract', 'vmcore-summary') ORDER BY id",
    )
    .bind(boot)
    .fetch_all(&mut *db)
    .await?;
    if dumps.is_empty() {
        return Ok(None);
    }
    let ended_by: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM crash WHERE boot_id = $1 ORDER BY fatal DESC, kernel_us DESC, id DESC LIMIT 1",
    )
    .bind(boot)
    .fetch_optional(&mut *db)
    .await?;
    for dump in dumps {
        sqlx::query("DELETE FROM crash_evidence WHERE evidence_id = $1 AND report_no = $2")
            .bind(dump)
            .bind(WHOLE)
            .execute(&mut *db)
            .await?;
        if let Some(crash) = ended_by {
            sqlx::query(
                "INSERT INTO crash_evidence (crash_id, evidence_id, report_no) VALUES ($1, $2, $3)
                 ON CONFLICT (crash_id, evidence_id) DO NOTHING",
            )
            .bind(crash)
            .bind(dump)
            .bind(WHOLE)
            .execute(&mut *db)
            .await?;
        }
        sqlx::query(
            "UPDATE evidence SET crashes = (SELECT count(*) FROM crash_evidence WHERE evidence_id = $1) WHERE id = $1",
        )
        .bind(dump)
        .execute(&mut *db)
        .await?;
    }
    Ok(ended_by)
}

/// A crash that a piece of evidence tells of, as it was counted.
#[derive(Clone, Debug, FromRow)]
pub struct Linked {
    /// Row id.
    pub crash_row: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub crash_id: CrashId,
    /// Which report of the evidence it was.
    pub report_no: i64,
    /// The title that it printed by the rules of then.
    pub title: String,
    /// Its signature's row.
    pub signature_row: i64,
}

/// The crashes of a piece of evidence as they were counted.
pub async fn linked(db: impl SqliteExecutor<'_>, evidence: i64) -> Result<Vec<Linked>> {
    sqlx::query_as(
        "SELECT c.id AS crash_row, c.crash_key AS crash_id, x.report_no, a.title, c.signature_id AS signature_row
           FROM crash_evidence x
           JOIN crash c ON c.id = x.crash_id
           JOIN alias a ON a.id = c.title_id
          WHERE x.evidence_id = $1 AND x.report_no >= 0 ORDER BY x.report_no",
    )
    .bind(evidence)
    .fetch_all(db)
    .await
}

/// A piece of evidence tells of a crash no more; a crash of which nothing tells goes.
pub async fn unlink(db: &mut SqliteConnection, crash: i64, evidence: i64) -> Result<()> {
    sqlx::query("DELETE FROM crash_evidence WHERE crash_id = $1 AND evidence_id = $2")
        .bind(crash)
        .bind(evidence)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "DELETE FROM crash WHERE id = $1
            AND NOT EXISTS (SELECT 1 FROM crash_evidence WHERE crash_id = $1 AND report_no >= 0)",
    )
    .bind(crash)
    .execute(db)
    .await?;
    Ok(())
}
