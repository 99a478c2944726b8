//! The spool: a folder in which evidence is durable until somebody else has it.
//!
//! ```text
//! lock          held while an agent works here
//! incarnation   32 hex digits, made once: the life of this folder
//! service.json  the service that is trusted, and its keys
//! tmp/          being written; emptied at each start
//! sources/<id>  where evidence came from, with the digest of every record
//! ready/<id>.parcel   durable, waiting
//! held/<id>.parcel    durable, not taken by the service
//! sent/<id>.parcel    the service has it; kept a while, against a service that forgets
//! receipts.log  the receipts
//! boots/        the boots that were seen, and which of them ended cleanly
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use handover::canonical::Document;
use handover::manifest::{Manifest, Withheld};
use handover::parcel::{self, Coding, Head};
use handover::receipt::{Disposition, Envelope, Receipt};
use handover::{EvidenceId, Incarnation, Sha256, limits};

use crate::custody::{self, Entry, Origin, State};
use crate::disk::{self, Disk};
use crate::error::{Doing, Error};
use crate::gather::Evidence;
use crate::receipts::Log;

pub mod caps;

/// An open spool, locked against other agents.
pub struct Spool<'d> {
    disk: &'d dyn Disk,
    folder: PathBuf,
    incarnation: Incarnation,
    log: Log,
    entries: BTreeMap<EvidenceId, Entry>,
    by_record: HashMap<Sha256, Vec<EvidenceId>>,
    _lock: Box<dyn Send>,
}

/// A parcel that waits.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What is in it.
    pub manifest: Document<Manifest>,
    /// How they are coded.
    pub coding: Coding,
    /// Its coded bytes; 0 when they are withheld.
    pub coded: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

const FOLDERS: [&str; 6] = ["tmp", "sources", "ready", "held", "sent", "boots"];

impl<'d> Spool<'d> {
    /// Opens a spool, makes it if it is not there, and repairs what a stopped agent left: empties `tmp/`, cuts a
    /// torn receipt off, moves what has a receipt out of `ready/`.
    pub fn open(
        disk: &'d dyn Disk,
        folder: &Path,
        random: &dyn Fn(&mut [u8]) -> io::Result<()>,
    ) -> Result<Spool<'d>, Error> {
        make_folders(disk, folder)?;
        let lock = folder.join("lock");
        let lock = disk.lock(&lock).doing("locking", &lock)?.ok_or_else(|| Error::Busy(folder.to_owned()))?;

