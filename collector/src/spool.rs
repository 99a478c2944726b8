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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use handover::canonical::Document;
use handover::manifest::{Kind, Manifest, Withheld};
use handover::parcel::{self, Coding, Head};
use handover::receipt::{Disposition, Envelope, Receipt};
use handover::{EvidenceId, Incarnation, Sha256, limits};

use crate::custody::{self, Entry, Held, Origin, State};
use crate::disk::{self, Disk, Lot, Output, Stat};
use crate::error::{Doing, Error};
use crate::gather::{Body, Evidence};
use crate::receipts::Log;
use crate::source::Record;

pub mod caps;

/// An open spool, locked against other agents.
pub struct Spool<'d> {
    disk: &'d dyn Disk,
    folder: PathBuf,
    incarnation: Incarnation,
    log: Log,
    entries: BTreeMap<EvidenceId, Entry>,
    by_record: HashMap<Sha256, Vec<EvidenceId>>,
    staged: Staged<'d>,
    settled: Vec<Settled>,
    _lock: Box<dyn Send>,
}

/// What is being made durable: entries of `sources/` first, then the parcels that they are about.
struct Staged<'d> {
    entries: Lot<'d>,
    parcels: Lot<'d>,
    ids: BTreeSet<EvidenceId>,
    files: usize,
}

/// A parcel that goes elsewhere once its receipt is durable.
struct Settled {
    id: EvidenceId,
    receipt: Option<(Envelope, Receipt)>,
    to: &'static str,
}

/// Files that are made durable together. Each is open until then, and a process may have 1024.
const LOT: usize = 256;

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

/// How long an entry of `sources/` stays in any case, µs: 400 days, so that a record which is left in place for a year is
/// known when it is met again.
const SOURCES_US: i64 = 400 * DAY_US;

/// How long it stays once its source is gone: systemd's archive keeps a copy for a fortnight.
const GONE_US: i64 = 30 * DAY_US;

