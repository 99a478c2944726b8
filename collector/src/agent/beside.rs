//! What the agent does beside collecting: examines the machine, holds drills, marks the ends of boots.

use handover::Incarnation;
use handover::manifest::Class;
use handover::readiness::Readiness;

use crate::agent::{Ground, Summary, clients, run};
use crate::boot;
use crate::clock::Clock;
use crate::config::{Config, Forget};
use crate::custody::State;
use crate::doctor::{self, Patient, note};
use crate::drill::{self, Drill, Standing};
use crate::error::{Doing, Error};
use crate::host::{self, Host, Root};
use crate::http::Client;
use crate::ledger::{self, Ledger};
use crate::spool::Spool;

/// Examines the machine. Writes nothing but a probe in the spool.
pub fn examine(config: &Config, ground: &Ground<'_>) -> Readiness {
    let root = Root::new(&config.root);
    let incarnation = Spool::incarnation_of(ground.disk, &config.spool).unwrap_or(Incarnation::ZERO);
    let host = Host::look(&root, &config.site, &incarnation, config.tell_host_name)
        .with_clock(ground.clock.is_synced());
    let ledger = Ledger::look(ground.disk, &config.spool, &root, host.boot).ok();
    let drill = Drill::load(ground.disk, &config.spool);
    let patient = Patient {
        root: &root,
        disk: ground.disk,
        spool: &config.spool,
        now_us: ground.clock.wall_us(),
        clock_is_synced: ground.clock.is_synced(),
        since_boot: ground.clock.since_boot(),
        forget: config.forget != Forget::Never,
        keep_free: config.caps.free,
        has_server: !config.servers.is_empty(),
        ca_file: config.ca_file.as_deref(),
        ledger: ledger.as_ref(),
        drill: drill.as_ref(),
    };
    doctor::examine(&patient, host.node, host.boot)
}

/// Tells the service what the doctor found.
pub fn tell_readiness(config: &Config, readiness: &Readiness, ground: &Ground<'_>) -> Result<(), Error> {
    let clients = clients(config, ground.disk)?.map_err(Error::Setting)?;
    let client = clients.first().ok_or_else(|| Error::Setting("there is no server to tell".to_owned()))?;
    put_readiness(client, readiness).map_err(Error::NotTold)
}

/// Notes in the spool what the doctor found; the next run that hands over tells it.
pub fn note_readiness(config: &Config, readiness: &Readiness, ground: &Ground<'_>) -> Result<(), Error> {
    note::note(ground.disk, &config.spool, readiness)
}

/// Tells what is noted of this boot. The inner value is why the service did not take it; the next run tells it again.
pub(super) fn tell_what_is_noted(
    config: &Config,
    ground: &Ground<'_>,
    host: &Host,
    client: &Client,
) -> Result<Option<String>, Error> {
    let Some(readiness) = note::noted(ground.disk, &config.spool, host.boot) else { return Ok(None) };
    match put_readiness(client, &readiness) {
        Ok(()) => note::told(ground.disk, &config.spool).map(|()| None),
        Err(why) => Ok(Some(why)),
    }
}

fn put_readiness(client: &Client, readiness: &Readiness) -> Result<(), String> {
    boot::put(client, &format!("/nodes/{}/readiness", readiness.node_id), readiness)
}

/// Begins a drill. The real one makes the machine panic and does not return; the synthetic one puts a made-up
/// record into the spool, hands it over, and notes what became of it.
pub fn drill(config: &Config, synthetic: bool, ground: &Ground<'_>) -> Result<Summary, Error> {
    let root = Root::new(&config.root);
    let spool = Spool::open(ground.disk, &config.spool, ground.random)?;
    let host = Host::look(&root, &config.site, &spool.incarnation(), config.tell_host_name)
        .with_clock(ground.clock.is_synced());
    let mut drill = Drill::begin(&root, &host, ground.clock.wall_us());
    if !synthetic {
        let before = Drill::load(ground.disk, &config.spool);
        drill.save(ground.disk, &config.spool)?;
        drop(spool);
        let goes_on = drill::panic(&root).and_then(|()| {
            Err(Error::Setting("the machine did not panic: is sysrq allowed (kernel.sysrq)?".to_owned()))
        });
        // The machine lives: a crash of this boot that comes later was not asked for.
        Drill::put_back(before.as_ref(), ground.disk, &config.spool)?;
        return goes_on;
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
    let host = Host::look(&root, &config.site, &spool.incarnation(), config.tell_host_name)
        .with_clock(ground.clock.is_synced());
    let started_us = started_us(&root, ground.clock);
    Ledger::open(ground.disk, &config.spool, &root, &host, started_us, true).map(|_| ())
}

pub(super) fn started_us(root: &Root, clock: &dyn Clock) -> i64 {
    let since_boot_us = i64::try_from(clock.since_boot().as_micros()).unwrap_or(i64::MAX);
    ledger::started_us(root).unwrap_or(clock.wall_us().saturating_sub(since_boot_us))
}

/// Notes what a real drill came to, once the machine has booted again.
pub(super) fn judge(
    drill: &Drill,
    host: &Host,
    looked: bool,
    ground: &Ground<'_>,
    spool: &Spool<'_>,
) -> Result<(), Error> {
    if drill.boot == host.boot {
        return Ok(());
    }
    let (disk, folder) = (ground.disk, spool.folder());
    let asked_for = spool.entries().filter(|entry| entry.drill && entry.dead_boot == Some(drill.boot));
    let arrived = asked_for.map(|entry| spool.state(&entry.evidence_id)).max();
    let result = drill.judge(arrived, looked, Ledger::is_clean(disk, folder, &drill.boot));
    if result == drill.result {
        return Ok(());
    }
    Drill { result, at_us: ground.clock.wall_us(), ..drill.clone() }.save(disk, folder)
}
