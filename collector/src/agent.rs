//! One run of the agent: look, gather, keep, hand over, forget.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handover::boot::Ending;
use handover::key::PublicKey;
use handover::manifest::{Class, Kind};
use handover::readiness::Readiness;
use handover::receipt::Receipt;
use handover::{EvidenceId, Incarnation, NodeId};
use serde::Serialize;

use crate::boot;
use crate::clock::Clock;
use crate::custody::{self, Erasure, Origin, State};
use crate::deliver::{self, Outcome, Way};
use crate::disk::Disk;
use crate::doctor::{self, Patient};
use crate::drill::{self, Drill, Standing};
use crate::error::{Doing, Error};
use crate::exit::Exit;
use crate::gather::{self, Circumstances, Gathered};
use crate::host::{self, Host, Root};
use crate::http::{Client, Settings};
use crate::ledger::{self, Ledger};
use crate::source::{Find, Scan, journal, kdump, pstore, systemd_archive};
use crate::spool::Spool;
use crate::spool::caps::{Caps, Sent};
use crate::trust::Trust;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Below which `/proc`, `/sys` and `/etc` lie.
    pub root: PathBuf,
    /// Folders of pstore records.
    pub pstore: Vec<PathBuf>,
    /// systemd's archives of such records.
    pub systemd_archive: Vec<PathBuf>,
    /// Folders in which crash kernels leave a folder for each crash.
    pub crash: Vec<PathBuf>,
    /// Whether a source that is not there is an error: it was named by hand.
    pub must_exist: bool,
    /// The spool, made if it is not there.
    pub spool: PathBuf,
    /// Replicas of one service; with none, evidence is only kept.
    pub servers: Vec<String>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// A file of certificates (PEM) to trust instead of the public roots.
    pub ca_file: Option<PathBuf>,
    /// The service's public key in hex; without it the first one met is pinned.
    pub pin: Option<String>,
    /// Allows plain HTTP to other machines.
    pub insecure: bool,
    /// Erases records once a verified receipt says that the service has them.
    pub forget: bool,
    /// How long to go on trying when the service is away; with zero, it is asked once.
    pub deadline: Duration,
    /// Separates the nodes of one owner from those of another.
    pub site: String,
    /// Tells the host name.
    pub tell_host_name: bool,
    /// Labels for the node.
    pub labels: BTreeMap<String, String>,
    /// Offers again what the service did not take before.
    pub retry_held: bool,
    /// Tells the service of this boot and how the one before ended.
    pub tell_boot: bool,
    /// The program that reads the journal; `None` leaves the journal alone.
    pub journalctl: Option<PathBuf>,
    /// How much may wait in the spool.
    pub caps: Caps,
    /// How much is kept of what was handed over.
    pub sent: Sent,
}

impl Config {
    /// The places where a running system keeps what we look for, below the root.
    #[must_use]
    pub fn with_usual_sources(self) -> Config {
        let root = Root::new(&self.root);
        Config {
            pstore: vec![root.path("sys/fs/pstore")],
            systemd_archive: vec![root.path("var/lib/systemd/pstore")],
            crash: vec![root.path("var/crash")],
            must_exist: false,
            ..self
        }
    }

    /// The default settings, with a spool and no sources.
    pub fn new(spool: impl Into<PathBuf>) -> Config {
        Config {
            root: PathBuf::from("/"),
            pstore: Vec::new(),
            systemd_archive: Vec::new(),
            crash: Vec::new(),
            must_exist: true,
            spool: spool.into(),
            servers: Vec::new(),
            token_file: None,
            ca_file: None,
            pin: None,
            insecure: false,
            forget: false,
            deadline: Duration::from_secs(60),
            site: String::new(),
            tell_host_name: false,
            labels: BTreeMap::new(),
            retry_held: false,
            tell_boot: false,
            journalctl: None,
            caps: Caps::default(),
            sent: Sent::default(),
        }
    }
}

/// What the agent stands on: the disk, the clocks and randomness, as arguments.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The file system of sources and spool.
    pub disk: &'a dyn Disk,
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// Fills a buffer with random bytes.
    pub random: &'a dyn Fn(&mut [u8]) -> io::Result<()>,
}

