//! Crashes: one report of one boot of one node.

use handover::{BootId, CrashId, NodeId};
use serde::Serialize;
use sqlx::{FromRow, QueryBuilder, SqliteConnection, SqliteExecutor};

use super::Result;
use super::signature::SignatureId;
use crate::paging::After;

/// A crash as lists and pages show it.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Crash {
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub crash_id: CrashId,
    /// Its signature.
    #[sqlx(try_from = "Vec<u8>")]
    pub signature_id: SignatureId,
    /// What the signature is called.
    pub signature: String,
    /// The title that this crash printed.
    pub title: String,
    /// Kind of fault, in the words of `report::CrashType`.
    pub r#type: String,
    /// Where it happened.
    #[sqlx(try_from = "Vec<u8>")]
    pub node_id: NodeId,
    /// The node's name; empty unless its owner allowed to send it.
    pub node_name: String,
    /// The boot that died.
    #[sqlx(try_from = "Vec<u8>")]
    pub boot_id: BootId,
    /// Kernel release.
    pub kernel: String,
    /// When, µs since 1970 UTC.
    pub at_us: i64,
    /// What `at_us` is taken from: the manifest's word (`pstore-mtime`, …), `found` or `received`.
    pub at_basis: String,
    /// Of the report's header line, µs since boot.
    pub kernel_us: Option<i64>,
    /// When the service got it.
    pub received_us: i64,
    /// It killed the machine.
    pub fatal: bool,
    /// Why the report's text is not whole; empty when it is.
    pub corrupted: String,
    /// CPU that it happened on.
    pub cpu: Option<i64>,
    /// Process that it happened in.
    pub pid: Option<i64>,
    /// Its name.
    pub comm: String,
    /// Module of the blamed function; empty for the kernel's own code.
    pub module: String,
    /// Taint letters as printed.
    pub taint: String,
    /// Frames without a source line.
    pub unresolved: i64,
    /// 0 field, 1 drill, 2 canary.
    pub class: i64,
    /// The stack's row id, for `variant::frames`.
    #[serde(skip)]
    pub variant_row: i64,
    /// The signature's row id.
    #[serde(skip)]
    pub signature_row: i64,
    /// The node's row id.
    #[serde(skip)]
    pub node_row: i64,
    /// The boot's row id.
    #[serde(skip)]
    pub boot_row: i64,
}

/// Which crashes a list shows; row ids, that the caller looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Of one signature.
    pub signature: Option<i64>,
    /// Of one node.
    pub node: Option<i64>,
    /// Of one boot.
    pub boot: Option<i64>,
    /// On one kernel release, by its text.
    pub kernel: Option<String>,
    /// Only those that killed the machine, or only those that did not.
    pub fatal: Option<bool>,
}

const SELECT: &str = "
    SELECT c.id, c.crash_key AS crash_id, s.signature_key AS signature_id, coalesce(s.name, s.title) AS signature,
           a.title, s.type, n.node_key AS node_id, n.name AS node_name, b.boot_key AS boot_id, r.kernel, c.at_us,
           c.at_basis, c.kernel_us, c.received_us, c.fatal, c.corrupted, c.cpu, c.pid, c.comm, c.module, c.taint,
           c.unresolved, c.class, c.variant_id AS variant_row, c.signature_id AS signature_row,
           c.node_id AS node_row, c.boot_id AS boot_row
      FROM crash c
      JOIN signature s ON s.id = c.signature_id
      JOIN alias a ON a.id = c.title_id
      JOIN node n ON n.id = c.node_id
      JOIN boot b ON b.id = c.boot_id
      JOIN release r ON r.id = c.release_id";

