//! Keeping what was found: described, redacted, durable.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use handover::boot::Ending;
use handover::manifest::{Class, Kind};

use crate::agent::{Ground, Seen, Summary};
use crate::config::Config;
use crate::custody::State;
use crate::drill::Drill;
use crate::error::Error;
use crate::gather::{self, Circumstances, Gathered};
use crate::host::Host;
use crate::ledger::Ledger;
use crate::redact::Rules;
use crate::source::{Find, journal, pstore};
use crate::spool::Spool;

/// Rules that are compiled at their first use.
pub(super) struct LazyRules<'a> {
    config: &'a Config,
    host_name: Option<String>,
    rules: OnceCell<Rules>,
}

impl<'a> LazyRules<'a> {
    pub(super) fn new(config: &'a Config, host_name: Option<String>) -> LazyRules<'a> {
        LazyRules { config, host_name, rules: OnceCell::new() }
    }

    fn get(&self) -> Result<&Rules, Error> {
        match self.rules.get() {
            Some(rules) => Ok(rules),
            None => {
                let rules = Rules::load(&self.config.redact_off, self.host_name.as_deref())?;
                Ok(self.rules.get_or_init(|| rules))
            }
        }
    }
}

/// What is the same for everything that is found in a run.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) ground: &'a Ground<'a>,
    pub(super) host: &'a Host,
    pub(super) ledger: &'a Ledger,
    /// The drill that is under way.
    pub(super) drill: Option<&'a Drill>,
    pub(super) labels: &'a BTreeMap<String, String>,
    /// Compiled when something is found that they concern, since an idle run shall be small.
    pub(super) rules: &'a LazyRules<'a>,
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
pub(super) fn keep(
    on: &Scene<'_>,
    find: &Find,
    gathered: Gathered,
    spool: &mut Spool<'_>,
    summary: &mut Summary,
) {
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
            let rules = match on.rules.get() {
                Ok(rules) => rules,
                Err(error) => return summary.fail("redacting", &error),
            };
            let clock = on.ground.clock;
            let circumstances = Circumstances {
                host: on.host,
                incarnation: spool.incarnation(),
                labels: on.labels,
                now_us: clock.wall_us(),
                boottime_us: i64::try_from(clock.since_boot().as_micros()).unwrap_or(i64::MAX),
                class,
                ledger: on.ledger,
                rules,
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
            let first = records.first().map(String::as_str).unwrap_or_default();
            summary.fail(&format!("keeping {first}"), &error);
        }
    }
}

/// When the boot before did not end well, takes what it left beside dumps: the console and pmsg zones, and without
/// any dump the journal's kernel lines.
pub(super) fn ask_the_previous_boot(on: &Scene<'_>, spool: &mut Spool<'_>, summary: &mut Summary) {
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