/// What a run did.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The node it ran on.
    pub node: NodeId,
    /// Every crash that was found, in the order in which they were.
    pub found: Vec<Seen>,
    /// Receipts that came in this run, each verified and durable.
    pub receipts: Vec<Receipt>,
    /// Evidence that the service did not take, with the reason. It stays in the spool.
    pub held: Vec<(EvidenceId, String)>,
    /// Parcels that still wait.
    pub waiting: usize,
    /// Evidence whose bytes were given up by this run, because the spool was full. It is still counted.
    pub withheld: Vec<EvidenceId>,
    /// Records that were erased.
    pub erased: usize,
    /// What went wrong, one line each.
    pub troubles: Vec<String>,
    /// How the process is to end.
    pub exit: Exit,
}

/// One piece of evidence that was found.
#[derive(Debug, Serialize)]
pub struct Seen {
    /// Its id.
    pub evidence: EvidenceId,
    /// What it is.
    pub kind: Kind,
    /// The folder in which its records lie.
    pub folder: PathBuf,
    /// Names of its records, in reading order.
    pub records: Vec<String>,
    /// Whether it happened, or was asked for.
    pub class: Class,
    /// Whether it was spooled by this run; otherwise the spool knew it.
    pub new: bool,
    /// Where it stands at the end of the run.
    pub state: State,
    #[serde(skip)]
    origins: Vec<Origin>,
    #[serde(skip)]
    erasable: bool,
}

impl Ground<'static> {
    /// The running system.
    pub fn system() -> Ground<'static> {
        fn random(buffer: &mut [u8]) -> io::Result<()> {
            getrandom::fill(buffer).map_err(io::Error::from)
        }
        Ground { disk: &crate::disk::System, clock: &crate::clock::System, random: &random }
    }
}

/// One run on the running system.
pub fn collect(config: &Config) -> Result<Summary, Error> {
    collect_on(config, &Ground::system())
}

/// One run: looks through the sources, keeps what is new, hands over what waits, and erases what was handed over
/// if that is wanted. An error is one that left nothing to do; everything else is in the summary.
pub fn collect_on(config: &Config, ground: &Ground<'_>) -> Result<Summary, Error> {
    run(config, ground, None)
}

fn run(config: &Config, ground: &Ground<'_>, synthetic: Option<&str>) -> Result<Summary, Error> {
    let mut spool = Spool::open(ground.disk, &config.spool, ground.random)?;
    let root = Root::new(&config.root);
    let host = Host::look(&root, &config.site, &spool.incarnation(), config.tell_host_name);
    let mut summary = Summary {
        node: host.node,
        found: Vec::new(),
        receipts: Vec::new(),
        held: Vec::new(),
        waiting: 0,
        withheld: Vec::new(),
        erased: 0,
        troubles: Vec::new(),
        exit: Exit::Done,
    };

    let started_us = started_us(&root, ground.clock);
    let ledger = Ledger::open(ground.disk, &config.spool, &root, &host, started_us, false)?;
    let drill = Drill::load(ground.disk, &config.spool).filter(|drill| drill.result == Standing::Pending);
    let on = Scene { config, ground, host: &host, ledger: &ledger, drill: drill.as_ref() };
    for find in look(config, ground, &mut summary) {
        for gathered in gather::read(ground.disk, &find) {
            keep(&on, &find, gathered, &mut spool, &mut summary);
        }
    }
    ask_the_previous_boot(&on, &mut spool, &mut summary);
    if let Some(text) = synthetic {
        let find = Find::without_a_file("drill", false);
        keep(&on, &find, Gathered::of_text("drill", text.as_bytes().to_vec()), &mut spool, &mut summary);
    }
    withhold(config, ground, &mut spool, &mut summary);
    if config.retry_held {
        for id in spool.held()? {
            spool.release(&id)?;
        }
    }
    if !config.servers.is_empty() {
        let Outcome { receipts, held, troubles, exit } = hand_over(&on, &mut spool)?;
        summary.receipts = receipts;
        summary.held = held;
        summary.troubles.extend(troubles);
        summary.exit = summary.exit.and(exit);
    }
    if config.forget {
        forget(&host, &mut spool, &mut summary)?;
    }
    spool.mark_what_is_gone()?;
    spool.trim_sent(config.sent, ground.clock.wall_us())?;

    for seen in &mut summary.found {
        seen.state = spool.state(&seen.evidence);
    }
    summary.waiting = spool.ready_count()?;
    if let Some(drill) = drill {
        judge(drill, &host, &summary, ground, &config.spool)?;
    }
    Ok(summary)
}

