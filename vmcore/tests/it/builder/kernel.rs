//! The whole made-up kernel: two CPUs, four tasks, a module, BPF.

use super::code::{self, FUNCTIONS};
use super::elf::note;
use super::image::{FUNCTION, IMAGE, Image};
use super::tasks::{cgroup, new_task, panicked, pids, ring_of, task};
use super::{Offsets, PAGE, btf, modules, symbols};

/// The whole kernel, and where things are that tests break.
pub struct Fake {
    pub image: Image,
    pub tasks: Vec<u64>,
    pub module: u64,
    /// The node of the culprit's cgroup.
    pub cgroup: u64,
    symbols: Vec<(u64, String)>,
}

impl Fake {
    pub fn new(machine: u16) -> Self {
        Self::of(Image::new(machine))
    }

    pub fn with(machine: u16, offsets: Offsets) -> Self {
        let mut image = Image::new(machine);
        image.offsets = offsets;
        Self::of(image)
    }

    /// Its symbols are those of functions alone.
    pub fn functions_only(machine: u16) -> Self {
        Self::build(Image::new(machine), true)
    }

    /// Fills an image that has nothing but its page tables.
    pub fn of(image: Image) -> Self {
        Self::build(image, false)
    }

    fn build(mut image: Image, functions_only: bool) -> Self {
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
        image.region("orc", |image| code::orc(image, &mut symbols));
        image.region("btf", |image| btf::types(image, &mut symbols));
        let mut define = |name: &str, address: u64| symbols.push((address, name.into()));

        let per_cpu = image.store(&[0_u64.to_le_bytes(), 4096_u64.to_le_bytes()].concat());
        define("__per_cpu_offset", per_cpu);
        let areas = image.alloc(2 * PAGE, PAGE);
        define("runqueues", areas);
        let notes = image.store(&(areas + 64).to_le_bytes());
        define("crash_notes", notes);
        define("nr_cpu_ids", image.store(&2_u32.to_le_bytes()));
        define("__cpu_online_mask", image.store(&3_u64.to_le_bytes()));
        define("panic_cpu", image.store(&0_u32.to_le_bytes()));
        define("crashing_cpu", image.store(&u32::MAX.to_le_bytes()));
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
        let stack = image.stack(2);
        panicked(&mut image, areas + 64, stack);
        image.put32(tasks[3] + task::STATE, 2);
        let cgroup = cgroup(&mut image, tasks[2]);
        define("init_pid_ns", pids(&mut image, &tasks[2..]));
        let id = note("GNU", 3, &[0xcd; 20]);
        let notes = image.store(&id);
        define("__start_notes", notes);
        define("__stop_notes", notes + id.len() as u64);
        let (module, list) = image.region("modules", modules::new_module);
        define("modules", list);
        let program = image.region("bpf", modules::new_program);
        define("bpf_kallsyms", program);
        if functions_only {
            symbols.truncate(FUNCTIONS.len() + 1);
        }
        symbols.sort();
        image.region("kallsyms", |image| symbols::kallsyms(image, &symbols));
        Self { image, tasks, module, cgroup, symbols }
    }

    /// The address of a symbol.
    pub fn at(&self, symbol: &str) -> u64 {
        self.symbols.iter().find(|(_, name)| name == symbol).expect("the kernel has it").0
    }
}
