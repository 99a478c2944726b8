//! What a spool gives up, forgets and notes as gone, so that it stays within its caps.

use handover::manifest::{Manifest, Withheld};
use handover::{EvidenceId, Sha256, parcel};

use super::{DAY_US, LOT, Spool, caps};
use crate::custody::{self, Entry};
use crate::disk::Lot;
use crate::error::{Doing, Error};

/// How long an entry of `sources/` stays in any case, µs: 400 days, so that a record which is left in place for a year is
/// known when it is met again.
const SOURCES_US: i64 = 400 * DAY_US;

/// How long it stays once its source is gone: systemd's archive keeps a copy for a fortnight.
const GONE_US: i64 = 30 * DAY_US;

impl Spool<'_> {
    /// Gives up the bytes of waiting parcels until the spool is within its caps: those in the middle, oldest first.
    /// The first two and the newest two stay whole, and of the others the manifest, by which each is still counted.
    /// Returns what was given up.
    pub fn withhold(&mut self, caps: &caps::Caps, now_us: i64) -> Result<Vec<EvidenceId>, Error> {
        let free = self.disk.free(&self.folder).doing("asking for the free space of", &self.folder)?;
        let chosen = caps.choose(&self.ready()?, free, now_us);
        chosen.chunks(LOT).try_for_each(|lot| self.strip(lot))?;
        Ok(chosen.into_iter().map(|(id, _)| id).collect())
    }

    /// Rewrites waiting parcels without their bodies. The parcels go first: were the entry first and the agent
    /// stopped between, a whole parcel would be delivered under a manifest that the entry does not know.
    fn strip(&mut self, lot: &[(EvidenceId, &'static str)]) -> Result<(), Error> {
        let mut parcels = Lot::new(self.disk);
        let mut entries = Vec::new();
        for (id, reason) in lot {
            let Some(parcel) = self.look_into("ready", id)? else { continue };
            let withheld = Some(Withheld { reason: (*reason).to_owned() });
            let manifest = Manifest { withheld, ..parcel.manifest.into_inner() };
            let wrong = |source| Error::Manifest { what: id.to_string(), source };
            let manifest = manifest.write().map_err(wrong)?;
            let bytes = parcel::encode(&manifest, None).map_err(wrong)?;
            let target = self.path("ready", id);
            let tmp = self.tmp(&format!("{id}.parcel"));
            parcels.write(tmp, target.clone(), &bytes).doing("writing", &target)?;
            let manifest_sha256 = Sha256::of(manifest.bytes());
            let entry = self.entries.get(id).cloned();
            entries.extend(entry.map(|entry| Entry { withheld: true, manifest_sha256, ..entry }));
        }
        parcels.commit().doing("writing into", &self.folder.join("ready"))?;
        entries.into_iter().try_for_each(|entry| self.stage_entry(entry))?;
        self.commit()
    }

    /// Notes that the source of evidence is gone; durable after [`Spool::commit`].
    pub fn mark_erased(&mut self, id: &EvidenceId) -> Result<(), Error> {
        match self.entries.get(id) {
            Some(entry) if !entry.erased => self.stage_entry(Entry { erased: true, ..entry.clone() }),
            _ => Ok(()),
        }
    }

    /// Notes durably, before it happens, that a source is erased which no receipt covers yet.
    pub fn mark_emergency(&mut self, id: &EvidenceId) -> Result<(), Error> {
        let Some(entry) = self.entries.get(id).cloned() else { return Ok(()) };
        self.stage_entry(Entry { emergency: true, ..entry })?;
        self.commit()
    }

    /// Marks acked evidence whose source is gone: systemd moved it, or an agent was stopped between unlinking and
    /// marking.
    pub fn mark_what_is_gone(&mut self) -> Result<(), Error> {
        let gone: Vec<EvidenceId> = self
            .entries
            .values()
            .filter(|entry| !entry.erased && self.is_acked(&entry.evidence_id))
            .filter(|entry| custody::is_gone(self.disk, entry))
            .map(|entry| entry.evidence_id)
            .collect();
        gone.iter().try_for_each(|id| self.mark_erased(id))?;
        self.commit()
    }

    /// Drops entries of `sources/` that stop nothing any more: of what is with the service and not in `sent/`, those
    /// whose source is gone for a month, and all after 400 days. Losing one only makes a `duplicate` of its evidence,
    /// should it be found again.
    pub fn trim_sources(&mut self, now_us: i64) -> Result<(), Error> {
        let stale = |entry: &&Entry| {
            let age_us = now_us.saturating_sub(entry.found_us);
            age_us > SOURCES_US || (entry.erased && age_us > GONE_US)
        };
        let candidates: Vec<EvidenceId> =
            self.entries.values().filter(stale).map(|entry| entry.evidence_id).collect();
        for id in candidates {
            if self.is_acked(&id) && !self.has("sent", &id) && !self.has("ready", &id) {
                let path = self.folder.join("sources").join(id.to_string());
                self.disk.unlink(&path).doing("removing", &path)?;
                self.entries.remove(&id);
            }
        }
        Ok(())
    }

    /// Drops what `sent/` keeps beyond its cap, oldest first.
    pub fn trim_sent(&self, cap: caps::Sent, now_us: i64) -> Result<(), Error> {
        let mut sent = Vec::new();
        for id in self.parcels("sent")? {
            let path = self.path("sent", &id);
            let stat = self.disk.stat(&path).doing("looking at", &path)?;
            sent.push((stat.mtime_us, stat.size, path));
        }
        sent.sort_unstable_by(|a, b| b.cmp(a));
        let oldest_us = now_us.saturating_sub(i64::try_from(cap.age.as_micros()).unwrap_or(i64::MAX));
        let mut bytes = 0u64;
        for (mtime_us, size, path) in sent {
            bytes = bytes.saturating_add(size);
            if bytes > cap.bytes || mtime_us < oldest_us {
                self.disk.unlink(&path).doing("removing", &path)?;
            }
        }
        Ok(())
    }
}
