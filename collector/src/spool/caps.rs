//! How much a spool may hold, and what is given up when it is more: never the first or the last of a crash loop.

use std::time::Duration;

use handover::EvidenceId;

use crate::spool::Ready;

/// Parcels at each end of a loop that are never given up: the first two show how it began, the newest two how it
/// goes on.
const ENDS: usize = 2;

/// What waits may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of all waiting parcels.
    pub bytes: u64,
    /// Waiting parcels with their bytes.
    pub files: usize,
    /// How long one may wait.
    pub age: Duration,
    /// Bytes that stay free on the file system.
    pub free: u64,
}

impl Default for Caps {
    /// 256 MiB, which 10,000 crashes of some 10 KB each do not reach: a crash a minute for a week; a quarter of a year;
    /// and 64 MiB for the rest of the system.
    fn default() -> Caps {
        Caps { bytes: 256 << 20, files: 10_000, age: Duration::from_secs(90 * 86_400), free: 64 << 20 }
    }
}

/// How long and how much `sent/` keeps: what a service restored from last week's backup can ask for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Since the parcel was written.
    pub age: Duration,
    /// Of all parcels together.
    pub bytes: u64,
}

impl Default for Sent {
    fn default() -> Sent {
        Sent { age: Duration::from_secs(7 * 86_400), bytes: 64 << 20 }
    }
}

impl Caps {
    /// Chooses the parcels to give up, with the reason; `ready` is in order of age, `free` what the file system
    /// has left.
    pub fn choose(&self, ready: &[Ready], free: u64, now_us: i64) -> Vec<(EvidenceId, &'static str)> {
        let whole: Vec<&Ready> = ready.iter().filter(|parcel| parcel.manifest.withheld.is_none()).collect();
        let mut files = whole.len();
        let mut bytes: u64 = ready.iter().map(|parcel| parcel.total).sum();
        let mut free = free;
        let oldest_us = now_us.saturating_sub(i64::try_from(self.age.as_micros()).unwrap_or(i64::MAX));
        let middle = whole.get(ENDS..whole.len().saturating_sub(ENDS)).unwrap_or_default();
        let mut chosen = Vec::new();
        for parcel in middle {
            let reason = if bytes > self.bytes || free < self.free {
                "spool-bytes"
            } else if files > self.files {
                "spool-files"
            } else if parcel.manifest.found_us < oldest_us {
                "spool-age"
            } else {
                continue;
            };
            chosen.push((parcel.manifest.evidence_id, reason));
            files -= 1;
            bytes = bytes.saturating_sub(parcel.coded);
            free = free.saturating_add(parcel.coded);
        }
        chosen
    }
}
