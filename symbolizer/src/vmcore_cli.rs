//! `lastwords-decode vmcore …`: what a dump of memory holds, without any debug file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use symbolizer::Library;
use symbolizer::dump::annotate_tasks;
use symbolizer::terminal::shown;
use vmcore::{Dump, Note, Progress};

use crate::cli::{Failure, style};
use crate::patience::Patience;

/// What to read from a dump.
#[derive(Debug, Subcommand)]
pub enum Vmcore {
    /// The kernel log, as `dmesg` would print it.
    Log(Plain),
    /// The crash as a whole: kernel, time, CPU, task, registers, modules.
    Facts(Source),
    /// All tasks with their stacks.
    Tasks(Source),
    /// Write a small dump that holds only what matters: log, symbols, types, tasks, stacks.
    Extract(Extract),
}

/// A dump.
#[derive(Debug, Args)]
pub struct Plain {
    /// An ELF or KDUMP vmcore, flattened or not, also packed with zstd, gzip or xz.
    dump: PathBuf,
}

/// A dump and a form.
#[derive(Debug, Args)]
pub struct Source {
    /// An ELF or KDUMP vmcore, flattened or not, also packed with zstd, gzip or xz.
    dump: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A dump and where to write.
#[derive(Debug, Args)]
pub struct Extract {
    /// The dump to read.
    dump: PathBuf,
    /// The ELF vmcore to write.
    out: PathBuf,
}

pub fn run(command: &Vmcore, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Vmcore::Log(Plain { dump }) => {
            let dump = open(dump)?;
            let log = dump.log();
            out.write_all(log.text.as_bytes())?;
            notes(dump.notes().iter().chain(&log.notes));
        }
        Vmcore::Facts(Source { dump, json }) => {
            let facts = open(dump)?.facts();
            if *json {
                pretty(out, &facts)?;
            } else {
                out.write_all(shown(&facts.to_string(), false).as_bytes())?;
            }
        }
        Vmcore::Tasks(Source { dump, json }) => {
            let path = dump;
            let dump = open(path)?;
            let tasks = Patience::during(path, dump.progress(), || dump.tasks());
            if *json {
                pretty(out, &tasks.tasks)?;
                notes(&tasks.notes);
            } else {
                let style = style();
                let text = annotate_tasks(&dump.facts(), &tasks, &Library::new(), style);
                out.write_all(shown(&text, style.colour).as_bytes())?;
                notes(&tasks.notes);
            }
        }
        Vmcore::Extract(Extract { dump, out: target }) => {
            let extracted = extract(dump, target)?;
            pretty(out, &extracted)?;
        }
    }
    Ok(())
}

/// Opens a dump, and says on a terminal that it takes a while if it does: a packed one is unpacked first.
pub fn open(path: &Path) -> Result<Dump, Failure> {
    let progress = Progress::default();
    Patience::during(path, &progress, || vmcore::open_watched(path, vmcore::MAX_UNPACKED, &progress))
        .map_err(|error| Failure::Dump(path.to_path_buf(), error))
}

/// The file is only there under its name when it is whole.
fn extract(path: &Path, target: &Path) -> Result<vmcore::Extracted, Failure> {
    let same = |one: &Path, other: &Path| Some(one.canonicalize().ok()? == other.canonicalize().ok()?);
    if same(path, target) == Some(true) {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "it is the dump itself");
        return Err(Failure::Write(target.to_path_buf(), error));
    }
    let dump = open(path)?;
    let written = |error| Failure::Write(target.to_path_buf(), error);
    let mut name = target.as_os_str().to_os_string();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut file = BufWriter::new(File::create(&part).map_err(written)?);
    let extracted = Patience::during(path, dump.progress(), || dump.extract(&mut file))
        .map_err(|error| Failure::Dump(path.to_path_buf(), error))?;
    file.into_inner().map_err(|error| written(error.into_error()))?.sync_all().map_err(written)?;
    std::fs::rename(&part, target).map_err(written)?;
    Ok(extracted)
}

fn pretty(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Damage goes to standard error, so that the output is what was asked for.
fn notes<'n>(notes: impl IntoIterator<Item = &'n Note>) {
    for note in notes {
        eprintln!("lastwords-decode: note: {}", shown(&note.text, false));
    }
}
