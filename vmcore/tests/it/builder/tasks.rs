//! Tasks, what lies on their stacks, their cgroup; and what the CPUs left when the machine died.

use super::AARCH64;
use super::code::at as code;
use super::elf::note;
use super::image::{ENTRY, Image};

/// Where stacks are mapped, through page tables alone.
pub const VMALLOC: u64 = 0xffff_c900_0000_0000;
pub const STACK: u64 = 16384;
/// The bits of a return address that arm64 signs.
const PAC: u64 = 0x7f_0000_0000_0000;

/// Offsets of `struct task_struct` as this kernel's BTF has them.
pub mod task {
    pub const STATE: u64 = 0;
    pub const PID: u64 = 8;
    pub const TGID: u64 = 12;
    pub const COMM: u64 = 16;
    pub const STACK: u64 = 32;
    pub const TASKS: u64 = 40;
    pub const THREAD_NODE: u64 = 56;
    pub const SIGNAL: u64 = 72;
    pub const REAL_PARENT: u64 = 80;
    pub const MM: u64 = 88;
    pub const CPU: u64 = 96;
    pub const CGROUPS: u64 = 104;
    /// `thread.sp`, and behind it `thread.cpu_context` { fp, sp, pc } of arm64.
    pub const THREAD: u64 = 112;
    pub const CHILDREN: u64 = 144;
    pub const SIBLING: u64 = 160;
    pub const GROUP_LEADER: u64 = 176;
    pub const PID_LINKS: u64 = 184;
    pub const SIZE: u64 = 256;
}

impl Image {
    /// Where a task has its stack; between two is as much that is not mapped.
    pub fn stack(&self, task: u64) -> u64 {
        VMALLOC + task * 2 * STACK.max(1 << self.shift)
    }
}

/// Links list nodes to a circle behind their head.
pub fn ring_of(image: &mut Image, head: u64, nodes: &[u64]) {
    let all: Vec<u64> = std::iter::once(head).chain(nodes.iter().copied()).collect();
    for (i, &node) in all.iter().enumerate() {
        image.put64(node, all[(i + 1) % all.len()]);
        image.put64(node + 8, all[(i + all.len() - 1) % all.len()]);
    }
}

/// A task that sleeps in `schedule`, called by `worker_thread`.
pub fn new_task(image: &mut Image, i: u64, comm: &str, pid: u32) -> u64 {
    let stack = image.stack(i);
    let page = 1 << image.shift;
    let memory = image.alloc((STACK as usize).max(page), page);
    for at in (0..STACK).step_by(page) {
        image.map(stack + at, Image::physical(memory + at) | ENTRY, image.shift);
    }
    let at = image.alloc(task::SIZE as usize, 64);
    let signal = image.alloc(16, 8);
    image.put32(at + task::PID, pid);
    image.put32(at + task::TGID, pid);
    image.put(at + task::COMM, comm.as_bytes());
    image.put64(at + task::STACK, stack);
    image.put64(at + task::SIGNAL, signal);
    image.put64(at + task::REAL_PARENT, at);
    image.put64(at + task::GROUP_LEADER, at);
    ring_of(image, signal, &[at + task::THREAD_NODE]);
    ring_of(image, at + task::CHILDREN, &[]);
    ring_of(image, at + task::SIBLING, &[]);

    if image.machine == AARCH64 {
        let mut record = |at: u64, fp: u64, lr: u64| {
            image.put64(memory + at, if fp == 0 { 0 } else { stack + fp });
            image.put64(memory + at + 8, lr);
        };
        // A return address with its authentication code; the last record says by a 1 that it is the last.
        record(STACK - 0x100, STACK - 0x80, code("worker_thread", 0x30) & !PAC);
        record(STACK - 0x80, STACK - 0x40, code("ret_from_fork", 0x10));
        record(STACK - 0x40, 0, 0);
        image.put64(memory + STACK - 0x30, 1);
        for (i, value) in
            [stack + STACK - 0x100, stack + STACK - 0x120, code("schedule", 0x20)].into_iter().enumerate()
        {
            image.put64(at + task::THREAD + 8 + 8 * i as u64, value);
        }
        return at;
    }
    // struct inactive_task_frame, then schedule's frame of 16 bytes, then worker_thread's by its frame
    // pointer.
    let sp = STACK - 0x100;
    let saved_bp = stack + STACK - 0x80;
    image.put64(at + task::THREAD, stack + sp);
    image.put64(memory + sp + 40, saved_bp);
    image.put64(memory + sp + 48, code("schedule", 0x20));
    image.put64(memory + sp + 56 + 8, code("worker_thread", 0x30));
    image.put64(memory + STACK - 0x80, 0);
    image.put64(memory + STACK - 0x80 + 8, code("ret_from_fork", 0x10));
    at
}

