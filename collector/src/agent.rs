//! One run of the agent: look, gather, keep, hand over, forget.

use std::io;
use std::path::{Path, PathBuf};

use handover::key::PublicKey;
use handover::manifest::{Class, Kind};
use handover::receipt::Receipt;
use handover::{EvidenceId, NodeId};
use serde::Serialize;

use crate::boot::{self, Programs};
use crate::clock::Clock;
use crate::config::Forget;
use crate::custody::{self, Erasure, Origin, State};
use crate::deliver::{self, Outcome, Way};
use crate::disk::Disk;
use crate::drill::Drill;
use crate::error::Error;
use crate::exit::Exit;
use crate::gather::Gathered;
use crate::host::{Host, Root};
use crate::http::{Client, Settings};
use crate::labels;
use crate::ledger::Ledger;
use crate::mounts;
use crate::room;
use crate::source::{Find, Scan, apport, kdump, pstore, systemd_archive};
use crate::spool::Spool;
use crate::trust::Trust;

mod attempt;
mod beside;
mod keep;
mod memory;

pub use crate::config::Config;
pub use beside::{drill, examine, mark, note_readiness, tell_readiness};
use beside::{judge, started_us, tell_what_is_noted};
use keep::{LazyRules, Scene, ask_the_previous_boot, keep, keep_find};
use memory::keep_memory;

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
    let host = Host::look(&root, &config.site, &spool.incarnation(), config.tell_host_name)
        .with_clock(ground.clock.is_synced());
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

    if config.list_bpf
        && let Err(error) = Programs::look(&spool)
    {
        summary.fail("noting which BPF programs are loaded", &error);
    }
    let started_us = started_us(&root, ground.clock);
    let ledger = Ledger::open(ground.disk, &config.spool, &root, &host, started_us, false)?;
    let name = root.text("/proc/sys/kernel/hostname").filter(|_| !config.tell_host_name);
    let labels = labels::gather(&root, &config.labels);
    let rules = LazyRules::new(config, name);
    let drill = Drill::load(ground.disk, &config.spool).filter(Drill::is_open);
    let on = Scene {
        config,
        ground,
        host: &host,
        ledger: &ledger,
        drill: drill.as_ref(),
        rules: &rules,
        labels: &labels,
    };
    let mut dumps = Vec::new();
    for find in look(config, ground, &mut summary) {
        let log = keep_find(&on, &find, &mut spool, &mut summary);
        dumps.extend(log.filter(|_| find.dump.is_some()).map(|log| (find, log)));
    }
    ask_the_previous_boot(&on, &mut spool, &mut summary);
    if let Some(text) = synthetic {
        let find = Find::without_a_file("drill", false);
        keep(&on, &find, Gathered::of_text("drill", text.as_bytes().to_vec()), &mut spool, &mut summary);
    }
    // Logs are durable, and with the service, before anything is made of memory: that is long, and may be more than the
    // machine or its container bears.
    commit(&mut spool, &mut summary);
    let reached = dumps.is_empty() || spool.ready_count()? == 0 || hand_over(&on, &mut spool, &mut summary)?;
    for (find, log) in &dumps {
        keep_memory(&on, find, log, &mut spool, &mut summary);
        commit(&mut spool, &mut summary);
    }
    withhold(config, ground, &mut spool, &mut summary);
    offer_again(config, ground, &mut spool)?;
    if reached {
        hand_over(&on, &mut spool, &mut summary)?;
    }
    if config.forget != Forget::Never {
        forget(&host, &mut spool, &mut summary)?;
    }
    if config.forget == Forget::WhenFull {
        make_room(&root, &mut spool, &mut summary);
    }
    spool.mark_what_is_gone()?;
    spool.trim_sent(config.sent, ground.clock.wall_us())?;
    spool.trim_sources(ground.clock.wall_us())?;

    for seen in &mut summary.found {
        seen.state = spool.state(&seen.evidence);
    }
    summary.waiting = spool.ready_count()?;
    if let Some(drill) = &drill {
        judge(drill, &host, config.has_sources(), ground, &spool)?;
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
        let now_us = ground.clock.wall_us();
        let scan = kdump::scan(disk, folder, now_us).and_then(|mut scan| {
            apport::scan(disk, folder, now_us, &mut scan)?;
            Ok(scan)
        });
        take("crash folders", folder, scan);
    }
    finds
}

fn commit(spool: &mut Spool<'_>, summary: &mut Summary) {
    if let Err(error) = spool.commit() {
        summary.fail("keeping what was found", &error);
    }
}