/// One crash.
pub async fn by_key(db: impl SqliteExecutor<'_>, key: &CrashId) -> Result<Option<Crash>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE c.crash_key = ")
        .push_bind(&key.as_bytes()[..])
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// One crash by its row id.
pub async fn by_id(db: impl SqliteExecutor<'_>, id: i64) -> Result<Option<Crash>> {
    QueryBuilder::new(SELECT).push(" WHERE c.id = ").push_bind(id).build_query_as().fetch_optional(db).await
}

/// At most `limit` crashes of class field, newest first. Sort key of the page: (`at_us`, `id`).
pub async fn list(
    db: impl SqliteExecutor<'_>,
    filter: &Filter,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Crash>> {
    let Filter { signature, node, boot, kernel, fatal } = filter;
    let mut query = QueryBuilder::new(SELECT);
    // The plus keeps SQLite on the narrower index when there is one.
    let narrowed = signature.is_some() || node.is_some() || boot.is_some();
    query.push(if narrowed { " WHERE +c.class = 0" } else { " WHERE c.class = 0" });
    if let Some(id) = signature {
        query.push(" AND c.signature_id = ").push_bind(id);
    }
    if let Some(id) = node {
        query.push(" AND c.node_id = ").push_bind(id);
    }
    if let Some(id) = boot {
        query.push(" AND c.boot_id = ").push_bind(id);
    }
    if let Some(kernel) = kernel {
        query
            .push(" AND c.release_id IN (SELECT id FROM release WHERE kernel = ")
            .push_bind(kernel)
            .push(")");
    }
    if let Some(fatal) = fatal {
        query.push(" AND c.fatal = ").push_bind(fatal);
    }
    if let Some(after) = after {
        query.push(" AND (c.at_us, c.id) < (").push_bind(after.key).push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY c.at_us DESC, c.id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(db).await
}

/// How many crashes of class field there are.
pub async fn count(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT coalesce(sum(crashes), 0) FROM release_day").fetch_one(db).await
}

/// A crash that is about to be counted.
#[derive(Clone, Debug)]
pub struct New<'a> {
    /// Public id.
    pub key: CrashId,
    /// 0 field, 1 drill, 2 canary.
    pub class: i64,
    /// Row ids of what it belongs to.
    pub signature: i64,
    /// Its stack.
    pub variant: i64,
    /// The alias row of the title it printed.
    pub title: i64,
    /// Its node.
    pub node: i64,
    /// Its boot.
    pub boot: i64,
    /// Its kernel.
    pub release: i64,
    /// When.
    pub at_us: i64,
    /// What tells.
    pub at_basis: &'a str,
    /// µs since boot.
    pub kernel_us: Option<i64>,
    /// When the evidence came.
    pub received_us: i64,
    /// It killed the machine.
    pub fatal: bool,
    /// Why its text is not whole.
    pub corrupted: &'a str,
    /// CPU.
    pub cpu: Option<i64>,
    /// Process.
    pub pid: Option<i64>,
    /// Its name.
    pub comm: &'a str,
    /// Module of the blamed function.
    pub module: &'a str,
    /// Taint letters.
    pub taint: &'a str,
}

/// Inserts a crash. The row id, and whether it is new: the same report met in a second source is not.
pub async fn insert(db: &mut SqliteConnection, new: &New<'_>) -> Result<(i64, bool)> {
    let New {
        key,
        class,
        signature,
        variant,
        title,
        node,
        boot,
        release,
        at_us,
        at_basis,
        kernel_us,
        received_us,
        fatal,
        corrupted,
        cpu,
        pid,
        comm,
        module,
        taint,
    } = *new;
    let inserted: Option<i64> = sqlx::query_scalar(
        "INSERT INTO crash (crash_key, class, signature_id, variant_id, title_id, node_id, boot_id, release_id, at_us,
                            at_basis, kernel_us, received_us, fatal, corrupted, cpu, pid, comm, module, taint)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT (crash_key) DO NOTHING
         RETURNING id",
    )
    .bind(&key.as_bytes()[..])
    .bind(class)
    .bind(signature)
    .bind(variant)
    .bind(title)
    .bind(node)
    .bind(boot)
    .bind(release)
    .bind(at_us)
    .bind(at_basis)
    .bind(kernel_us)
    .bind(received_us)
    .bind(fatal)
    .bind(corrupted)
    .bind(cpu)
    .bind(pid)
    .bind(comm)
    .bind(module)
    .bind(taint)
    .fetch_optional(&mut *db)
    .await?;
    match inserted {
        Some(id) => Ok((id, true)),
        None => Ok((id_of(db, &key).await?.ok_or(sqlx::Error::RowNotFound)?, false)),
    }
}

/// A crash that a further source tells of.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct Met {
    /// Row id.
    pub id: i64,
    /// Its signature.
    pub signature_id: i64,
    /// Its kernel.
    pub release_id: i64,
    /// When.
    pub at_us: i64,
    /// It killed the machine, as far as was known.
    pub fatal: bool,
    /// Its text was damaged where it was read so far.
    pub corrupted: bool,
}

const MET: &str =
    "SELECT id, signature_id, release_id, at_us, fatal, corrupted <> '' AS corrupted FROM crash";

/// The crash of a boot at a moment of the kernel's clock.
pub async fn at(db: impl SqliteExecutor<'_>, boot: i64, kernel_us: i64) -> Result<Option<Met>> {
    QueryBuilder::new(MET)
        .push(" WHERE boot_id = ")
        .push_bind(boot)
        .push(" AND kernel_us = ")
        .push_bind(kernel_us)
        .push(" ORDER BY id LIMIT 1")
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// The same of a crash that is known by its row.
pub async fn met(db: impl SqliteExecutor<'_>, id: i64) -> Result<Option<Met>> {
    QueryBuilder::new(MET).push(" WHERE id = ").push_bind(id).build_query_as().fetch_optional(db).await
}

/// A report, as its moment tells it from all others of a node.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Its node.
    pub node: i64,
    /// The boot that it is said to be of.
    pub not_in: i64,
    /// The kernel's clock.
    pub kernel_us: i64,
    /// The process.
    pub pid: i64,
    /// Its name.
    pub comm: &'a str,
    /// About when the machine died, µs since 1970.
    pub around_us: i64,
    /// How far off that may be.
    pub within_us: i64,
}

