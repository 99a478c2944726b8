//! A made-up kernel in memory: VMCOREINFO, log, symbols, types, unwind tables, two CPUs, four tasks, a
//! module, BPF.

use crate::synthetic::{PAGE, Pages, note};
use std::fmt::Write;

/// `e_machine` of the two processors.
pub const X86_64: u16 = 62;
pub const AARCH64: u16 = 183;

/// Where its image is mapped, and where it lies in physical memory.
pub const IMAGE: u64 = 0xffff_ffff_8100_0000;
const IMAGE_PHYSICAL: u64 = 0x100_0000;
/// A page table entry: present, writable.
const ENTRY: u64 = 3;
/// Where stacks are mapped, through page tables alone.
pub const VMALLOC: u64 = 0xffff_c900_0000_0000;
pub const STACK: u64 = 16384;
/// Code of the functions: each has this many bytes, and the rest of the image lies behind.
const FUNCTION: u64 = 0x100;
/// The bits of a return address that arm64 signs.
const PAC: u64 = 0x7f_0000_0000_0000;

/// The kernel's functions, in order of address, with their ORC entries: sp offset, bp offset and flags of
/// version 3.
const FUNCTIONS: [(&str, i16, i16, u16); 8] = [
    ("_stext", 0, 0, 0),
    // CALL, sp + 16.
    ("schedule", 16, 0, 0x205),
    // CALL, bp + 16, with the caller's bp saved below the return address.
    ("worker_thread", 16, -16, 0x214),
    ("ret_from_fork", 0, 0, 0x100),
    // Undefined, as the function that starts the crash kernel.
    ("__crash_kexec", 0, 0, 0),
    ("panic", 24, 0, 0x205),
    ("do_syscall_64", 8, 0, 0x205),
    // REGS, signal: the registers that user space came in with.
    ("entry_SYSCALL_64", 0, 0, 0xb05),
];

/// The three ways in which kernels have written the addresses of symbols.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// Above the base.
    Base,
    /// Below zero: relative to the base; else absolute (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`).
    PerCpu,
    /// Relative to the place of the offset itself.
    Place,
}

/// Physical memory being filled.
pub struct Image {
    bytes: Vec<u8>,
    pub info: String,
    tables: u64,
    pub machine: u16,
    /// How `kallsyms_offsets` stand for addresses.
    pub offsets: Offsets,
    /// The NT_PRSTATUS note of the CPU that panicked: 20 bytes, then its description.
    pub registers_of_cpu_0: u64,
    /// `__cpu_online_mask`.
    pub online: u64,
    /// Parts of the memory by name, for damage in one reader's input.
    pub regions: Vec<(&'static str, std::ops::Range<u64>)>,
}

impl Image {
    pub fn new(machine: u16) -> Self {
        let mut image = Self {
            bytes: vec![0; FUNCTION as usize * 16],
            info: String::new(),
            tables: 0,
            machine,
            offsets: Offsets::Base,
            registers_of_cpu_0: 0,
            online: 0,
            regions: Vec::new(),
        };
        image.tables = image.alloc(PAGE, PAGE);
        // The image through one large page, so that the page tables agree with the arithmetic. The levels are
        // the same on both processors, and so is an entry for a table or a small page.
        image.map(IMAGE, IMAGE_PHYSICAL | if machine == AARCH64 { 1 } else { 0x80 | ENTRY }, 21);
        let tables = image.tables;
        let voffset = format!("{:#x}", IMAGE - IMAGE_PHYSICAL);
        let numbers: &[(&str, &str)] = match machine {
            AARCH64 => &[
                ("VA_BITS", "48"),
                ("TCR_EL1_T1SZ", "0x10"),
                ("kimage_voffset", &voffset),
                ("PHYS_OFFSET", "0x0"),
                ("KERNELPACMASK", "0x7f000000000000"),
            ],
            _ => &[("phys_base", "0")],
        };
        image.info.push_str("OSRELEASE=6.12.0-fake\nPAGESIZE=4096\n");
        for (name, value) in numbers {
            writeln!(image.info, "NUMBER({name})={value}").unwrap();
        }
        image.symbol("swapper_pg_dir", tables);
        image.symbol("_stext", IMAGE);
        image
    }

    /// Room of `size` bytes; returns its virtual address.
    pub fn alloc(&mut self, size: usize, align: usize) -> u64 {
        let at = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(at + size, 0);
        IMAGE + at as u64
    }

    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = (address - IMAGE) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn put64(&mut self, address: u64, value: u64) {
        self.put(address, &value.to_le_bytes());
    }

