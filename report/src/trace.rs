//! Stack traces: headings, frames, contexts, and how far the kernel trusted each frame.

use serde::Serialize;

use crate::kernel::BuildId;

/// One stack trace of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trace {
    /// The line that began it, without the colon: `Call Trace`, `Allocated by task 12`, `NMI backtrace for cpu 1`.
    pub heading: String,
    /// Index of that line in [`crate::Log::lines`].
    pub line: usize,
    /// The CPU whose stack it is, when the log says so.
    pub cpu: Option<u32>,
    /// In the order of the log: innermost first.
    pub frames: Vec<Frame>,
}

/// One entry of a stack trace, or an instruction pointer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frame {
    /// As printed, compiler suffixes kept: `start_engine.isra.0`. None for a bare address.
    pub symbol: Option<String>,
    /// `+0xOFF`
    pub offset: u64,
    /// `/0xSIZE`: the distance to the next symbol of kallsyms.
    pub size: Option<u64>,
    /// `[<ffff…>]`, on kernels and architectures that print it.
    pub address: Option<u64>,
    /// `[module]`
    pub module: Option<String>,
    /// The module's build id, printed inside the brackets.
    pub build_id: Option<BuildId>,
    /// The kernel stood behind it: no `?`, no `(unreliable)`.
    pub reliable: bool,
    /// An instruction pointer or the exact program counter of an exception frame, to be looked up as it is. Otherwise
    /// it is a return address, which points behind the call, and is looked up at −1.
    pub exact: bool,
    /// What the CPU was doing in this part of the stack.
    pub context: Context,
    /// Index of the line in [`crate::Log::lines`].
    pub line: usize,
    /// `(file:line)` printed by kernels with CONFIG_KALLSYMS_LINEINFO, or by scripts/decode_stacktrace.sh.
    pub kernel_line: Option<KernelLine>,
    /// Generated code (BPF programs, trampolines, dispatchers): never to be looked up in vmlinux.
    pub bpf: Option<Bpf>,
}

/// The kernel's own answer to where a frame is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelLine {
    /// Path in the source tree.
    pub file: String,
    /// From 1; 0 when it was not known.
    pub line: u32,
}

/// Generated code of the BPF subsystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Bpf {
    /// `bpf_prog_<tag>_<name>`
    Program {
        /// 16 hex digits: a digest of the instructions.
        tag: String,
        /// As far as the program had one.
        name: Option<String>,
    },
    /// `bpf_trampoline_<id>`
    Trampoline {
        /// The kernel's key of the attached function.
        id: String,
    },
    /// `bpf_dispatcher_<name>`
    Dispatcher {
        /// Which dispatcher.
        name: String,
    },
}

/// The kind of stack a frame was found on, from `<IRQ>`, `<NMI>`, `<TASK>` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// The log does not say.
    #[default]
    Unknown,
    /// `<TASK>`
    Task,
    /// `<IRQ>`
    Irq,
    /// `<SOFTIRQ>`
    Softirq,
    /// `<NMI>`
    Nmi,
    /// `<#DF>`, `<#DB>`, `<#MC>`, `<EOE>` …: an exception stack.
    Exception,
    /// `<ENTRY_TRAMPOLINE>`
    Entry,
}

impl Frame {
    /// The symbol without what the compiler added: `foo` of `foo.isra.0`, `foo.constprop.3.cold`, `foo.llvm.123`.
    pub fn name(&self) -> Option<&str> {
        let symbol = self.symbol.as_deref()?;
        Some(symbol.split_once('.').map_or(symbol, |(name, _)| name)).filter(|name| !name.is_empty())
    }

    /// The log was decoded before it came to us: the place stands where the offset was, which is 0 here and tells
    /// nothing. Not to be looked up.
    pub fn is_decoded(&self) -> bool {
        self.kernel_line.is_some() && self.size.is_none() && self.offset == 0
    }
}
