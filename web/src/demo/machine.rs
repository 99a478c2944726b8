//! The machines of the demo: a root of its own for each, the boots it went through, and what it left.
//!
//! What they crashed with is real; when they did is moved, so that the last of them crashed an hour ago.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use collector::agent::{self, Config, Ground, Summary};
use collector::clock::Clock;
use collector::config::Forget;
use collector::drill::Drill;
use collector::host::{Host, Root};
use collector::ledger;
use handover::{Incarnation, Sha256};
use serde::Deserialize;

use super::root::{furnish, leave, moved, put};

/// How long ago the last of the machines crashed.
const AGO: Duration = Duration::from_secs(3600);
/// From a death to the next kernel's first tick.
const REBOOT: Duration = Duration::from_secs(20);
/// How long a machine without a crash ran before it rebooted.
const UPTIME: Duration = Duration::from_secs(7200);

/// A machine of the demo.
pub struct Machine {
    /// What it is called.
    pub name: String,
    /// How its agent is set up.
    pub config: Config,
    /// What is true of its crash.
    pub truth: Known,
    /// What its agent would have made of a dump.
    pub summary: Option<PathBuf>,
    /// Its boots; none for the machine that the demo runs on.
    past: Vec<Boot>,
}

/// What is true of a machine's crash; empty where nobody knows.
#[derive(Default)]
pub struct Known {
    /// Titles that are right.
    pub titles: Vec<String>,
    /// Where the fault is, as `read_rpm crashlab.c:40`.
    pub fault: Option<String>,
    /// So the frames in the module that crashed, and what was inlined into them.
    pub lines: Vec<String>,
}

/// A boot of a machine.
struct Boot {
    id: String,
    began: Duration,
    end: End,
}

/// How a boot ended.
enum End {
    /// It left records: where from, where to, when written. It may have been asked to crash, and may have survived.
    Left { records: Vec<(PathBuf, PathBuf, Duration)>, drill: bool, survived: bool },
    /// In order.
    Clean,
    /// Without a word.
    Silent,
    /// Not yet.
    Running,
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
    panicked: bool,
}

