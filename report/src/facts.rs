//! What a report says besides its title: task, taint, registers, code, stacks.

use crate::code::Code;
use crate::frame;
use crate::kernel::{Arch, BuildId};
use crate::modules::{self, Module};
use crate::registers::{self, Register};
use crate::shape;
use crate::taint::Taint;
use crate::trace::{Context, Frame, Trace};

/// Everything that is collected while the lines of a report go by.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) cpu: Option<u32>,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) build_id: Option<BuildId>,
    pub(crate) taint: Option<Taint>,
    pub(crate) hardware: Option<String>,
    pub(crate) oops_number: Option<u32>,
    pub(crate) modules: Vec<Module>,
    pub(crate) registers: Vec<Register>,
    pub(crate) ip: Option<Frame>,
    pub(crate) code: Option<Code>,
    pub(crate) traces: Vec<Trace>,
    pub(crate) arch: Arch,
    open: Option<Open>,
    heading: Option<(String, usize)>,
    backtrace_cpu: Option<u32>,
    in_user: bool,
    after_pointer: bool,
}

/// The trace whose frames are going by.
#[derive(Debug)]
struct Open {
    context: Vec<Context>,
}

/// A recursion fills a 16 KiB stack with a few hundred frames; all-CPU backtraces have a trace a CPU.
const FRAMES_MAX: usize = 1024;
const TRACES_MAX: usize = 256;
/// Most traces are no longer.
const USUAL_FRAMES: usize = 16;

impl Facts {
    /// Takes the next line of the report; `index` is its place in the log.
    pub(crate) fn take(&mut self, text: &str, index: usize) {
        let trimmed = text.trim_ascii();
        if trimmed.is_empty() {
            // A blank line ends a stack, but not the block it stands in.
            self.open = None;
            return;
        }
        if self.marker(trimmed) {
            return;
        }
        if self.frame(text, index) {
            return;
        }
        if self.state(trimmed, index) {
            // Registers inside a stack belong to an exception frame; the stack goes on behind them.
            return;
        }
        self.open = None;
        self.told(trimmed);
        self.heading = heading(trimmed).map(|heading| (heading.to_owned(), index));
        if let Some(cpu) = trimmed.strip_prefix("NMI backtrace for cpu ").and_then(leading_number) {
            self.backtrace_cpu = Some(cpu);
        }
    }

    /// `<IRQ>`, `</TASK>` and the like.
    fn marker(&mut self, text: &str) -> bool {
        let Some(name) = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else { return false };
        let (closing, name) = match name.strip_prefix('/') {
            Some(name) => (true, name),
            None => (false, name),
        };
        let context = match name {
            "TASK" => Context::Task,
            "IRQ" => Context::Irq,
            "SOFTIRQ" => Context::Softirq,
            "NMI" => Context::Nmi,
            "ENTRY_TRAMPOLINE" => Context::Entry,
            "EOI" | "EOE" => return self.close_context(),
            _ if name.starts_with('#') => Context::Exception,
            _ => return false,
        };
        if closing {
            return self.close_context();
        }
        let open = self.open.get_or_insert_with(|| Open { context: Vec::new() });
        if open.context.len() < 8 {
            open.context.push(context);
        }
        true
    }

    fn close_context(&mut self) -> bool {
        if let Some(open) = &mut self.open {
            open.context.pop();
        }
        true
    }