        let tmp = folder.join("tmp");
        for name in disk.list(&tmp).doing("reading", &tmp)? {
            let path = tmp.join(name);
            disk.unlink(&path).doing("removing", &path)?;
        }
        let mut spool = Spool {
            incarnation: incarnation(disk, folder, random)?,
            log: Log::open(disk, &folder.join("receipts.log"))?,
            entries: BTreeMap::new(),
            by_record: HashMap::new(),
            disk,
            folder: folder.to_owned(),
            _lock: lock,
        };
        for entry in custody::read_entries(disk, folder)?.into_values() {
            spool.index(entry);
        }
        for id in spool.parcels("ready")? {
            if spool.is_acked(&id) {
                spool.shift(&id, "ready", "sent")?;
            }
        }
        Ok(spool)
    }

    /// The life of a spool's folder, for those who only look.
    pub fn incarnation_of(disk: &dyn Disk, folder: &Path) -> Option<Incarnation> {
        let contents = disk.read(&folder.join("incarnation"), 64).ok()?;
        String::from_utf8_lossy(&contents.bytes).trim().parse().ok()
    }

    /// The life of this folder.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file system it is on.
    pub fn disk(&self) -> &'d dyn Disk {
        self.disk
    }

    /// The receipts it holds.
    pub fn receipts(&self) -> &Log {
        &self.log
    }

    /// Where a piece of evidence came from.
    pub fn entry(&self, id: &EvidenceId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Everything that `sources/` knows.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The evidence that already covers these records, by their bytes: they were left in place, or a run was
    /// stopped while it erased them. An entry without parcel and receipt covers nothing.
    pub fn covering(&self, records: &[Origin]) -> Option<EvidenceId> {
        let candidates = self.by_record.get(&records.first()?.sha256)?;
        let covers = |entry: &Entry| {
            records.iter().all(|record| entry.pieces.iter().any(|piece| piece.sha256 == record.sha256))
        };
        candidates
            .iter()
            .find(|id| self.entries.get(id).is_some_and(covers) && self.state(id) > State::Found)
            .copied()
    }

    /// Where a piece of evidence stands.
    pub fn state(&self, id: &EvidenceId) -> State {
        let acked = self.is_acked(id);
        if acked && self.entries.get(id).is_some_and(|entry| entry.erased) {
            State::Erased
        } else if acked {
            State::Acked
        } else if self.has("held", id) {
            State::Held
        } else if self.has("ready", id) && self.entries.contains_key(id) {
            State::Spooled
        } else {
            State::Found
        }
    }

    /// Makes evidence durable. Safe to repeat; what is there already stays as it is.
    pub fn keep(&mut self, evidence: &Evidence) -> Result<State, Error> {
        let id = evidence.manifest.evidence_id;
        let state = self.state(&id);
        if state > State::Found {
            return Ok(state);
        }
        let lost_before = self.entries.get(&id).map_or(0, |entry| entry.lost_before);
        self.write_entry(Entry { lost_before, ..evidence.entry.clone() })?;
        let target = self.path("ready", &id);
        let parcel = parcel::encode(&evidence.manifest, Some(&evidence.bytes))
            .map_err(|source| Error::Manifest { what: id.to_string(), source })?;
        disk::write_whole(self.disk, &self.tmp("parcel"), &target, &parcel).doing("writing", &target)?;
        Ok(State::Spooled)
    }

    /// The parcels that wait, with their manifests; oldest first. A damaged one is moved aside, so that its source
    /// is found again.
    pub fn ready(&self) -> Result<Vec<Ready>, Error> {
        let mut ready = Vec::new();
        for id in self.parcels("ready")? {
            match self.look_into("ready", &id)? {
                Some(parcel) => ready.push(parcel),
                None => self.set_aside("ready", &id)?,
            }
        }
        // Several crashes found in one look are put in the order in which they happened.
        ready.sort_by_key(|parcel| {
            let died_us = parcel.manifest.crash_time.as_ref().map(|time| time.us);
            (parcel.manifest.found_us, died_us, parcel.manifest.evidence_id)
        });
        Ok(ready)
    }

    /// Gives up the bytes of waiting parcels until the spool is within its caps: those in the middle, oldest first.
    /// The first two and the newest two stay whole, and of the others the manifest, by which each is still counted.
    /// Returns what was given up.
    pub fn withhold(&mut self, caps: &caps::Caps, now_us: i64) -> Result<Vec<EvidenceId>, Error> {
        let free = self.disk.free(&self.folder).doing("asking for the free space of", &self.folder)?;
        let mut given_up = Vec::new();
        for (id, reason) in caps.choose(&self.ready()?, free, now_us) {
            self.strip(&id, reason)?;
            given_up.push(id);
        }
        Ok(given_up)
    }

    /// Rewrites a waiting parcel without its body. The parcel goes first: were the entry first and the agent
    /// stopped between, a whole parcel would be delivered under a manifest that the entry does not know.
    fn strip(&mut self, id: &EvidenceId, reason: &str) -> Result<(), Error> {
        let Some(parcel) = self.look_into("ready", id)? else { return Ok(()) };
        let withheld = Some(Withheld { reason: reason.to_owned() });
        let manifest = Manifest { withheld, ..parcel.manifest.into_inner() };
        let wrong = |source| Error::Manifest { what: id.to_string(), source };
        let manifest = manifest.write().map_err(wrong)?;
        let bytes = parcel::encode(&manifest, None).map_err(wrong)?;
        let target = self.path("ready", id);
        disk::write_whole(self.disk, &self.tmp("parcel"), &target, &bytes).doing("writing", &target)?;
        match self.entries.get(id).cloned() {
            Some(entry) => {
                let manifest_sha256 = Sha256::of(manifest.bytes());
                self.write_entry(Entry { withheld: true, manifest_sha256, ..entry })
            }
            None => Ok(()),
        }
    }

    /// How many parcels wait.
    pub fn ready_count(&self) -> Result<usize, Error> {
        Ok(self.parcels("ready")?.len())
    }

    /// The parcels that the service did not take.
    pub fn held(&self) -> Result<Vec<EvidenceId>, Error> {
        self.parcels("held")
    }

    /// Opens a waiting parcel for sending.
    pub fn open_parcel(&self, id: &EvidenceId) -> Result<Box<dyn Read + Send>, Error> {
        let path = self.path("ready", id);
        self.disk.open(&path).doing("opening", &path)
    }

    /// Some of a waiting parcel's coded bytes: at most as many as one part holds.
    pub fn read_part(&self, parcel: &Ready, offset: u64) -> Result<Vec<u8>, Error> {
        let path = self.path("ready", &parcel.manifest.evidence_id);
        let mut file = self.disk.open(&path).doing("opening", &path)?;
        let before = (parcel::HEAD + parcel.manifest.bytes().len()) as u64 + offset;
        let mut part = Vec::new();
        io::copy(&mut (&mut file).take(before), &mut io::sink())
            .and_then(|_| file.take(limits::PART).read_to_end(&mut part))
            .doing("reading", &path)?;
        Ok(part)
    }

    /// Offers again what the service lost with receipts of earlier epochs: from `sent/`, else from the source, which
    /// counts as found again. Returns whether the bytes are still in the spool.
    pub fn send_again(&mut self, id: &EvidenceId, epoch: u64) -> Result<bool, Error> {
        let Some(entry) = self.entries.get(id).cloned() else { return Ok(false) };
        self.write_entry(Entry { lost_before: epoch, ..entry })?;
        let kept = ["sent", "ready", "held"].iter().any(|folder| self.has(folder, id));
        self.shift(id, "sent", "ready")?;
        Ok(kept)
    }

    /// Whether a waiting parcel still decodes to what its manifest says.
    pub fn is_sound(&self, id: &EvidenceId) -> Result<bool, Error> {
        let path = self.path("ready", id);
        let contents = self.disk.read(&path, limits::SMALL_DECODED).doing("reading", &path)?;
        Ok(parcel::open(&contents.bytes).is_ok_and(|p| p.manifest.withheld.is_some() || p.decode().is_ok()))
    }

    /// Keeps a verified receipt that takes custody, then moves the parcel to `sent/`.
    pub fn ack(&mut self, id: &EvidenceId, envelope: &Envelope, receipt: &Receipt) -> Result<(), Error> {
        self.log_receipt(envelope, receipt)?;
        self.shift(id, "ready", "sent")
    }

    /// Moves a parcel to `held/`, with the receipt that says so if there is one.
    pub fn hold(&mut self, id: &EvidenceId, why: Option<(&Envelope, &Receipt)>) -> Result<(), Error> {
        if let Some((envelope, receipt)) = why {
            self.log_receipt(envelope, receipt)?;
        }
        self.shift(id, "ready", "held")
    }

    /// Puts a held parcel back among those that wait.
    pub fn release(&mut self, id: &EvidenceId) -> Result<(), Error> {
        self.shift(id, "held", "ready")
    }

    /// Moves a parcel that does not decode any more out of the way, so that its source is spooled again.
    pub fn set_aside(&self, from: &str, id: &EvidenceId) -> Result<(), Error> {
        let (from, to) = (self.path(from, id), self.folder.join("held").join(format!("{id}.damaged")));
        disk::move_file(self.disk, &from, &to).doing("moving aside", &from)
    }

    /// Notes durably that the source of acked evidence is gone.
    pub fn mark_erased(&mut self, id: &EvidenceId) -> Result<(), Error> {
        match self.entries.get(id) {
            Some(entry) if !entry.erased => self.write_entry(Entry { erased: true, ..entry.clone() }),
            _ => Ok(()),
        }
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
        gone.iter().try_for_each(|id| self.mark_erased(id))
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

    /// A file of the spool that is written whole or not at all.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        disk::write_whole(self.disk, &self.tmp("file"), &path, bytes).doing("writing", &path)
    }

    fn is_acked(&self, id: &EvidenceId) -> bool {
        let receipt = self.log.get(id).and_then(|envelope| envelope.unverified().ok());
        let (withheld, lost_before) =
            self.entries.get(id).map_or((false, 0), |entry| (entry.withheld, entry.lost_before));
        receipt.is_some_and(|receipt| match receipt.disposition {
            _ if receipt.epoch < lost_before => false,
            Disposition::Counted => withheld,
            other => other.takes_custody(),
        })
    }

    fn log_receipt(&mut self, envelope: &Envelope, receipt: &Receipt) -> Result<(), Error> {
        // A repeated answer brings the same receipt again; one line of it is enough.
        if self.log.get(&receipt.evidence_id).is_some_and(|known| known.hash() == envelope.hash()) {
            return Ok(());
        }
        let path = self.folder.join("receipts.log");
        self.log.append(self.disk, &path, envelope, receipt)
    }

    fn look_into(&self, folder: &str, id: &EvidenceId) -> Result<Option<Ready>, Error> {
        let path = self.path(folder, id);
        let limit = (parcel::HEAD + limits::MANIFEST) as u64;
        let contents = self.disk.read(&path, limit).doing("reading", &path)?;
        let parsed = || {
            let head = Head::read(&contents.bytes).ok()?;
            let manifest = contents.bytes.get(parcel::HEAD..)?.get(..head.manifest as usize)?;
            let manifest = Manifest::read(manifest).ok()?;
            let whole = head.total() == Some(contents.stat.size) && manifest.evidence_id == *id;
            whole.then_some(Ready {
                manifest,
                coding: head.coding,
                coded: head.coded,
                total: contents.stat.size,
            })
        };
        Ok(parsed())
    }

    fn parcels(&self, folder: &str) -> Result<Vec<EvidenceId>, Error> {
        let path = self.folder.join(folder);
        let names = self.disk.list(&path).doing("reading", &path)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".parcel")?.parse().ok()).collect())
    }

    fn write_entry(&mut self, entry: Entry) -> Result<(), Error> {
        let path = self.folder.join("sources").join(entry.evidence_id.to_string());
        custody::write_entry(self.disk, &self.tmp("source"), &path, &entry)?;
        self.index(entry);
        Ok(())
    }

    fn index(&mut self, entry: Entry) {
        for piece in &entry.pieces {
            let ids = self.by_record.entry(piece.sha256).or_default();
            if !ids.contains(&entry.evidence_id) {
                ids.push(entry.evidence_id);
            }
        }
        self.entries.insert(entry.evidence_id, entry);
    }

    fn shift(&self, id: &EvidenceId, from: &str, to: &str) -> Result<(), Error> {
        let (from, to) = (self.path(from, id), self.path(to, id));
        match disk::move_file(self.disk, &from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.doing("moving", &from),
        }
    }

    fn has(&self, folder: &str, id: &EvidenceId) -> bool {
        self.disk.stat(&self.path(folder, id)).is_ok()
    }

    fn path(&self, folder: &str, id: &EvidenceId) -> PathBuf {
        self.folder.join(folder).join(format!("{id}.parcel"))
    }

    fn tmp(&self, name: &str) -> PathBuf {
        self.folder.join("tmp").join(name)
    }
}

