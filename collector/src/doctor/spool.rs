//! Whether the spool keeps what is put into it, and whether what is in it gets away.

use std::io::Write;
use std::path::Path;

use super::{Finding, Patient, fail, pass, unknown};
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
    let oldest = |name: &String| {
        let path = patient.spool.join("ready").join(Path::new(name));
        patient.disk.stat(&path).map(|stat| stat.mtime_us).ok()
    };
    let oldest_us = ready.iter().filter_map(oldest).min();
    let seen = format!("{} parcels wait", ready.len());
    match oldest_us {
        Some(us) if patient.now_us.saturating_sub(us) > WAITED_US => fail(
            format!("{seen}, the oldest for more than a day"),
            "lastwords-agent collect, and read what it says",
        ),
        _ => pass(seen),
    }
}

/// When somebody else last took custody, by the time of the log that says so.
pub(super) fn last_receipt(patient: &Patient<'_>) -> Finding {
    let fix = "lastwords-agent drill --synthetic, and read what it says";
    let waiting = patient.disk.list(&patient.spool.join("ready")).map_or(0, |names| names.len());
    match patient.disk.stat(&patient.spool.join("receipts.log")) {
        Ok(stat) if stat.size > 0 => {
            let since_us = patient.now_us.saturating_sub(stat.mtime_us).max(0);
            let seen = format!("the last receipt came {} ago", hours(since_us));
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

fn hours(us: i64) -> String {
    match us / 3_600_000_000 {
        0 => format!("{} min", us / 60_000_000),
        hours @ 1..48 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}