    fn frame(&mut self, text: &str, index: usize) -> bool {
        // Most lines of a log are none; a few words tell.
        let plus = memchr::memchr(b'+', text.as_bytes()).is_some_and(|at| text[at..].starts_with("+0x"));
        let place = || memchr::memchr(b'(', text.as_bytes()).map(|at| &text.as_bytes()[at + 1..]);
        let decoded = || place().is_some_and(shape::is_place);
        let trimmed = text.trim_ascii_start();
        if !plus && !trimmed.starts_with(['?', '0', '[', '(', '<']) && !decoded() {
            return false;
        }
        let text = trimmed;
        let context = self.open.as_ref().and_then(|open| open.context.last().copied()).unwrap_or_default();
        // `<IRQ>  [<addr>] foo+…` of old kernels: the marker stands before the frame.
        let (text, context) = match text.strip_prefix('<').and_then(|rest| rest.split_once("> ")) {
            Some(("IRQ", rest)) => (rest, Context::Irq),
            Some(("NMI", rest)) => (rest, Context::Nmi),
            Some(("EOI" | "EOE", rest)) => (rest, Context::Task),
            _ => (text, context),
        };
        let Some((first, second)) = frame::read(text, index, context) else { return false };
        // A bare address that begins no stack is a register or a dump of memory.
        if first.symbol.is_none() && self.open.is_none() {
            return false;
        }
        if self.in_user {
            return true;
        }
        self.push(first, index);
        if let Some(second) = second {
            self.push(second, index);
        }
        true
    }

    fn push(&mut self, frame: Frame, index: usize) {
        let fresh = self.open.is_none() || self.heading.is_some();
        if self.open.is_none() {
            self.open = Some(Open { context: vec![] });
        }
        if fresh || self.traces.is_empty() {
            if self.traces.len() >= TRACES_MAX {
                return;
            }
            let (heading, line) = self.heading.take().unwrap_or_else(|| ("Stack".to_owned(), index));
            let cpu = self.backtrace_cpu.take();
            self.traces.push(Trace { heading, line, cpu, frames: Vec::with_capacity(USUAL_FRAMES) });
        }
        if let Some(trace) = self.traces.last_mut()
            && trace.frames.len() < FRAMES_MAX
        {
            trace.frames.push(frame);
        }
    }

    /// Instruction pointer, code, registers.
    fn state(&mut self, text: &str, index: usize) -> bool {
        if let Some((arch, rest)) = pointer(text) {
            self.note_arch(arch);
            let pointer = frame::pointer(rest, index);
            self.in_user = pointer.is_none() && rest.trim_ascii_start().starts_with("0033:");
            self.after_pointer = true;
            if let Some(mut pointer) = pointer {
                match &mut self.open {
                    Some(open) if !self.traces.is_empty() => {
                        pointer.context = open.context.last().copied().unwrap_or_default();
                        if self.ip.is_none() {
                            self.ip = Some(pointer.clone());
                        }
                        self.push(pointer, index);
                    }
                    _ => {
                        self.ip.get_or_insert(pointer);
                    }
                }
            }
            // ppc, riscv and arm put registers on the same line.
            if arch != Arch::X86_64 && !self.in_user {
                registers::read(text, &mut self.registers);
            }
            return true;
        }
        if let Some(rest) = text.strip_prefix("Code: ") {
            if !self.in_user && self.code.is_none() {
                self.code = Code::read(rest);
            }
            return true;
        }
        let mut user = Vec::new();
        let list = if self.in_user { &mut user } else { &mut self.registers };
        let found = registers::read(text, list);
        if found && text.starts_with("x29:") {
            self.note_arch(Arch::Arm64);
        }
        found
    }

    fn note_arch(&mut self, arch: Arch) {
        if self.arch == Arch::Unknown {
            self.arch = arch;
        }
    }

    /// Lines that say something about the machine.
    fn told(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix("CPU: ").filter(|_| text.contains("Comm: ")) {
            if self.comm.is_none() {
                self.task(rest);
            }
        } else if let Some(name) = text.strip_prefix("Hardware name: ") {
            self.hardware.get_or_insert_with(|| name.to_owned());
        } else if let Some(list) = text.strip_prefix("Modules linked in:") {
            if self.modules.is_empty() {
                self.modules = modules::read(list);
            }
        } else if self.oops_number.is_none()
            && memchr::memchr(b'#', text.as_bytes()).is_some()
            && let Some(number) = after(text, "[#").and_then(leading_number)
        {
            self.oops_number = Some(number);
        }
        if text.starts_with("Call trace:") && self.arch == Arch::Unknown {
            self.arch = Arch::Arm64;
        }
        // A new block of the report: what was said of user space is over.
        self.in_user = false;
    }

