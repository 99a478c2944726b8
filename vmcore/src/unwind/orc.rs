//! ORC, the x86-64 kernel's unwind tables, versions 1 to 4 (`arch/x86/include/asm/orc_types.h`).

use super::{Next, State};
use crate::code::{Code, Owner};
use crate::kernel::{Absent, Kernel};
use crate::memory::Fault;
use crate::modules::Loaded;

/// A kernel has some 400 000 entries.
const MAX_ENTRIES: u64 = 16 << 20;
/// `struct orc_entry`.
const ENTRY: u64 = 6;
/// Hashes in `.orc_header` (`scripts/orc_hash.sh`), for the versions that changed without a new release
/// number.
const HASH_6_3: [u8; 4] = [0xdb, 0x84, 0xae, 0xd4];
const HASH_7_1: [u8; 4] = [0x13, 0x7c, 0x36, 0xad];

/// `struct pt_regs`.
const REGS: PtRegs = PtRegs { r13: 16, bp: 32, r10: 56, ax: 80, dx: 96, di: 112, ip: 128, sp: 152 };

struct PtRegs {
    r13: u64,
    bp: u64,
    r10: u64,
    ax: u64,
    dx: u64,
    di: u64,
    ip: u64,
    sp: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// 4.14 – 6.2.
    V1,
    /// 6.3.
    V2,
    /// 6.4 – 7.0, and RHEL 9 from 5.14.0-517 on.
    V3,
    /// 7.1 and later: registers renumbered.
    V4,
}

/// What a frame is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Undefined,
    PrevSp,
    Dx,
    Di,
    Bp,
    Sp,
    R10,
    R13,
    Ax,
    BpIndirect,
    SpIndirect,
}

/// The register numbers of versions 1 to 3.
const BASES: [Base; 11] = {
    use Base::*;
    [Undefined, PrevSp, Dx, Di, Bp, Sp, R10, R13, BpIndirect, SpIndirect, Ax]
};
/// And of version 4.
const BASES_V4: [Base; 11] = {
    use Base::*;
    [Undefined, Ax, Dx, Sp, Bp, Di, R10, R13, PrevSp, SpIndirect, BpIndirect]
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Undefined,
    End,
    Call,
    Regs,
    RegsPartial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    sp: Base,
    sp_offset: i16,
    bp: Base,
    bp_offset: i16,
    kind: Kind,
    signal: bool,
}

/// The sorted table of the kernel or of one module, read where it lies.
#[derive(Clone, Copy)]
struct Table {
    ips: u64,
    entries: u64,
    count: u64,
}

pub(crate) struct Orc {
    version: Version,
    kernel: Table,
    /// By the module's place; none where it has no table.
    modules: Vec<Option<Table>>,
}

impl Orc {
    pub fn find(kernel: &Kernel, code: &Code) -> Result<Self, Absent> {
        let ips = kernel.symbol("__start_orc_unwind_ip")?;
        let bytes = kernel.symbol("__stop_orc_unwind_ip")?.wrapping_sub(ips);
        let count = (bytes / 4).min(MAX_ENTRIES);
        let entries = kernel.symbol("__start_orc_unwind")?;
        let module = |module: &Loaded| {
            let pointer = |member| kernel.kernel_pointer(module.address, "module", member).ok();
            let count = module.address.wrapping_add(kernel.offset("module", "arch.num_orcs").ok()?);
            Some(Table {
                ips: pointer("arch.orc_unwind_ip")?,
                entries: pointer("arch.orc_unwind")?,
                count: u64::from(kernel.memory.u32(count).ok()?).min(MAX_ENTRIES),
            })
        };
        Ok(Self {
            version: version(kernel),
            kernel: Table { ips, entries, count },
            modules: code.modules.iter().map(module).collect(),
        })
    }

    /// Address and length of all parts of the tables, for a small dump.
    pub fn parts(&self) -> Vec<(u64, u64)> {
        let both = |table: &Table| [(table.ips, table.count * 4), (table.entries, table.count * ENTRY)];
        std::iter::once(&self.kernel).chain(self.modules.iter().flatten()).flat_map(both).collect()
    }

    /// Is there an entry for this address that leads on?
    pub fn defined(&self, kernel: &Kernel, code: &Code, key: u64) -> bool {
        self.entry(kernel, code, key)
            .is_ok_and(|entry| entry.is_some_and(|entry| entry.kind != Kind::Undefined))
    }

