//! The layout of an index: a header, a directory of tables, then the tables, one behind the other, each checksummed.
//!
//! ```text
//! 0   magic "lwsymidx"            8 bytes
//! 8   format version              u32
//! 12  number of tables            u32
//! 16  xxh3 of the directory       u64
//! 24  directory: for each table offset u64, length u64, xxh3 u64
//! ```
//!
//! All numbers are little-endian. The same object gives the same bytes, whatever the number of threads: nothing in
//! the file depends on time, on addresses of this process, or on the order in which threads finish.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::Error;

const MAGIC: &[u8; 8] = b"lwsymidx";
/// Raised by every change that an older program would misread.
const VERSION: u32 = 3;
const HEADER: usize = 24;
const ENTRY: usize = 24;

/// The tables, in the order of the file: numbers first, so that each lies where processors like it, then bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Table {
    /// Text symbols by address: address, ksize, `st_size`, name, flags; `u32` each.
    Symbols,
    /// Numbers of symbols, ordered by the stem of their names, then by address; `u32`.
    ByName,
    /// First address of each block of ranges; `u32`.
    BlockStart,
    /// Of each block: where its bytes begin in [`Table::Stream`], and its unit ([`GAP`] for none); `u32` each.
    Block,
    /// Of each unit: first node, number of nodes, first file, number of files; `u32` each.
    Unit,
    /// Functions and inlined calls: name, parent, line of the call: `u32`; its file, its column: `u16`.
    Node,
    /// Path of each file; `u32`, into [`Table::Strings`].
    File,
    /// Parts of the text whose bytes may differ in a running kernel: first address, end; `u32` each.
    Site,
    /// Where each frame of [`Table::Text`] ends; `u32`.
    Frame,
    /// What the object is: JSON of [`super::Meta`].
    Meta,
    /// The packed ranges, see [`super::stream`].
    Stream,
    /// Strings: length as a varint, then UTF-8. At 0 is the empty string.
    Strings,
    /// The executable sections, joined, in frames of zstd; empty where the object had no text. See [`super::text`].
    Text,
}

const TABLES: [Table; 13] = [
    Table::Symbols,
    Table::ByName,
    Table::BlockStart,
    Table::Block,
    Table::Unit,
    Table::Node,
    Table::File,
    Table::Site,
    Table::Frame,
    Table::Meta,
    Table::Stream,
    Table::Strings,
    Table::Text,
];

/// In [`Table::Block`]: no unit says anything from here to the next block.
pub(crate) const GAP: u32 = u32::MAX;
/// `address`, `ksize`, `elf_size`, `name`, `flags`.
pub(crate) const SYMBOL: usize = 20;
/// Bytes of a record of [`Table::Node`].
pub(crate) const NODE: usize = 16;
/// Bytes of a record of [`Table::Unit`].
pub(crate) const UNIT: usize = 16;
/// Symbol flag: the last of its section.
pub(crate) const LAST: u32 = 1;

/// Where each table lies in the file.
#[derive(Debug, Clone)]
pub(crate) struct Layout([Range<usize>; TABLES.len()]);

impl Layout {
    /// Reads and checks the header and the directory; the tables themselves stay untouched.
    pub fn read(bytes: &[u8]) -> Result<Layout, Error> {
        let damaged = |what: &str| Error::Index(what.to_string());
        if !bytes.starts_with(MAGIC) {
            return Err(damaged("not an index of symbols"));
        }
        let version = u32_at(bytes, 2).ok_or_else(|| damaged("cut short"))?;
        if version != VERSION {
            return Err(Error::IndexVersion { found: version, want: VERSION });
        }
        let directory =
            bytes.get(HEADER..HEADER + ENTRY * TABLES.len()).ok_or_else(|| damaged("cut short"))?;
        if u32_at(bytes, 3) != Some(TABLES.len() as u32) || u64_at(bytes, 2) != Some(xxh3_64(directory)) {
            return Err(damaged("checksum of the directory"));
        }
        let mut ranges = [const { 0..0 }; TABLES.len()];
        for (i, range) in ranges.iter_mut().enumerate() {
            let field = |at| u64_at(directory, i * 3 + at).and_then(|v| usize::try_from(v).ok());
            let found = field(0).zip(field(1)).and_then(|(start, len)| Some(start..start.checked_add(len)?));
            *range = found
                .filter(|r| r.end <= bytes.len())
                .ok_or_else(|| damaged("a table beyond the end of the file"))?;
        }
        let layout = Layout(ranges);
        // Small, and everything depends on it.
        layout.check(bytes, Table::Meta)?;
        Ok(layout)
    }

    pub fn table<'a>(&self, bytes: &'a [u8], table: Table) -> &'a [u8] {
        &bytes[self.0[table as usize].clone()]
    }

    /// Compares every table with its checksum; reads the whole file.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), Error> {
        TABLES.iter().try_for_each(|&table| self.check(bytes, table))
    }

    fn check(&self, bytes: &[u8], table: Table) -> Result<(), Error> {
        let stored = u64_at(&bytes[HEADER..], table as usize * 3 + 2);
        if stored == Some(xxh3_64(self.table(bytes, table))) {
            Ok(())
        } else {
            Err(Error::Index(format!("checksum of the table {table:?}")))
        }
    }
}

/// Joins the tables, given in their order, to the bytes of an index.
pub(crate) fn assemble(tables: &[Vec<u8>; TABLES.len()]) -> Vec<u8> {
    let mut directory = Vec::with_capacity(ENTRY * TABLES.len());
    let mut at = HEADER + ENTRY * TABLES.len();
    for table in tables {
        for field in [at as u64, table.len() as u64, xxh3_64(table)] {
            directory.extend(field.to_le_bytes());
        }
        at += table.len();
    }
    let mut out = Vec::with_capacity(at);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend((TABLES.len() as u32).to_le_bytes());
    out.extend(xxh3_64(&directory).to_le_bytes());
    out.extend(directory);
    tables.iter().for_each(|table| out.extend(table));
    out
}

/// The number at this position of a table of `u32`.
#[inline]
pub(crate) fn u32_at(table: &[u8], position: usize) -> Option<u32> {
    let at = position.checked_mul(4)?;
    Some(u32::from_le_bytes(*table.get(at..)?.first_chunk()?))
}

fn u64_at(table: &[u8], position: usize) -> Option<u64> {
    let at = position.checked_mul(8)?;
    Some(u64::from_le_bytes(*table.get(at..)?.first_chunk()?))
}