    /// `1 UID: 0 PID: 115 Comm: insmod Kdump: loaded Tainted: G  OE  6.1.0-56 #1 Debian 6.1.192-2 [build id]`
    fn task(&mut self, text: &str) {
        self.cpu = leading_number(text);
        self.pid = after(text, "PID: ").and_then(leading_number);
        let Some(rest) = after(text, "Comm: ") else { return };
        let taint = ["Not tainted", "Tainted:"].iter().filter_map(|word| rest.find(word)).min();
        let Some(at) = taint else {
            self.comm = Some(rest.trim_end().to_owned());
            return;
        };
        let comm = rest[..at].trim_end();
        self.comm = Some(comm.strip_suffix("Kdump: loaded").unwrap_or(comm).trim_end().to_owned());
        let Some((taint, rest)) = Taint::read(&rest[at..]) else { return };
        self.taint = Some(taint);
        self.release = rest.split_ascii_whitespace().next().map(str::to_owned);
        self.build_id = BuildId::at_end(rest);
    }
}

/// The line that names the instruction pointer, and what stands behind the name.
fn pointer(text: &str) -> Option<(Arch, &str)> {
    const FORMS: [(&str, Arch); 9] = [
        ("RIP: ", Arch::X86_64),
        ("EIP: ", Arch::I386),
        ("PC is at ", Arch::Arm),
        ("pc : ", Arch::Arm64),
        ("epc : ", Arch::Riscv64),
        ("NIP [", Arch::Ppc64),
        ("Krnl PSW : ", Arch::S390x),
        ("ERA: ", Arch::Loongarch64),
        ("epc   : ", Arch::Mips),
    ];
    // Nearly every line fails here.
    if !matches!(text.as_bytes().first()?, b'R' | b'E' | b'P' | b'p' | b'e' | b'N' | b'K') {
        return None;
    }
    let (form, arch) = FORMS.iter().find(|(form, _)| text.starts_with(form))?;
    let rest = &text[form.len()..];
    match arch {
        // `NIP [c000000000001234] foo+0x1/0x2`: the address is part of the frame.
        Arch::Ppc64 => Some((*arch, &text[4..])),
        // `Krnl PSW : 0704c00180000000 0000000000123456 (foo+0x1/0x2)`
        Arch::S390x => Some((*arch, rest.split_once('(').map_or("", |(_, frame)| frame))),
        // `  ERA: 9000000000123456 foo+0x1/0x2`, `epc   : 80123456 foo+0x1/0x2`
        Arch::Loongarch64 | Arch::Mips => Some((*arch, rest.split_once(' ').map_or("", |(_, frame)| frame))),
        // arm prints `pc : [<c0100000>] lr : …` without a function: that is a line of registers.
        Arch::Arm64 if rest.starts_with("[<") => None,
        _ => Some((*arch, rest)),
    }
}

/// Lines that announce a stack end in a colon, or say whose backtrace it is.
fn heading(text: &str) -> Option<&str> {
    if text.starts_with("NMI backtrace for cpu ") {
        return Some(text);
    }
    let text = text.strip_suffix(':')?;
    (text.len() <= 120).then_some(text)
}

pub(crate) fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let at = memchr::memmem::find(text.as_bytes(), word.as_bytes())?;
    Some(&text[at + word.len()..])
}