    pub fn put32(&mut self, address: u64, value: u32) {
        self.put(address, &value.to_le_bytes());
    }

    pub fn get(&self, address: u64, length: usize) -> Vec<u8> {
        self.bytes[(address - IMAGE) as usize..][..length].to_vec()
    }

    fn get64(&self, address: u64) -> u64 {
        u64::from_le_bytes(*self.bytes[(address - IMAGE) as usize..].first_chunk().unwrap())
    }

    /// Does one thing, and names the memory that it takes.
    fn region<R>(&mut self, name: &'static str, fill: impl FnOnce(&mut Self) -> R) -> R {
        let start = IMAGE + self.bytes.len() as u64;
        let result = fill(self);
        self.regions.push((name, start..IMAGE + self.bytes.len() as u64));
        result
    }

    pub fn store(&mut self, bytes: &[u8]) -> u64 {
        let at = self.alloc(bytes.len(), 8);
        self.put(at, bytes);
        at
    }

    pub fn physical(address: u64) -> u64 {
        address - IMAGE + IMAGE_PHYSICAL
    }

    pub fn symbol(&mut self, name: &str, address: u64) {
        writeln!(self.info, "SYMBOL({name})={address:x}").unwrap();
    }

    /// Makes the page tables lead to `entry` at the level of `shift`.
    pub fn map(&mut self, address: u64, entry: u64, shift: u32) {
        let mut table = self.tables;
        for level in [39, 30, 21, 12] {
            let slot = table + 8 * (address >> level & 0x1ff);
            if level == shift {
                return self.put64(slot, entry);
            }
            if self.get64(slot) == 0 {
                let next = self.alloc(PAGE, PAGE);
                self.put64(slot, Self::physical(next) | ENTRY);
            }
            table = self.get64(slot) - ENTRY - IMAGE_PHYSICAL + IMAGE;
        }
    }

    /// The lines for all offsets of the log's ring and a ring with these records (time in ns, text).
    pub fn ring(&mut self, records: &[(u64, &str)], size_bits: u32) -> Ring {
        const OFFSETS: &str = "SIZE(prb_desc)=24\nSIZE(printk_info)=88\nOFFSET(printk_ringbuffer.desc_ring)=0\n\
            OFFSET(printk_ringbuffer.text_data_ring)=48\nOFFSET(prb_desc_ring.count_bits)=0\n\
            OFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\nOFFSET(prb_desc_ring.head_id)=24\n\
            OFFSET(prb_desc_ring.tail_id)=32\nOFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\n\
            OFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=8\nOFFSET(printk_info.seq)=0\n\
            OFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n\
            OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\nOFFSET(atomic_long_t.counter)=0\n";
        const COUNT_BITS: u32 = 5;
        self.info.push_str(OFFSETS);
        let (descs, infos) = (self.alloc(24 << COUNT_BITS, 8), self.alloc(88 << COUNT_BITS, 8));
        let data = self.alloc(1 << size_bits, 8);
        let prb = self.alloc(88, 8);
        let pointer = self.store(&prb.to_le_bytes());
        self.symbol("prb", pointer);
        self.put32(prb, COUNT_BITS);
        self.put64(prb + 8, descs);
        self.put64(prb + 16, infos);
        self.put32(prb + 48, size_bits);
        self.put64(prb + 56, data);
        let ring = Ring { prb, descs, infos, data, size: 1 << size_bits };
        let (mut lpos, first) = (0, 1000);
        for (i, (time, text)) in records.iter().enumerate() {
            let id = first + i as u64;
            let (desc, info) = (ring.desc(id), ring.info(id));
            let begin = lpos;
            lpos += 8 + (text.len() as u64).next_multiple_of(8);
            // A block that does not fit before the end lies at the start; one that just fits stays.
            let wraps = begin / ring.size != (lpos - 1) / ring.size;
            if wraps {
                lpos = (lpos / ring.size) * ring.size + 8 + (text.len() as u64).next_multiple_of(8);
            }
            let place = data + if wraps { 0 } else { begin % ring.size };
            self.put64(desc, 2 << 62 | id);
            self.put64(desc + 8, begin);
            self.put64(desc + 16, lpos);
            self.put64(place, id);
            self.put(place + 8, text.as_bytes());
            self.put64(info, i as u64);
            self.put64(info + 8, *time);
            self.put(info + 16, &(text.len() as u16).to_le_bytes());
            self.put(info + 19, &[6 << 5]);
        }
        self.put64(prb + 32, first);
        self.put64(prb + 24, first + records.len() as u64 - 1);
        ring
    }

