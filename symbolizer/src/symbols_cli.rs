//! `lastwords-decode symbols`: builds an index, and looks link addresses up, one a line.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use symbolizer::{Error, Image, Index};

use crate::cli::Failure;

/// A line of input is one address; what is longer is no address.
const MAX_LINE: u64 = 4096;
/// Some 3,000 addresses are answered at once.
const BUFFER: usize = 1 << 16;

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
            lookup(out, &index.meta().sections, |addresses, answers| {
                addresses.iter().for_each(|&address| answers.of_index(&index, address));
                Ok(())
            })
        }
        Symbols::Lookup(Lookup { vmlinux, .. }) => {
            let image = Image::open(vmlinux.as_deref().unwrap_or(Path::new("")))?;
            lookup(out, &image.sections(), |addresses, answers| {
                image.prepare(addresses)?;
                addresses.iter().try_for_each(|&address| answers.of_image(&image, address))
            })
        }
    }
}

/// The lines of output, built without values in between.
#[derive(Default)]
struct Answers(String);

impl Answers {
    fn of_index(&mut self, index: &Index, address: u64) {
        self.begin(address);
        let label = || index.symbol_at(address).map_or("", |symbol| symbol.name);
        let mut none = true;
        for step in index.lookup(address).into_iter().flatten() {
            let function = if step.function.is_empty() { label() } else { step.function };
            self.frame(function, step.file, step.line, none);
            none = false;
        }
        if none && let Some(symbol) = index.symbol_at(address) {
            self.frame(symbol.name, "", 0, true);
        }
        self.end();
    }

    fn of_image(&mut self, image: &Image, address: u64) -> Result<(), Error> {
        self.begin(address);
        let found = image.lookup(address)?;
        for (number, at) in found.iter().enumerate() {
            self.frame(&at.function, &at.file, at.line, number == 0);
        }
        // Thunks, trampolines and static calls have no debug information, only a name.
        if found.is_empty()
            && let Some(name) = image.symbol_name(address)?
        {
            self.frame(&name, "", 0, true);
        }
        self.end();
        Ok(())
    }

    fn begin(&mut self, address: u64) {
        let _ = write!(self.0, "{{\"addr\": \"{address:#x}\", \"frames\": [");
    }

    fn frame(&mut self, function: &str, file: &str, line: u32, first: bool) {
        self.0.push_str(if first { "{\"function\": " } else { ", {\"function\": " });
        quoted(&mut self.0, function);
        self.0.push_str(", \"file\": ");
        quoted(&mut self.0, file);
        let _ = write!(self.0, ", \"line\": {line}}}");
    }

    fn end(&mut self) {
        self.0.push_str("]}\n");
    }
}

/// A JSON string.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push_str(text);
    } else {
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if c < ' ' => {
                    let _ = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.push(c),
            }
        }
    }
    out.push('"');
}

/// Answers as many lines at once as are there: all of a file, and each at once to somebody who waits for it.
fn lookup(
    out: &mut impl Write,
    sections: &[(String, u64, u64)],
    mut find: impl FnMut(&[u64], &mut Answers) -> Result<(), Error>,
) -> Result<(), Failure> {
    let mut input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let (mut line, mut number) = (Vec::new(), 0u64);
    let (mut addresses, mut answers) = (Vec::new(), Answers::default());
    loop {
        line.clear();
        let read =
            io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line).map_err(Failure::Stdin)?;
        number += 1;
        let text = std::str::from_utf8(&line).unwrap_or("?").trim();
        if !text.is_empty() {
            let address = parse(text, sections);
            addresses.push(address.ok_or_else(|| Failure::NotAnAddress(number, text.to_string()))?);
        }
        if read == 0 || !input.buffer().contains(&b'\n') {
            find(&addresses, &mut answers)?;
            out.write_all(answers.0.as_bytes())?;
            out.flush()?;
            answers.0.clear();
            addresses.clear();
        }
        if read == 0 {
            return Ok(());
        }
    }
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
