//! Prints one JSON line for each log of a folder, in the form that the scorer of the corpus reads.
//!
//! `titles [--production] DIR`; an entry of DIR is a log, or a folder of the pstore records of one crash.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use report::{Piece, Profile, read_with, summary};

fn main() -> io::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let production = arguments.iter().position(|argument| argument == "--production");
    let profile = match production {
        Some(at) => {
            arguments.remove(at);
            Profile::Production
        }
        None => Profile::Scoring,
    };
    let folder = arguments.pop().ok_or_else(|| io::Error::other("usage: titles [--production] DIR"))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let pieces = pieces(&entry.path())?;
        let pieces: Vec<Piece<'_>> = pieces.iter().map(|(name, bytes)| Piece { name, bytes }).collect();
        let parsed = read_with(&pieces, profile);
        let line =
            serde_json::json!({ "file": entry.file_name().to_string_lossy(), "reports": summary(&parsed) });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn pieces(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    if !path.is_dir() {
        return Ok(vec![(String::new(), fs::read(path)?)]);
    }
    let mut pieces = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if report::pstore::parse_name(&name).is_some() {
            pieces.push((name, fs::read(entry.path())?));
        }
    }
    Ok(pieces)
}
