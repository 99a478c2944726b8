//! The demo: machines that really crashed hand their records to a service on this machine, by the real agent.
//!
//! Each case in `fixtures/` is a machine of its own: a root with a machine-id, and its records in pstore. What this
//! machine itself has in pstore is handed over as well, and left where it is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use collector::agent::{self, Config, Summary};
use handover::Sha256;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::{self, App, Setup};
use crate::reading::{self, Told};
use crate::store::crash::{self, Crash};
use crate::store::crash_evidence;
use crate::store::evidence;
use crate::{cli, health, locate};

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

/// A machine of the demo.
struct Machine {
    name: String,
    config: Config,
    truth: Known,
}

/// What is true of a machine's crash; empty where nobody knows.
#[derive(Default)]
struct Known {
    /// Titles that are right.
    titles: Vec<String>,
    /// Where the fault is, as `read_rpm crashlab.c:40`.
    fault: Option<String>,
    /// So the frames in the module that crashed, and what was inlined into them.
    lines: Vec<String>,
}

/// The part of a case's `truth.json` that tells its title and lines, and when its records were written.
#[derive(Deserialize)]
struct Truth {
    kernel_release: String,
    title: Option<String>,
    syzkaller: Option<Syzkaller>,
    guilty_function: Option<String>,
    source_line: Option<String>,
    #[serde(default)]
    module_frames: Vec<Frame>,
    #[serde(default)]
    files: Vec<Record>,
}

#[derive(Deserialize)]
struct Frame {
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Syzkaller {
    title: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    name: String,
    mtime: u64,
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
    let machines = machines(url, data, fixtures)?;
    anyhow::ensure!(
        !machines.is_empty(),
        "no cases in {}; name the folder by --fixtures",
        fixtures.display()
    );
    let symbols = put_symbols(url, data, fixtures)?;
    say!("{symbols} debug files put in\n");
    let mut right = true;
    for machine in &machines {
        let summary = run(machine).await?;
        settle(app).await?;
        right &= show(app, machine, &summary).await?;
    }
    let crashes = crash::count(app.store.read()).await?;
    let mut receipts = 0;
    for machine in &machines {
        receipts += run(machine).await?.receipts.len();
    }
    settle(app).await?;
    let more = crash::count(app.store.read()).await? - crashes;
    say!("\nEvery agent ran a second time: {receipts} receipts, {more} new crashes");
    Ok(right && more == 0)
}

/// Runs the agent on a machine.
async fn run(machine: &Machine) -> anyhow::Result<Summary> {
    let config = machine.config.clone();
    let running = tokio::task::spawn_blocking(move || agent::collect(&config));
    running
        .await
        .context("running the agent")?
        .with_context(|| format!("running the agent for {}", machine.name))
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

/// A machine for each case, and this one.
fn machines(url: &str, data: &Path, fixtures: &Path) -> anyhow::Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for kind in ["pstore", "efi"] {
        for case in folders(&fixtures.join(kind))? {
            let name = format!("{kind}/{}", case.file_name().unwrap_or_default().to_string_lossy());
            machines.push(
                machine(&name, &case, url, data).with_context(|| format!("preparing {}", case.display()))?,
            );
        }
    }
    let here = Config { journalctl: None, must_exist: false, ..config(url, data, "this machine") };
    let readable = |folder: &str| vec![PathBuf::from(folder)].into_iter().filter(|f| fs::read_dir(f).is_ok());
    let config = Config {
        pstore: readable("/sys/fs/pstore").collect(),
        systemd_archive: readable("/var/lib/systemd/pstore").collect(),
        crash: readable("/var/crash").collect(),
        ..here
    };
    machines.push(Machine { name: "this machine".to_owned(), config, truth: Known::default() });
    Ok(machines)
}

/// Sets up the root of a machine that crashed and came back, with its records in pstore.
fn machine(name: &str, case: &Path, url: &str, data: &Path) -> anyhow::Result<Machine> {
    let truth: Truth =
        serde_json::from_slice(&fs::read(case.join("truth.json"))?).context("reading truth.json")?;
    let config = config(url, data, name);
    let root = data.join("machines").join(name);
    let id = Sha256::of(name.as_bytes()).to_string();
    let boot = Sha256::of(id.as_bytes()).to_string();
    for (path, text) in [
        ("etc/machine-id", &id[..32]),
        ("proc/sys/kernel/random/boot_id", &boot[..32]),
        ("proc/sys/kernel/osrelease", &truth.kernel_release),
        ("proc/sys/kernel/arch", "x86_64"),
        ("run/systemd/timesync/synchronized", ""),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, format!("{text}\n"))?;
    }
    let pstore = root.join("pstore");
    fs::create_dir_all(&pstore)?;
    for Record { name, mtime } in &truth.files {
        let path = pstore.join(name);
        fs::copy(case.join(name), &path)?;
        // A copy is writable and new; the record was written when the machine died.
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(*mtime);
        File::options().append(true).open(&path)?.set_modified(written)?;
    }
    let titles = [truth.title, truth.syzkaller.and_then(|syzkaller| syzkaller.title)];
    let mut titles: Vec<String> =
        titles.into_iter().flatten().filter(|title| !title.ends_with("in corrupted")).collect();
    titles.dedup();
    let fault =
        truth.guilty_function.zip(truth.source_line).map(|(function, line)| format!("{function} {line}"));
    let lines = truth.module_frames.into_iter().flat_map(|frame| frame.lines).collect();
    let labels = BTreeMap::from([("case".to_owned(), name.to_owned())]);
    let config = Config { root, pstore: vec![pstore], labels, ..config };
    Ok(Machine { name: name.to_owned(), config, truth: Known { titles, fault, lines } })
}

fn config(url: &str, data: &Path, name: &str) -> Config {
    Config {
        servers: vec![url.to_owned()],
        token_file: Some(data.join("tokens/ingest")),
        deadline: Duration::from_secs(10),
        ..Config::new(data.join("spools").join(name))
    }
}

/// The folders in a folder, by name; none if it is not there.
fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("listing {}", folder.display()))?,
    };
    let mut folders: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}
