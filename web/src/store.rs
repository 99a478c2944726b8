//! The two databases: how they are opened, who writes, who reads. All SQL is in `store/<table>.rs`.
//!
//! `custody.db` is what was handed over: evidence, receipts, streams, keys. It is appended to, never edited, and
//! has one writer ([`writer`]) that answers only after a commit at full synchronisation. `lastwords.db` is what
//! was read from it and what people decided; it is written by the pipeline and the jobs, which lose nothing by a
//! kill since their cursors and leases are rows in the same file.
//!
//! A page asks with [`Store::read`], as in `crash::by_key(store.read(), &id)`: read-only connections on
//! `lastwords.db` that never wait for a writer. Bytes of evidence come from [`custody`].

pub mod alias;
pub mod boot;
pub mod crash;
pub mod crash_evidence;
pub mod cursor;
pub mod custody;
pub mod dump;
pub mod evidence;
pub mod image;
pub mod image_file;
pub mod job;
pub mod location;
pub mod node;
pub mod placement;
pub mod release;
pub mod rollup;
pub mod service;
pub mod signature;
pub mod token;
pub mod upload;
pub mod variant;
pub mod wanted;
pub mod writer;

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

/// What a query of this module can fail with.
pub type Result<T> = sqlx::Result<T>;

static CUSTODY: Migrator = sqlx::migrate!("../migrations/sqlite/custody");
static MAIN: Migrator = sqlx::migrate!("../migrations/sqlite/main");

/// Readers of each database: pages are short queries, and more connections than this only share two cores.
const READERS: u32 = 4;
/// How long a statement waits for another writer before it fails.
const BUSY: Duration = Duration::from_secs(5);

/// Both databases of one data folder.
#[derive(Clone, Debug)]
pub struct Store {
    custody_readers: SqlitePool,
    main_readers: SqlitePool,
    main_writer: SqlitePool,
}

impl Store {
    /// Opens both databases below `data`, creates them if need be, and brings their tables up to date. The
    /// one connection that comes back is custody's only writer.
    pub async fn open(data: &Path) -> Result<(Store, SqlitePool)> {
        let custody = options(&data.join("custody.db"));
        // A larger page holds a coded log of the usual 8 KB with fewer overflow pages.
        let writer = pool(custody.clone().synchronous(SqliteSynchronous::Full).page_size(8192), 1).await?;
        CUSTODY.run(&writer).await?;

        let main = options(&data.join("lastwords.db"));
        // Lost work is read again, since the cursor is in the same file: no fsync at each commit.
        let main_writer = pool(main.clone().synchronous(SqliteSynchronous::Normal), 1).await?;
        MAIN.run(&main_writer).await?;

        let store = Store {
            custody_readers: pool(custody.read_only(true), READERS).await?,
            main_readers: pool(main.read_only(true), READERS).await?,
            main_writer,
        };
        Ok((store, writer))
    }

    /// Opens the databases of a service that may run, to do beside it what needs no custody: nothing is written to
    /// `custody.db`. `None`: their tables are of another version, and the service brings them up to date.
    pub async fn join(data: &Path) -> Result<Option<Store>> {
        let (custody, main) = (options(&data.join("custody.db")), options(&data.join("lastwords.db")));
        let main = main.create_if_missing(false);
        let store = Store {
            custody_readers: pool(custody.create_if_missing(false).read_only(true), 1).await?,
            main_readers: pool(main.clone().read_only(true), 1).await?,
            main_writer: pool(main.synchronous(SqliteSynchronous::Normal), 1).await?,
        };
        let version: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(store.read()).await?;
        let ours = MAIN.iter().map(|migration| migration.version).max();
        Ok((version == ours).then_some(store))
    }

    /// `lastwords.db`, to read.
    pub fn read(&self) -> &SqlitePool {
        &self.main_readers
    }

    /// `custody.db`, to read.
    pub fn custody(&self) -> &SqlitePool {
        &self.custody_readers
    }

    /// A transaction on `lastwords.db` that holds the write lock from its start, so that what it reads stays
    /// true until it commits.
    pub async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        self.main_writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Closes every connection; the last one of each database folds its log into the file.
    pub async fn close(&self) {
        self.main_readers.close().await;
        self.custody_readers.close().await;
        self.main_writer.close().await;
    }
}

/// Whether a statement failed because the disk is full (`SQLITE_FULL`).
pub fn is_full(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("13"))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .pragma("cache_size", "-65536")
        .pragma("mmap_size", "268435456")
}

/// Connections that live as long as the service, but for one whose transaction could not be ended: with a full disk
/// SQLite rolls back by itself (`SQLITE_FULL`), sqlx does not see it, and the connection would begin none ever after.
async fn pool(options: SqliteConnectOptions, connections: u32) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(|connection, _| {
            let sound = !sqlx::Connection::is_in_transaction(connection);
            Box::pin(async move { Ok(sound) })
        })
        .connect_with(options)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_to_again() {
        let folder = tempfile::tempdir().unwrap();
        let (store, custody) = Store::open(folder.path()).await.unwrap();
        for pool in [&custody, &store.main_writer] {
            sqlx::query("CREATE TABLE filling (bytes BLOB)").execute(pool).await.unwrap();
            let fill = "INSERT INTO filling VALUES (zeroblob(1000000))";
            // No more pages than there are: what a full disk is to SQLite, for as long as this connection lives.
            sqlx::query("PRAGMA max_page_count = 1").execute(pool).await.unwrap();
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            let error = sqlx::query(fill).execute(&mut *transaction).await.unwrap_err();
            assert!(is_full(&error), "{error}");
            drop(transaction);

            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            sqlx::query(fill).execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
        }
    }
}
