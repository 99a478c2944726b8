//! How `scripts/kallsyms.c` codes names and addresses, wherever the tables lie: in a dump, or in a kernel's image.

/// `KSYM_NAME_LEN` is 512; longer expansions are damage.
pub const MAX_NAME: usize = 1024;

/// Of the name at `at`: how many tokens it has (one byte, or from 6.1 on, from 128 tokens on, two), and where they begin.
pub fn length(names: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*names.get(at)?);
    if first & 0x80 == 0 {
        return Some((first, at + 1));
    }
    Some((first & 0x7f | usize::from(*names.get(at + 1)?) << 7, at + 2))
}

/// Expands a name into `out`; its first character is the type, as nm(1) prints it.
pub fn expand<'t>(packed: &[u8], token: impl Fn(u8) -> &'t [u8], out: &mut Vec<u8>) {
    out.clear();
    for &number in packed {
        out.extend_from_slice(token(number));
        if out.len() > MAX_NAME {
            break;
        }
    }
}

/// How the 32-bit offset of a symbol stands for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// `CONFIG_KALLSYMS_ABSOLUTE_PERCPU` (x86 before 6.15): below zero relative to the base, else absolute.
    AbsolutePerCpu {
        /// `kallsyms_relative_base`.
        base: u64,
    },
    /// `CONFIG_KALLSYMS_BASE_RELATIVE`.
    Relative {
        /// `kallsyms_relative_base`.
        base: u64,
    },
    /// Relative to the place of the offset itself (the newest kernels).
    Place {
        /// `kallsyms_offsets`.
        table: u64,
    },
}

impl Addresses {
    /// The address of symbol number `i`.
    pub fn of(self, i: usize, offset: u32) -> u64 {
        match self {
            Addresses::AbsolutePerCpu { base } => match i64::from(offset.cast_signed()) {
                absolute @ 0.. => absolute as u64,
                relative => base.wrapping_sub(1).wrapping_add(relative.unsigned_abs()),
            },
            Addresses::Relative { base } => base.wrapping_add(u64::from(offset)),
            Addresses::Place { table } => {
                table.wrapping_add(4 * i as u64).wrapping_add(i64::from(offset.cast_signed()) as u64)
            }
        }
    }
}
