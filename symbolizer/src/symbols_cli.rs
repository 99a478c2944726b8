//! `lastwords-decode symbols`: indexes of objects.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use symbolizer::Image;

use crate::cli::Failure;
use crate::lookup_cli::{self, Lookup};

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

pub fn run(command: &Symbols, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Symbols::Index { out: path, object } => {
            Image::open(object)?.index()?.write(path)?;
            Ok(())
        }
        Symbols::Lookup(lookup) => lookup_cli::run(lookup, out),
    }
}
