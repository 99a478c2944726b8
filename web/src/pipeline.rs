//! From evidence in custody to counted crashes: read outside any transaction, counted in one.
//!
//! The cursor is moved by the transaction that counts, and a crash is unique by its id: killed anywhere, or run
//! twice, nothing is counted twice and nothing is left out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;
use crate::count::{Arrived, Counting, count};
use crate::problem::{Chain, Error};
use crate::reading;
use crate::store::{cursor, custody};

/// Pieces of evidence of one counting transaction: about 40 ms of the write lock.
const BATCH: u32 = 64;
/// Bytes of logs that are held at once, but for the last one.
const READ: i64 = 32 * 1024 * 1024;
/// How long to wait after a failure of the database before trying again.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads and counts what comes, until told to stop.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match step(&app).await {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = app.writer.committed() => {}
                _ = stopped.changed() => {}
            },
            Err(error) => {
                tracing::error!(error = %Chain(&error), "reading and counting");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = stopped.changed() => {}
                }
            }
        }
    }
}

/// Counts the next pieces of evidence; false when there are none.
pub async fn step(app: &Arc<App>) -> Result<bool, Error> {
    let from = cursor::get(app.store.read(), cursor::READ).await?;
    let arrived = custody::after(app.store.custody(), from, BATCH).await?;
    let mut readings = Vec::with_capacity(arrived.len());
    let (mut last, mut bytes) = (None, 0);
    for evidence in arrived {
        let (id, key, received_us) = (evidence.id, evidence.evidence_id, evidence.received_us);
        last = Some(id);
        bytes += evidence.size;
        match reading::read(app, evidence).await {
            Ok(reading) => readings.push((Arrived { id, key, received_us }, reading)),
            // It stays in custody; what comes behind it must not wait for somebody to look.
            Err(error) => tracing::error!(evidence = %key, error = %Chain(&error), "left unread"),
        }
        if bytes > READ {
            break;
        }
    }
    let Some(last) = last else { return Ok(false) };
    let mut transaction = app.store.write().await?;
    for (arrived, reading) in &readings {
        count(&mut transaction, arrived, reading, Counting::First).await?;
    }
    cursor::set(&mut transaction, cursor::READ, last).await?;
    transaction.commit().await?;
    app.jobs_due.notify_one();
    app.dumps_due.notify_one();
    Ok(true)
}