    pub fn pages(&self) -> Pages {
        let first = IMAGE_PHYSICAL / PAGE as u64;
        let page = |chunk: &[u8]| [chunk, &vec![0; PAGE - chunk.len()]].concat();
        self.bytes.chunks(PAGE).enumerate().map(|(i, chunk)| (first + i as u64, page(chunk))).collect()
    }

    /// The ELF notes: VMCOREINFO alone.
    pub fn notes(&self) -> Vec<u8> {
        note("VMCOREINFO", 0, self.info.as_bytes())
    }
}

/// Where the parts of a ring lie, for damage on purpose.
pub struct Ring {
    pub prb: u64,
    descs: u64,
    infos: u64,
    pub data: u64,
    pub size: u64,
}

impl Ring {
    pub fn desc(&self, id: u64) -> u64 {
        self.descs + 24 * (id % 32)
    }

    pub fn info(&self, id: u64) -> u64 {
        self.infos + 88 * (id % 32)
    }
}

/// The whole kernel, and where things are that tests break.
pub struct Fake {
    pub image: Image,
    pub tasks: Vec<u64>,
    pub module: u64,
}

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
    pub const SIZE: u64 = 192;
}

impl Fake {
    pub fn new(machine: u16) -> Self {
        Self::with(machine, Offsets::Base)
    }

    pub fn with(machine: u16, offsets: Offsets) -> Self {
        let mut image = Image::new(machine);
        image.offsets = offsets;
        let mut symbols: Vec<(u64, String)> = Vec::new();
        for (i, (name, ..)) in FUNCTIONS.iter().enumerate() {
            symbols.push((IMAGE + FUNCTION * i as u64, (*name).into()));
        }
        symbols.push((IMAGE + FUNCTION * FUNCTIONS.len() as u64, "_etext".into()));
        let records = [
            (1_000_000, "Linux version 6.12.0-fake"),
            (2_500_000_000, "Kernel panic - not syncing: made up"),
        ];
        image.region("log", |image| image.ring(&records, 10));
        image.region("orc", |image| orc(image, &mut symbols));
        image.region("btf", |image| btf(image, &mut symbols));
        let mut define = |name: &str, address: u64| symbols.push((address, name.into()));

        let per_cpu = image.store(&[0_u64.to_le_bytes(), 4096_u64.to_le_bytes()].concat());
        define("__per_cpu_offset", per_cpu);
        let areas = image.alloc(2 * PAGE, PAGE);
        define("runqueues", areas);
        let notes = image.store(&(areas + 64).to_le_bytes());
        define("crash_notes", notes);
        define("nr_cpu_ids", image.store(&2_u32.to_le_bytes()));
        image.online = image.store(&3_u64.to_le_bytes());
        define("__cpu_online_mask", image.online);
        define("panic_cpu", image.store(&0_u32.to_le_bytes()));
        define("tainted_mask", image.store(&0x1000_u64.to_le_bytes()));

        // Idle tasks for both CPUs, the task that panicked, one that sleeps.
        let who = [("swapper/0", 0), ("swapper/1", 0), ("culprit", 41), ("sleeper", 42)];
        let tasks: Vec<u64> = image.region("tasks", |image| {
            (0..).zip(who).map(|(i, (comm, pid))| new_task(image, i, comm, pid)).collect()
        });
        define("init_task", tasks[0]);
        ring_of(&mut image, tasks[0] + task::TASKS, &[tasks[2] + task::TASKS, tasks[3] + task::TASKS]);
        for (cpu, curr, idle) in [(0, tasks[2], tasks[0]), (1, tasks[1], tasks[1])] {
            image.put64(areas + cpu * 4096, curr);
            image.put64(areas + cpu * 4096 + 8, idle);
        }
        image.registers_of_cpu_0 = areas + 64;
        panicked(&mut image, areas + 64, VMALLOC + 2 * 2 * STACK);
        image.put32(tasks[3] + task::STATE, 2);
        cgroup(&mut image, tasks[2]);
        let (module, list) = image.region("modules", new_module);
        define("modules", list);
        let program = image.region("bpf", new_program);
        define("bpf_kallsyms", program);
        image.region("kallsyms", |image| kallsyms(image, symbols));
        Self { image, tasks, module }
    }
}

