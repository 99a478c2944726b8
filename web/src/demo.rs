//! The demo: machines that really crashed hand their records to a service on this machine, by the real agent.
//!
//! Each case in `fixtures/` is a [`machine`] of its own, with a root, boots and an agent. What this machine itself has in
//! pstore is handed over as well, and left where it is.

mod machine;
mod root;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use collector::agent::Summary;
use handover::manifest::{Kind, Manifest, Piece};
use handover::{EvidenceId, Sha256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::{self, App, Setup};
use crate::reading::{self, Told};
use crate::store::crash::{self, Crash};
use crate::store::{crash_evidence, custody, evidence};
use crate::{cli, health, locate};
use machine::{Known, Machine, Site, folders, machines};

/// Says a line; whoever closed the pipe (`| head`) has read enough, and the demo goes on.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = writeln!(io::stdout(), $($words)*);
    }};
}

/// How long reading and locating two dozen records may take before the demo says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows the whole way of a crash on records of real ones.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Keep everything in this folder; without it a temporary one is used, and removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder of real records with their truths.
    #[arg(long, default_value = "fixtures")]
    fixtures: PathBuf,
    /// End when everything was handed over and shown.
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Runs it.
    pub async fn run(self) -> anyhow::Result<()> {
        let Demo { data, listen, fixtures, once } = self;
        let temporary = if data.is_none() {
            Some(tempfile::tempdir().context("making a temporary folder")?)
        } else {
            None
        };
        let data = data
            .or_else(|| Some(temporary.as_ref()?.path().join("lastwords")))
            .expect("one of both is there");
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        let address = listener.local_addr().context("asking for the address")?;
        let setup = Setup {
            data: data.clone(),
            open_to_local_readers: address.ip().is_loopback(),
            symbols: crate::symbols::Settings::default(),
            dump_reader: cli::ourselves()?,
        };
        let app =
            app::open(&setup).await.with_context(|| format!("opening the data folder {}", data.display()))?;
        let url = format!("http://{address}");
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(app::run(listener, Arc::clone(&app), async { drop(ended.await) }));

        say!("The service runs at {url} and keeps what it gets in {}\n", data.display());
        let right = hand_over(&app, &url, &data, &fixtures).await?;
        say!("\nLook at it: {url}/");
        if !once {
            say!("It goes on until Ctrl-C.");
            cli::stop().await;
        }
        drop(end);
        drop(app);
        serving.await.context("stopping the service")?.context("serving")?;
        anyhow::ensure!(right, "not every crash got its true title and lines, once");
        Ok(())
    }
}

/// Lets every machine hand over, and says what became of it; false when a title is not the true one.
async fn hand_over(app: &Arc<App>, url: &str, data: &Path, fixtures: &Path) -> anyhow::Result<bool> {
    let machines: Vec<Arc<Machine>> =
        machines(&Site { url, data }, fixtures)?.into_iter().map(Arc::new).collect();
    anyhow::ensure!(
        !machines.is_empty(),
        "no cases in {}; name the folder by --fixtures",
        fixtures.display()
    );
    let symbols = put_symbols(url, data, fixtures)?;
    say!("{symbols} debug files put in\n");
    let mut right = true;
    for machine in &machines {
        let summary = run(machine, Machine::live).await?;
        if let (Some(path), Some(seen)) = (&machine.summary, summary.found.first()) {
            hand_summary_over(app, url, data, &seen.evidence, path).await?;
        }
        settle(app).await?;
        right &= show(app, machine, &summary).await?;
    }
    let crashes = crash::count(app.store.read()).await?;
    let mut receipts = 0;
    for machine in &machines {
        receipts += run(machine, Machine::again).await?.receipts.len();
    }
    settle(app).await?;
    let more = crash::count(app.store.read()).await? - crashes;
    say!("\nEvery agent ran a second time: {receipts} receipts, {more} new crashes");
    Ok(right && more == 0)
}

/// Lets a machine's agent do something.
async fn run(
    machine: &Arc<Machine>,
    what: impl FnOnce(&Machine) -> anyhow::Result<Summary> + Send + 'static,
) -> anyhow::Result<Summary> {
    let machine = Arc::clone(machine);
    tokio::task::spawn_blocking(move || what(&machine)).await.context("running the agent")?
}

