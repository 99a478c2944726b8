//! The states of one piece of evidence on the node, and the one way out: erasing what a receipt covers.
//!
//! What is durable decides the state; there is no second record that could disagree (protocol, chapter 4):
//!
//! | state | is true when |
//! |---|---|
//! | found | nothing below is |
//! | spooled | `ready/<id>.parcel` and `sources/<id>` are there |
//! | held | `held/<id>.parcel` is there: the service did not take it, this node keeps it |
//! | acked | `receipts.log` holds a receipt by which the service took custody, or counted what is withheld |
//! | erased | `sources/<id>` says so |

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use handover::key::Keyring;
use handover::manifest::Kind;
use handover::receipt::Receipt;
use handover::{BootId, EvidenceId, NodeId, Sha256};
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Doing, Error};
use crate::spool::Spool;

/// An entry of `sources/`: 128 pieces with paths of some hundred bytes.
const ENTRY: u64 = 256 * 1024;

/// Where a piece of evidence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Seen; nothing durable of it is in the spool.
    Found,
    /// Durable in the spool, waiting to be handed over.
    Spooled,
    /// Not taken by the service; durable in the spool.
    Held,
    /// The service has it, and this node has the receipt.
    Acked,
    /// So, and the source was unlinked or is gone.
    Erased,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Found => "found",
            State::Spooled => "spooled",
            State::Held => "held",
            State::Acked => "acked",
            State::Erased => "erased",
        })
    }
}

/// `sources/<id>`: where evidence came from and what it was. Never sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which evidence.
    pub evidence_id: EvidenceId,
    /// What it is.
    pub kind: Kind,
    /// Where it was found: `pstore`, `kdump`, `journal`, …
    #[serde(default)]
    pub source: String,
    /// Its bytes, after redaction.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// Digest of the manifest it was spooled with.
    pub manifest_sha256: Sha256,
    /// When, by the node's clock, µs since 1970 UTC.
    pub found_us: i64,
    /// The boot that it is about, where the ledger knows it.
    #[serde(default)]
    pub dead_boot: Option<BootId>,
    /// The artifacts, in the order of the bytes.
    pub pieces: Vec<Origin>,
    /// Whether they are gone from where they were.
    pub erased: bool,
    /// Whether the bytes in the spool were given up, so that only the occurrence is handed over.
    #[serde(default)]
    pub withheld: bool,
    /// Receipts of epochs before this one say nothing any more: the service lost what they are about.
    #[serde(default)]
    pub lost_before: u64,
    /// The boot that it is about, where the ledger does not know it: derived from the first artifact.
    #[serde(default)]
    pub derived_boot: Option<BootId>,
    /// Whether the crash was asked for.
    #[serde(default)]
    pub drill: bool,
    /// When the service last did not take it, and who asked.
    #[serde(default)]
    pub held: Option<Held>,
    /// Of a dump: what was asked for when this was made. It is less, where that was too large.
    #[serde(default)]
    pub wanted: Option<Kind>,
    /// Whether its source was erased before a receipt, since the store was nearly full.
    #[serde(default)]
    pub emergency: bool,
}

/// When a service did not take something, and which agent it told so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// By the node's clock, µs since 1970 UTC.
    pub us: i64,
    /// The agent's version: a later one may be understood.
    pub version: String,
}

