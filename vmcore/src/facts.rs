//! What is known of the crash as a whole: kernel, time, CPU, task, registers, modules.

use crate::address::Address;
use crate::bpf::Program;
use crate::code::Code;
use crate::cpus::Running;
use crate::dump::{Machine, gnu_build_id};
use crate::kernel::{Absent, Kernel};
use crate::modules::Module;
use crate::printk::Log;
use crate::registers::Registers;
use crate::tasks::{Frame, Tasks};
use report::{BuildId, Note};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `struct new_utsname`: six fields of 65 bytes.
const UTS_FIELD: u64 = 65;
/// `.notes` of a kernel: build id, Xen's notes, a few hundred bytes.
const MAX_NOTES: u64 = 1 << 20;
/// `COMMAND_LINE_SIZE` is 2048 and 4096; arm64 takes longer ones from the boot loader.
const MAX_COMMAND_LINE: usize = 16384;
/// `PRINTKRB_RECORD_MAX`: no line that the kernel printed is longer.
const MAX_LINE: usize = 1024;
/// `taint_flags` of `kernel/panic.c`, by bit.
const TAINTS: &[u8; 20] = b"PFSRMBUDAWCIOELKXTNJ";

/// Facts, in the words of debuggers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// `uname -r`.
    pub kernel_release: Option<String>,
    /// `uname -v`.
    pub kernel_version: Option<String>,
    /// `uname -n`.
    pub hostname: Option<String>,
    /// The processor's architecture.
    pub machine: Machine,
    /// From the kernel's own `.notes`, where they can be read; VMCOREINFO's can be garbage.
    pub build_id: Option<BuildId>,
    /// How far the kernel was moved from its link address.
    pub kaslr_offset: Option<Address>,
    /// Where physical memory begins for the kernel's text (x86-64), as VMCOREINFO has it.
    pub phys_base: Option<String>,
    /// 4 or 5 on x86-64.
    pub page_table_levels: Option<u32>,
    /// Seconds since 1970.
    pub crash_time: Option<u64>,
    /// Seconds from boot to the crash.
    pub uptime: Option<u64>,
    /// Which CPU panicked.
    pub panic_cpu: Option<i32>,
    /// The line of the log that says why.
    pub panic_message: Option<String>,
    /// Letters of the kernel's taint; empty when it was clean.
    pub taint: Option<String>,
    /// All CPUs that were online.
    pub online_cpus: Vec<u32>,
    /// `/proc/cmdline`.
    pub command_line: Option<String>,
    /// Bytes of memory that the kernel could use.
    pub memory_total: Option<u64>,
    /// The task on the CPU that panicked.
    pub pid: Option<i32>,
    /// Its name.
    pub comm: Option<String>,
    /// Its cgroup.
    pub cgroup: Option<String>,
    /// What it left in that CPU's registers.
    pub registers: Option<Registers>,
    /// Its stack, innermost frame first.
    pub stack: Option<Vec<Arc<Frame>>>,
    /// Loaded modules, the last loaded first.
    pub modules: Vec<Module>,
    /// Loaded BPF programs.
    pub bpf_programs: Vec<Program>,
    /// How many tasks were found.
    pub tasks: usize,
    /// Were these all?
    pub tasks_complete: bool,
    /// Everything that was missing or damaged.
    pub notes: Vec<Note>,
}

pub(crate) fn read(kernel: &Kernel, code: &Code, running: &[Running], tasks: &Tasks, log: &Log) -> Facts {
    let info = &kernel.info;
    let mut notes = [&tasks.notes[..], &log.notes].concat();
    let panic_cpu = panic_cpu(kernel).filter(|&cpu| cpu >= 0);
    let crashed = running.iter().find(|cpu| i32::try_from(cpu.cpu).is_ok_and(|cpu| Some(cpu) == panic_cpu));
    let task = crashed.and_then(|cpu| tasks.tasks.iter().find(|task| cpu.task == Some(task.task_struct.0)));
    if panic_cpu.is_none() {
        notes.push(Note::new(
            "no-panic",
            "no CPU had panicked: the dump was taken from a living kernel, or it hung",
        ));
    }
    let crash_time = info.text("CRASHTIME").and_then(|time| time.parse().ok());
    let uts = |field: u64| uts(kernel, field);
    Facts {
        kernel_release: info.text("OSRELEASE").map(str::to_owned).or_else(|| uts(2)),
        kernel_version: uts(3),
        hostname: uts(1),
        machine: kernel.memory.translation.machine(),
        build_id: build_id(kernel, &mut notes),
        kaslr_offset: info.hex("KERNELOFFSET").map(Address),
        phys_base: info.text("NUMBER(phys_base)").map(str::to_owned),
        page_table_levels: (kernel.memory.translation.machine() == Machine::X86_64)
            .then(|| if info.number("pgtable_l5_enabled") == Some(1) { 5 } else { 4 }),
        crash_time,
        uptime: uptime(kernel, crash_time).ok(),
        panic_cpu,
        panic_message: panic_message(&log.text),
        taint: kernel.symbol("tainted_mask").and_then(|at| Ok(kernel.memory.u64(at)?)).ok().map(taint),
        online_cpus: kernel.online_cpus().unwrap_or_default(),
        command_line: command_line(kernel).ok(),
        memory_total: memory_total(kernel).ok(),
        pid: task.map(|task| task.pid),
        comm: task.map(|task| task.comm.clone()),
        cgroup: task.and_then(|task| task.cgroup.clone()),
        registers: crashed.and_then(|cpu| Some(cpu.status.as_ref()?.registers.clone())),
        stack: task.and_then(|task| task.stack.clone()),
        modules: code.modules.iter().map(|loaded| loaded.module.clone()).collect(),
        bpf_programs: code.programs.clone(),
        tasks: tasks.tasks.len(),
        tasks_complete: tasks.complete,
        notes,
    }
}