/// Looks through every source. The same crash may come from several; equal bytes are one evidence.
fn look(config: &Config, ground: &Ground<'_>, summary: &mut Summary) -> Vec<Find> {
    let disk = ground.disk;
    let mut finds = Vec::new();
    let mut take = |what: &str, folder: &Path, scan: io::Result<Scan>| match scan {
        Ok(Scan { finds: more, troubles }) => {
            finds.extend(more);
            summary.troubles.extend(troubles);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !config.must_exist => {}
        Err(error) => summary.io(format!("reading the {what} at {}: {error}", folder.display())),
    };
    for folder in &config.pstore {
        take("pstore", folder, pstore::scan(disk, folder));
    }
    for folder in &config.systemd_archive {
        take("pstore archive", folder, systemd_archive::scan(disk, folder));
    }
    for folder in &config.crash {
        take("crash folders", folder, kdump::scan(disk, folder, ground.clock.wall_us()));
    }
    finds
}

/// What a real drill came to, once the machine has booted again: proven when the crash of that boot was handed
/// over, not captured when there was none. While it waits in the spool, the drill is pending.
fn judge(
    drill: Drill,
    host: &Host,
    summary: &Summary,
    ground: &Ground<'_>,
    spool: &Path,
) -> Result<(), Error> {
    if drill.boot == host.boot {
        return Ok(());
    }
    let states: Vec<State> =
        summary.found.iter().filter(|seen| seen.class == Class::Drill).map(|seen| seen.state).collect();
    let result = match states.iter().max() {
        Some(state) if *state >= State::Acked => Standing::Proven,
        Some(_) => return Ok(()),
        None => Standing::NotCaptured,
    };
    Drill { result, at_us: ground.clock.wall_us(), ..drill }.save(ground.disk, spool)
}

/// What is the same for everything that is found in a run.
struct Scene<'a> {
    config: &'a Config,
    ground: &'a Ground<'a>,
    host: &'a Host,
    ledger: &'a Ledger,
    /// The drill that is under way.
    drill: Option<&'a Drill>,
}

impl Scene<'_> {
    /// Whether a crash was asked for: a made-up one, or the first death of the boot that was made to panic.
    fn class(&self, find: &Find, gathered: &Gathered) -> Class {
        let dead = gathered.dead_boot(find, self.ledger);
        // A journal is there whether the capture worked or not.
        let captured = find.source.kind != "journal";
        let asked =
            captured && self.drill.is_some_and(|drill| dead.is_some_and(|boot| boot.id == drill.boot));
        if asked || find.source.kind == "drill" { Class::Drill } else { Class::Field }
    }
}

/// Makes the records of a crash durable in the spool. A failure concerns these records; the others go on.
fn keep(on: &Scene<'_>, find: &Find, gathered: Gathered, spool: &mut Spool<'_>, summary: &mut Summary) {
    let origins = gathered.origins();
    let records: Vec<String> = gathered.names().into_iter().map(str::to_owned).collect();
    let folder = origins.first().and_then(|o| o.path.parent()).map(Path::to_owned).unwrap_or_default();
    for origin in origins.iter().filter(|origin| !origin.whole) {
        summary.io(format!("{} could not be read in full", origin.path.display()));
    }
    let known = spool.covering(&origins);
    let class = on.class(find, &gathered);
    let kept = match known {
        Some(id) => Ok(id),
        None => {
            let clock = on.ground.clock;
            let circumstances = Circumstances {
                host: on.host,
                incarnation: spool.incarnation(),
                labels: &on.config.labels,
                now_us: clock.wall_us(),
                boottime_us: i64::try_from(clock.since_boot().as_micros()).unwrap_or(i64::MAX),
                class,
                ledger: on.ledger,
            };
            gathered
                .describe(find, &circumstances)
                .and_then(|evidence| spool.keep(&evidence).map(|_| evidence.manifest.evidence_id))
        }
    };
    match kept {
        Ok(evidence) => summary.found.push(Seen {
            evidence,
            kind: find.kind.clone(),
            folder,
            records,
            new: known.is_none(),
            class,
            state: State::Spooled,
            origins,
            erasable: find.erasable,
        }),
        Err(error) => {
            summary.exit = summary.exit.and(error.exit());
            let first = records.first().map(String::as_str).unwrap_or_default();
            summary.troubles.push(format!("keeping {first}: {}", chain(&error)));
        }
    }
}

