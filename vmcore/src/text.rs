//! Facts, a task, a frame as a person reads them.

use crate::facts::Facts;
use crate::registers::Registers;
use crate::tasks::{Frame, Task};
use std::fmt;

/// As the kernel prints a frame: `vfs_write+0xf8 [module]`, with `?` where only a guess led here.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reliable { "" } else { "? " })?;
        match (&self.symbol, self.offset) {
            (Some(symbol), Some(offset)) => write!(f, "{symbol}+{offset:#x}")?,
            _ => write!(f, "{}", self.pc)?,
        }
        self.module.as_ref().map_or(Ok(()), |module| write!(f, " [{module}]"))
    }
}

/// `insmod (121, R)`.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.comm.is_empty() { "?" } else { &self.comm };
        write!(f, "{name} ({}, {})", self.pid, self.state)
    }
}

/// One fact a line, then the registers, the stack and the modules.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: Option<String>| match value {
            Some(value) if !value.is_empty() => writeln!(f, "{name:<14}{value}"),
            _ => Ok(()),
        };
        line("kernel", self.kernel_release.clone())?;
        line("version", self.kernel_version.clone())?;
        line("build id", self.build_id.as_ref().map(ToString::to_string))?;
        line("host", self.hostname.clone())?;
        line("crash time", self.crash_time.map(|seconds| format!("{seconds} s since 1970")))?;
        line("uptime", self.uptime.map(|seconds| format!("{seconds} s")))?;
        line("reason", self.panic_message.clone())?;
        line("taint", self.taint.clone())?;
        line("KASLR offset", self.kaslr_offset.as_ref().map(ToString::to_string))?;
        line("memory", self.memory_total.map(|bytes| format!("{} MiB", bytes >> 20)))?;
        line("command line", self.command_line.as_ref().map(|text| text.trim_end().to_owned()))?;
        line("CPUs online", Some(self.online_cpus.len().to_string()))?;
        line("panic CPU", self.panic_cpu.map(|cpu| cpu.to_string()))?;
        let task = self.pid.zip(self.comm.as_ref()).map(|(pid, comm)| format!("{comm} ({pid})"));
        line("task", task)?;
        line("cgroup", self.cgroup.clone())?;
        line("tasks", Some(format!("{}{}", self.tasks, if self.tasks_complete { "" } else { ", not all" })))?;
        for (i, (name, value)) in self.registers.iter().flat_map(Registers::iter).enumerate() {
            write!(f, "{}{name:>8} {value:016x}", if i % 4 == 0 { "\n" } else { "" })?;
        }
        f.write_str(if self.registers.is_some() { "\n\n" } else { "\n" })?;
        self.stack.iter().flatten().enumerate().try_for_each(|(i, frame)| writeln!(f, "{i:>4} {frame}"))?;
        for module in &self.modules {
            let id = module.build_id.as_ref().map_or_else(|| "no build id".into(), ToString::to_string);
            writeln!(
                f,
                "module {} {} {} {}{id}",
                module.name,
                module.address,
                module.size,
                spaced(&module.taints)
            )?;
        }
        for program in &self.bpf_programs {
            writeln!(f, "bpf {} {} {}", program.name, program.start, program.end)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {}", note.text))
    }
}

fn spaced(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text} ") }
}