fn panic_cpu(kernel: &Kernel) -> Option<i32> {
    let read = |name: &str| kernel.memory.i32(kernel.symbol(name).ok()?).ok();
    read("panic_cpu").filter(|&cpu| cpu >= 0).or_else(|| read("crashing_cpu"))
}

fn uts(kernel: &Kernel, field: u64) -> Option<String> {
    let name = kernel
        .info
        .offset("uts_namespace.name")
        .map(Ok)
        .unwrap_or_else(|| kernel.offset("uts_namespace", "name"));
    let at = kernel.symbol("init_uts_ns").ok()?.wrapping_add(name.ok()?).wrapping_add(UTS_FIELD * field);
    kernel.memory.string(at, UTS_FIELD as usize).ok().filter(|text| !text.is_empty())
}

/// The build id in `.notes`. VMCOREINFO's is only taken where that cannot be read: several stable kernels
/// (6.6.55, 6.1.113, 6.11.3 and their neighbours) wrote garbage there.
fn build_id(kernel: &Kernel, notes: &mut Vec<Note>) -> Option<BuildId> {
    let told = kernel.info.text("BUILD-ID").and_then(|text| text.parse::<BuildId>().ok());
    match notes_build_id(kernel) {
        Ok(read) => {
            if told.as_ref().is_some_and(|told| *told != read) {
                notes.push(Note::new(
                    "build-id",
                    "VMCOREINFO has another build id than the kernel's own notes",
                ));
            }
            Some(read)
        }
        Err(cause) => {
            if told.is_some() {
                notes.push(Note::new(
                    "build-id",
                    format!("the build id is VMCOREINFO's, not checked: {cause}"),
                ));
            }
            told
        }
    }
}

fn notes_build_id(kernel: &Kernel) -> Result<BuildId, Absent> {
    let start = kernel.symbol("__start_notes")?;
    let length = kernel.symbol("__stop_notes")?.wrapping_sub(start).min(MAX_NOTES);
    let mut bytes = vec![0; length as usize];
    kernel.memory.read(start, &mut bytes)?;
    gnu_build_id(&bytes).ok_or_else(|| Absent::Odd("no build id in .notes".into()))
}

/// Seconds of the boot clock, from the timekeeper: wall clock plus the distance between the two.
fn uptime(kernel: &Kernel, crash_time: Option<u64>) -> Result<u64, Absent> {
    // `tk_core` is a sequence count and, behind it, the timekeeper; from 6.13 on an array of `struct
    // tk_data`.
    let core = kernel.symbol("tk_core").or_else(|_| kernel.symbol("timekeeper_data"))?;
    let inner = kernel.offset("tk_data", "timekeeper").unwrap_or(8);
    let keeper = core.wrapping_add(inner);
    let seconds = kernel.pointer(keeper, "timekeeper", "xtime_sec")?;
    let distance = kernel.pointer(keeper, "timekeeper", "wall_to_monotonic.tv_sec")? as i64;
    if crash_time.is_some_and(|time| time.abs_diff(seconds) > 3600) {
        return Err(Absent::Odd(format!("the timekeeper says {seconds}, the crash was at {crash_time:?}")));
    }
    seconds.checked_add_signed(distance).ok_or_else(|| Absent::Odd("the timekeeper is before boot".into()))
}

/// The line that says why: the panic's, else the header of the last oops, which led to the dump.
fn panic_message(log: &str) -> Option<String> {
    const HEADERS: [&str; 5] = [
        "BUG: ",
        "kernel BUG at ",
        "general protection fault",
        "Unable to handle kernel ",
        "Internal error: ",
    ];
    let texts = || log.lines().map(|line| line.split_once("] ").map_or(line, |(_, text)| text));
    let last = |found: fn(&str) -> bool| texts().rfind(|text| found(text));
    last(|text| text.starts_with("Kernel panic - not syncing"))
        .or_else(|| last(|text| HEADERS.iter().any(|header| text.starts_with(header))))
        .or_else(|| last(|text| text.starts_with("Oops: ")))
        .map(|text| text.chars().take(MAX_LINE).collect())
}

fn taint(mask: u64) -> String {
    (0..TAINTS.len()).filter(|bit| mask >> bit & 1 == 1).map(|bit| char::from(TAINTS[bit])).collect()
}

fn command_line(kernel: &Kernel) -> Result<String, Absent> {
    let at = kernel.memory.u64(kernel.symbol("saved_command_line")?)?;
    Ok(kernel.memory.string(at, MAX_COMMAND_LINE)?)
}

fn memory_total(kernel: &Kernel) -> Result<u64, Absent> {
    let pages = kernel.memory.u64(kernel.symbol("_totalram_pages")?)?;
    let size = kernel.info.text("PAGESIZE").and_then(|size| size.parse().ok()).unwrap_or(4096);
    pages.checked_mul(size).ok_or_else(|| Absent::Odd(format!("{pages} pages of memory")))
}
