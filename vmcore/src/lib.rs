//! What a dead kernel's memory holds: dump formats, log, tasks, stacks.
//!
//! A dump of a kernel with kallsyms and BTF explains itself, with no vmlinux at hand. VMCOREINFO says where
//! the symbol table lies, that says where the type information lies, and the two lead to the tasks, their
//! stacks, the modules and the ORC tables that unwind them:
//!
//! ```text
//! file → dump (pages) → physical → translate → memory → printk: the log
//!                                                     → kallsyms, btf → tasks, unwind, modules, facts
//! ```
//!
//! Whatever is missing or damaged becomes a [`Note`]; [`open`] alone can fail, when there is no dump to read.

mod address;
mod bpf;
mod btf;
pub mod bzip2;
mod cgroup;
mod code;
mod cpus;
mod dump;
mod error;
mod excerpt;
mod extract;
mod facts;
pub mod kallsyms;
mod kernel;
mod memory;
mod modules;
mod printk;
mod progress;
mod registers;
mod summary;
mod tasks;
mod text;
mod translate;
mod unwind;
mod vmcoreinfo;

pub use address::Address;
pub use bpf::Program;
pub use dump::{Format, Lack, Machine, is_dump};
pub use error::Error;
pub use excerpt::Excerpt;
pub use extract::Extracted;
pub use facts::Facts;
pub use modules::{Module, Piece};
pub use printk::{Log, Record};
pub use progress::{Progress, Step};
pub use registers::Registers;
pub use report::{BuildId, Note};
pub use summary::Summary;
pub use tasks::{Frame, Task, Tasks};

use code::Code;
use cpus::Running;
use dump::{ElfNote, Image, Opened, Physical};
use kernel::Kernel;
use memory::Memory;
use std::cell::OnceCell;
use std::path::Path;
use translate::Translation;
use vmcoreinfo::VmcoreInfo;

/// An opened dump.
pub struct Dump {
    kernel: Kernel,
    elf_notes: Vec<ElfNote>,
    vmcoreinfo: Vec<u8>,
    notes: Vec<Note>,
    format: Format,
    flattened: bool,
    progress: Progress,
    code: OnceCell<Code>,
    tasks: OnceCell<(Vec<Running>, Tasks)>,
}

/// What a packed dump may unpack to, unless the caller says otherwise: a full dump of a large machine.
pub const MAX_UNPACKED: u64 = 64 << 30;

/// Opens the dump at `path`: any container, flattened or not, also packed with zstd, gzip or xz.
pub fn open(path: &Path) -> Result<Dump, Error> {
    open_within(path, MAX_UNPACKED)
}

/// Opens a dump that a stranger may have sent: packed, it may take `most` bytes of the temporary folder.
pub fn open_within(path: &Path, most: u64) -> Result<Dump, Error> {
    open_watched(path, most, &Progress::default())
}

/// As [`open_within`], with what another thread may watch while the dump is opened and read.
pub fn open_watched(path: &Path, most: u64, progress: &Progress) -> Result<Dump, Error> {
    Ok(Dump::new(dump::open(path, most, progress)?, progress))
}

/// Opens the files of one dump that `makedumpfile --split` wrote, in any order.
pub fn open_set(paths: &[&Path]) -> Result<Dump, Error> {
    let progress = Progress::default();
    Ok(Dump::new(dump::open_set(paths, MAX_UNPACKED, &progress)?, &progress))
}

/// Opens a dump that is in memory already.
pub fn from_bytes(bytes: Vec<u8>) -> Result<Dump, Error> {
    let progress = Progress::default();
    Ok(Dump::new(dump::from_image(Image::Held(bytes), &progress)?, &progress))
}

impl Dump {
    fn new(opened: Opened, progress: &Progress) -> Self {
        let mut notes = opened.notes.clone();
        let physical = Physical::new(opened.container);
        let vmcoreinfo =
            opened.vmcoreinfo.or_else(|| vmcoreinfo::search(&physical, progress)).unwrap_or_default();
        let info = VmcoreInfo::parse(&vmcoreinfo);
        if info.is_empty() {
            let text =
                "the dump has no VMCOREINFO, so nothing in it can be found (encrypted memory looks so)";
            notes.push(Note::new("no-vmcoreinfo", text));
        }
        let machine = translate::machine(opened.machine, &info);
        let translation =
            Translation::new(machine, &info, opened.phys_base, registers::cr3(&opened.elf_notes));
        Self {
            kernel: Kernel::new(Memory::new(physical, translation), info),
            elf_notes: opened.elf_notes,
            vmcoreinfo,
            notes,
            format: opened.format,
            flattened: opened.flattened,
            progress: progress.clone(),
            code: OnceCell::new(),
            tasks: OnceCell::new(),
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

    /// When the kernel died, by its own clock, seconds since 1970: VMCOREINFO's `CRASHTIME`.
    pub fn crash_time(&self) -> Option<u64> {
        self.kernel.info.text("CRASHTIME")?.parse().ok()
    }

    /// How far the step has come that another thread takes with this dump.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is wrong with the dump as a whole: cut, incomplete, without VMCOREINFO.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The kernel log.
    pub fn log(&self) -> Log {
        printk::read(&self.kernel.memory, &self.kernel.info)
    }

    /// All tasks with their stacks, from the dump's own symbols, types and unwind tables.
    pub fn tasks(&self) -> Tasks {
        self.walked().1.clone()
    }

    /// The crash as a whole.
    pub fn facts(&self) -> Facts {
        self.facts_with(&self.log())
    }

    fn facts_with(&self, log: &Log) -> Facts {
        let (running, tasks) = self.walked();
        facts::read(&self.kernel, self.code(), running, tasks, log)
    }

    /// The tasks, walked once; their notes are led by what is wrong with the dump, its tables and the CPUs.
    fn walked(&self) -> &(Vec<Running>, Tasks) {
        self.tasks.get_or_init(|| {
            let mut notes = [&self.notes[..], self.kernel.notes(), &self.code().notes].concat();
            let running = cpus::running(&self.kernel, &self.elf_notes, &mut notes);
            let mut tasks = tasks::read(&self.kernel, self.code(), &running, &self.progress);
            tasks.notes.splice(0..0, notes);
            (running, tasks)
        })
    }

    /// The parts of the kernel's unwind tables: address and length.
    fn unwind_tables(&self, each: impl Fn(u64, u64)) {
        unwind::tables(&self.kernel, self.code())
            .into_iter()
            .for_each(|(address, length)| each(address, length));
    }

    fn code(&self) -> &Code {
        self.code.get_or_init(|| Code::read(&self.kernel))
    }
}
