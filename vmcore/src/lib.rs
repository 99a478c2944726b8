//! What a dead kernel's memory holds: dump formats, log, tasks, stacks.
//!
//! A dump of a kernel with kallsyms and BTF explains itself, with no vmlinux at hand. VMCOREINFO says where the
//! symbol table lies, that says where the type information lies, and the two lead to the tasks, their stacks, the
//! modules and the ORC tables that unwind them:
//!
//! ```text
//! file → dump (pages) → physical → translate → memory → printk: the log
//!                                                     → kallsyms, btf → tasks, unwind, modules, facts
//! ```
//!
//! Whatever is missing or damaged becomes a [`Note`]; [`open`] alone can fail, when there is no dump to read.

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod dump;
mod error;
mod memory;
mod printk;
mod translate;
mod vmcoreinfo;

pub use dump::{Format, Lack, Machine};
pub use error::Error;
pub use printk::{Log, Record};
pub use report::Note;

use dump::{Image, Opened, Physical};
use memory::Memory;
use std::path::Path;
use translate::Translation;
use vmcoreinfo::VmcoreInfo;

/// An opened dump.
pub struct Dump {
    memory: Memory,
    info: VmcoreInfo,
    notes: Vec<Note>,
    format: Format,
    flattened: bool,
}

/// Opens the dump at `path`: any container, flattened or not, also packed with zstd, gzip or xz.
pub fn open(path: &Path) -> Result<Dump, Error> {
    Ok(Dump::new(dump::open(path)?))
}

/// Opens the files of one dump that `makedumpfile --split` wrote, in any order.
pub fn open_set(paths: &[&Path]) -> Result<Dump, Error> {
    Ok(Dump::new(dump::open_set(paths)?))
}

/// Opens a dump that is in memory already.
pub fn from_bytes(bytes: Vec<u8>) -> Result<Dump, Error> {
    Ok(Dump::new(dump::from_image(Image::Held(bytes))?))
}

impl Dump {
    fn new(opened: Opened) -> Self {
        let mut notes = opened.notes.clone();
        let info = VmcoreInfo::parse(opened.vmcoreinfo.as_deref().unwrap_or_default());
        if info.is_empty() {
            notes.push(Note::new("no-vmcoreinfo", "the dump has no VMCOREINFO: nothing in it can be found"));
        }
        let machine = translate::machine(&opened, &info);
        let translation = Translation::new(machine, &info, opened.phys_base, None);
        let physical = Physical::new(opened.container);
        Self {
            memory: Memory::new(physical, translation),
            info,
            notes,
            format: opened.format,
            flattened: opened.flattened,
        }
    }

    /// The container's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Was the container in makedumpfile's flattened stream format?
    pub fn flattened(&self) -> bool {
        self.flattened
    }

    /// What is wrong with the dump as a whole: cut, incomplete, without VMCOREINFO.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The kernel log.
    pub fn log(&self) -> Log {
        printk::read(&self.memory, &self.info)
    }
}
