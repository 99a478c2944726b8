//! What the answers of a service change in a spool: acked, held, offered again, lost.

use std::io;

use handover::EvidenceId;
use handover::receipt::{Envelope, Receipt};

use super::{DAY_US, Spool};
use crate::custody::{Entry, Held};
use crate::disk;
use crate::error::{Doing, Error};

/// A parcel that goes elsewhere once its receipt is durable.
pub(super) struct Settled {
    id: EvidenceId,
    receipt: Option<(Envelope, Receipt)>,
    to: &'static str,
}

impl Spool<'_> {
    /// Offers again what the service lost with receipts of earlier epochs: from `sent/`, else from the source, which
    /// counts as found again. Returns whether the bytes are still in the spool.
    pub fn send_again(&mut self, id: &EvidenceId, epoch: u64) -> Result<bool, Error> {
        let Some(entry) = self.entries.get(id).cloned() else { return Ok(false) };
        self.stage_entry(Entry { lost_before: epoch, ..entry })?;
        self.commit()?;
        let kept = ["sent", "ready", "held"].iter().any(|folder| self.has(folder, id));
        self.shift(&[(*id, "ready")], "sent")?;
        Ok(kept)
    }

    /// Takes in a verified receipt by which the service took custody. It is durable, and its parcel in `sent/`, after
    /// [`Spool::settle`].
    pub fn ack(&mut self, id: &EvidenceId, envelope: &Envelope, receipt: &Receipt) {
        let receipt = Some((envelope.clone(), receipt.clone()));
        self.settled.push(Settled { id: *id, receipt, to: "sent" });
    }

    /// Puts a parcel aside that the service did not take, with the receipt that says so if there is one. Durable after
    /// [`Spool::settle`].
    pub fn hold(&mut self, id: &EvidenceId, why: Option<(&Envelope, &Receipt)>) {
        let receipt = why.map(|(envelope, receipt)| (envelope.clone(), receipt.clone()));
        self.settled.push(Settled { id: *id, receipt, to: "held" });
    }

    /// Makes durable what answers brought: the receipts, with one fsync for all, and only then the moves.
    pub fn settle(&mut self, now_us: i64) -> Result<(), Error> {
        let settled = std::mem::take(&mut self.settled);
        for Settled { id, receipt: _, to } in &settled {
            if let ("held", Some(entry)) = (*to, self.entries.get(id).cloned()) {
                self.stage_entry(Entry { held: Some(Held::now(now_us)), ..entry })?;
            }
        }
        self.commit()?;
        let moves: Vec<(EvidenceId, &str)> = settled.iter().map(|settled| (settled.id, settled.to)).collect();
        let receipts: Vec<(Envelope, Receipt)> =
            settled.into_iter().filter_map(|settled| settled.receipt).collect();
        self.log.append(self.disk, &self.folder.join("receipts.log"), &receipts)?;
        self.shift(&moves, "ready")
    }

    /// Keeps receipts that were missing between those at hand.
    pub fn fill_in(&mut self, receipts: &[(Envelope, Receipt)]) -> Result<(), Error> {
        self.log.append(self.disk, &self.folder.join("receipts.log"), receipts)
    }

    /// The parcels that the service did not take.
    pub fn held(&self) -> Result<Vec<EvidenceId>, Error> {
        self.parcels("held")
    }

    /// Whether held evidence is to be offered again: a day after the service did not take it, or as long after as it said;
    /// and at once by an agent of another version, which may be understood.
    pub fn is_due(&self, id: &EvidenceId, now_us: i64) -> bool {
        let Some(held) = self.entries.get(id).and_then(|entry| entry.held.as_ref()) else { return true };
        let after_s = self.log.told(id).and_then(|told| told.retry_after_s);
        let after_us =
            after_s.map_or(DAY_US, |s| i64::try_from(s.saturating_mul(1_000_000)).unwrap_or(DAY_US));
        // A clock that was set back must not make it wait for ever.
        held.version != Held::now(0).version || !(0..after_us).contains(&now_us.saturating_sub(held.us))
    }

    /// Puts held parcels back among those that wait.
    pub fn release(&mut self, ids: &[EvidenceId]) -> Result<(), Error> {
        let moves: Vec<(EvidenceId, &str)> = ids.iter().map(|id| (*id, "ready")).collect();
        self.shift(&moves, "held")
    }

    /// Lets a held parcel go, for which a smaller one was made of the same dump. The dump is where it was.
    pub fn let_go(&self, id: &EvidenceId) -> Result<(), Error> {
        let path = self.path("held", id);
        match self.disk.unlink(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("removing", &path),
            _ => Ok(()),
        }
    }

    /// Moves a parcel that does not decode any more out of the way, so that its source is spooled again.
    pub fn set_aside(&self, from: &str, id: &EvidenceId) -> Result<(), Error> {
        let (from, to) = (self.path(from, id), self.folder.join("held").join(format!("{id}.damaged")));
        disk::move_file(self.disk, &from, &to).doing("moving aside", &from)
    }
}
