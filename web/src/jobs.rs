//! Work that waits in the table `job`: leased, done, tried again, given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::api::uploads;
use crate::app::App;
use crate::clock::now_us;
use crate::problem::{Chain, Error};
use crate::store::job::{self, Job};
use crate::{dump, locate, random};

/// How often a quiet worker looks for jobs whose wait is over.
const LOOK: Duration = Duration::from_secs(2);

/// How often uploads are looked through for those whose time is over.
const TIDY: Duration = Duration::from_secs(600);

/// Works on jobs of one kind until told to stop. Source lines that were begun are finished first; a dump is not waited
/// for, and read again after the next start.
pub async fn run(app: Arc<App>, kind: i64, mut stopped: watch::Receiver<bool>) {
    let due = if kind == job::READ_DUMP { &app.dumps_due } else { &app.jobs_due };
    let mut tidied: Option<Instant> = None;
    while !*stopped.borrow() {
        if kind == job::LOCATE && tidied.is_none_or(|tidied| tidied.elapsed() > TIDY) {
            tidied = Some(Instant::now());
            if let Err(error) = uploads::tidy(&app).await {
                tracing::error!(error = %Chain(&error), "tidying uploads");
            }
        }
        let stepped = tokio::select! {
            stepped = step(&app, kind) => stepped,
            _ = stopped.changed(), if kind == job::READ_DUMP => return,
        };
        match stepped {
            Ok(true) => {}
            Ok(false) => tokio::select! {
                () = due.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = stopped.changed() => {}
            },
            Err(error) => {
                tracing::error!(error = %Chain(&error), "working on jobs");
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    _ = stopped.changed() => {}
                }
            }
        }
    }
}

/// Does the next due job of a kind; false when there is none.
pub async fn step(app: &Arc<App>, kind: i64) -> Result<bool, Error> {
    let mut transaction = app.store.write().await?;
    let job = job::lease(&mut transaction, kind, &random::bytes(), now_us()).await?;
    transaction.commit().await?;
    let Some(job) = job else { return Ok(false) };
    if let Err(error) = work(app, &job).await {
        let why = Chain(&error).to_string();
        tracing::warn!(
            kind = job.kind,
            subject = job.subject,
            attempts = job.attempts,
            error = why,
            "a job failed"
        );
        let mut transaction = app.store.write().await?;
        job::fail(&mut transaction, &job, &why, now_us()).await?;
        transaction.commit().await?;
    }
    Ok(true)
}

async fn work(app: &Arc<App>, job: &Job) -> Result<(), Error> {
    match job.kind {
        job::LOCATE => locate::crash(app, job).await,
        job::READ_DUMP => dump::read(app, job).await,
        _ => Err(Error::Inside("a job of a kind that this version does not know")),
    }
}
