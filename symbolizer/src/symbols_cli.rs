//! `lastwords-decode symbols`: builds an index, and looks link addresses up, one a line.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use symbolizer::{Error, Image, Index};

use crate::cli::Failure;

/// A line of input is one address; what is longer is no address.
const MAX_LINE: u64 = 4096;

#[derive(Debug, Subcommand)]
pub enum Symbols {
    /// Build the index of an object: a vmlinux, or a module (also compressed, or its separate debug file).
    Index {
        /// Where the index is written.
        #[arg(long, value_name = "INDEX")]
        out: PathBuf,
        /// The object with debug information.
        #[arg(value_name = "OBJECT")]
        object: PathBuf,
    },
    /// Look up link addresses from standard input: in hex, one a line; in a module also `SECTION+0xOFFSET`.
    ///
    /// Prints one line of JSON for each: {"addr": "0x…", "frames": [{"function", "file", "line"}, …]}, innermost
    /// first.
    Lookup(Lookup),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Lookup {
    /// An index built before.
    #[arg(long, value_name = "INDEX")]
    index: Option<PathBuf>,
    /// An object; only the units needed are read.
    #[arg(long, value_name = "OBJECT")]
    vmlinux: Option<PathBuf>,
}

pub fn run(command: &Symbols, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Symbols::Index { out: path, object } => {
            Image::open(object)?.index()?.write(path)?;
            Ok(())
        }
        Symbols::Lookup(Lookup { index: Some(index), .. }) => {
            let index = Index::open(index)?;
            lookup(out, &index.meta().sections, |address, found| {
                for step in index.lookup(address).into_iter().flatten() {
                    let label = || index.symbol_at(address).map_or("", |symbol| symbol.name);
                    found.frame(
                        if step.function.is_empty() { label() } else { step.function },
                        step.file,
                        step.line,
                    );
                }
                found.or_symbol(&index, address);
                Ok(())
            })
        }
        Symbols::Lookup(Lookup { vmlinux, .. }) => {
            let image = Image::open(vmlinux.as_deref().unwrap_or(Path::new("")))?;
            lookup(out, &image.sections(), |address, found| {
                for at in image.lookup(address)? {
                    found.frame(&at.function, &at.file, at.line);
                }
                if found.is_empty() {
                    found.or_symbol(image.symbols()?, address);
                }
                Ok(())
            })
        }
    }
}

/// One line of output, built without a value in between.
struct Answer(String);

impl Answer {
    fn is_empty(&self) -> bool {
        self.0.ends_with('[')
    }

    /// Thunks, trampolines and static calls have no debug information, only a name.
    fn or_symbol(&mut self, symbols: &Index, address: u64) {
        if self.is_empty()
            && let Some(symbol) = symbols.symbol_at(address)
        {
            self.frame(symbol.name, "", 0);
        }
    }

    fn frame(&mut self, function: &str, file: &str, line: u32) {
        let comma = if self.0.ends_with('}') { ", " } else { "" };
        let _ = write!(self.0, "{comma}{{\"function\": ");
        quoted(&mut self.0, function);
        self.0.push_str(", \"file\": ");
        quoted(&mut self.0, file);
        let _ = write!(self.0, ", \"line\": {line}}}");
    }
}

/// A JSON string.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn lookup(
    out: &mut impl Write,
    sections: &[(String, u64, u64)],
    mut find: impl FnMut(u64, &mut Answer) -> Result<(), Error>,
) -> Result<(), Failure> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    let mut answer = Answer(String::new());
    for number in 1.. {
        line.clear();
        let read =
            io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line).map_err(Failure::Stdin)?;
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let address = parse(text, sections).ok_or_else(|| Failure::NotAnAddress(number, text.to_string()))?;
        answer.0.clear();
        let _ = write!(answer.0, "{{\"addr\": \"{address:#x}\", \"frames\": [");
        find(address, &mut answer)?;
        answer.0.push_str("]}\n");
        out.write_all(answer.0.as_bytes())?;
    }
    Ok(())
}

/// `ffffffff81000000`, `0xffffffff81000000`, `.init.text+0x10`.
fn parse(text: &str, sections: &[(String, u64, u64)]) -> Option<u64> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    match text.rsplit_once('+') {
        Some((name, offset)) => {
            let (_, base, _) = sections.iter().find(|(section, ..)| section == name)?;
            base.checked_add(hex(offset)?)
        }
        None => hex(text),
    }
}