/// Examines the machine. Writes nothing but a probe in the spool.
pub fn examine(config: &Config, ground: &Ground<'_>) -> Readiness {
    let root = Root::new(&config.root);
    let incarnation = Spool::incarnation_of(ground.disk, &config.spool).unwrap_or(Incarnation::ZERO);
    let host = Host::look(&root, &config.site, &incarnation, config.tell_host_name);
    let ledger = Ledger::look(ground.disk, &config.spool, &root, host.boot).ok();
    let drill = Drill::load(ground.disk, &config.spool);
    let patient = Patient {
        root: &root,
        disk: ground.disk,
        spool: &config.spool,
        now_us: ground.clock.wall_us(),
        since_boot: ground.clock.since_boot(),
        forget: config.forget,
        ledger: ledger.as_ref(),
        drill: drill.as_ref(),
    };
    doctor::examine(&patient, host.node, host.boot)
}

/// Begins a drill. The real one makes the machine panic and does not return; the synthetic one puts a made-up
/// record into the spool, hands it over, and notes what became of it.
pub fn drill(config: &Config, synthetic: bool, ground: &Ground<'_>) -> Result<Summary, Error> {
    let root = Root::new(&config.root);
    let spool = Spool::open(ground.disk, &config.spool, ground.random)?;
    let host = Host::look(&root, &config.site, &spool.incarnation(), config.tell_host_name);
    let mut drill = Drill::begin(&root, &host, ground.clock.wall_us());
    if !synthetic {
        drill.save(ground.disk, &config.spool)?;
        drop(spool);
        drill::panic(&root)?;
        return Err(Error::Setting("the machine did not panic: is sysrq allowed (kernel.sysrq)?".to_owned()));
    }
    drop(spool);
    let mut random = [0; 8];
    (ground.random)(&mut random).doing("drawing random bytes for a drill in", &config.spool)?;
    let summary = run(config, ground, Some(&drill::synthetic(&random)))?;
    let arrived = summary.found.iter().any(|seen| seen.class == Class::Drill && seen.state >= State::Acked);
    if arrived {
        drill.result = Standing::HandedOver;
        drill.save(ground.disk, &config.spool)?;
    }
    Ok(summary)
}

/// Enters the running boot in the ledger, or marks that it ends in order, as the units around a boot do.
pub fn mark(config: &Config, ending: bool, ground: &Ground<'_>) -> Result<(), Error> {
    let root = Root::new(&config.root);
    if ending {
        let boot = host::boot_id(&root)
            .ok_or_else(|| Error::Setting("the running boot has no id below /proc".to_owned()))?;
        return Ledger::mark_clean(ground.disk, &config.spool, boot, ground.clock.wall_us());
    }
    let spool = Spool::open(ground.disk, &config.spool, ground.random)?;
    let host = Host::look(&root, &config.site, &spool.incarnation(), config.tell_host_name);
    let started_us = started_us(&root, ground.clock);
    Ledger::open(ground.disk, &config.spool, &root, &host, started_us, true).map(|_| ())
}

fn started_us(root: &Root, clock: &dyn Clock) -> i64 {
    let since_boot_us = i64::try_from(clock.since_boot().as_micros()).unwrap_or(i64::MAX);
    ledger::started_us(root).unwrap_or(clock.wall_us().saturating_sub(since_boot_us))
}

/// When the boot before did not end well, takes what it left beside dumps: the console and pmsg zones, and without
/// any dump the journal's kernel lines.
fn ask_the_previous_boot(on: &Scene<'_>, spool: &mut Spool<'_>, summary: &mut Summary) {
    let (Some(previous), Some((ending, _, _))) = (on.ledger.previous(), on.ledger.ending(spool.entries()))
    else {
        return;
    };
    if matches!(ending, Ending::Clean | Ending::Unknown) {
        return;
    }
    // A dump of a boot that the ledger cannot tell may be of this one: its console would count as a second crash.
    let unclear = |seen: &Seen| {
        let entry = spool.entry(&seen.evidence);
        seen.kind == Kind::KernelLog && entry.is_some_and(|entry| entry.dead_boot.is_none())
    };
    if summary.found.iter().any(unclear) {
        return;
    }
    for folder in &on.config.pstore {
        // A folder that cannot be read was told before.
        let Ok(scan) = pstore::scan_previous_boot(on.ground.disk, folder) else { continue };
        for find in scan.finds {
            for gathered in gather::read(on.ground.disk, &find) {
                keep(on, &find, gathered, spool, summary);
            }
        }
    }
    let asked = spool.entries().any(|e| e.source == "journal" && e.dead_boot == Some(previous.id));
    let Some(journalctl) = on.config.journalctl.as_deref().filter(|_| ending != Ending::Crash && !asked)
    else {
        return;
    };
    match journal::kernel_log(journalctl, &previous.id) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => {
            let find = Find::without_a_file("journal", true);
            keep(on, &find, Gathered::of_text("journal", text), spool, summary);
        }
        Err(error) => summary.troubles.push(format!("asking {}: {error}", journalctl.display())),
    }
}