    /// One step up, as `unwind_next_frame()` of `arch/x86/kernel/unwind_orc.c` takes it.
    pub fn step(&self, kernel: &Kernel, code: &Code, state: &State) -> Next {
        let key = if state.exact { state.pc } else { state.pc.wrapping_sub(1) };
        match self.entry(kernel, code, key) {
            Ok(Some(entry)) => caller(kernel, state, entry).unwrap_or(Next::Broken),
            Ok(None) | Err(_) => Next::Unknown,
        }
    }

    /// The last entry at or below the address.
    fn entry(&self, kernel: &Kernel, code: &Code, key: u64) -> Result<Option<Entry>, Fault> {
        let table = match code.owner(key) {
            Some(Owner::Kernel) => self.kernel,
            Some(Owner::Module(at)) => match self.modules.get(at) {
                Some(Some(table)) => *table,
                _ => return Ok(None),
            },
            Some(Owner::Program(_)) | None => return Ok(None),
        };
        let (mut low, mut high) = (0, table.count);
        while low < high {
            let middle = low.midpoint(high);
            let at = table.ips.wrapping_add(4 * middle);
            let address = at.wrapping_add(i64::from(kernel.memory.i32(at)?) as u64);
            if address <= key { low = middle + 1 } else { high = middle }
        }
        let Some(found) = low.checked_sub(1) else { return Ok(None) };
        let bytes = kernel.memory.array(table.entries.wrapping_add(ENTRY * found))?;
        Ok(Some(decode(self.version, bytes)))
    }
}

fn caller(kernel: &Kernel, state: &State, entry: Entry) -> Option<Next> {
    let word = |address: u64| kernel.memory.u64(address).ok();
    let plus = |base: u64, offset: i16| base.wrapping_add(i64::from(offset) as u64);
    match entry.kind {
        Kind::End => return Some(Next::End),
        Kind::Undefined => return Some(Next::Unknown),
        Kind::Call | Kind::Regs | Kind::RegsPartial => {}
    }
    let frame = match entry.sp {
        Base::Sp => plus(state.sp, entry.sp_offset),
        Base::Bp => plus(state.bp, entry.sp_offset),
        Base::SpIndirect => plus(word(state.sp)?, entry.sp_offset),
        Base::BpIndirect => word(plus(state.bp, entry.sp_offset))?,
        Base::R10 => state.r10?,
        Base::R13 => state.r13?,
        Base::Di => state.di?,
        Base::Dx => state.dx?,
        Base::Ax => state.ax?,
        Base::PrevSp | Base::Undefined => return None,
    };
    let mut next = State { exact: entry.signal, bp: state.bp, ..State::default() };
    match entry.kind {
        Kind::Regs => {
            let register = |offset: u64| word(frame.wrapping_add(offset));
            next.pc = register(REGS.ip)?;
            next.sp = register(REGS.sp)?;
            next.bp = register(REGS.bp)?;
            (next.r10, next.r13, next.di) = (register(REGS.r10), register(REGS.r13), register(REGS.di));
            (next.dx, next.ax) = (register(REGS.dx), register(REGS.ax));
            return Some(Next::Frame(next));
        }
        Kind::RegsPartial => {
            // Only what the processor pushed: ip, cs, flags, sp, ss.
            next.pc = word(frame)?;
            next.sp = word(frame.wrapping_add(24))?;
        }
        Kind::Call | Kind::Undefined | Kind::End => {
            next.pc = word(frame.wrapping_sub(8))?;
            next.sp = frame;
            next.r13 = state.r13;
        }
    }
    next.bp = match entry.bp {
        Base::PrevSp => word(plus(frame, entry.bp_offset))?,
        Base::Bp => word(plus(state.bp, entry.bp_offset))?,
        _ => state.bp,
    };
    Some(Next::Frame(next))
}

