//! Bytes of evidence: small ones a row of custody.db, large ones a file by the digest of what they decode to.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use handover::Sha256;
use handover::digest::{Hasher, Mismatch};
use handover::manifest::Manifest;
use handover::parcel::{Coding, decoder};

use crate::problem::{self, Error};
use crate::store::custody::Evidence;
use crate::store::writer::Bytes;

/// Coded evidence up to this is a row: measured four to eight times faster than a file and atomic with its
/// receipt. 30 KB of log are 8 KB coded.
const ROW: usize = 64 * 1024;
/// What evidence leaves free on the disk: room for 20,000 receipts, counts and boots, and for the log of SQLite.
const RESERVE: u64 = 64 << 20;
/// zstd's default level.
const LEVEL: i32 = 3;

/// The folder of the large ones.
#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Opens the folder, which is made if need be; what a killed upload left in it goes.
    pub fn open(data: &Path) -> Result<Blobs, Error> {
        let folder = data.join("blobs");
        let unfinished = folder.join("tmp");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::disk("clearing", &unfinished)(error));
            }
            _ => fs::create_dir_all(&unfinished).map_err(Error::disk("making the folder", &unfinished))?,
        }
        let parts = folder.join("parts");
        fs::create_dir_all(&parts).map_err(Error::disk("making the folder", &parts))?;
        Ok(Blobs { folder })
    }

    /// Whether so many bytes more leave room for the receipts of what is here or begun.
    pub fn has_room(&self, bytes: u64) -> Result<(), Error> {
        let free = nix::sys::statvfs::statvfs(&self.folder).map_err(io::Error::from);
        let free = free.map_err(Error::disk("asking for the room in", &self.folder))?;
        let free = free.blocks_available().saturating_mul(free.fragment_size());
        if free < bytes.saturating_add(RESERVE) {
            return Err(Error::disk("keeping room in", &self.folder)(io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// Makes checked bytes ready for their row, or durable in their file. The sender's coding is kept when it is
    /// zstd already.
    pub fn keep(&self, sha256: &Sha256, coding: Coding, coded: &[u8]) -> Result<Bytes, Error> {
        let path = self.path(sha256);
        let coded = match coding {
            Coding::Zstd => coded.to_vec(),
            Coding::Identity => zstd::encode_all(coded, LEVEL).map_err(Error::disk("coding", &path))?,
        };
        if coded.len() <= ROW {
            return Ok(Bytes::Row(coded));
        }
        if !path.exists() {
            let unfinished = self.unfinished(sha256);
            let mut file = File::create(&unfinished).map_err(Error::disk("creating", &unfinished))?;
            file.write_all(&coded).map_err(Error::disk("writing", &unfinished))?;
            durable(&file, &unfinished, &path)?;
        } else {
            self.met(&path)?;
        }
        Ok(Bytes::File)
    }

    /// Writes one part of an upload at its offset, durably. What lies behind it from a broken attempt goes.
    pub fn write_part(&self, upload: &[u8], offset: u64, part: &[u8]) -> Result<(), Error> {
        let path = self.part(upload);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::disk("opening", &path))?;
        let write = |file: &mut File| {
            file.set_len(offset)?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(part)?;
            file.sync_all()
        };
        write(&mut file).map_err(Error::disk("writing a part to", &path))?;
        if offset == 0 { sync_folder(&self.folder.join("parts")) } else { Ok(()) }
    }

    /// Checks a whole upload against its manifest and puts it where evidence is kept.
    pub fn adopt(&self, upload: &[u8], coding: Coding, manifest: &Manifest) -> Result<Bytes, Error> {
        let part = self.part(upload);
        check(&part, coding, manifest)?;
        let path = self.path(&manifest.sha256);
        if !path.exists() {
            let unfinished = self.unfinished(&manifest.sha256);
            match coding {
                // The upload stays until its receipt is committed: a kill before that finds it again.
                Coding::Zstd => {
                    fs::hard_link(&part, &unfinished).map_err(Error::disk("linking", &unfinished))?;
                }
                Coding::Identity => {
                    let code = || {
                        let to = File::create(&unfinished)?;
                        zstd::stream::copy_encode(File::open(&part)?, to, LEVEL)
                    };
                    code().map_err(Error::disk("coding to", &unfinished))?;
                }
            }
            let file = File::open(&unfinished).map_err(Error::disk("opening", &unfinished))?;
            durable(&file, &unfinished, &path)?;
        } else {
            self.met(&path)?;
        }
        Ok(Bytes::File)
    }

    /// Makes the name of a file durable that somebody else put there: perhaps just now, its folders not yet synced.
    fn met(&self, path: &Path) -> Result<(), Error> {
        sync_folder(path.parent().unwrap_or(path))?;
        sync_folder(&self.folder)
    }

    /// Removes the file of an upload, if there is one.
    pub fn drop_part(&self, upload: &[u8]) -> Result<(), Error> {
        let path = self.part(upload);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::disk("removing", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn part(&self, upload: &[u8]) -> PathBuf {
        self.folder.join("parts").join(hex::encode(upload))
    }

    fn unfinished(&self, sha256: &Sha256) -> PathBuf {
        self.unfinished_folder().join(format!("{sha256}-{}", crate::random::hex::<8>()))
    }

    /// The decoded bytes of some evidence as a stream; `None` when only its count is kept.
    pub fn stream(&self, evidence: &Evidence) -> Result<Option<Box<dyn Read + Send>>, Error> {
        let path = self.path(&evidence.sha256);
        let coded: Box<dyn Read + Send> = match (evidence.home, &evidence.bytes) {
            (None, _) => return Ok(None),
            (Some(_), Some(bytes)) => Box::new(io::Cursor::new(bytes.clone())),
            (Some(_), None) => Box::new(File::open(&path).map_err(Error::disk("opening evidence", &path))?),
        };
        let decoder = zstd::Decoder::new(coded).map_err(Error::disk("reading evidence", &path))?;
        Ok(Some(Box::new(decoder.take(evidence.size.unsigned_abs()))))
    }

    /// The decoded bytes of some evidence; `None` when only its count is kept. At most `size` bytes are decoded,
    /// and they are what was handed over, or it is an error.
    pub fn read(&self, evidence: &Evidence) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(&evidence.sha256);
        let decoded = match (evidence.home, &evidence.bytes) {
            (None, _) => return Ok(None),
            (Some(_), Some(bytes)) => decode(bytes.as_slice(), evidence.size),
            (Some(_), None) => File::open(&path).and_then(|file| decode(file, evidence.size)),
        };
        let decoded = decoded.map_err(Error::disk("reading evidence", &path))?;
        if Sha256::of(&decoded) != evidence.sha256 {
            let damaged =
                io::Error::new(io::ErrorKind::InvalidData, "its digest is not the one that was receipted");
            return Err(Error::disk("reading evidence", &path)(damaged));
        }
        Ok(Some(decoded))
    }

    /// Some evidence as a file of coded bytes; `None` when only its count is kept.
    pub fn coded(&self, evidence: &Evidence) -> Result<Option<Coded>, Error> {
        let path = match (evidence.home, &evidence.bytes) {
            (None, _) => return Ok(None),
            (Some(_), None) => return Ok(Some(Coded::Kept(self.path(&evidence.sha256)))),
            (Some(_), Some(bytes)) => {
                let path = self.unfinished(&evidence.sha256);
                fs::write(&path, bytes).map_err(Error::disk("writing", &path))?;
                path
            }
        };
        Ok(Some(Coded::Copy(path)))
    }

    /// The folder of all of them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where files are that are not finished; a start clears it.
    pub fn unfinished_folder(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    fn path(&self, sha256: &Sha256) -> PathBuf {
        let name = sha256.to_string();
        self.folder.join(&name[..2]).join(&name[2..])
    }
}

/// Coded bytes of evidence as a file. A copy goes when it is dropped.
#[derive(Debug)]
pub enum Coded {
    /// The kept file itself.
    Kept(PathBuf),
    /// What is a row otherwise.
    Copy(PathBuf),
}

impl Coded {
    /// Where it is.
    pub fn path(&self) -> &Path {
        let (Coded::Kept(path) | Coded::Copy(path)) = self;
        path
    }
}

impl Drop for Coded {
    fn drop(&mut self) {
        if let Coded::Copy(path) = self {
            // What stays behind goes at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

/// Syncs a finished file, renames it to where it belongs and syncs the folder, which is made if need be.
pub fn durable(file: &File, from: &Path, to: &Path) -> Result<(), Error> {
    file.sync_all().map_err(Error::disk("syncing", from))?;
    moved(from, to)?.iter().try_for_each(|folder| sync_folder(folder))
}

/// Renames a synced file to where it belongs, in a folder that is made if need be; the folders that are to be synced
/// before anybody relies on it.
pub fn moved(from: &Path, to: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = to.parent().unwrap_or(to);
    let mut changed = vec![folder.to_path_buf()];
    if !folder.exists() {
        fs::create_dir_all(folder).map_err(Error::disk("making the folder", folder))?;
        changed.extend(folder.parent().map(Path::to_path_buf));
    }
    fs::rename(from, to).map_err(Error::disk("renaming to", to))?;
    Ok(changed)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::disk("syncing the folder", folder))
}

/// Decodes an upload against its manifest; stops at one byte more than that announces.
fn check(part: &Path, coding: Coding, manifest: &Manifest) -> Result<(), Error> {
    let file = File::open(part).map_err(Error::disk("opening", part))?;
    let decoder = decoder(coding, file).map_err(|error| problem::of_bytes(&error))?;
    let mut decoder = decoder.take(manifest.size.saturating_add(1));
    let (mut hasher, mut size) = (Hasher::default(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) => return Err(problem::of_bytes(&handover::Error::Decode(error))),
        };
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
    if size != manifest.size {
        return Err(problem::of_bytes(&handover::Error::Size { found: size, announced: manifest.size }));
    }
    Mismatch::check("the evidence's SHA-256", &hasher.finish(), &manifest.sha256)
        .map_err(|error| problem::of_bytes(&error))
}

fn decode(coded: impl Read, size: i64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let decoder = decoder(Coding::Zstd, coded).map_err(io::Error::other)?;
    decoder.take(size.unsigned_abs()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_receipts_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        blobs.has_room(1).unwrap();
        let error = blobs.has_room(1 << 60).unwrap_err();
        assert_eq!(axum::response::IntoResponse::into_response(error).status(), 507);
    }
}