/// Address of a place in one of the functions.
pub fn code(function: &str, offset: u64) -> u64 {
    let at = FUNCTIONS.iter().position(|(name, ..)| *name == function).unwrap();
    IMAGE + FUNCTION * at as u64 + offset
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
fn new_task(image: &mut Image, i: u64, comm: &str, pid: u32) -> u64 {
    let stack = VMALLOC + i * 2 * STACK;
    let memory = image.alloc(STACK as usize, PAGE);
    for page in (0..STACK).step_by(PAGE) {
        image.map(stack + page, Image::physical(memory + page) | ENTRY, 12);
    }
    let at = image.alloc(task::SIZE as usize, 64);
    let signal = image.alloc(16, 8);
    image.put32(at + task::PID, pid);
    image.put32(at + task::TGID, pid);
    image.put(at + task::COMM, comm.as_bytes());
    image.put64(at + task::STACK, stack);
    image.put64(at + task::SIGNAL, signal);
    image.put64(at + task::REAL_PARENT, at);
    ring_of(image, signal, &[at + task::THREAD_NODE]);

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
fn panicked(image: &mut Image, notes: u64, stack: u64) {
    let memory = memory_of(image, stack);
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

fn put_pair(image: &mut Image, at: u64, first: u64, second: u64) {
    image.put64(at, first);
    image.put64(at + 8, second);
}

/// Where the image has the memory that a stack's address is mapped to.
pub fn memory_of(image: &Image, stack: u64) -> u64 {
    let mut table = image.tables;
    for level in [39, 30, 21, 12] {
        let entry = image.get64(table + 8 * (stack >> level & 0x1ff));
        table = entry - ENTRY - IMAGE_PHYSICAL + IMAGE;
    }
    table
}

fn cgroup(image: &mut Image, at: u64) {
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
}

/// A module with one function; returns `struct module` and the list's head.
fn new_module(image: &mut Image) -> (u64, u64) {
    let text = image.alloc(256, 16);
    let names = image.store(b"\0fake_ioctl\0");
    let mut symtab = vec![0; 48];
    symtab[24] = 1;
    symtab[24 + 6] = 2;
    symtab[32..40].copy_from_slice(&(text + 16).to_le_bytes());
    let symtab = image.store(&symtab);
    let table = image.store(&[symtab.to_le_bytes(), names.to_le_bytes(), 2_u64.to_le_bytes()].concat());
    let at = image.alloc(256, 64);
    image.put(at + 16, b"fake_driver");
    image.put64(at + 80, text);
    image.put32(at + 88, 256);
    image.put64(at + 96 + 7 * 16, table);
    image.put(at + 220, &[0xab; 20]);
    let head = image.alloc(16, 8);
    ring_of(image, head, &[at]);
    (at, head)
}

fn new_program(image: &mut Image) -> u64 {
    let at = image.alloc(256, 8);
    image.put64(at, IMAGE + 0x10_0000);
    image.put64(at + 8, IMAGE + 0x10_0100);
    image.put(at + 16, b"bpf_prog_0123456789abcdef_watch");
    let head = image.alloc(16, 8);
    ring_of(image, head, &[at + 144]);
    head
}

fn orc(image: &mut Image, symbols: &mut Vec<(u64, String)>) {
    let ips = image.alloc(4 * FUNCTIONS.len(), 8);
    let entries = image.alloc(6 * FUNCTIONS.len(), 8);
    for (i, (_, sp, bp, flags)) in FUNCTIONS.iter().enumerate() {
        let (at, i) = (ips + 4 * i as u64, i as u64);
        image.put(at, &((IMAGE + FUNCTION * i).wrapping_sub(at) as i32).to_le_bytes());
        image.put(entries + 6 * i, &sp.to_le_bytes());
        image.put(entries + 6 * i + 2, &bp.to_le_bytes());
        image.put(entries + 6 * i + 4, &flags.to_le_bytes());
    }
    symbols.push((ips, "__start_orc_unwind_ip".into()));
    symbols.push((ips + 4 * FUNCTIONS.len() as u64, "__stop_orc_unwind_ip".into()));
    symbols.push((entries, "__start_orc_unwind".into()));
}

/// Name, offset and type of each member.
type Members = &'static [(&'static str, u64, u64)];

/// Types: u64 is 1, u32 is 2, the structures follow. A member's type is its size, 8 or 4, or the id of a
/// structure.
fn btf(image: &mut Image, symbols: &mut Vec<(u64, String)>) {
    const NAMED: u64 = 1000;
    let structures: &[(&str, u64, Members)] = &[
        ("list_head", 16, &[("next", 0, 8), ("prev", 8, 8)]),
        ("thread_struct", 32, &[("sp", 0, 8), ("cpu_context", 8, NAMED + 16)]),
        (
            "task_struct",
            task::SIZE,
            &[
                ("__state", task::STATE, 4),
                ("pid", task::PID, 4),
                ("tgid", task::TGID, 4),
                ("comm", task::COMM, 8),
                ("stack", task::STACK, 8),
                ("tasks", task::TASKS, NAMED + 3),
                ("thread_node", task::THREAD_NODE, NAMED + 3),
                ("signal", task::SIGNAL, 8),
                ("real_parent", task::REAL_PARENT, 8),
                ("mm", task::MM, 8),
                ("cpu", task::CPU, 4),
                ("thread", task::THREAD, NAMED + 4),
                ("cgroups", task::CGROUPS, 8),
            ],
        ),
        ("signal_struct", 16, &[("thread_head", 0, NAMED + 3)]),
        ("inactive_task_frame", 56, &[("r13", 16, 8), ("bp", 40, 8), ("ret_addr", 48, 8)]),
        ("rq", 16, &[("curr", 0, 8), ("idle", 8, 8)]),
        ("thread_union", STACK, &[]),
        ("css_set", 8, &[("dfl_cgrp", 0, 8)]),
        ("cgroup", 8, &[("kn", 0, 8)]),
        ("kernfs_node", 16, &[("parent", 0, 8), ("name", 8, 8)]),
        ("module_memory", 16, &[("base", 0, 8), ("size", 8, 4)]),
        (
            "module",
            256,
            &[
                ("list", 0, NAMED + 3),
                ("name", 16, 8),
                ("mem", 80, 8),
                ("state", 72, 4),
                ("kallsyms", 208, 8),
                ("build_id", 220, 8),
            ],
        ),
        ("mod_kallsyms", 24, &[("symtab", 0, 8), ("strtab", 8, 8), ("num_symtab", 16, 4)]),
        ("cpu_context", 24, &[("fp", 0, 8), ("sp", 8, 8), ("pc", 16, 8)]),
        ("bpf_ksym", 160, &[("start", 0, 8), ("end", 8, 8), ("name", 16, 8), ("lnode", 144, NAMED + 3)]),
        ("pt_regs", 336, &[("sp", 248, 8), ("pc", 256, 8), ("stackframe", 304, 8)]),
    ];
    let mut strings = vec![0];
    let mut name = |text: &str| {
        strings.extend(text.as_bytes());
        strings.push(0);
        (strings.len() - text.len() - 1) as u32
    };
    let mut types: Vec<u32> = Vec::new();
    types.extend([name("u64"), 1 << 24, 8, 64, name("u32"), 1 << 24, 4, 32]);
    for (structure, size, members) in structures {
        types.extend([name(structure), 4 << 24 | members.len() as u32, *size as u32]);
        for &(member, offset, kind) in *members {
            let id = match kind {
                8 => 1,
                4 => 2,
                named => (named - NAMED) as u32,
            };
            types.extend([name(member), id, offset as u32 * 8]);
        }
    }
    let types: Vec<u8> = types.into_iter().flat_map(u32::to_le_bytes).collect();
    let mut section = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types.len(), types.len(), strings.len()] {
        section.extend((word as u32).to_le_bytes());
    }
    section.extend(types);
    section.extend(strings);
    let at = image.store(&section);
    symbols.push((at, "__start_BTF".into()));
    symbols.push((at + section.len() as u64, "__stop_BTF".into()));
}