/// `s16 sp_offset, s16 bp_offset, u16 flags`, all made into the third version's meaning.
fn decode(version: Version, bytes: [u8; ENTRY as usize]) -> Entry {
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let flags = half(4);
    let names = if version == Version::V4 { BASES_V4 } else { BASES };
    let base = |number: u16| names.get(usize::from(number)).copied().unwrap_or(Base::Undefined);
    let sp = base(flags & 0xf);
    let old = |end: u32| match (sp, flags >> end & 1, flags >> 8 & 3) {
        (Base::Undefined, 1, _) => Kind::End,
        (Base::Undefined, _, _) => Kind::Undefined,
        (_, _, 0) => Kind::Call,
        (_, _, 1) => Kind::Regs,
        (_, _, 2) => Kind::RegsPartial,
        _ => Kind::Undefined,
    };
    let kind = match version {
        Version::V1 => old(10),
        Version::V2 => old(11),
        Version::V3 | Version::V4 => match flags >> 8 & 7 {
            1 => Kind::End,
            2 => Kind::Call,
            3 => Kind::Regs,
            4 => Kind::RegsPartial,
            _ => Kind::Undefined,
        },
    };
    let signal = match version {
        // Without a bit of its own: registers are only ever saved by an exception or an entry from user
        // space.
        Version::V1 => matches!(kind, Kind::Regs | Kind::RegsPartial),
        Version::V2 => flags >> 10 & 1 == 1,
        Version::V3 | Version::V4 => flags >> 11 & 1 == 1,
    };
    let bp = base(flags >> 4 & 0xf);
    Entry { sp, sp_offset: half(0) as i16, bp, bp_offset: half(2) as i16, kind, signal }
}

fn version(kernel: &Kernel) -> Version {
    let header = kernel.symbol("__start_orc_header").ok().and_then(|at| kernel.memory.array::<4>(at).ok());
    match header {
        Some(HASH_6_3) => return Version::V2,
        Some(HASH_7_1) => return Version::V4,
        // Any other hash is 6.4's, or a later one that we do not know yet.
        Some(_) => return if release(kernel) >= (7, 1) { Version::V4 } else { Version::V3 },
        None => {}
    }
    match release(kernel) {
        (7, 1..) | (8.., _) => Version::V4,
        (6, 4..) | (7, _) => Version::V3,
        (6, 3) => Version::V2,
        _ => Version::V1,
    }
}

fn release(kernel: &Kernel) -> (u32, u32) {
    let text = kernel.info.text("OSRELEASE").unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, flags: u16, sp: Base, bp: Base, kind: Kind, signal: bool) {
        let mut bytes = [8, 0, 0xf0, 0xff, 0, 0];
        bytes[4..].copy_from_slice(&flags.to_le_bytes());
        assert_eq!(decode(version, bytes), Entry { sp, sp_offset: 8, bp, bp_offset: -16, kind, signal });
    }

    #[test]
    fn a_call_frame_reads_alike_in_every_version() {
        check(Version::V1, 0x015, Base::Sp, Base::PrevSp, Kind::Call, false);
        check(Version::V2, 0x015, Base::Sp, Base::PrevSp, Kind::Call, false);
        check(Version::V3, 0x215, Base::Sp, Base::PrevSp, Kind::Call, false);
        check(Version::V4, 0x283, Base::Sp, Base::PrevSp, Kind::Call, false);
    }

    #[test]
    fn saved_registers_make_the_callers_pc_exact() {
        check(Version::V1, 0x105, Base::Sp, Base::Undefined, Kind::Regs, true);
        check(Version::V2, 0x505, Base::Sp, Base::Undefined, Kind::Regs, true);
        check(Version::V3, 0xb05, Base::Sp, Base::Undefined, Kind::Regs, true);
        check(Version::V4, 0xc03, Base::Sp, Base::Undefined, Kind::RegsPartial, true);
    }

    #[test]
    fn the_end_and_the_undefined_are_told_apart() {
        check(Version::V1, 0x400, Base::Undefined, Base::Undefined, Kind::End, false);
        check(Version::V1, 0x000, Base::Undefined, Base::Undefined, Kind::Undefined, false);
        check(Version::V2, 0x800, Base::Undefined, Base::Undefined, Kind::End, false);
        check(Version::V3, 0x100, Base::Undefined, Base::Undefined, Kind::End, false);
        check(Version::V4, 0x000, Base::Undefined, Base::Undefined, Kind::Undefined, false);
    }

    #[test]
    fn the_fourth_version_numbers_its_registers_anew() {
        for (number, base) in
            [(1, Base::Ax), (3, Base::Sp), (4, Base::Bp), (5, Base::Di), (10, Base::BpIndirect)]
        {
            check(Version::V4, 0x200 | number, base, Base::Undefined, Kind::Call, false);
        }
        for (number, base) in [(3, Base::Di), (5, Base::Sp), (8, Base::BpIndirect), (10, Base::Ax)] {
            check(Version::V3, 0x200 | number, base, Base::Undefined, Kind::Call, false);
        }
    }
}
