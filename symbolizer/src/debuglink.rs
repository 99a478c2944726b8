//! Other files that an object names: its separate debug file, and the file that dwz shares between objects.

use std::path::{Path, PathBuf};

use gimli::Dwarf;
use report::BuildId;

use crate::bytes::Bytes;
use crate::dwarf::Sections;
use crate::elf::{Elf, string_at};
use crate::error::{Error, chain};
use crate::unit::Slice;

/// Where distributions put debug files.
const DEBUG_ROOT: &str = "/usr/lib/debug";

/// A supplementary file, opened and its build-id compared.
#[derive(Debug)]
pub(crate) struct Alternative {
    bytes: Bytes,
    sections: Sections,
}

impl Alternative {
    pub fn dwarf(&self) -> Dwarf<Slice<'_>> {
        self.sections.dwarf(&self.bytes)
    }
}

/// `.gnu_debuglink`: a file name, padded to 4 bytes, and the CRC-32 of that file. `None` when there is no such section,
/// or no file with that checksum beside the object, in `.debug` below it, or in the system's debug folder.
pub(crate) fn find(elf: &Elf, bytes: &[u8], path: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(section) = elf.section(".gnu_debuglink") else { return Ok(None) };
    let raw = elf.raw(bytes, section)?;
    let name = string_at(raw, 0);
    let sum = raw.get((name.len() + 1).next_multiple_of(4)..).and_then(|rest| rest.first_chunk());
    let damaged = || Error::Elf(".gnu_debuglink is cut short".into());
    let sum = sum.map(|sum| u32::from_le_bytes(*sum)).ok_or_else(damaged)?;
    let name = std::str::from_utf8(name).ok().filter(|name| is_file_name(name));
    let name = name.ok_or_else(|| Error::Elf(".gnu_debuglink names no file".into()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let system = Path::new(DEBUG_ROOT).join(absolute.strip_prefix("/").unwrap_or(&absolute));
    let places = [folder.join(name), folder.join(".debug").join(name), system.join(name)];
    Ok(places.into_iter().find(|place| place != path && has_sum(place, sum)))
}

/// An uploaded object must not make us open what it likes.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

fn has_sum(path: &Path, sum: u32) -> bool {
    let Ok(bytes) = Bytes::map(path) else { return false };
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    crc.sum() == sum
}

/// `.gnu_debugaltlink`: a path and a build-id. Without that file names of functions would be missing, so that not
/// to find it is an error.
pub(crate) fn alternative(elf: &Elf, bytes: &[u8], path: &Path) -> Result<Option<Alternative>, Error> {
    let Some(section) = elf.section(".gnu_debugaltlink") else { return Ok(None) };
    let raw = elf.raw(bytes, section)?;
    let name = string_at(raw, 0);
    let damaged = || Error::Elf(".gnu_debugaltlink is cut short".into());
    let wanted = raw.get(name.len() + 1..).and_then(|id| BuildId::new(id).ok()).ok_or_else(damaged)?;
    let hex = wanted.to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = Path::new(std::str::from_utf8(name).map_err(|_| damaged())?);
    let by_id = Path::new(".build-id").join(&hex[..2]).join(format!("{}.debug", &hex[2..]));
    let beside = file.file_name().unwrap_or_default();
    // The build-id decides, so that a path chosen by an uploader leads to nothing but that very file.
    let places = [
        folder.join(file),
        folder.join(beside),
        folder.join(".dwz").join(beside),
        folder.join(&by_id),
        Path::new(DEBUG_ROOT).join(&by_id),
    ];
    let mut reasons = Vec::new();
    for place in places.iter().filter(|place| place.is_file()) {
        match open(place, &wanted) {
            Ok(alternative) => return Ok(Some(alternative)),
            Err(e) => reasons.push(chain(&e.at(place))),
        }
    }
    Err(Error::MissingAltFile {
        build_id: wanted,
        name: file.display().to_string(),
        reasons: reasons.join("; "),
    })
}

fn open(path: &Path, wanted: &BuildId) -> Result<Alternative, Error> {
    let bytes = Bytes::map(path)?;
    let elf = Elf::parse(&bytes)?;
    match elf.build_id(&bytes) {
        Some(found) if found == *wanted => {}
        Some(found) => return Err(Error::BuildIdMismatch { expected: wanted.clone(), found }),
        None => return Err(Error::Elf("no build-id".into())),
    }
    let sections = Sections::load(&elf, &bytes)?;
    Ok(Alternative { bytes, sections })
}
