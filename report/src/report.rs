//! One report: a crash, a warning or a hang as the kernel told it.

use std::ops::Range;

use serde::Serialize;

use crate::code::Code;
use crate::corrupted::Corrupted;
use crate::kind::{CrashType, Severity};
use crate::log::KernelTime;
use crate::registers::Register;
use crate::taint::Taint;
use crate::trace::{Frame, Trace};

/// One crash, warning or hang.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The signature: `KASAN: slab-use-after-free Read in tcp_v4_rcv`.
    pub title: String,
    /// Further names under which the same bug may come: `bad-access in tcp_v4_rcv`. Two reports that share a title or
    /// one of these are the same bug.
    pub alts: Vec<String>,
    /// The class of the title.
    pub kind: CrashType,
    /// How much it matters to a fleet.
    pub severity: Severity,
    /// Place in syzkaller's order of security impact, 1 the worst; None for what is not ranked there.
    pub security_rank: Option<u8>,
    /// The function in the title.
    pub frame: Option<String>,
    /// Whom to blame; also there when the title names no function.
    pub guilty: Option<Function>,
    /// The text was damaged, so the title deserves less trust.
    pub corrupted: Option<Corrupted>,
    /// The machine died of it: it is the cause of the panic or reboot.
    pub fatal: bool,
    /// Somebody asked for it: sysrq-c, lkdtm. Not to be counted among crashes.
    pub intentional: bool,
    /// Time of the header line.
    pub at: Option<KernelTime>,
    /// Its lines in [`crate::Log::lines`], header line first. Lines of other tasks may lie between.
    pub lines: Range<usize>,
    /// The CPU of the `CPU: … PID: … Comm: …` line.
    pub cpu: Option<u32>,
    /// The task that ran.
    pub pid: Option<u32>,
    /// Its name, at most 15 bytes.
    pub comm: Option<String>,
    /// `Hardware name:`, as printed.
    pub hardware: Option<String>,
    /// What had happened to the kernel before.
    pub taint: Option<Taint>,
    /// N of `Oops: … [#N]`: the number of oopses since boot.
    pub oops_number: Option<u32>,
    /// Where in the kernel it probably belongs: `net/ipv4`, `fs/ext4`.
    pub subsystem: Option<String>,
    /// `file:line` in the header of a WARNING or BUG, as the kernel printed it.
    pub source: Option<String>,
    /// The stacks, in the order of the log.
    pub traces: Vec<Trace>,
    /// The first kernel register dump.
    pub registers: Vec<Register>,
    /// The instruction that faulted (`RIP:`, `pc :`), when it was in the kernel.
    pub ip: Option<Frame>,
    /// The bytes around it.
    pub code: Option<Code>,
    /// The BPF program in whose code or at whose request it happened: `tag` or `tag_name`.
    pub bpf: Option<String>,
}

/// A function and the module it lives in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Function {
    /// Without compiler suffixes and system call prefixes.
    pub name: String,
    /// None for the kernel proper.
    pub module: Option<String>,
}

/// How many names make a variant: enough to tell two ways into the same bug apart, few enough that the outer frames,
/// which are the system call's, do not.
const VARIANT_NAMES: usize = 32;

impl Report {
    /// The second level of the signature: names of the frames the kernel was sure of, compiler suffixes stripped, innermost first,
    /// of the first trace that has any. Hash them to tell apart two ways into the same bug.
    pub fn variant_names(&self) -> Vec<&str> {
        let ip = self.ip.iter().filter_map(Frame::name);
        let trace = self.traces.iter().find(|trace| trace.frames.iter().any(|frame| frame.reliable));
        let frames = trace.into_iter().flat_map(|trace| &trace.frames).filter(|frame| frame.reliable);
        let mut names: Vec<&str> = ip.chain(frames.filter_map(Frame::name)).take(VARIANT_NAMES).collect();
        names.dedup();
        names
    }
}
