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
    /// Which report of the evidence it is, from 0.
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

/// Says which report of which evidence tells of a crash.
pub async fn link(db: &mut SqliteConnection, crash: i64, evidence: i64, report_no: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO crash_evidence (crash_id, evidence_id, report_no) VALUES ($1, $2, $3)
         ON CONFLICT (crash_id, evidence_id) DO NOTHING",
    )
    .bind(crash)
    .bind(evidence)
    .bind(report_no)
    .execute(db)
    .await?;
    Ok(())
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
          WHERE x.evidence_id = $1 ORDER BY x.report_no",
    )
    .bind(evidence)
    .fetch_all(db)
    .await
}

/// Notes which report of a piece of evidence a crash is by newer rules.
pub async fn renumber(db: &mut SqliteConnection, crash: i64, evidence: i64, report_no: i64) -> Result<()> {
    sqlx::query("UPDATE crash_evidence SET report_no = $3 WHERE crash_id = $1 AND evidence_id = $2")
        .bind(crash)
        .bind(evidence)
        .bind(report_no)
        .execute(db)
        .await?;
    Ok(())
}

/// A piece of evidence tells of a crash no more; a crash of which nothing tells goes.
pub async fn unlink(db: &mut SqliteConnection, crash: i64, evidence: i64) -> Result<()> {
    sqlx::query("DELETE FROM crash_evidence WHERE crash_id = $1 AND evidence_id = $2")
        .bind(crash)
        .bind(evidence)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM crash WHERE id = $1 AND id NOT IN (SELECT crash_id FROM crash_evidence WHERE crash_id = $1)")
        .bind(crash)
        .execute(db)
        .await?;
    Ok(())
}