const DAY_US: i64 = 86_400_000_000;

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
            staged: Staged::new(disk),
            settled: Vec::new(),
            disk,
            folder: folder.to_owned(),
            _lock: lock,
        };
        for entry in custody::read_entries(disk, folder)?.into_values() {
            spool.index(entry);
        }
        let acked = spool.parcels("ready")?.into_iter().filter(|id| spool.is_acked(id));
        let acked: Vec<(EvidenceId, &str)> = acked.map(|id| (id, "sent")).collect();
        spool.shift(&acked, "ready")?;
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

    /// The evidence of a kind that was made of a file which is too long to be read again at each run: known by its place,
    /// its size and its times.
    pub fn made_of(&self, record: &Record, kind: &Kind) -> Option<&Entry> {
        let Stat { kind: _, size, mtime_us, device, inode } = record.stat;
        let is_it = |piece: &Origin| {
            piece.path == record.path
                && (piece.size, piece.mtime_us, piece.device, piece.inode) == (size, mtime_us, device, inode)
        };
        let made = |entry: &&Entry| entry.kind == *kind && entry.pieces.iter().any(is_it);
        self.entries.values().find(|entry| made(entry) && self.state(&entry.evidence_id) > State::Found)
    }

    /// Where a piece of evidence stands.
    pub fn state(&self, id: &EvidenceId) -> State {
        let acked = self.is_acked(id);
        if self.staged.ids.contains(id) {
            State::Spooled
        } else if acked && self.entries.get(id).is_some_and(|entry| entry.erased) {
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

    /// Takes evidence in, to be made durable by [`Spool::commit`] at the latest. Safe to repeat; what is there already
    /// stays as it is.
    pub fn keep(&mut self, evidence: &Evidence) -> Result<State, Error> {
        let id = evidence.manifest.evidence_id;
        let state = self.state(&id);
        if state > State::Found {
            return Ok(state);
        }
        let lost_before = self.entries.get(&id).map_or(0, |entry| entry.lost_before);
        // The entry first: one without a parcel counts for nothing, but a parcel without one would never be erased.
        self.stage_entry(Entry { lost_before, ..evidence.entry.clone() })?;
        let target = self.path("ready", &id);
        match &evidence.body {
            Body::Held(bytes) => {
                let parcel = parcel::encode(&evidence.manifest, Some(bytes))
                    .map_err(|source| Error::Manifest { what: id.to_string(), source })?;
                let tmp = self.tmp(&format!("{id}.parcel"));
                self.staged.parcels.write(tmp, target.clone(), &parcel).doing("writing", &target)?;
            }
            Body::Coded(coded) => self.copy_coded(&evidence.manifest, coded.coded, target)?,
        }
        self.staged.ids.insert(id);
        Ok(State::Spooled)
    }

    /// Makes durable what was taken in: the entries, then the parcels. After a failure it is as if none of it had been
    /// found; the next run finds it again.
    pub fn commit(&mut self) -> Result<(), Error> {
        let ids = std::mem::take(&mut self.staged.ids);
        let (mut entries, mut parcels) = self.staged.take(self.disk);
        let (sources, ready) = (self.folder.join("sources"), self.folder.join("ready"));
        let done = entries.commit().doing("writing into", &sources);
        let done = done.and_then(|()| parcels.commit().doing("writing into", &ready));
        if done.is_err() {
            ids.iter().for_each(|id| drop(self.entries.remove(id)));
        }
        done
    }

    /// A place for evidence that is too long to hold in memory, coded as it comes.
    pub fn body(&self) -> Result<Box<dyn Output>, Error> {
        let path = self.tmp("body");
        self.disk.create(&path).doing("creating", &path)
    }

    /// Puts what [`Spool::body`] holds behind its manifest.
    fn copy_coded(
        &mut self,
        manifest: &Document<Manifest>,
        coded: u64,
        target: PathBuf,
    ) -> Result<(), Error> {
        let (body, tmp) = (self.tmp("body"), self.tmp(&format!("{}.parcel", manifest.evidence_id)));
        let mut from = self.disk.open(&body).doing("opening", &body)?;
        let mut file = self.disk.create(&tmp).doing("creating", &tmp)?;
        let begin = parcel::begin(manifest, Coding::Zstd, coded);
        file.write_all(&begin).and_then(|()| io::copy(&mut from, &mut file)).doing("writing", &tmp)?;
        self.disk.unlink(&body).doing("removing", &body)?;
        self.staged.parcels.add(file, tmp, target);
        Ok(())
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

    /// How many parcels wait.
    pub fn ready_count(&self) -> Result<usize, Error> {
        Ok(self.parcels("ready")?.len())
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
        self.stage_entry(Entry { lost_before: epoch, ..entry })?;
        self.commit()?;
        let kept = ["sent", "ready", "held"].iter().any(|folder| self.has(folder, id));
        self.shift(&[(*id, "ready")], "sent")?;
        Ok(kept)
    }

    /// Whether a waiting parcel still decodes to what its manifest says.
    pub fn is_sound(&self, id: &EvidenceId) -> Result<bool, Error> {
        let Some(parcel) = self.look_into("ready", id)? else { return Ok(false) };
        if parcel.manifest.withheld.is_some() {
            return Ok(true);
        }
        let mut file = self.open_parcel(id)?;
        let before = (parcel::HEAD + parcel.manifest.bytes().len()) as u64;
        io::copy(&mut (&mut file).take(before), &mut io::sink()).doing("reading", &self.path("ready", id))?;
        Ok(parcel::decode_to(&mut io::sink(), parcel.coding, file, &parcel.manifest).is_ok())
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

    /// Notes what was asked for when a piece of evidence was made; durable after [`Spool::commit`].
    pub fn wish(&mut self, id: &EvidenceId, wanted: &Kind) -> Result<(), Error> {
        match self.entries.get(id) {
            Some(entry) if entry.wanted.as_ref() != Some(wanted) => {
                self.stage_entry(Entry { wanted: Some(wanted.clone()), ..entry.clone() })
            }
            _ => Ok(()),
        }
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

    /// A file of the spool that is written whole or not at all.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        disk::write_whole(self.disk, &self.tmp("file"), &path, bytes).doing("writing", &path)
    }

    fn is_acked(&self, id: &EvidenceId) -> bool {
        let (withheld, lost_before) =
            self.entries.get(id).map_or((false, 0), |entry| (entry.withheld, entry.lost_before));
        self.log.told(id).is_some_and(|receipt| match receipt.disposition {
            _ if receipt.epoch < lost_before => false,
            Disposition::Counted => withheld,
            other => other.takes_custody(),
        })
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

    /// Writes an entry, to be made durable with the others; when they are many, now.
    fn stage_entry(&mut self, entry: Entry) -> Result<(), Error> {
        let id = entry.evidence_id;
        let target = self.folder.join("sources").join(id.to_string());
        let tmp = self.tmp(&format!("{id}.source"));
        self.staged.entries.write(tmp, target.clone(), &entry.bytes()).doing("writing", &target)?;
        self.index(entry);
        self.staged.files += 1;
        if self.staged.files >= LOT { self.commit() } else { Ok(()) }
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

    /// Moves parcels out of a folder; one that is not there was moved before.
    fn shift(&self, moves: &[(EvidenceId, &str)], from: &str) -> Result<(), Error> {
        let paths: Vec<(PathBuf, PathBuf)> = moves
            .iter()
            .filter(|(id, _)| self.has(from, id))
            .map(|(id, to)| (self.path(from, id), self.path(to, id)))
            .collect();
        let moves = paths.iter().map(|(from, to)| (from.as_path(), to.as_path()));
        disk::move_files(self.disk, moves).doing("moving parcels out of", &self.folder.join(from))
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

impl<'d> Staged<'d> {
    fn new(disk: &'d dyn Disk) -> Staged<'d> {
        Staged { entries: Lot::new(disk), parcels: Lot::new(disk), ids: BTreeSet::new(), files: 0 }
    }

    /// The entries and the parcels; nothing is staged afterwards.
    fn take(&mut self, disk: &'d dyn Disk) -> (Lot<'d>, Lot<'d>) {
        let Staged { entries, parcels, .. } = std::mem::replace(self, Staged::new(disk));
        (entries, parcels)
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