pub(crate) fn leading_number(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Facts {
        let mut facts = Facts::default();
        text.lines().enumerate().for_each(|(index, line)| facts.take(line, index));
        facts
    }

    const OOPS: &str = "\
BUG: kernel NULL pointer dereference, address: 0000000000000000
Oops: 0000 [#3] PREEMPT SMP NOPTI
CPU: 1 UID: 0 PID: 115 Comm: my tool Kdump: loaded Tainted: G        W  OE      6.1.0-56 #1  Debian 6.1.192-2
Hardware name: QEMU Standard PC
RIP: 0010:inner+0x5/0x10 [mod]
Code: 00 c3 <f3> 90
RSP: 0018:ffffc90000000000 EFLAGS: 00010246
RAX: 0000000000000001 RBX: 0000000000000002 RCX: 0000000000000003
Call Trace:
 <IRQ>
 tick+0x1/0x2
 </IRQ>
 <TASK>
 asm_tick+0x1/0x2
RIP: 0010:inner+0x5/0x10 [mod]
RSP: 0018:ffffc90000000000 EFLAGS: 00010246
 ? doubted+0x1/0x2
 outer+0x1/0x2 [mod]
 entry+0x76/0x7e
RIP: 0033:0x47fbe9
RSP: 002b:00007fff00000000 EFLAGS: 00000246 ORIG_RAX: 0000000000000139
RAX: ffffffffffffffda RBX: 0000000000000009 RCX: 0000000000000008
 </TASK>
Modules linked in: mod(OE) other
";

    #[test]
    fn an_oops_tells_task_taint_and_state() {
        let facts = facts(OOPS);
        assert_eq!((facts.cpu, facts.pid, facts.comm.as_deref()), (Some(1), Some(115), Some("my tool")));
        assert_eq!(facts.taint.as_ref().map(|taint| taint.letters.as_str()), Some("WOE"));
        assert_eq!((facts.release.as_deref(), facts.oops_number), (Some("6.1.0-56"), Some(3)));
        assert_eq!(facts.ip.as_ref().and_then(Frame::name), Some("inner"));
        assert_eq!(facts.modules.len(), 2);
        assert_eq!(facts.arch, Arch::X86_64);
        let rax =
            facts.registers.iter().find(|register| register.name == "RAX").map(|register| register.value);
        assert_eq!(rax, Some(1), "the registers of user space are not the kernel's");
        assert_eq!(facts.code.and_then(|code| code.mark), Some(2));
    }

    #[test]
    fn a_stack_goes_on_behind_an_exception_frame() {
        let facts = facts(OOPS);
        assert_eq!(facts.traces.len(), 1);
        let frames: Vec<_> = facts.traces[0]
            .frames
            .iter()
            .map(|frame| (frame.name().unwrap_or(""), frame.context, frame.reliable, frame.exact))
            .collect();
        assert_eq!(
            frames,
            [
                ("tick", Context::Irq, true, false),
                ("asm_tick", Context::Task, true, false),
                ("inner", Context::Task, true, true),
                ("doubted", Context::Task, false, false),
                ("outer", Context::Task, true, false),
                ("entry", Context::Task, true, false),
            ]
        );
        assert_eq!(facts.traces[0].heading, "Call Trace");
    }

    #[test]
    fn each_stack_keeps_its_heading() {
        let facts = facts(
            "Call Trace:\n a+0x1/0x2\n\nAllocated by task 12:\n b+0x1/0x2\n\nFreed by task 13:\n c+0x1/0x2\n",
        );
        let found: Vec<_> =
            facts.traces.iter().map(|trace| (trace.heading.as_str(), trace.frames.len())).collect();
        assert_eq!(found, [("Call Trace", 1), ("Allocated by task 12", 1), ("Freed by task 13", 1)]);
    }

    #[test]
    fn each_architecture_names_its_instruction_pointer() {
        for (line, arch) in [
            ("EIP: foo+0x1/0x2", Arch::I386),
            ("pc : foo+0x1/0x2", Arch::Arm64),
            ("PC is at foo+0x1/0x2", Arch::Arm),
            ("epc : foo+0x1/0x2", Arch::Riscv64),
            ("NIP [c000000000001234] foo+0x1/0x2", Arch::Ppc64),
            ("Krnl PSW : 0704c00180000000 0000000000123456 (foo+0x1/0x2)", Arch::S390x),
            ("  ERA: 9000000000123456 foo+0x1/0x2", Arch::Loongarch64),
            ("epc   : 80123456 foo+0x1/0x2", Arch::Mips),
        ] {
            let facts = facts(line);
            assert_eq!(facts.ip.as_ref().and_then(Frame::name), Some("foo"), "{line}");
            assert_eq!(facts.arch, arch, "{line}");
        }
    }
}