/// The boot of another name in which the same report was met; one of the two names was derived.
pub async fn elsewhere(db: impl SqliteExecutor<'_>, moment: &Moment<'_>) -> Result<Option<i64>> {
    let Moment { node, not_in, kernel_us, pid, comm, around_us, within_us } = *moment;
    sqlx::query_scalar(
        "SELECT c.boot_id FROM crash c JOIN boot b ON b.id = c.boot_id
          WHERE c.node_id = $1 AND c.at_us BETWEEN $2 AND $3 AND c.kernel_us = $4 AND c.pid = $5 AND c.comm = $6
            AND c.boot_id <> $7 AND 3 IN (b.basis, (SELECT basis FROM boot WHERE id = $7))
          ORDER BY c.id LIMIT 1",
    )
    .bind(node)
    .bind(around_us.saturating_sub(within_us))
    .bind(around_us.saturating_add(within_us))
    .bind(kernel_us)
    .bind(pid)
    .bind(comm)
    .bind(not_in)
    .fetch_optional(db)
    .await
}

/// What the memory of a dead kernel tells of its death.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// When, µs since 1970.
    pub at_us: i64,
    /// How long after boot, µs.
    pub uptime_us: i64,
    /// The process on the CPU that panicked.
    pub pid: i64,
    /// Its name.
    pub comm: &'a str,
}

/// The clock of the log and that of the timekeeper begin some seconds apart, and a panic's last words take some more.
const CLOCKS_APART_US: i64 = 10_000_000;

/// The boot of another name that ended in this death: the nearest within `near_us`; one of the two names was derived.
pub async fn ended_elsewhere(
    db: impl SqliteExecutor<'_>,
    node: i64,
    not_in: i64,
    ended: &Ended<'_>,
    near_us: i64,
) -> Result<Option<i64>> {
    let Ended { at_us, uptime_us, pid, comm } = *ended;
    sqlx::query_scalar(
        "SELECT c.boot_id FROM crash c JOIN boot b ON b.id = c.boot_id
          WHERE c.node_id = $1 AND c.at_us BETWEEN $2 AND $3 AND c.fatal = 1 AND c.pid = $4 AND c.comm = $5
            AND c.kernel_us BETWEEN $6 AND $7
            AND c.boot_id <> $8 AND 3 IN (b.basis, (SELECT basis FROM boot WHERE id = $8))
            AND NOT EXISTS (SELECT 1 FROM crash WHERE boot_id = $8)
          ORDER BY abs(c.at_us - $9), c.id LIMIT 1",
    )
    .bind(node)
    .bind(at_us.saturating_sub(near_us))
    .bind(at_us.saturating_add(near_us))
    .bind(pid)
    .bind(comm)
    .bind(uptime_us.saturating_sub(CLOCKS_APART_US))
    .bind(uptime_us.saturating_add(CLOCKS_APART_US))
    .bind(not_in)
    .bind(at_us)
    .fetch_optional(db)
    .await
}

/// Notes that a crash killed its machine after all: an earlier source ended before it.
pub async fn set_fatal(db: &mut SqliteConnection, crash: i64) -> Result<()> {
    sqlx::query("UPDATE crash SET fatal = 1 WHERE id = $1").bind(crash).execute(db).await?;
    Ok(())
}

/// The row id of a crash.
pub async fn id_of(db: impl SqliteExecutor<'_>, key: &CrashId) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT id FROM crash WHERE crash_key = $1")
        .bind(&key.as_bytes()[..])
        .fetch_optional(db)
        .await
}

/// Notes how many of its frames have no source line.
pub async fn set_unresolved(db: &mut SqliteConnection, crash: i64, unresolved: i64) -> Result<()> {
    sqlx::query("UPDATE crash SET unresolved = $2 WHERE id = $1")
        .bind(crash)
        .bind(unresolved)
        .execute(db)
        .await?;
    Ok(())
}

/// Rewrites what newer rules say of a crash. Its id stays, and so do its node, its boot and its time.
pub async fn rewrite(db: &mut SqliteConnection, crash: i64, new: &New<'_>) -> Result<()> {
    sqlx::query(
        "UPDATE crash SET class = $2, signature_id = $3, variant_id = $4, title_id = $5, release_id = $6, fatal = $7,
                corrupted = $8, cpu = $9, pid = $10, comm = $11, module = $12, taint = $13
          WHERE id = $1",
    )
    .bind(crash)
    .bind(new.class)
    .bind(new.signature)
    .bind(new.variant)
    .bind(new.title)
    .bind(new.release)
    .bind(new.fatal)
    .bind(new.corrupted)
    .bind(new.cpu)
    .bind(new.pid)
    .bind(new.comm)
    .bind(new.module)
    .bind(new.taint)
    .execute(db)
    .await?;
    Ok(())
}
