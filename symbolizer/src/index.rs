//! The index of one object: addresses to functions and lines, names to addresses, in one flat piece of memory.
//!
//! An index lives in a file that is mapped, or in memory, which is the same: `format` says how it lies, `stream` how
//! the ranges are packed, `build` makes it from an object, `lookup` answers from it.

pub(crate) mod build;
mod format;
mod lookup;
pub(crate) mod stream;
mod text;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use report::BuildId;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::error::Error;
use crate::image::Kind;
use format::{Layout, Table};
pub use lookup::{Chain, Step, SymbolAt};

/// What an index was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The program that wrote it.
    pub tool: String,
    /// A kernel or a module.
    pub kind: Kind,
    /// `e_machine` of the object, as in <elf.h>.
    pub machine: u16,
    /// The object's GNU build-id.
    pub build_id: Option<BuildId>,
    /// The kernel release, from the object itself or from its path.
    pub release: Option<String>,
    /// The link address that the tables count from.
    pub base: u64,
    /// The executable sections: name, address, size. Addresses of a module are ours, see `elf.rs`.
    pub sections: Vec<(String, u64, u64)>,
    /// The folders of the kernel's sources as compilers saw them, each with a slash at its end. Debian's have two: C
    /// is compiled in the build folder, assembly is named by its absolute path.
    pub source_roots: Vec<String>,
    /// Whether there was debug information, or only symbols.
    pub lines: bool,
}

impl Meta {
    /// Of an index in memory that holds a part of an object.
    pub(crate) fn partial(base: u64) -> Meta {
        Meta {
            tool: String::new(),
            kind: Kind::Kernel,
            machine: 0,
            build_id: None,
            release: None,
            base,
            sections: Vec::new(),
            source_roots: Vec::new(),
            lines: false,
        }
    }
}

/// An opened index. Lookups take no lock and allocate nothing.
#[derive(Debug)]
pub struct Index {
    bytes: Bytes,
    layout: Layout,
    meta: Meta,
}

impl Index {
    /// Maps an index file. The directory is checked, the tables are when they are used: see [`Index::verify`].
    pub fn open(path: &Path) -> Result<Index, Error> {
        Bytes::map(path).and_then(Index::of).map_err(|e| e.at(path))
    }

    /// Takes the bytes of an index.
    pub fn parse(bytes: Vec<u8>) -> Result<Index, Error> {
        Index::of(Bytes::Owned(bytes))
    }

    pub(crate) fn of(bytes: Bytes) -> Result<Index, Error> {
        let layout = Layout::read(&bytes)?;
        let meta = serde_json::from_slice(layout.table(&bytes, Table::Meta))
            .map_err(|e| Error::Index(format!("the table Meta: {e}")))?;
        Ok(Index { bytes, layout, meta })
    }

    /// What the index was made of.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Compares all tables with their checksums; worth doing once, when a file is taken into a store.
    pub fn verify(&self) -> Result<(), Error> {
        self.layout.verify(&self.bytes)
    }

    /// Writes the index so that the name never stands for half a file: a temporary file beside it, fsync, rename,
    /// fsync of the folder.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.{}.part", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&self.bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| {
            // The first failure is the one to tell; the leftover is removed as far as that goes.
            let _ = std::fs::remove_file(&temporary);
            Error::Io { doing: "write", source }.at(path)
        })
    }
}
