//! Whether the spool keeps what is put into it, and whether what is in it gets away.

use std::io::Write;

use super::{Finding, Patient, fail, pass, span, unknown};
use crate::deliver::attempts::Attempts;
use crate::mounts::{Mounts, is_volatile};

/// How long a parcel may wait before somebody should look: a day, in µs.
const WAITED_US: i64 = 86_400_000_000;

/// Writes, syncs, reads back and removes a file, rather than trusting a flag.
pub(super) fn durable(patient: &Patient<'_>) -> Finding {
    let probe = patient.spool.join("tmp").join("doctor");
    let text = format!("{}", patient.now_us);
    let written = patient.disk.create(&probe).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync()
    });
    let read = written.and_then(|()| patient.disk.read(&probe, 64));
    // The agent's next start empties tmp/ anyway.
    let _ = patient.disk.unlink(&probe);
    let place = patient.root.name(patient.spool);
    let place = place.display();
    match read {
        Err(error) => fail(format!("{place}: {error}"), "make the spool's folder and give it to the agent"),
        Ok(contents) if contents.bytes != text.as_bytes() => {
            fail(format!("{place} gives back other bytes than were written"), "look at the disk")
        }
        Ok(_) => match Mounts::own(patient.root).as_ref().and_then(|m| m.file_system(patient.spool)) {
            Some(kind) if is_volatile(kind) => {
                fail(format!("{place} is on {kind}, which is gone after a reboot"), "put the spool on a disk")
            }
            Some(kind) => pass(format!("written, synced and read back on {kind}")),
            None => {
                unknown(format!("{place} works; its file system cannot be told"), "cat /proc/self/mountinfo")
            }
        },
    }
}

pub(super) fn content(patient: &Patient<'_>) -> Finding {
    let names = |folder: &str| patient.disk.list(&patient.spool.join(folder));
    let (ready, held) = match (names("ready"), names("held")) {
        (Ok(ready), Ok(held)) => (ready, held),
        (Err(error), _) | (_, Err(error)) => {
            return unknown(format!("the spool cannot be read: {error}"), "run it as root or as the agent");
        }
    };
    if !held.is_empty() {
        return fail(
            format!("{} parcels were not taken by the service", held.len()),
            "lastwords-agent collect --retry-held",
        );
    }
    let given_up = crate::custody::read_entries(patient.disk, patient.spool).unwrap_or_default();
    let given_up = given_up.values().filter(|entry| entry.withheld).count();
    if given_up > 0 {
        return fail(
            format!("the bytes of {given_up} crashes were given up for room"),
            "raise [caps] in the settings, and see why so much waits",
        );
    }
    let free = match patient.disk.free(patient.spool) {
        Err(error) => return unknown(format!("the spool's free space cannot be read: {error}"), "df"),
        Ok(free) => free,
    };
    let waiting = ready.iter().map(|name| patient.disk.stat(&patient.spool.join("ready").join(name)));
    let (mut bytes, mut oldest_us) = (0, patient.now_us);
    for stat in waiting.flatten() {
        bytes += stat.size;
        oldest_us = oldest_us.min(stat.mtime_us);
    }
    let waited_us = patient.now_us.saturating_sub(oldest_us);
    let mut seen =
        format!("{} parcels wait, {} KiB; {} MiB are free", ready.len(), bytes.div_ceil(1024), free >> 20);
    if !ready.is_empty() {
        seen.push_str(&format!("; the oldest waits for {}", span(waited_us)));
    }
    if free < patient.keep_free {
        return fail(
            format!(
                "{seen}, less than the {} MiB that stay free: nothing more is kept",
                patient.keep_free >> 20
            ),
            "make room on the spool's disk, or lower free under [caps] in the settings",
        );
    }
    if waited_us > WAITED_US {
        return fail(seen, "lastwords-agent collect, and read what it says");
    }
    pass(seen)
}

/// When somebody else last took custody, by the time of the log that says so.
pub(super) fn last_receipt(patient: &Patient<'_>) -> Finding {
    let fix = "lastwords-agent drill --synthetic, and read what it says";
    let waiting = patient.disk.list(&patient.spool.join("ready")).map_or(0, |names| names.len());
    match patient.disk.stat(&patient.spool.join("receipts.log")) {
        Ok(stat) if stat.size > 0 => {
            let since_us = patient.now_us.saturating_sub(stat.mtime_us).max(0);
            let seen = format!("the last receipt came {} ago", span(since_us));
            match waiting {
                0 => pass(seen),
                _ if since_us <= WAITED_US => pass(seen),
                _ => fail(format!("{seen}, and {waiting} parcels wait"), fix),
            }
        }
        Ok(_) => unknown("no receipt has come yet", fix),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => unknown("no receipt has come yet", fix),
        Err(error) => {
            unknown(format!("the receipts cannot be read: {error}"), "run it as root or as the agent")
        }
    }
}

/// Whether the last attempt to hand over failed, and how many before it.
pub(super) fn attempts(patient: &Patient<'_>) -> Finding {
    if !patient.has_server {
        return pass("no server is named: evidence is only kept");
    }
    let folder = patient.disk.list(patient.spool);
    let Some(attempts) = Attempts::load(patient.disk, patient.spool) else {
        return match folder {
            Ok(names) if names.iter().any(|name| name == "attempts.json") => {
                unknown("what is noted of failed attempts cannot be read", "run it as root or as the agent")
            }
            Ok(_) => pass("no attempt failed since one last handed over everything"),
            Err(error) => {
                unknown(format!("the spool cannot be read: {error}"), "run it as root or as the agent")
            }
        };
    };
    let Attempts { failed, since_us, last_us, why, is_final } = attempts;
    let ago = |us: i64| span(patient.now_us.saturating_sub(us).max(0));
    let seen = match failed {
        1 => format!("the last attempt, {} ago, failed: {why}", ago(last_us)),
        many => format!("{many} attempts failed for {}, the last {} ago: {why}", ago(since_us), ago(last_us)),
    };
    let fix = "lastwords-agent deliver, and read what it says";
    match is_final || patient.now_us.saturating_sub(since_us) > WAITED_US {
        true => fail(seen, fix),
        false => unknown(seen, fix),
    }
}
