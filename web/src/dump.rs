//! Dumps of memory that were handed over: each read once, into the kernel's log and a summary of its tasks.
//!
//! A dump is gigabytes that nobody vouches for. It is read by a process of its own (`lastwords read-dump`), which may
//! have so much memory, time and disk and no more. If that process ends badly, it is said of the dump, and nothing
//! else is touched.

use std::io::{self, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use vmcore::Summary;

use crate::app::App;
use crate::count::{self, Arrived, Counting};
use crate::problem::Error;
use crate::reading;
use crate::store::crash_evidence;
use crate::store::custody::{self, Evidence};
use crate::store::dump::{self, Dump};
use crate::store::job::{self, Job};

/// Version of what is made of a dump: raised when a newer reader finds more.
pub const READER: i64 = 1;

/// Memory of the process that reads: ten times what a dump of 100,000 tasks took.
const MEMORY: u64 = 2 << 30;
/// Seconds of one CPU that it may take: a dump of the lab takes less than one.
const CPU_S: u64 = 600;
/// How long it may take in all.
const WALL: Duration = Duration::from_secs(15 * 60);
/// Bytes that a dump may unpack to, on the disk of the evidence: makedumpfile's default makes 1 to 5 GiB of machines
/// of 256 GiB.
const UNPACKED: u64 = 64 << 30;
/// The largest kernel log buffer in use is 32 MiB (`CONFIG_LOG_BUF_SHIFT` 25); a summary is at most as large.
const ANSWER: u64 = 96 << 20;
/// Bytes of its words that are kept when it fails.
const WORDS: u64 = 2048;
/// zstd level: what is kept is read often and written once.
const LEVEL: i32 = 9;

/// Reads the dump that a job names, and counts what its log tells.
pub async fn read(app: &Arc<App>, job: &Job) -> Result<(), Error> {
    let Some(evidence) = custody::by_id(app.store.custody(), job.subject).await? else {
        return finish(app, job).await;
    };
    let arrived = Arrived { id: evidence.id, key: evidence.evidence_id, received_us: evidence.received_us };
    let known = dump::get(app.store.read(), evidence.id).await?;
    if known.is_none_or(|known| known.reader < READER) && !read_anew(app, &evidence).await? {
        return finish(app, job).await;
    }
    let reading = reading::read(app, evidence).await?;
    let linked = crash_evidence::linked(app.store.read(), arrived.id).await?;
    let mut transaction = app.store.write().await?;
    // What an older reader found was counted; the reindex makes it anew.
    if linked.is_empty() {
        count::count(&mut transaction, &arrived, &reading, Counting::First).await?;
    }
    job::finish(&mut transaction, job).await?;
    transaction.commit().await?;
    app.jobs_due.notify_one();
    Ok(())
}

/// Reads again every dump that an older reader read: how many. Their evidence is stale after it, and named anew by
/// the reindex that asked for this.
pub async fn renew(app: &App) -> Result<u64, Error> {
    let (mut renewed, mut after) = (0, 0);
    while let Some(id) = dump::next_of_older(app.store.read(), READER, after).await? {
        after = id;
        if let Some(evidence) = custody::by_id(app.store.custody(), id).await? {
            renewed += u64::from(read_anew(app, &evidence).await?);
        }
    }
    Ok(renewed)
}

/// Reads a dump and keeps what was read; `false` where its bytes are not held.
async fn read_anew(app: &App, evidence: &Evidence) -> Result<bool, Error> {
    let Some(file) = app.blobs.coded(evidence)? else { return Ok(false) };
    let read = read_apart(app, evidence.id, file.path()).await?;
    drop(file);
    let mut transaction = app.store.write().await?;
    dump::put(&mut transaction, &read).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn finish(app: &App, job: &Job) -> Result<(), Error> {
    let mut transaction = app.store.write().await?;
    job::finish(&mut transaction, job).await?;
    transaction.commit().await?;
    Ok(())
}

/// Lets a process of its own read a dump. That it fails is an answer; that it cannot be started is an error of ours.
async fn read_apart(app: &App, evidence_id: i64, path: &Path) -> Result<Dump, Error> {
    let program = &app.dump_reader;
    let running = Error::disk("running", program);
    let mut child = Command::new(program)
        .arg("read-dump")
        .arg(path)
        .env_clear()
        .env("TMPDIR", app.blobs.unfinished_folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::disk("starting", program))?;
    let (answer, words) = (child.stdout.take(), child.stderr.take());
    let all = async { tokio::try_join!(bytes(answer, ANSWER), bytes(words, WORDS), child.wait()) };
    let told = match tokio::time::timeout(WALL, all).await {
        Ok(told) => Some(told.map_err(running)?),
        Err(_) => None,
    };
    let unread =
        |failure: String| Dump { evidence_id, reader: READER, log: packed(b""), summary: None, failure };
    let Some((answer, words, status)) = told else {
        return Ok(unread(format!("reading it took more than {} minutes", WALL.as_secs() / 60)));
    };
    let cut = answer.iter().position(|&byte| byte == b'\n').filter(|_| status.success());
    Ok(match cut {
        Some(at) => Dump {
            evidence_id,
            reader: READER,
            log: packed(&answer[at + 1..]),
            summary: Some(packed(&answer[..at])),
            failure: String::new(),
        },
        None => unread(why(status, &words)),
    })
}

async fn bytes(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(most).read_to_end(&mut bytes).await?;
        // Whoever writes more than is taken must not wait for ever.
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

fn why(status: ExitStatus, words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    match words.lines().last() {
        Some(last) if status.code().is_some() => last.trim_start_matches("lastwords: ").to_owned(),
        _ => format!("the process that read it ended by {status}: perhaps it took too much time or memory"),
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, LEVEL).expect("memory can be written to")
}

/// Reads a dump in this process, within its limits, and writes to standard output one line with the summary and then
/// the log: `lastwords read-dump`.
pub fn read_here(path: &Path) -> anyhow::Result<()> {
    for (resource, most) in [
        (Resource::RLIMIT_DATA, MEMORY),
        (Resource::RLIMIT_CPU, CPU_S),
        (Resource::RLIMIT_FSIZE, UNPACKED),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, most, most)?;
    }
    let dump = vmcore::open_within(path, UNPACKED)?;
    let summary = Summary::of(&dump).to_bytes()?;
    let mut out = io::stdout().lock();
    out.write_all(&summary)?;
    out.write_all(b"\n")?;
    out.write_all(dump.log().text.as_bytes())?;
    Ok(out.flush()?)
}