/// Brings the spool within its caps. What was handed over goes first of all.
fn withhold(config: &Config, ground: &Ground<'_>, spool: &mut Spool<'_>, summary: &mut Summary) {
    let now_us = ground.clock.wall_us();
    match spool.trim_sent(config.sent, now_us).and_then(|()| spool.withhold(&config.caps, now_us)) {
        Ok(given_up) if given_up.is_empty() => {}
        Ok(given_up) => {
            let count = given_up.len();
            summary.troubles.push(format!("the spool is full: the bytes of {count} crashes were given up"));
            summary.withheld.extend(given_up);
        }
        Err(error) => summary.io(chain(&error)),
    }
}

fn hand_over(on: &Scene<'_>, spool: &mut Spool<'_>) -> Result<Outcome, Error> {
    let Scene { config, ground, host, ledger, drill: _ } = on;
    if spool.ready_count()? == 0 && !config.tell_boot {
        return Ok(Outcome::default());
    }
    let token = match token(config, ground.disk) {
        Ok(token) => token,
        Err(trouble) => {
            return Ok(Outcome { troubles: vec![trouble], exit: Exit::Denied, ..Outcome::default() });
        }
    };
    let ca =
        match &config.ca_file {
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                Error::Setting(format!("reading the CA file {}: {error}", path.display()))
            })?),
            None => None,
        };
    let settings = Settings { insecure: config.insecure, ca };
    let clients: Result<Vec<Client>, String> =
        config.servers.iter().map(|url| Client::new(url, token.clone(), &settings)).collect();
    let pin = config.pin.as_deref().map(PublicKey::from_hex).transpose();
    let way = Way {
        clients: &clients.map_err(Error::Setting)?,
        pin: pin.map_err(|error| Error::Setting(format!("the pinned key: {error}")))?,
        deadline: config.deadline,
        node: host.node,
        clock: ground.clock,
        random: ground.random,
    };
    let mut outcome = deliver::deliver(spool, &way)?;
    // A service that was not reached or trusted for evidence is told nothing else.
    if config.tell_boot && outcome.exit <= Exit::Held && outcome.exit != Exit::Later {
        let (now_us, since_boot) = (ground.clock.wall_us(), ground.clock.since_boot());
        if let Some(record) = boot::record(config, host, ledger, spool, now_us, since_boot)?
            && let Some(client) = way.clients.first()
        {
            outcome.troubles.extend(boot::tell(client, &record).err());
        }
    }
    Ok(outcome)
}

/// Reads the token; a missing one stops the handing over, not the keeping.
fn token(config: &Config, disk: &dyn Disk) -> Result<Option<String>, String> {
    let Some(path) = &config.token_file else { return Ok(None) };
    let contents = disk
        .read(path, 4096)
        .map_err(|error| format!("reading the token file {}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&contents.bytes).trim().to_owned();
    if text.is_empty() {
        return Err(format!("the token file {} is empty", path.display()));
    }
    Ok(Some(text))
}

/// Erases what a receipt covers, oldest first. What is kept back is told only where somebody should know.
fn forget(host: &Host, spool: &mut Spool<'_>, summary: &mut Summary) -> Result<(), Error> {
    let Some(trust) = Trust::load(spool.disk(), spool.folder())? else { return Ok(()) };
    for seen in &summary.found {
        let state = spool.state(&seen.evidence);
        if !seen.erasable || state < State::Acked {
            continue;
        }
        match custody::erase(spool, &host.node, &trust.keys, &seen.evidence, &seen.origins) {
            Ok(Erasure::Done(count)) => summary.erased += count,
            Ok(Erasure::Kept(why)) => {
                let first = seen.records.first().map(String::as_str).unwrap_or_default();
                summary.troubles.push(format!("{first} is not erased: {why}"));
            }
            Err(error) => {
                summary.exit = summary.exit.and(error.exit());
                summary.troubles.push(chain(&error));
            }
        }
    }
    Ok(())
}

impl Summary {
    fn io(&mut self, trouble: String) {
        self.troubles.push(trouble);
        self.exit = self.exit.and(Exit::Io);
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