impl Held {
    /// Held now, by this agent.
    pub fn now(us: i64) -> Held {
        Held { us, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// One artifact as it was found, before redaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where.
    pub path: PathBuf,
    /// Its file system's device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time, µs since 1970 UTC.
    pub mtime_us: i64,
    /// Digest of its bytes.
    pub sha256: Sha256,
    /// Whether those were all its bytes. One that could not be read, or not in full, is never erased.
    pub whole: bool,
}

impl Entry {
    /// As it stands in its file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("an entry is a map with text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Whether a receipt lets go of the source: it verifies, and every id and digest in it is our own.
    fn allows_erasing(&self, node: &NodeId, receipt: &Receipt) -> bool {
        let own_manifest = receipt.manifest_sha256 == self.manifest_sha256
            || receipt.disposition == handover::receipt::Disposition::Duplicate;
        receipt.disposition.takes_custody()
            && receipt.epoch >= self.lost_before
            && receipt.evidence_id == self.evidence_id
            && receipt.node_id == *node
            && receipt.kind == self.kind
            && receipt.sha256 == self.sha256
            && receipt.size == self.size
            && own_manifest
    }
}

/// What became of an attempt to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// So many records were unlinked; the rest was gone already.
    Done(usize),
    /// Nothing was touched, for this reason.
    Kept(&'static str),
}

/// Unlinks the records of one piece of evidence: all of them or none, oldest first, and only while
///
/// - a receipt in the log verifies with a pinned key and covers exactly this evidence, and
/// - the bytes under each name are still those that were handed over. A ramoops slot or a recycled name may
///   hold the next crash by now.
///
/// `found` are the records as this run met them, perhaps fewer than the entry's: a run before may have been
/// stopped half-way.
pub fn erase(
    spool: &mut Spool<'_>,
    node: &NodeId,
    keys: &Keyring,
    id: &EvidenceId,
    found: &[Origin],
) -> Result<Erasure, Error> {
    let Some(entry) = spool.entry(id) else { return Ok(Erasure::Kept("where it came from is not known")) };
    let receipt = spool.receipts().get(id).map(|envelope| envelope.verify(keys));
    match receipt {
        None => return Ok(Erasure::Kept("there is no receipt for it")),
        Some(Err(_)) => return Ok(Erasure::Kept("its receipt does not verify")),
        Some(Ok(receipt)) if !entry.allows_erasing(node, &receipt) => {
            return Ok(Erasure::Kept("its receipt does not take custody"));
        }
        Some(Ok(_)) => {}
    }
    let present = match unchanged(spool.disk(), entry, found) {
        Ok(present) => present,
        Err(why) => return Ok(Erasure::Kept(why)),
    };
    let unlinked = unlink(spool.disk(), &present)?;
    spool.mark_erased(id)?;
    Ok(Erasure::Done(unlinked))
}

/// Unlinks records that no receipt covers yet, since the kernel's store has no room for the next crash. The spool must
/// be durable, and the parcel in it is read again before; it is noted before it happens.
pub fn erase_for_room(spool: &mut Spool<'_>, id: &EvidenceId, found: &[Origin]) -> Result<Erasure, Error> {
    let Some(entry) = spool.entry(id).cloned() else {
        return Ok(Erasure::Kept("where it came from is not known"));
    };
    let present = match unchanged(spool.disk(), &entry, found) {
        Ok(present) => present,
        Err(why) => return Ok(Erasure::Kept(why)),
    };
    if entry.withheld || !spool.is_sound(id)? {
        return Ok(Erasure::Kept("its parcel in the spool is not whole"));
    }
    spool.mark_emergency(id)?;
    Ok(Erasure::Done(unlink(spool.disk(), &present)?))
}

/// Those of the records that are still there, if all are what was spooled.
fn unchanged(disk: &dyn Disk, entry: &Entry, found: &[Origin]) -> Result<Vec<PathBuf>, &'static str> {
    let spooled = |sha256: &Sha256| entry.pieces.iter().any(|p| p.whole && p.sha256 == *sha256);
    let mut present = Vec::new();
    for origin in found {
        match sha256(disk, &origin.path) {
            Ok(Some(now)) if origin.whole && now == origin.sha256 && spooled(&now) => {
                present.push(origin.path.clone());
            }
            Ok(Some(_)) => return Err("its source has changed since"),
            Ok(None) => {}
            Err(_) => return Err("its source cannot be read any more"),
        }
    }
    Ok(present)
}

fn unlink(disk: &dyn Disk, present: &[PathBuf]) -> Result<usize, Error> {
    for path in present {
        match disk.unlink(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).doing("unlinking", path);
            }
            _ => {}
        }
    }
    sync_folders(disk, present)?;
    Ok(present.len())
}

/// The digest of what is under a name now; `None` when nothing is.
fn sha256(disk: &dyn Disk, path: &Path) -> io::Result<Option<Sha256>> {
    match disk.read(path, crate::source::PIECE) {
        Ok(contents) if contents.cut => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(contents) => Ok(Some(Sha256::of(&contents.bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sync_folders(disk: &dyn Disk, paths: &[PathBuf]) -> Result<(), Error> {
    let mut folders: Vec<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    folders.dedup();
    for folder in folders {
        match disk.sync_folder(folder) {
            // pstore keeps no folder on a disk: its unlink is durable by itself and its fsync says EINVAL.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced.doing("syncing", folder)?,
        }
    }
    Ok(())
}

/// The entries below `sources/`. One that cannot be read is as good as none: its records are spooled again, and
/// answered `duplicate`.
pub(crate) fn read_entries(disk: &dyn Disk, spool: &Path) -> Result<BTreeMap<EvidenceId, Entry>, Error> {
    let folder = spool.join("sources");
    let mut entries = BTreeMap::new();
    for name in disk.list(&folder).doing("reading", &folder)? {
        let path = folder.join(&name);
        let contents = disk.read(&path, ENTRY).doing("reading", &path)?;
        if let Ok(entry) = serde_json::from_slice::<Entry>(&contents.bytes) {
            entries.insert(entry.evidence_id, entry);
        }
    }
    Ok(entries)
}

/// Whether every path of an entry is free: nothing is left to erase. A journal's text never had one.
pub(crate) fn is_gone(disk: &dyn Disk, entry: &Entry) -> bool {
    let mut pieces = entry.pieces.iter();
    pieces.all(|piece| {
        piece.path.is_absolute()
            && disk.stat(&piece.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}
