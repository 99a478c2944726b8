//! The dead kernel: its memory, its symbols, its types, and the ways between them.

use crate::btf::Btf;
use crate::kallsyms::Kallsyms;
use crate::memory::{Fault, Memory};
use crate::vmcoreinfo::VmcoreInfo;
use report::Note;
use std::cell::OnceCell;

/// `NR_CPUS` of the largest configurations.
const MAX_CPUS: u32 = 8192;
/// `__start_BTF` to `__stop_BTF`: 4 to 7 MiB so far.
const MAX_BTF: u64 = 64 << 20;

/// Something that a step needs and the dump does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Absent {
    #[error("the kernel's symbols lack {0}")]
    Symbol(String),
    #[error("the kernel's types lack {0}")]
    Type(String),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("{0}")]
    Odd(String),
}

pub(crate) struct Kernel {
    pub memory: Memory,
    pub info: VmcoreInfo,
    tables: OnceCell<Tables>,
}

/// What is read once, when something first asks for a symbol or a type.
struct Tables {
    symbols: Option<Kallsyms>,
    types: Option<Btf>,
    notes: Vec<Note>,
}

impl Kernel {
    pub fn new(memory: Memory, info: VmcoreInfo) -> Self {
        Self { memory, info, tables: OnceCell::new() }
    }

    /// What was wrong with symbols and types.
    pub fn notes(&self) -> &[Note] {
        &self.tables().notes
    }

    fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| {
            let mut notes = Vec::new();
            let symbols = Kallsyms::read(&self.memory, &self.info)
                .map_err(|text| notes.push(Note::new("no-symbols", text)))
                .ok();
            let types = symbols.as_ref().and_then(|symbols| {
                read_btf(&self.memory, symbols).map_err(|text| notes.push(Note::new("no-types", text))).ok()
            });
            if let Some(stext) = self.info.symbol("_stext")
                && !self.memory.translation.agrees(&self.memory.physical, stext)
            {
                notes.push(Note::new(
                    "page-tables",
                    "the page tables do not map the kernel's text where it is",
                ));
            }
            Tables { symbols, types, notes }
        })
    }

    pub fn symbols(&self) -> Option<&Kallsyms> {
        self.tables().symbols.as_ref()
    }

    /// The address of a symbol; VMCOREINFO is asked when kallsyms does not have it.
    pub fn symbol(&self, name: &str) -> Result<u64, Absent> {
        self.symbols()
            .and_then(|symbols| symbols.address_of(name))
            .or_else(|| self.info.symbol(name))
            .ok_or_else(|| Absent::Symbol(name.into()))
    }

    /// The offset of a member in bytes.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u64, Absent> {
        let found = self.tables().types.as_ref().and_then(|types| types.member(structure, member));
        found.map(|member| member.offset).ok_or_else(|| Absent::Type(format!("{structure}.{member}")))
    }

    /// The size of a member in bytes.
    pub fn member_size(&self, structure: &str, member: &str) -> Result<u64, Absent> {
        let found = self.tables().types.as_ref().and_then(|types| types.member(structure, member));
        found.map(|member| member.size).ok_or_else(|| Absent::Type(format!("{structure}.{member}")))
    }

    pub fn size_of(&self, structure: &str) -> Result<u64, Absent> {
        let size = self.tables().types.as_ref().and_then(|types| types.size_of(structure));
        size.ok_or_else(|| Absent::Type(structure.into()))
    }

    /// The u64 (or pointer) in a member of the structure at `address`.
    pub fn pointer(&self, address: u64, structure: &str, member: &str) -> Result<u64, Absent> {
        Ok(self.memory.u64(address.wrapping_add(self.offset(structure, member)?))?)
    }

    /// The kernel pointer in a member; anything else than one is damage.
    pub fn kernel_pointer(&self, address: u64, structure: &str, member: &str) -> Result<u64, Absent> {
        let value = self.pointer(address, structure, member)?;
        if self.memory.translation.is_kernel(value) {
            Ok(value)
        } else {
            Err(Absent::Odd(format!(
                "{structure}.{member} at {address:#x} is {value:#x}, not a kernel address"
            )))
        }
    }

    /// The address of a CPU's copy of a per-CPU variable.
    pub fn per_cpu(&self, variable: &str, cpu: u32) -> Result<u64, Absent> {
        let offsets = self.symbol("__per_cpu_offset")?;
        let offset = self.memory.u64(offsets.wrapping_add(8 * u64::from(cpu)))?;
        Ok(self.symbol(variable)?.wrapping_add(offset))
    }

    /// The numbers of the CPUs that were online.
    pub fn online_cpus(&self) -> Result<Vec<u32>, Absent> {
        let count = self.memory.u32(self.symbol("nr_cpu_ids")?)?.clamp(1, MAX_CPUS);
        let mut mask = vec![0; count.div_ceil(64) as usize * 8];
        self.memory.read(self.symbol("__cpu_online_mask")?, &mut mask)?;
        Ok((0..count).filter(|&cpu| mask[cpu as usize / 8] >> (cpu % 8) & 1 == 1).collect())
    }
}

fn read_btf(memory: &Memory, symbols: &Kallsyms) -> Result<Btf, String> {
    // Without CONFIG_KALLSYMS_ALL (Debian 12's arm64 kernel) the table holds functions only.
    let all = symbols.address_of("init_task").is_some();
    let why = if all { "CONFIG_DEBUG_INFO_BTF" } else { "CONFIG_KALLSYMS_ALL" };
    let symbol = |name: &str| {
        let found = symbols.address_of(name);
        found.ok_or_else(|| format!("the kernel's symbols lack {name}: it was built without {why}"))
    };
    let start = symbol("__start_BTF")?;
    let size = symbol("__stop_BTF")?.wrapping_sub(start);
    if size > MAX_BTF {
        return Err(format!("the type information has {size} bytes: not believed"));
    }
    let mut bytes = vec![0; size as usize];
    memory
        .read(start, &mut bytes)
        .map_err(|fault| format!("the type information cannot be read: {fault}"))?;
    Btf::parse(bytes)
}
