//! Where in the source it happened: ELF and DWARF to function, file, line, inlined chain.
//!
//! An [`Image`] is one `vmlinux` or module with its debug information; a [`Library`] finds the right one by build-id,
//! or by release and name. [`Image::resolve`] answers for a frame as the kernel printed it (`name+0xoff/0xsize`),
//! [`Image::lookup`] for a link address. [`resolve_report`] does a whole report, [`decode`] a whole log for people.
//!
//! Behind them stands the [`Index`]: the object's symbols, flattened DWARF and code in one piece of memory, which can be
//! a mapped file. `elf` and `relocate` say where things lie, `symtab` what sizes kallsyms prints, `dwarf` and `unit` read
//! the debug information, `code` the instructions and what a running kernel patches of them, `index` packs and answers,
//! `lazy` does the same for only the units of one crash. Where there is no debug information, `system_map`, `vmlinuz` and
//! `kallsyms` give names.

mod budget;
mod bytes;
mod call;
mod code;
#[cfg(feature = "debuginfod")]
pub mod debuginfod;
mod debuglink;
pub mod decode;
mod disassemble;
pub mod dump;
mod dwarf;
mod elf;
mod error;
mod flatten;
mod foreign;
mod image;
mod index;
pub mod input;
mod kallsyms;
mod lazy;
mod relocate;
mod resolve;
mod resolved;
pub mod source;
mod store;
mod symtab;
mod system_map;
pub mod terminal;
mod text;
mod unit;
mod vmlinuz;

pub use bytes::decompress;
pub use disassemble::{Instruction, listing};
pub use error::{Error, chain};
pub use image::{Holds, Image, Kind};
pub use index::{Chain, Index, Meta, Step, SymbolAt};
pub use resolve::{Candidate, Location, Quality, Query, Resolution};
pub use resolved::{ResolvedFrame, ResolvedReport, ResolvedTrace, resolve_report};
pub use store::{Library, Wanted};
pub use text::CodeMatch;
