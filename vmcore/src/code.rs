//! Whose code an address is, and what the kernel would call it.

use crate::bpf::{self, Program};
use crate::kernel::Kernel;
use crate::modules::{self, Loaded};
use report::Note;
use std::ops::Range;

/// All code there was: the kernel's, its modules', BPF's.
pub(crate) struct Code {
    /// The kernel's text, and the text that runs only at boot.
    kernel: Vec<Range<u64>>,
    pub modules: Vec<Loaded>,
    pub programs: Vec<Program>,
    pub notes: Vec<Note>,
}

/// The name of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub names: Vec<String>,
    /// Where the symbol begins.
    pub start: u64,
    /// The module's place in [`Code::modules`].
    pub module: Option<usize>,
}

impl Code {
    pub fn read(kernel: &Kernel) -> Self {
        let mut notes = Vec::new();
        let between = |start: &str, end: &str| Some(kernel.symbol(start).ok()?..kernel.symbol(end).ok()?);
        Self {
            kernel: [between("_stext", "_etext"), between("_sinittext", "_einittext")]
                .into_iter()
                .flatten()
                .collect(),
            modules: modules::read(kernel, &mut notes),
            programs: bpf::read(kernel, &mut notes),
            notes,
        }
    }

    /// Is this an address of code?
    pub fn contains(&self, address: u64) -> bool {
        self.in_kernel(address)
            || self.modules.iter().any(|module| module.contains(address))
            || self.in_program(address)
    }

    /// Is this an address of code that BPF made?
    pub fn in_program(&self, address: u64) -> bool {
        self.programs.iter().any(|program| program.contains(address))
    }

    /// The ranges of the kernel's own code.
    pub fn kernel_ranges(&self) -> &[Range<u64>] {
        &self.kernel
    }

    fn in_kernel(&self, address: u64) -> bool {
        self.kernel.iter().any(|range| range.contains(&address))
    }

    /// The symbol of a code address.
    pub fn name(&self, kernel: &Kernel, address: u64) -> Option<Named> {
        if self.in_kernel(address) {
            let (start, names) = kernel.symbols()?.lookup(address)?;
            return Some(Named { names, start, module: None });
        }
        if let Some(at) = self.modules.iter().position(|module| module.contains(address)) {
            let (start, names) = self.modules[at].lookup(kernel, address)?;
            return Some(Named { names, start, module: Some(at) });
        }
        let program = self.programs.iter().find(|program| program.contains(address))?;
        Some(Named { names: vec![program.name.clone()], start: program.start.0, module: None })
    }
}