/// Prints one machine's crash: its title and place, whether they are the true ones, and its receipt.
async fn show(app: &Arc<App>, machine: &Machine, summary: &Summary) -> anyhow::Result<bool> {
    let Machine { name, truth: Known { titles, fault, lines }, .. } = machine;
    let mut right = true;
    for seen in &summary.found {
        say!("{name}");
        let Some(read) = evidence::by_key(app.store.read(), &seen.evidence).await? else {
            say!("    evidence {} waits in the spool", seen.evidence);
            continue;
        };
        match named(app, read.id).await? {
            Some(crash) => {
                let agrees = titles.contains(&crash.title);
                say!("    {}  ({})", crash.title, judge(!titles.is_empty(), agrees, &mut right));
                let found = places(app, &crash).await?;
                if let Some(place) = fault.as_ref().or(found.first()) {
                    let all = fault.iter().chain(lines).all(|line| found.contains(line));
                    let verdict = judge(fault.is_some(), all, &mut right);
                    say!("    {place}  ({verdict}; {} places in the module)", lines.len());
                }
            }
            None => say!("    nobody could name it  ({})", judge(!titles.is_empty(), false, &mut right)),
        }
        match summary.receipts.iter().find(|receipt| receipt.evidence_id == seen.evidence) {
            Some(receipt) => say!(
                "    receipt {} of node {}: {}, {} bytes",
                receipt.seq,
                receipt.node_id,
                receipt.disposition,
                receipt.size
            ),
            None => say!("    handed over before: evidence {}", seen.evidence),
        }
    }
    for trouble in &summary.troubles {
        say!("{name}\n    {trouble}");
    }
    Ok(right)
}

/// Says in a word whether what was found is true.
fn judge(known: bool, agrees: bool, right: &mut bool) -> &'static str {
    match (known, agrees) {
        (false, _) => "its truth is not known",
        (true, true) => "true",
        (true, false) => {
            *right = false;
            "NOT TRUE"
        }
    }
}

/// The crash that a piece of evidence is about: the one that killed the machine, else the first.
async fn named(app: &App, evidence: i64) -> anyhow::Result<Option<Crash>> {
    let mut first = None;
    for (key, _) in crash_evidence::of_evidence(app.store.read(), evidence).await? {
        let crash = crash::by_key(app.store.read(), &key).await?;
        if crash.as_ref().is_some_and(|crash| crash.fatal) {
            return Ok(crash);
        }
        first = first.or(crash);
    }
    Ok(first)
}

/// Where a crash's frames are, as `function file.c:line`.
async fn places(app: &Arc<App>, crash: &Crash) -> anyhow::Result<Vec<String>> {
    let Some(Told { reading, number, memory: _ }) = reading::of_crash(app, crash).await? else {
        return Ok(Vec::new());
    };
    let parsed = reading.parsed;
    let located = locate::known(app, crash, &parsed, &parsed.reports[number]).await?;
    let frames = located.ip.iter().chain(located.traces.iter().flatten().flatten());
    let calls = frames.flat_map(|found| &found.chain);
    let file = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(calls.map(|call| format!("{} {}:{}", call.function, file(&call.file), call.line)).collect())
}

/// Waits until all that was handed over is read and located.
async fn settle(app: &App) -> anyhow::Result<()> {
    let wait = async {
        loop {
            let state = health::readiness(app).await;
            if state.unread == 0 && state.jobs == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("waiting until everything is read")
}

/// Puts in the debug files of the module that crashed, as a build machine would.
fn put_symbols(url: &str, data: &Path, fixtures: &Path) -> anyhow::Result<usize> {
    let token = fs::read_to_string(data.join("tokens/symbols")).context("reading the token for symbols")?;
    let files = folders(&fixtures.join("modules"))?;
    for folder in &files {
        let path = folder.join("crashlab.ko");
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        ureq::put(format!("{url}/api/v1/symbols"))
            .header("authorization", format!("Bearer {}", token.trim()))
            .send(file)
            .with_context(|| format!("putting {} in", path.display()))?;
    }
    Ok(files.len())
}

/// Hands over what the agent of a machine with a dump makes of it, beside the log that it handed over.
async fn hand_summary_over(
    app: &Arc<App>,
    url: &str,
    data: &Path,
    log: &EvidenceId,
    path: &Path,
) -> anyhow::Result<()> {
    let stored =
        custody::by_key(app.store.custody(), log).await?.context("the log's evidence is not there")?;
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (kind, sha256, size) = (Kind::VmcoreSummary, Sha256::of(&bytes), bytes.len() as u64);
    let of_log = reading::manifest(&stored)?;
    let manifest = Manifest {
        evidence_id: EvidenceId::of(&of_log.node_id, &kind, &sha256),
        pieces: vec![Piece { name: "dump.202611222015".to_owned(), size, mtime_us: 0 }],
        kind,
        sha256,
        size,
        ..of_log
    };
    let manifest = manifest.write().context("describing a summary")?;
    let url = format!("{url}/api/v1/evidence/{}", manifest.evidence_id);
    let parcel = handover::parcel::encode(&manifest, Some(&bytes)).context("packing a summary")?;
    let token = fs::read_to_string(data.join("tokens/ingest")).context("reading the token for evidence")?;
    let putting = tokio::task::spawn_blocking(move || {
        ureq::put(url).header("authorization", format!("Bearer {}", token.trim())).send(&parcel).map(drop)
    });
    putting.await.context("handing a summary over")?.context("handing a summary over")
}
