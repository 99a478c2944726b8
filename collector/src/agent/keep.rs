//! Keeping what was found: described, redacted, durable.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use handover::boot::Ending;
use handover::manifest::{Class, Kind};
use handover::{BootId, EvidenceId};

use crate::agent::attempt::attempt;
use crate::agent::{Ground, Seen, Summary};
use crate::config::Config;
use crate::custody::{Entry, Origin, State};
use crate::drill::Drill;
use crate::error::Error;
use crate::gather::{self, Circumstances, Gathered};
use crate::host::Host;
use crate::ledger::Ledger;
use crate::redact::Rules;
use crate::source::{Find, Form, Record, journal, pstore};
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
    /// What a manifest says that is found now.
    pub(super) fn circumstances(
        &self,
        class: Class,
        derived_boot: Option<BootId>,
        spool: &Spool<'_>,
    ) -> Result<Circumstances<'_>, Error> {
        let clock = self.ground.clock;
        Ok(Circumstances {
            host: self.host,
            incarnation: spool.incarnation(),
            labels: self.labels,
            now_us: clock.wall_us(),
            boottime_us: i64::try_from(clock.since_boot().as_micros()).unwrap_or(i64::MAX),
            class,
            derived_boot,
            ledger: self.ledger,
            rules: self.rules.get()?,
        })
    }

    /// Reads a dump, if that has not ended the agent before; `None`, and a word about it, where it has.
    pub(super) fn attempt<T>(
        &self,
        dump: &Record,
        spool: &Path,
        summary: &mut Summary,
        read: impl FnOnce() -> T,
    ) -> Option<T> {
        match attempt(self.ground.disk, spool, self.host.boot, &dump.path, read) {
            Ok(Some(value)) => return Some(value),
            Ok(None) => summary.io(format!(
                "reading {} ended the agent each time; in this boot it is left alone",
                dump.path.display()
            )),
            Err(error) => summary.fail("noting that a dump is being read", &error),
        }
        None
    }

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

/// Keeps the records of a find. Returns the evidence in which it ends.
pub(super) fn keep_find(
    on: &Scene<'_>,
    find: &Find,
    spool: &mut Spool<'_>,
    summary: &mut Summary,
) -> Option<EvidenceId> {
    let [record, ..] = find.records.as_slice() else { return None };
    // Nobody reads a dump or a report again to see that its log is known.
    if record.form != Form::Text
        && let Some(entry) = spool.made_of(record, &find.kind)
    {
        let id = entry.evidence_id;
        summary.found.push(Seen::of_entry(entry));
        return Some(id);
    }
    let read = || gather::read(on.ground.disk, find);
    let lots = match record.form {
        Form::Dump => on.attempt(record, spool.folder(), summary, read)?,
        _ => read(),
    };
    let mut last = None;
    for gathered in lots {
        last = keep(on, find, gathered, spool, summary);
    }
    last
}

/// Takes the records of a crash into the spool. A failure concerns these records; the others go on.
pub(super) fn keep(
    on: &Scene<'_>,
    find: &Find,
    gathered: Gathered,
    spool: &mut Spool<'_>,
    summary: &mut Summary,
) -> Option<EvidenceId> {
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
        None => on.circumstances(class, None, spool).and_then(|circumstances| {
            let evidence = gathered.describe(find, &circumstances)?;
            spool.keep(&evidence).map(|_| evidence.manifest.evidence_id)
        }),
    };
    match kept {
        Ok(evidence) => {
            summary.found.push(Seen {
                evidence,
                kind: find.kind.clone(),
                folder,
                records,
                new: known.is_none(),
                class,
                state: State::Spooled,
                origins,
                erasable: find.erasable,
            });
            Some(evidence)
        }
        Err(error) => {
            let first = records.first().map(String::as_str).unwrap_or_default();
            summary.fail(&format!("keeping {first}"), &error);
            None
        }
    }
}

impl Seen {
    /// What the spool knows already.
    pub(super) fn of_entry(entry: &Entry) -> Seen {
        let name = |origin: &Origin| Some(origin.path.file_name()?.to_string_lossy().into_owned());
        Seen {
            evidence: entry.evidence_id,
            kind: entry.kind.clone(),
            folder: entry
                .pieces
                .first()
                .and_then(|o| o.path.parent())
                .map(Path::to_owned)
                .unwrap_or_default(),
            records: entry.pieces.iter().filter_map(name).collect(),
            new: false,
            class: if entry.drill { Class::Drill } else { Class::Field },
            state: State::Spooled,
            origins: entry.pieces.clone(),
            erasable: false,
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
    // A dump of a boot that the ledger cannot tell may be of this one: its console would count as a second crash. One that
    // was found before this boot is not.
    let began_us = on.ledger.current().map_or(i64::MIN, |boot| boot.started_us);
    let unclear = |seen: &Seen| {
        let is_it = |entry: &Entry| entry.dead_boot.is_none() && entry.found_us >= began_us;
        seen.kind == Kind::KernelLog && spool.entry(&seen.evidence).is_some_and(is_it)
    };
    if summary.found.iter().any(unclear) {
        return;
    }
    for folder in &on.config.pstore {
        // A folder that cannot be read was told before.
        let Ok(scan) = pstore::scan_previous_boot(on.ground.disk, folder) else { continue };
        for find in scan.finds {
            keep_find(on, &find, spool, summary);
        }
    }
    let asked = spool.entries().any(|e| e.source == "journal" && e.dead_boot == Some(previous.id));
    let Some(journalctl) = on.config.journalctl.as_deref().filter(|_| ending != Ending::Crash && !asked)
    else {
        return;
    };
    match journal::kernel_log(journalctl, &on.config.root, &previous.id) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => {
            let find = Find::without_a_file("journal", true);
            keep(on, &find, Gathered::of_text("journal", text), spool, summary);
        }
        Err(error) => summary.troubles.push(format!("asking {}: {error}", journalctl.display())),
    }
}
