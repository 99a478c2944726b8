//! Which task was on which CPU, and the registers it left there.

use crate::dump::ElfNote;
use crate::kernel::{Absent, Kernel};
use crate::registers::{self, Status};
use report::Note;

/// What was on one CPU.
pub(crate) struct Running {
    pub cpu: u32,
    /// `struct task_struct`; none where the kernel's tables do not lead to it.
    pub task: Option<u64>,
    pub status: Option<Status>,
}

/// Who ran where. CPUs of which neither task nor registers can be read are left out, with a note.
pub(crate) fn running(kernel: &Kernel, elf_notes: &[ElfNote], notes: &mut Vec<Note>) -> Vec<Running> {
    let mut in_order = registers::from_notes(kernel.memory.translation.machine(), elf_notes);
    let by_qemu = are_by_qemu(kernel, elf_notes, &in_order);
    if by_qemu {
        in_order.iter_mut().for_each(|status| status.pid = 0);
    }
    let cpus = if by_qemu { Ok((0..in_order.len() as u32).collect()) } else { kernel.online_cpus() };
    let cpus = cpus.unwrap_or_else(|cause| {
        let text = "which CPUs were online is not known, they are counted as the dump has their registers";
        notes.push(Note::new("cpus", format!("{text}: {cause}")));
        (0..in_order.len() as u32).collect()
    });
    let mut found = Vec::new();
    for (at, &cpu) in cpus.iter().enumerate() {
        let task = match on_runqueue(kernel, cpu, "curr").or_else(|cause| current(kernel, cpu).ok_or(cause)) {
            Ok(task) => Some(task),
            Err(cause) => {
                notes.push(Note::new("cpu-task", format!("what ran on CPU {cpu} is not known: {cause}")));
                None
            }
        };
        // After kexec the kernel's own note of the CPU is exact; the container has them in order, but leaves
        // out the CPUs that did not answer.
        let own = if by_qemu { None } else { registers::of_cpu(kernel, cpu).ok().flatten() };
        let status =
            own.or_else(|| (in_order.len() == cpus.len()).then(|| in_order.get(at).cloned()).flatten());
        if task.is_none() && status.is_none() {
            continue;
        }
        if status.is_none() {
            notes.push(Note::new("cpu-registers", format!("CPU {cpu} left no registers")));
        }
        found.push(Running { cpu, task, status });
    }
    found
}

/// Did a hypervisor stop the machine, and not the kernel? QEMU writes a note for every CPU, in order; the kernel
/// none. A panic without kdump stops the other CPUs and takes them off the kernel's list, so that only QEMU still
/// knows of them.
fn are_by_qemu(kernel: &Kernel, elf_notes: &[ElfNote], in_order: &[Status]) -> bool {
    // On arm64 QEMU has no note of its own, only CPU numbers, from 1 on, where the kernel has process ids.
    let by_number = || in_order.iter().zip(1..).all(|(status, number)| status.pid == number);
    let by_kernel =
        || (0..).zip(in_order).any(|(cpu, _)| registers::of_cpu(kernel, cpu).ok().flatten().is_some());
    elf_notes.iter().any(|note| note.name == b"QEMU") || !in_order.is_empty() && by_number() && !by_kernel()
}

/// The task by x86-64's own per-CPU pointer: a variable up to 6.1 and from 6.15 on, a member in between.
fn current(kernel: &Kernel, cpu: u32) -> Option<u64> {
    let variable = kernel.per_cpu("current_task", cpu).or_else(|_| {
        Ok::<_, Absent>(
            kernel.per_cpu("pcpu_hot", cpu)?.wrapping_add(kernel.offset("pcpu_hot", "current_task")?),
        )
    });
    let task = kernel.memory.u64(variable.ok()?).ok()?;
    kernel.memory.translation.is_kernel(task).then_some(task)
}

/// The task in a member of a CPU's run queue: `curr`, `idle`.
pub(crate) fn on_runqueue(kernel: &Kernel, cpu: u32, member: &str) -> Result<u64, Absent> {
    kernel.kernel_pointer(kernel.per_cpu("runqueues", cpu)?, "rq", member)
}
