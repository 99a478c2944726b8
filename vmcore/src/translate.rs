//! From the kernel's virtual addresses to physical ones.

mod aarch64;
mod x86_64;

use crate::dump::{Lack, Machine, Physical};
use crate::vmcoreinfo::VmcoreInfo;

/// The rules of one processor, with the numbers of one boot.
pub(crate) enum Translation {
    X86_64(x86_64::X86_64),
    Aarch64(aarch64::Aarch64),
}

impl Translation {
    /// From VMCOREINFO and, where it lacks a number, from the container's headers.
    pub fn new(machine: Machine, info: &VmcoreInfo, phys_base: Option<u64>, cr3: Option<u64>) -> Self {
        match machine {
            Machine::X86_64 => Self::X86_64(x86_64::X86_64::new(info, phys_base, cr3)),
            Machine::Aarch64 => Self::Aarch64(aarch64::Aarch64::new(info)),
        }
    }

    /// The physical address, reading page tables where the address has no fixed place.
    pub fn physical(&self, memory: &Physical, address: u64) -> Result<u64, Lack> {
        match self {
            Self::X86_64(rules) => rules.physical(memory, address),
            Self::Aarch64(rules) => rules.physical(memory, address),
        }
    }

    /// Checks the page tables against the fixed rule for a text address; false when they disagree.
    pub fn agrees(&self, memory: &Physical, text: u64) -> bool {
        match self {
            Self::X86_64(rules) => rules.agrees(memory, text),
            Self::Aarch64(rules) => rules.agrees(memory, text),
        }
    }

    /// Where all of physical memory is mapped, where a fixed rule says so.
    pub fn linear(&self, physical: u64) -> Option<u64> {
        match self {
            Self::X86_64(_) => None,
            Self::Aarch64(rules) => rules.linear(physical),
        }
    }

    pub fn machine(&self) -> Machine {
        match self {
            Self::X86_64(_) => Machine::X86_64,
            Self::Aarch64(_) => Machine::Aarch64,
        }
    }

    /// Can a kernel pointer have this value?
    pub fn is_kernel(&self, address: u64) -> bool {
        match self {
            Self::X86_64(rules) => rules.is_kernel(address),
            Self::Aarch64(rules) => rules.is_kernel(address),
        }
    }

    /// Takes the pointer authentication code out of a return address; x86-64 has none.
    pub fn plain_pointer(&self, address: u64) -> u64 {
        match self {
            Self::X86_64(_) => address,
            Self::Aarch64(rules) => rules.without_pac(address),
        }
    }
}

/// Which machine, when the container does not say: VMCOREINFO has numbers that only one of them has.
pub(crate) fn machine(told: Option<Machine>, info: &VmcoreInfo) -> Machine {
    told.unwrap_or_else(|| {
        let arm = info.number("kimage_voffset").is_some() || info.number("VA_BITS").is_some();
        if arm && info.number("phys_base").is_none() { Machine::Aarch64 } else { Machine::X86_64 }
    })
}
