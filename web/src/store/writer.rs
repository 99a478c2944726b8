//! Custody's one writer: many requests, one transaction, each answered with its receipt after the commit.
//!
//! Requests queue here; the writer takes what is there (at most [`BATCH`]) into one transaction and never waits
//! to fill it, so that a lone request costs one fsync and a burst shares it. Each request has its own savepoint:
//! one that fails does not touch the others. A receipt signed inside a transaction leaves the process only after
//! its commit; if the commit fails nobody gets one, and the service stops being ready.

mod answer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handover::canonical::Document;
use handover::key::SigningKey;
use handover::manifest::Manifest;
use handover::receipt::Envelope;
use handover::{EvidenceId, ServiceId};
use sqlx::{Connection, SqlitePool};
use tokio::sync::{Notify, mpsc, oneshot};

use super::Result;
use answer::answer;

/// Requests of one transaction: receipts a second rise little beyond it (measured 7,708 at 32, 8,016 at 64).
const BATCH: usize = 64;
/// Requests that may wait. Each holds at most 64 KiB of coded bytes: 64 MiB in all.
const QUEUE: usize = 1024;

/// How long one such commit speaks for the next: who asks for readiness often does not cost a commit each time.
const PROVEN: Duration = Duration::from_secs(60);

/// What a node asks to be taken into custody.
#[derive(Debug)]
pub enum Ask {
    /// Evidence whose bytes were checked against its manifest.
    Keep {
        /// Its manifest.
        manifest: Box<Document<Manifest>>,
        /// Its bytes.
        bytes: Bytes,
        /// When its first byte came.
        received_us: i64,
    },
    /// Evidence whose bytes were withheld: only its weight is counted.
    Count {
        /// Its manifest.
        manifest: Box<Document<Manifest>>,
        /// When it came.
        received_us: i64,
    },
    /// A node holds a receipt of ours, of this epoch, that is not in our tables: a backup was restored. The epoch
    /// rises above it, once, so that no number is given twice.
    RolledBack {
        /// Epoch of the receipt.
        epoch: u64,
    },
    /// Somebody has seen that a backup was restored.
    Acknowledge,
    /// Nothing but a commit, to see whether one is durable.
    Prove,
    /// The service stops: answered once the database is closed.
    Stop,
    /// A receipt for evidence that may be here already; nothing is answered if it is not.
    Again {
        /// Which.
        evidence_id: EvidenceId,
        /// When it was asked.
        received_us: i64,
    },
}

/// Where the bytes of evidence are.
#[derive(Debug)]
pub enum Bytes {
    /// Coded with zstd, to be a row.
    Row(Vec<u8>),
    /// In a file by their digest, durable already.
    File,
}

/// Why there is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full: later.
    Busy,
    /// The disk is.
    Full,
    /// The database did not take it.
    Failed,
}

type Answer = std::result::Result<Option<Envelope>, Refused>;

struct Request {
    ask: Ask,
    reply: oneshot::Sender<Answer>,
}

/// The door to the writer.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Request>,
    state: Arc<State>,
}

/// What the writer tells of itself.
#[derive(Debug)]
struct State {
    /// When a commit was seen to be durable; `None` once one failed.
    proven: Mutex<Option<Instant>>,
    committed: Notify,
}

impl State {
    fn proven(&self) -> MutexGuard<'_, Option<Instant>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who signs.
#[derive(Debug)]
pub struct Signer {
    /// The service.
    pub service: ServiceId,
    /// Its key.
    pub key: SigningKey,
}

impl Writer {
    /// Starts the writer on its one connection. It ends, and closes the connection, by [`Ask::Stop`] or when the last
    /// door is dropped.
    pub fn start(connection: SqlitePool, signer: Signer) -> Writer {
        let (queue, requests) = mpsc::channel(QUEUE);
        let state = Arc::new(State { proven: Mutex::new(None), committed: Notify::new() });
        tokio::spawn(run(connection, signer, requests, Arc::clone(&state)));
        Writer { queue, state }
    }

    /// The receipt for what is asked, once it is durable. `None` for [`Ask::Again`] of unknown evidence, and for
    /// what is not about evidence.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Request { ask, reply }).map_err(|_| Refused::Busy)?;
        answer.await.unwrap_or(Err(Refused::Failed))
    }

    /// Whether a commit is durable: one was that was made to see it, not long ago and none failed since, or one is that
    /// is made now. A full queue says nothing against it.
    pub async fn proves(&self) -> bool {
        if self.state.proven().is_some_and(|at| at.elapsed() < PROVEN) {
            return true;
        }
        match self.ask(Ask::Prove).await {
            Ok(_) => {
                *self.state.proven() = Some(Instant::now());
                true
            }
            Err(Refused::Busy) => true,
            Err(Refused::Full | Refused::Failed) => false,
        }
    }

    /// Waits for evidence that came after this was called.
    pub async fn committed(&self) {
        self.state.committed.notified().await;
    }
}

async fn run(
    connection: SqlitePool,
    signer: Signer,
    mut requests: mpsc::Receiver<Request>,
    state: Arc<State>,
) {
    while let Some(first) = requests.recv().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = requests.try_recv()
        {
            batch.push(next);
        }
        let (asks, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|r| (r.ask, r.reply)).unzip();
        let stopping = asks.iter().any(|ask| matches!(ask, Ask::Stop));
        let answers = match commit(&connection, &signer, asks).await {
            Ok(answers) => {
                state.committed.notify_one();
                answers
            }
            Err(error) => {
                tracing::error!(%error, requests = replies.len(), "committing receipts");
                *state.proven() = None;
                replies.iter().map(|_| Err(refusal(&error))).collect()
            }
        };
        if stopping {
            connection.close().await;
            send(replies, answers);
            return;
        }
        send(replies, answers);
    }
    connection.close().await;
}

fn refusal(error: &sqlx::Error) -> Refused {
    if super::is_full(error) { Refused::Full } else { Refused::Failed }
}

fn send(replies: Vec<oneshot::Sender<Answer>>, answers: Vec<Answer>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A client that went away finds its receipt when it asks again.
        let _ = reply.send(answer);
    }
}

async fn commit(connection: &SqlitePool, signer: &Signer, asks: Vec<Ask>) -> Result<Vec<Answer>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut answers = Vec::with_capacity(asks.len());
    for ask in asks {
        let mut savepoint = transaction.begin().await?;
        match answer(&mut savepoint, signer, ask).await {
            Ok(envelope) => {
                savepoint.commit().await?;
                answers.push(Ok(envelope));
            }
            Err(error) => {
                tracing::error!(%error, "writing a receipt");
                // With a full disk SQLite may have rolled everything back by itself; then this fails, and so does all.
                savepoint.rollback().await?;
                answers.push(Err(refusal(&error)));
            }
        }
    }
    transaction.commit().await?;
    Ok(answers)
}