fn make_folders(disk: &dyn Disk, folder: &Path) -> Result<(), Error> {
    let all_there = FOLDERS.iter().all(|name| disk.stat(&folder.join(name)).is_ok());
    if all_there {
        return Ok(());
    }
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| disk.stat(path).is_err()).collect();
    for path in missing.into_iter().rev().filter(|path| !path.as_os_str().is_empty()) {
        disk.make_folder(path).doing("making", path)?;
        sync_parent(disk, path)?;
    }
    for name in FOLDERS {
        let path = folder.join(name);
        disk.make_folder(&path).doing("making", &path)?;
    }
    disk.sync_folder(folder).doing("syncing", folder)
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => disk.sync_folder(parent).doing("syncing", parent),
        _ => disk.sync_folder(Path::new(".")).doing("syncing", Path::new(".")),
    }
}

fn incarnation(
    disk: &dyn Disk,
    folder: &Path,
    random: &dyn Fn(&mut [u8]) -> io::Result<()>,
) -> Result<Incarnation, Error> {
    let path = folder.join("incarnation");
    let known = match disk.read(&path, 64) {
        Ok(contents) => String::from_utf8_lossy(&contents.bytes).trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).doing("reading", &path),
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let mut bytes = [0; 16];
    random(&mut bytes).doing("drawing random bytes for", &path)?;
    let made = Incarnation::new(bytes);
    let tmp = folder.join("tmp").join("incarnation");
    disk::write_whole(disk, &tmp, &path, format!("{made}\n").as_bytes()).doing("writing", &path)?;
    Ok(made)
}
