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
//! drill.json    the last drill
//! readiness.json  what the doctor found, until it was told
//! attempts.json   how often handing over failed, until it succeeds
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use handover::canonical::Document;
use handover::manifest::{Kind, Manifest};
use handover::parcel::{self, Coding, Head};
use handover::receipt::Disposition;
use handover::{EvidenceId, Incarnation, Sha256, limits};

use crate::custody::{self, Entry, Origin, State};
use crate::disk::{self, Disk, Lot, Output, Stat};
use crate::error::{Doing, Error};
use crate::gather::{Body, Evidence};
use crate::receipts::Log;
use crate::source::Record;

mod answers;
pub mod caps;
mod trim;

/// An open spool, locked against other agents.
pub struct Spool<'d> {
    disk: &'d dyn Disk,
    folder: PathBuf,
    incarnation: Incarnation,
    log: Log,
    entries: BTreeMap<EvidenceId, Entry>,
    by_record: HashMap<Sha256, Vec<EvidenceId>>,
    staged: Staged<'d>,
    settled: Vec<answers::Settled>,
    _lock: Box<dyn Send>,
}

/// What is being made durable: entries of `sources/` first, then the parcels that they are about.
struct Staged<'d> {
    entries: Lot<'d>,
    parcels: Lot<'d>,
    ids: BTreeSet<EvidenceId>,
    files: usize,
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

/// A day, in µs.
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
        let Stat { size, mtime_us, device, inode, .. } = record.stat;
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

    /// How many parcels wait.
    pub fn ready_count(&self) -> Result<usize, Error> {
        Ok(self.parcels("ready")?.len())
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

    /// Notes what was asked for when a piece of evidence was made; durable after [`Spool::commit`].
    pub fn wish(&mut self, id: &EvidenceId, wanted: &Kind) -> Result<(), Error> {
        match self.entries.get(id) {
            Some(entry) if entry.wanted.as_ref() != Some(wanted) => {
                self.stage_entry(Entry { wanted: Some(wanted.clone()), ..entry.clone() })
            }
            _ => Ok(()),
        }
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