/// One token for each byte, addresses relative to the image.
fn kallsyms(image: &mut Image, mut symbols: Vec<(u64, String)>) {
    symbols.sort();
    let names: Vec<u8> = symbols
        .iter()
        .flat_map(|(_, name)| [&[name.len() as u8 + 1, b'T'], name.as_bytes()].concat())
        .collect();
    let table = image.alloc(4 * symbols.len(), 8);
    image.symbol("kallsyms_offsets", table);
    for (i, (address, _)) in (0..).zip(&symbols) {
        let offset = match image.offsets {
            Offsets::Base => address - IMAGE,
            Offsets::PerCpu => (IMAGE - 1).wrapping_sub(*address),
            Offsets::Place => address.wrapping_sub(table + 4 * i),
        };
        image.put32(table + 4 * i, offset as u32);
    }
    let tokens: Vec<u8> = (0..=255).flat_map(|byte| [byte, 0]).collect();
    let index: Vec<u8> = (0..256_u16).flat_map(|i| (2 * i).to_le_bytes()).collect();
    for (name, bytes) in [
        ("kallsyms_num_syms", (symbols.len() as u32).to_le_bytes().to_vec()),
        ("kallsyms_names", names),
        ("kallsyms_token_table", tokens),
        ("kallsyms_token_index", index),
        // The newest kernels have no base.
        (
            "kallsyms_relative_base",
            if image.offsets == Offsets::Place { 0 } else { IMAGE }.to_le_bytes().to_vec(),
        ),
    ] {
        let at = image.store(&bytes);
        image.symbol(name, at);
    }
}
