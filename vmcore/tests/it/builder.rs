//! Makes dumps that need no crash: a made-up kernel's memory, and every kind of file around it.

pub mod btf;
pub mod code;
pub mod elf;
pub mod flattened;
pub mod image;
pub mod kdump;
pub mod kernel;
pub mod modules;
pub mod ring;
pub mod symbols;
pub mod tasks;

use std::collections::BTreeMap;
pub use symbols::Offsets;

/// What a page of a dump has, and of a made-up kernel unless it says otherwise.
pub const PAGE: usize = 4096;
/// `e_machine` of the two processors.
pub const X86_64: u16 = 62;
pub const AARCH64: u16 = 183;

/// Physical memory: page number to page.
pub type Pages = BTreeMap<u64, Vec<u8>>;