/// CPU 0 died in `__crash_kexec`, below `panic`, in a system call; CPU 1 was idle.
pub fn panicked(image: &mut Image, notes: u64, stack: u64) {
    let memory = image.memory_of(stack);
    let sp = STACK - 0x300;
    let arm = image.machine == AARCH64;
    let mut put = |offset: u64, value: u64| image.put64(memory + sp + offset, value);
    // A word that looks like nothing, panic's return address, then those of its callers, then the registers
    // that user space came in with.
    put(0x08, 0x1234);
    if arm {
        for (at, fp, lr) in [
            (0x10, sp + 0x40, code("panic", 0x40)),
            (0x40, sp + 0x60, code("do_syscall_64", 0x50)),
            (0x60, sp + 0x80 + 304, code("entry_SYSCALL_64", 0x60)),
        ] {
            put_pair(image, memory + sp + at, stack + fp, lr);
        }
        // pt_regs at 0x80: a record of zeros within, and 2 behind it.
        image.put64(memory + sp + 0x80 + 256, 0x40_1000);
        image.put64(memory + sp + 0x80 + 304 + 16, 2);
    } else {
        put(0x40, code("panic", 0x40));
        put(0x48 + 16, code("do_syscall_64", 0x50));
        put(0x60, code("entry_SYSCALL_64", 0x60));
        put(0x68 + 128, 0x40_1000);
        put(0x68 + 152, 0x7fff_0000);
    }
    // Numbers of pc, sp and frame pointer in pr_reg, and the note's size.
    let (pc, at, fp, size) = if arm { (32, 31, 29, 392) } else { (16, 19, 4, 336) };
    for (cpu, rip, rsp) in [(0, code("__crash_kexec", 0x10), stack + sp), (1, code("schedule", 0x20), 0)] {
        let mut desc = vec![0; size];
        for (register, value) in [(pc, rip), (at, rsp), (fp, if rsp == 0 { 0 } else { rsp + 0x10 })] {
            desc[112 + 8 * register..][..8].copy_from_slice(&u64::to_le_bytes(value));
        }
        image.put(notes + cpu * 4096, &note("CORE", 1, &desc));
    }
    // A call before each return address: the scan looks for it.
    for (function, offset) in [("panic", 0x40), ("do_syscall_64", 0x50), ("entry_SYSCALL_64", 0x60)] {
        image.put(code(function, offset - 5), &[0xe8]);
    }
}

/// The tree of process ids, an xarray of `struct pid` in two levels; returns `init_pid_ns`.
pub fn pids(image: &mut Image, tasks: &[u64]) -> u64 {
    let inner = image.alloc(8 + 8 * 64, 8);
    let root = image.alloc(8 + 8 * 64, 8);
    for (i, task) in (0..).zip(tasks) {
        let pid = image.alloc(16, 8);
        image.put64(pid + 8, task + task::PID_LINKS);
        image.put64(inner + 8 + 8 * i, pid);
    }
    // An inner node is told by the bit 2 (`xa_mk_node`).
    image.put64(root + 8, inner | 2);
    image.store(&(root | 2).to_le_bytes())
}

fn put_pair(image: &mut Image, at: u64, first: u64, second: u64) {
    image.put64(at, first);
    image.put64(at + 8, second);
}

/// Puts a task into `/kubepods.slice/pod-7`; returns that `struct kernfs_node`.
pub fn cgroup(image: &mut Image, at: u64) -> u64 {
    let mut node = |parent: u64, name: &str| {
        let name = image.store(format!("{name}\0").as_bytes());
        let node = image.alloc(16, 8);
        image.put64(node, parent);
        image.put64(node + 8, name);
        node
    };
    let root = node(0, "");
    let slice = node(root, "kubepods.slice");
    let pod = node(slice, "pod-7");
    let group = image.store(&pod.to_le_bytes());
    let set = image.store(&group.to_le_bytes());
    image.put64(at + task::CGROUPS, set);
    pod
}
