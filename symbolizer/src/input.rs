//! What the command line names, as crashes to read: a file, a folder of records, standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use report::pstore::{self, Found};
use report::{Parsed, Piece, Profile};

use crate::error::Error;

/// A console log of days has some hundred MB; what stands behind that is left out, and said so.
const MAX_BYTES: u64 = 256 << 20;
/// A pstore folder has dozens of files, the fuzzing corpus thousands.
const MAX_ENTRIES: usize = 1 << 17;

/// One crash: all that is to be read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The file, or the folder of the records; `-` for standard input.
    pub name: String,
    /// Name and contents, in reading order.
    pub pieces: Vec<(String, Vec<u8>)>,
    /// A piece was longer than we read.
    pub cut: bool,
    /// The pieces are pstore records: what a machine left, not what a fuzzer's console showed.
    pub records: bool,
}

impl Case {
    /// Reads the pieces.
    pub fn parse(&self, profile: Profile) -> Parsed {
        let pieces: Vec<Piece<'_>> = self.pieces.iter().map(|(name, bytes)| Piece { name, bytes }).collect();
        report::read_with(&pieces, profile)
    }
}

/// Whether a file is a dump of memory rather than a log, by its first bytes.
pub fn is_dump(path: &Path) -> bool {
    let mut head = [0; 32];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|count| vmcore::is_dump(&head[..count]))
}

/// Standard input, as one log.
pub fn standard_input() -> Result<Case, Error> {
    let (bytes, cut) = read_capped(std::io::stdin().lock()).map_err(|e| e.at(Path::new("-")))?;
    Ok(Case { name: "-".into(), pieces: vec![("-".into(), bytes)], cut, records: false })
}

/// A file is one log. In a folder the pstore records of each crash are one case, every other file is one, and so is
/// each sub-folder that holds records.
pub fn path(path: &Path) -> Result<Vec<Case>, Error> {
    let meta = std::fs::metadata(path).map_err(Error::io("open")).map_err(|e| e.at(path))?;
    if !meta.is_dir() {
        let case = file(path, &path.to_string_lossy())?;
        let object = case.pieces.iter().any(|(_, bytes)| bytes.starts_with(b"\x7fELF"));
        return if object { Err(Error::NotALog.at(path)) } else { Ok(vec![case]) };
    }
    let mut cases = Vec::new();
    let (files, folders) = entries(path)?;
    cases.extend(records(path, &files)?);
    for path in files.iter().filter(|path| !is_record(path)) {
        cases.push(file(path, &name_of(path))?);
    }
    for folder in folders {
        let (files, _) = entries(&folder)?;
        cases.extend(records(&folder, &files)?);
    }
    Ok(cases)
}

fn file(path: &Path, name: &str) -> Result<Case, Error> {
    let open = std::fs::File::open(path).map_err(Error::io("open"));
    let (bytes, cut) = open.and_then(read_capped).map_err(|e| e.at(path))?;
    Ok(Case { name: name.into(), pieces: vec![(name_of(path), bytes)], cut, records: false })
}

/// The crashes among the records of one folder.
fn records(folder: &Path, files: &[PathBuf]) -> Result<Vec<Case>, Error> {
    let mut read = Vec::new();
    for path in files.iter().filter(|path| is_record(path)) {
        let mtime = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let since = mtime.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mtime_us = since.and_then(|since| i64::try_from(since.as_micros()).ok());
        let mut case = file(path, &name_of(path))?;
        let (name, bytes) = case.pieces.remove(0);
        // What the kernel could not decompress has a name that ends in `.enc.z`.
        let bytes = match name.strip_suffix(".enc.z").and_then(|_| pstore::decompress(&bytes)) {
            Some(decompressed) => decompressed.text,
            None => bytes,
        };
        read.push((name, bytes, mtime_us, case.cut));
    }
    let found: Vec<Found<'_>> = read
        .iter()
        .map(|(name, bytes, mtime_us, _)| Found { name, mtime_us: *mtime_us, head: bytes })
        .collect();
    let groups = pstore::group(&found);
    let mut cases = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let folder = name_of(folder);
        let name = if groups.len() == 1 { folder } else { format!("{folder}#{}", number + 1) };
        let pieces = group.records.iter().filter_map(|&at| read.get(at));
        let cut = pieces.clone().any(|(.., cut)| *cut);
        let pieces = pieces.map(|(name, bytes, ..)| (name.clone(), bytes.clone())).collect();
        cases.push(Case { name, pieces, cut, records: true });
    }
    Ok(cases)
}

fn is_record(path: &Path) -> bool {
    pstore::parse_name(&name_of(path)).is_some()
}

fn name_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Files and folders, each in the order of their names; what is hidden or a `truth.json` beside a fixture is no log.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let listed = std::fs::read_dir(folder).map_err(Error::io("list")).map_err(|e| e.at(folder))?;
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in listed.take(MAX_ENTRIES) {
        let path = entry.map_err(Error::io("list")).map_err(|e| e.at(folder))?.path();
        let name = name_of(&path);
        if name.starts_with('.') || name.ends_with(".json") {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn read_capped(from: impl Read) -> Result<(Vec<u8>, bool), Error> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read"))?;
    let cut = bytes.len() as u64 > MAX_BYTES;
    bytes.truncate(MAX_BYTES as usize);
    Ok((bytes, cut))
}