#[derive(Deserialize)]
struct Frame {
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Syzkaller {
    title: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Record {
    name: String,
    mtime: u64,
}

/// A case and what is true of it.
struct Case {
    kind: &'static str,
    folder: PathBuf,
    truth: Truth,
}

/// Where the service is, and where machines and spools are put.
pub struct Site<'a> {
    /// The service's address.
    pub url: &'a str,
    /// The demo's folder.
    pub data: &'a Path,
}

/// A machine for each case, two that left nothing, and this one.
pub fn machines(site: &Site<'_>, fixtures: &Path) -> anyhow::Result<Vec<Machine>> {
    let mut cases = Vec::new();
    for kind in ["pstore", "efi", "vmcore"] {
        for folder in folders(&fixtures.join(kind))? {
            let path = folder.join("truth.json");
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let truth =
                serde_json::from_slice(&text).with_context(|| format!("understanding {}", path.display()))?;
            cases.push(Case { kind, folder, truth });
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let last = cases.iter().flat_map(|case| &case.truth.files).map(|file| file.mtime).max();
    let later = last.map_or(Duration::ZERO, |last| (now - AGO).saturating_sub(Duration::from_secs(last)));
    let mut machines = Vec::new();
    for case in &cases {
        let machine = Machine::that_crashed(site, case, now, later);
        machines.push(machine.with_context(|| format!("preparing {}", case.folder.display()))?);
    }
    if !machines.is_empty() {
        for (name, end) in [("rebooted-in-order", End::Clean), ("went-away-silently", End::Silent)] {
            machines.push(Machine::without_a_crash(site, name, end, now)?);
        }
        machines.push(Machine::this(site));
    }
    Ok(machines)
}

impl Machine {
    fn that_crashed(site: &Site<'_>, case: &Case, now: Duration, later: Duration) -> anyhow::Result<Machine> {
        let Case { kind, folder, truth } = case;
        let name = format!("{kind}/{}", folder.file_name().unwrap_or_default().to_string_lossy());
        let config = site.config(&name);
        let root = config.root.clone();
        let backend = if *kind == "efi" { "efi_pstore" } else { "ramoops" };
        furnish(&root, &name, &truth.kernel_release, backend)?;
        let mut texts = Vec::new();
        let mut records = Vec::new();
        for Record { name, mtime } in &truth.files {
            let from = folder.join(name);
            let written = Duration::from_secs(*mtime) + later;
            texts.push(fs::read(&from).with_context(|| format!("reading {}", from.display()))?);
            records.push((from, root.join("sys/fs/pstore").join(moved(name, later)), written));
        }
        let mut died = now - AGO;
        let dmesg = folder.join("dmesg.txt");
        if *kind == "vmcore" {
            texts.push(fs::read(&dmesg).with_context(|| format!("reading {}", dmesg.display()))?);
            records.push((dmesg, root.join("var/crash/202611222015/dmesg.202611222015"), died));
        } else if let Some(newest) = records.iter().map(|(.., written)| *written).max() {
            died = newest;
        }
        let ran = texts.iter().filter_map(|text| ledger::last_kernel_us(text)).max().unwrap_or(0);
        let ran = Duration::from_micros(u64::try_from(ran).unwrap_or(0));
        let intended = name.ends_with("-sysrq");
        let past = vec![
            Boot {
                id: boot_id(&name, 0),
                began: died.saturating_sub(ran),
                end: End::Left { records, drill: intended, survived: !truth.panicked },
            },
            Boot { id: boot_id(&name, 1), began: died + REBOOT, end: End::Running },
        ];
        let truth = Known::of(truth);
        let summary = Some(folder.join("summary.json")).filter(|path| path.exists());
        Ok(Machine { name, config, truth, summary, past })
    }

    fn without_a_crash(site: &Site<'_>, name: &str, end: End, now: Duration) -> anyhow::Result<Machine> {
        let config = site.config(name);
        // The one that goes away is not set up to keep anything, as most machines are not.
        let backend = if matches!(end, End::Silent) { "(null)" } else { "ramoops" };
        furnish(&config.root, name, "6.12.117+deb12-cloud-amd64", backend)?;
        let past = vec![
            Boot { id: boot_id(name, 0), began: now - AGO - UPTIME, end },
            Boot { id: boot_id(name, 1), began: now - AGO, end: End::Running },
        ];
        Ok(Machine { name: name.to_owned(), config, truth: Known::default(), summary: None, past })
    }

    /// The machine that the demo runs on. What it has in pstore is left where it is.
    fn this(site: &Site<'_>) -> Machine {
        let name = "this machine";
        let readable =
            |folder: &str| vec![PathBuf::from(folder)].into_iter().filter(|f| fs::read_dir(f).is_ok());
        let config = Config {
            root: PathBuf::from("/"),
            must_exist: false,
            pstore: readable("/sys/fs/pstore").collect(),
            systemd_archive: readable("/var/lib/systemd/pstore").collect(),
            crash: readable("/var/crash").collect(),
            forget: Forget::Never,
            tell_host_name: false,
            ..site.config(name)
        };
        Machine { name: name.to_owned(), config, truth: Known::default(), summary: None, past: Vec::new() }
    }

    /// Lives through the boots with the agent at work in each, as its units would start it; what the last run did.
    pub fn live(&self) -> anyhow::Result<Summary> {
        let Some((last, before)) = self.past.split_last() else { return self.run(&Ground::system()) };
        for boot in before {
            let at = Moment { wall: boot.began + Duration::from_secs(2), since_boot: Duration::from_secs(2) };
            let ground = self.boot(boot, &at)?;
            agent::collect_on(&self.config, &ground).context("running the agent in the boot that died")?;
            match &boot.end {
                End::Left { records, drill, survived } => {
                    if *drill {
                        self.begin_drill(&ground)?;
                    }
                    for (from, to, written) in records {
                        leave(from, to, *written)?;
                    }
                    if *survived {
                        agent::mark(&self.config, true, &ground).context("marking a clean end")?;
                    }
                }
                End::Clean => agent::mark(&self.config, true, &ground).context("marking a clean end")?,
                End::Silent | End::Running => {}
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let at = Moment { wall: now, since_boot: now.saturating_sub(last.began) };
        let ground = self.boot(last, &at)?;
        self.run(&ground)
    }

    /// Runs the agent in the boot that the machine is in, and its doctor.
    pub fn run(&self, ground: &Ground<'_>) -> anyhow::Result<Summary> {
        let summary = agent::collect_on(&self.config, ground)
            .with_context(|| format!("running the agent for {}", self.name))?;
        let readiness = agent::examine(&self.config, ground);
        agent::tell_readiness(&self.config, &readiness, ground)
            .with_context(|| format!("telling the readiness of {}", self.name))?;
        Ok(summary)
    }

    /// Runs the agent once more.
    pub fn again(&self) -> anyhow::Result<Summary> {
        let Some(last) = self.past.last() else { return self.run(&Ground::system()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let at = Moment { wall: now, since_boot: now.saturating_sub(last.began) };
        self.run(&Ground { clock: &at, ..Ground::system() })
    }

    /// Starts a boot, and enters it in the agent's ledger.
    fn boot<'a>(&self, boot: &Boot, at: &'a Moment) -> anyhow::Result<Ground<'a>> {
        let root = &self.config.root;
        put(root, "proc/sys/kernel/random/boot_id", &boot.id)?;
        put(root, "proc/stat", &format!("btime {}", boot.began.as_secs()))?;
        let ground = Ground { clock: at, ..Ground::system() };
        agent::mark(&self.config, false, &ground)
            .with_context(|| format!("entering a boot of {}", self.name))?;
        Ok(ground)
    }

    /// As `lastwords-agent drill` does just before it makes the machine panic.
    fn begin_drill(&self, ground: &Ground<'_>) -> anyhow::Result<()> {
        let root = Root::new(&self.config.root);
        let host = Host::look(&root, &self.config.site, &Incarnation::ZERO, false);
        let drill = Drill::begin(&root, &host, ground.clock.wall_us());
        drill.save(ground.disk, &self.config.spool).context("beginning a drill")
    }
}

impl Known {
    fn of(truth: &Truth) -> Known {
        let of_syzkaller = truth.syzkaller.as_ref().and_then(|syzkaller| syzkaller.title.clone());
        let titles = truth.title.clone().into_iter().chain(of_syzkaller);
        let mut titles: Vec<String> = titles.filter(|title| !title.ends_with("in corrupted")).collect();
        titles.dedup();
        let blamed = truth.guilty_function.as_ref().zip(truth.source_line.as_ref());
        Known {
            titles,
            fault: blamed.map(|(function, line)| format!("{function} {line}")),
            lines: truth.module_frames.iter().flat_map(|frame| frame.lines.clone()).collect(),
        }
    }
}

impl Site<'_> {
    fn config(&self, name: &str) -> Config {
        let root = self.data.join("machines").join(name);
        Config {
            pstore: vec![root.join("sys/fs/pstore")],
            crash: vec![root.join("var/crash")],
            root,
            servers: vec![self.url.to_owned()],
            token_file: Some(self.data.join("tokens/ingest")),
            deadline: Duration::from_secs(10),
            forget: Forget::Receipted,
            tell_boot: true,
            tell_host_name: true,
            journalctl: None,
            labels: BTreeMap::from([("case".to_owned(), name.to_owned())]),
            ..Config::new(self.data.join("spools").join(name))
        }
    }
}

/// The clocks of a machine at a moment of its life.
struct Moment {
    wall: Duration,
    since_boot: Duration,
}

impl Clock for Moment {
    fn wall_us(&self) -> i64 {
        i64::try_from(self.wall.as_micros()).unwrap_or(i64::MAX)
    }

    fn since_boot(&self) -> Duration {
        self.since_boot
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

fn boot_id(name: &str, ordinal: u8) -> String {
    let digest = Sha256::of(format!("{name} {ordinal}").as_bytes()).to_string();
    digest[..32].to_owned()
}

/// The folders in a folder, by name; none if it is not there.
pub fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("listing {}", folder.display()))?,
    };
    let mut folders: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}
