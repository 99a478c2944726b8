//! Whose code an address is, and what the kernel would call it.

use crate::bpf::{self, Program};
use crate::kernel::Kernel;
use crate::modules::{self, Loaded};
use report::Note;
use std::cell::Cell;
use std::ops::Range;

/// Symbols of all modules together that are read: ten times those of a machine with every graphics driver
/// loaded.
const MAX_SYMBOLS: u64 = 4 << 20;

/// All code there was: the kernel's, its modules', BPF's.
pub(crate) struct Code {
    pub modules: Vec<Loaded>,
    pub programs: Vec<Program>,
    pub notes: Vec<Note>,
    /// Sorted by where a range begins.
    ranges: Vec<(Range<u64>, Owner)>,
    symbols_left: Cell<u64>,
}

/// Whose code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Kernel,
    /// The module's place in [`Code::modules`].
    Module(usize),
    /// The program's place in [`Code::programs`].
    Program(usize),
}

/// The name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The kernel's choice first.
    pub names: Vec<String>,
    /// Where the symbol begins.
    pub start: u64,
    pub owner: Owner,
}

impl Code {
    pub fn read(kernel: &Kernel) -> Self {
        let mut notes = Vec::new();
        let modules = modules::read(kernel, &mut notes);
        let programs = bpf::read(kernel, &mut notes);
        let between =
            |start, end| Some((kernel.symbol(start).ok()?..kernel.symbol(end).ok()?, Owner::Kernel));
        // The kernel's text, and the text that runs only at boot.
        let own = [between("_stext", "_etext"), between("_sinittext", "_einittext")].into_iter().flatten();
        let of_modules = modules
            .iter()
            .enumerate()
            .flat_map(|(at, loaded)| loaded.code.iter().map(move |range| (range.clone(), Owner::Module(at))));
        let of_programs = programs
            .iter()
            .enumerate()
            .map(|(at, program)| (program.start.0..program.end.0, Owner::Program(at)));
        let mut ranges: Vec<_> =
            own.chain(of_modules).chain(of_programs).filter(|(range, _)| !range.is_empty()).collect();
        ranges.sort_by_key(|(range, _)| range.start);
        Self { modules, programs, notes, ranges, symbols_left: Cell::new(MAX_SYMBOLS) }
    }

    /// Whose code this address is, and the range of it; none when it is no code.
    fn find(&self, address: u64) -> Option<&(Range<u64>, Owner)> {
        let behind = self.ranges.partition_point(|(range, _)| range.start <= address);
        self.ranges[..behind].last().filter(|(range, _)| range.contains(&address))
    }

    /// Whose code this address is; none when it is no code.
    pub fn owner(&self, address: u64) -> Option<Owner> {
        self.find(address).map(|&(_, owner)| owner)
    }

    /// The symbol of a code address.
    pub fn name(&self, kernel: &Kernel, address: u64) -> Option<Named> {
        let (range, owner) = self.find(address)?;
        let (start, names) = match *owner {
            Owner::Kernel => kernel.symbols()?.lookup(address)?,
            // A symbol of another piece of the module may lie below; it is not this code's.
            Owner::Module(at) => self.modules[at]
                .lookup(kernel, address, &self.symbols_left)
                .filter(|(start, _)| range.contains(start))?,
            Owner::Program(at) => (self.programs[at].start.0, vec![self.programs[at].name.clone()]),
        };
        Some(Named { names, start, owner: *owner })
    }
}