/// Puts back among what waits: what was not taken a while ago, or by an earlier agent; everything, if told to.
fn offer_again(config: &Config, ground: &Ground<'_>, spool: &mut Spool<'_>) -> Result<(), Error> {
    let now_us = ground.clock.wall_us();
    let due = |id: &EvidenceId| config.retry_held || spool.is_due(id, now_us);
    let again: Vec<EvidenceId> = spool.held()?.into_iter().filter(due).collect();
    spool.release(&again)
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

/// Hands over what waits. Whether the service was reached and can be asked again.
fn hand_over(on: &Scene<'_>, spool: &mut Spool<'_>, summary: &mut Summary) -> Result<bool, Error> {
    if on.config.servers.is_empty() {
        return Ok(true);
    }
    let Outcome { receipts, held, troubles, exit } = deliver_waiting(on, spool)?;
    summary.receipts.extend(receipts);
    summary.held.extend(held);
    summary.troubles.extend(troubles);
    summary.exit = summary.exit.and(exit);
    Ok(matches!(exit, Exit::Done | Exit::Held))
}

fn deliver_waiting(on: &Scene<'_>, spool: &mut Spool<'_>) -> Result<Outcome, Error> {
    let Scene { config, ground, host, ledger, drill: _, rules: _, labels } = on;
    if spool.ready_count()? == 0 && !config.tell_boot {
        return Ok(Outcome::default());
    }
    let clients = match clients(config, ground.disk)? {
        Ok(clients) => clients,
        Err(trouble) => {
            return Ok(Outcome { troubles: vec![trouble], exit: Exit::Denied, ..Outcome::default() });
        }
    };
    let pin = config.pin.as_deref().map(PublicKey::from_hex).transpose();
    let way = Way {
        clients: &clients,
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
        if let Some(record) = boot::record(config, labels, host, ledger, spool, now_us, since_boot)?
            && let Some(client) = way.clients.first()
        {
            let path = format!("/nodes/{}/boots/{}", record.node_id, record.boot_id);
            outcome.troubles.extend(boot::put(client, &path, &record).err());
            outcome.troubles.extend(tell_what_is_noted(config, ground, host, client)?);
        }
    }
    Ok(outcome)
}

/// The service under each of its addresses. The inner error is a token that cannot be had, which stops the handing
/// over and not the keeping.
fn clients(config: &Config, disk: &dyn Disk) -> Result<Result<Vec<Client>, String>, Error> {
    let token = match token(config, disk) {
        Ok(token) => token,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let unreadable =
        |path: &Path, error| Error::Setting(format!("reading the CA file {}: {error}", path.display()));
    let ca = match &config.ca_file {
        Some(path) => Some(std::fs::read(path).map_err(|error| unreadable(path, error))?),
        None => None,
    };
    let settings = Settings { insecure: config.insecure, ca };
    let clients: Result<Vec<Client>, String> =
        config.servers.iter().map(|url| Client::new(url, token.clone(), &settings)).collect();
    clients.map(Ok).map_err(Error::Setting)
}

/// Reads the token; a missing one stops the handing over, not the keeping. It may lie behind links, as the files of a
/// mounted secret do: unlike a record, it was named by the owner.
fn token(config: &Config, disk: &dyn Disk) -> Result<Option<String>, String> {
    let Some(path) = &config.token_file else { return Ok(None) };
    let target = std::fs::canonicalize(path);
    let contents = disk
        .read(target.as_ref().unwrap_or(path), 4096)
        .map_err(|error| format!("reading the token file {}: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&contents.bytes).trim().to_owned();
    if text.is_empty() {
        return Err(format!("the token file {} is empty", path.display()));
    }
    Ok(Some(text))
}

/// Erases what is durable in the spool, while the kernel's store has no room for the next crash: an emergency, which is
/// told. What a receipt covers was erased before.
fn make_room(root: &Root, spool: &mut Spool<'_>, summary: &mut Summary) {
    if !room::is_short(root) {
        return;
    }
    if !mounts::outlives_a_reboot(root, spool.folder()) {
        summary
            .troubles
            .push("pstore is more than half full, and the spool may not outlive a reboot".to_owned());
        return;
    }
    let found = std::mem::take(&mut summary.found);
    for seen in &found {
        if !seen.erasable || spool.state(&seen.evidence) != State::Spooled {
            continue;
        }
        match custody::erase_for_room(spool, &seen.evidence, &seen.origins) {
            Ok(Erasure::Done(count)) => {
                summary.erased += count;
                summary.troubles.push(format!(
                    "pstore is more than half full: {count} records of {} are erased before a receipt",
                    seen.evidence
                ));
            }
            Ok(Erasure::Kept(why)) => {
                summary.troubles.push(format!("{} is not erased: {why}", seen.evidence));
            }
            Err(error) => summary.fail("erasing", &error),
        }
    }
    summary.found = found;
}

/// Erases what a receipt covers, oldest first. What is kept back is told only where somebody should know.
fn forget(host: &Host, spool: &mut Spool<'_>, summary: &mut Summary) -> Result<(), Error> {
    let Some(trust) = Trust::load(spool.disk(), spool.folder())? else { return Ok(()) };
    let found = std::mem::take(&mut summary.found);
    for seen in &found {
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
            Err(error) => summary.fail("erasing", &error),
        }
    }
    summary.found = found;
    Ok(())
}

impl Summary {
    fn fail(&mut self, doing: &str, error: &Error) {
        self.exit = self.exit.and(error.exit());
        self.troubles.push(format!("{doing}: {}", chain(error)));
    }

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
