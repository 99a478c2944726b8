//! Verifying `receipts.log` offline: checksums, signatures, the chain, and what the receipts say of this spool.

use std::path::Path;

use handover::chain::{Broken, Chain};
use handover::key::Keyring;
use handover::parcel::{self, Head};
use handover::receipt::{Disposition, Receipt};
use handover::{EvidenceId, Sha256, limits};
use serde::Serialize;

use crate::custody::{self, Entry};
use crate::disk::Disk;
use crate::error::Error;
use crate::receipts::{Log, text};

/// What a look at the receipts brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Receipts whose signature verifies with a trusted key.
    pub verified: usize,
    /// Receipts that the node never got. They exist on the service; nothing is wrong with those at hand.
    pub gaps: Vec<String>,
    /// What must not be: a bad signature, a fork, a receipt that contradicts this spool, a damaged line.
    pub faults: Vec<String>,
}

/// Verifies the receipts in a spool's folder with the given keys. Reads only; needs no lock and no network.
pub fn verify(disk: &dyn Disk, folder: &Path, keys: &Keyring) -> Result<Findings, Error> {
    let path = folder.join("receipts.log");
    let text = text(disk, &path)?;
    let length = text.len();
    let (log, whole) = Log::read(text);
    let entries = custody::read_entries(disk, folder)?;
    let mut findings = Findings::default();
    if log.damaged() > 0 {
        findings.faults.push(format!("{} damaged lines", log.damaged()));
    }
    if whole < length {
        findings.faults.push("the last line is torn; the agent's next start cuts it off".to_owned());
    }
    let mut chain = Chain::default();
    for envelope in log.iter() {
        let receipt = match envelope.verify(keys) {
            Ok(receipt) => receipt,
            Err(error) => {
                findings.faults.push(format!("receipt {}: {error}", envelope.hash()));
                continue;
            }
        };
        findings.verified += 1;
        let number = format!("receipt {} of epoch {}", receipt.seq, receipt.epoch);
        if let Err(broken) = chain.add(&envelope, &receipt) {
            findings.faults.push(broken.to_string());
        }
        if let Some(entry) = entries.get(&receipt.evidence_id)
            && let Some(what) = contradiction(entry, &receipt)
        {
            findings.faults.push(format!("{number}: {what} is not that of sources/{}", receipt.evidence_id));
        }
        if let Some(digest) = parcel_manifest(disk, folder, &receipt.evidence_id)
            && receipt.disposition != Disposition::Duplicate
            && digest != receipt.manifest_sha256
        {
            findings.faults.push(format!("{number}: the manifest is not that of the parcel at hand"));
        }
    }
    for broken in chain.check() {
        match broken {
            Broken::Gap { .. } => findings.gaps.push(broken.to_string()),
            Broken::Fork { .. } | Broken::Link { .. } => findings.faults.push(broken.to_string()),
        }
    }
    Ok(findings)
}

/// What differs between a receipt and what was spooled.
fn contradiction(entry: &Entry, receipt: &Receipt) -> Option<&'static str> {
    if receipt.sha256 != entry.sha256 {
        Some("the SHA-256")
    } else if receipt.size != entry.size {
        Some("the size")
    } else if receipt.kind != entry.kind {
        Some("the kind")
    } else {
        None
    }
}

/// The digest of the manifest in a parcel that is still at hand.
fn parcel_manifest(disk: &dyn Disk, folder: &Path, id: &EvidenceId) -> Option<Sha256> {
    let limit = (parcel::HEAD + limits::MANIFEST) as u64;
    ["sent", "held", "ready"].iter().find_map(|name| {
        let bytes = disk.read(&folder.join(name).join(format!("{id}.parcel")), limit).ok()?.bytes;
        let head = Head::read(&bytes).ok()?;
        Some(Sha256::of(bytes.get(parcel::HEAD..)?.get(..head.manifest as usize)?))
    })
}
