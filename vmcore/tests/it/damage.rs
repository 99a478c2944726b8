//! Damage on purpose: cuts, flipped bits, missing pages, lists in circles. Notes or a clear error, never
//! more.

use crate::builder::code;
use crate::builder::elf::elf;
use crate::builder::flattened::{Order, flatten};
use crate::builder::image::Image;
use crate::builder::kdump::{Kdump, Packing};
use crate::builder::kernel::Fake;
use crate::builder::tasks::{STACK, task};
use crate::builder::{AARCH64, X86_64};
use crate::reference::artifact;
use std::time::{Duration, Instant};
use vmcore::Dump;

/// A stream of numbers that is the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Reads all there is; whatever comes out, it comes soon.
fn survive(bytes: Vec<u8>) -> Option<Dump> {
    let start = Instant::now();
    let dump = vmcore::from_bytes(bytes).ok();
    if let Some(dump) = &dump {
        let (log, facts) = (dump.log(), dump.facts());
        let whole = facts.tasks_complete && log.notes.is_empty();
        assert!(
            whole || !(facts.notes.is_empty() && log.notes.is_empty()),
            "something is missing, and no note says so"
        );
        dump.extract(&mut std::io::sink()).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
    dump
}

fn files() -> Vec<Vec<u8>> {
    let image = Fake::new(X86_64).image;
    let pages = image.pages();
    let kdump = |packing| Kdump::of(&image, packing).write();
    let core = elf(&pages, X86_64, &image.notes());
    vec![
        kdump(Packing::Zlib),
        kdump(Packing::Lzo),
        kdump(Packing::Raw),
        flatten(&kdump(Packing::Zstd), 4096, Order::OddFirst),
        core,
    ]
}

#[test]
fn a_dump_cut_anywhere_gives_what_it_has() {
    let mut random = Random(0x1a57_0001);
    for file in files() {
        for _ in 0..40 {
            let cut = random.below(file.len());
            survive(file[..cut].to_vec());
        }
    }
}

#[test]
fn flipped_bits_are_survived() {
    let mut random = Random(0x1a57_0002);
    for file in files() {
        for round in 0..60 {
            let mut bad = file.clone();
            for _ in 0..=round {
                let at = random.below(bad.len());
                bad[at] ^= 1 << random.below(8);
            }
            survive(bad);
        }
    }
}

/// Damage in the lab's dumps: how many of 200 cuts and 200 rounds of flipped bits were tried in this time.
#[test]
fn real_dumps_cut_and_flipped() {
    const ROUNDS: usize = 200;
    const PATIENCE: Duration = Duration::from_secs(3);
    let mut random = Random(0x1a57_0003);
    for name in ["6.1.0-56-cloud-amd64-null_deref.lzo", "6.1.0-56-cloud-amd64-null_deref.flat"] {
        let Some(path) = artifact(name) else { continue };
        let file = std::fs::read(path).unwrap();
        let start = Instant::now();
        let (mut tried, mut slowest) = (0, Duration::ZERO);
        while tried < ROUNDS && (tried == 0 || start.elapsed() < PATIENCE) {
            let cut = random.below(file.len());
            let mut flipped = file.clone();
            for _ in 0..2000 {
                flipped[random.below(file.len())] ^= 1 << random.below(8);
            }
            for bad in [file[..cut].to_vec(), flipped] {
                let start = Instant::now();
                survive(bad);
                slowest = slowest.max(start.elapsed());
            }
            tried += 1;
        }
        println!(
            "{name}: {tried} cuts and {tried} times 2000 flipped bits, the slowest read took {slowest:?}"
        );
    }
}

/// The fake kernel after `damage`, as an ELF core.
fn damaged(damage: impl FnOnce(&mut Fake)) -> Dump {
    let mut fake = Fake::new(X86_64);
    damage(&mut fake);
    survive(elf(&fake.image.pages(), X86_64, &fake.image.notes())).unwrap()
}

/// Does a note with this code say so?
fn noted(dump: &Dump, code: &str) -> bool {
    dump.facts().notes.iter().any(|note| note.code == code)
}

#[test]
fn a_list_of_tasks_in_a_circle_ends() {
    let dump = damaged(|fake| {
        let node = fake.tasks[3] + task::TASKS;
        fake.image.put64(node, fake.tasks[2] + task::TASKS);
    });
    let tasks = dump.tasks();
    assert!(!tasks.complete);
    assert_eq!(tasks.tasks.len(), 4);
    assert!(noted(&dump, "tasks"));
}

#[test]
fn a_list_of_modules_in_a_circle_ends() {
    let dump = damaged(|fake| fake.image.put64(fake.module, fake.module));
    assert_eq!(dump.facts().modules.len(), 1);
    assert!(noted(&dump, "modules"));
}

#[test]
fn behind_a_hole_the_list_of_tasks_is_walked_backwards() {
    // The first task's page is gone; the last is found from the other end.
    let dump = damaged(|fake| fake.image.put64(fake.tasks[0] + task::TASKS, 0x10));
    let tasks = dump.tasks();
    assert!(!tasks.complete);
    assert_eq!(
        tasks.tasks.iter().map(|task| task.comm.as_str()).collect::<Vec<_>>(),
        ["swapper/0", "swapper/1", "culprit", "sleeper"]
    );
}

#[test]
fn between_two_holes_tasks_are_found_from_their_neighbours() {
    // Neither end of the list leads on; the task on the CPU is known, and the list goes on from there.
    let dump = damaged(|fake| {
        fake.image.put64(fake.tasks[0] + task::TASKS, 0x10);
        fake.image.put64(fake.tasks[0] + task::TASKS + 8, 0x10);
    });
    let tasks = dump.tasks();
    assert!(!tasks.complete);
    let names: Vec<_> = tasks.tasks.iter().map(|task| task.comm.as_str()).collect();
    assert_eq!(names, ["swapper/0", "swapper/1", "culprit", "sleeper"]);
}

#[test]
fn of_a_running_task_whose_page_is_missing_the_registers_tell_the_stack() {
    let mut fake = Fake::new(X86_64);
    // The task stands on a page of its own, which the dump lacks.
    let lost = fake.image.alloc(4096, 4096);
    let runqueue = fake.image.registers_of_cpu_0 - 64;
    fake.image.put64(runqueue, lost);
    let mut pages = fake.image.pages();
    pages.remove(&(Image::physical(lost) / 4096));
    let dump = vmcore::from_bytes(elf(&pages, X86_64, &fake.image.notes())).unwrap();
    let tasks = dump.tasks();
    let task = tasks.tasks.iter().find(|task| task.comm.is_empty()).unwrap();
    assert!(task.on_cpu);
    let stack = task.stack.as_ref().unwrap();
    assert_eq!(stack[2].symbol.as_deref(), Some("do_syscall_64"));
    assert!(noted(&dump, "task"));
}

#[test]
fn a_stack_that_leads_nowhere_says_so() {
    let dump = damaged(|fake| fake.image.put64(fake.tasks[3] + task::THREAD, 0xffff_8000_0000_0000));
    let tasks = dump.tasks();
    let sleeper = &tasks.tasks[3];
    assert_eq!(sleeper.stack, None);
    assert_eq!(sleeper.stack_error.as_deref(), Some("memory at 0xffff800000000030: not mapped"));
}

#[test]
fn each_missing_page_costs_only_what_was_on_it() {
    let image = Fake::new(X86_64).image;
    let pages = image.pages();
    for &gone in pages.keys() {
        let mut rest = pages.clone();
        rest.remove(&gone);
        let file = Kdump { pages: rest, excluded: vec![gone], ..Kdump::of(&image, Packing::Raw) };
        survive(file.write());
    }
}

#[test]
fn a_record_being_written_is_kept_and_noted() {
    let mut image = Image::new(X86_64);
    let ring = image.ring(&[(1, "whole"), (2, "half a li")], 10);
    image.put64(ring.desc(1001), 1001);
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    let log = dump.log();
    assert_eq!(log.text, "[    0.000000] whole\n[    0.000000] half a li\n");
    assert_eq!(log.notes.iter().map(|note| &*note.code).collect::<Vec<_>>(), ["log-torn"]);
}

#[test]
fn a_record_whose_text_was_overwritten_is_noted() {
    let mut image = Image::new(X86_64);
    let ring = image.ring(&[(1, "one"), (2, "two")], 10);
    image.put64(ring.data, 7);
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    let log = dump.log();
    assert_eq!(log.text, "[    0.000000] two\n");
    assert_eq!(log.notes.iter().map(|note| &*note.code).collect::<Vec<_>>(), ["log-damaged"]);
}

type Damage = fn(&mut Fake);

#[test]
fn lists_that_lead_into_a_circle_end() {
    // A list's node that leads to another of the same list, so that its head is never met again.
    let damage: [(&str, Damage); 7] = [
        ("threads", |fake| {
            let node = fake.tasks[2] + task::THREAD_NODE;
            fake.image.put64(node, node);
        }),
        ("bpf", |fake| {
            let node = fake.image.get64(fake.at("bpf_kallsyms"));
            fake.image.put64(node, node);
        }),
        ("bpf", |fake| {
            let node = fake.image.get64(fake.at("bpf_kallsyms"));
            fake.image.put64(node, 0);
        }),
        ("modules", |fake| fake.image.put64(fake.module, 0x10)),
        ("tasks", |fake| {
            // Both ways round, so that the children and the tree of process ids are asked too; in circles as well.
            let node = fake.tasks[0] + task::TASKS;
            fake.image.put64(node, node + 0x10);
            fake.image.put64(node + 8, node + 0x10);
            fake.image.put64(fake.tasks[2] + task::CHILDREN, fake.tasks[2] + task::SIBLING);
            fake.image.put64(fake.tasks[2] + task::SIBLING, fake.tasks[2] + task::CHILDREN);
            let root = fake.image.get64(fake.at("init_pid_ns"));
            fake.image.put64(root - 2 + 8, root);
        }),
        ("cpu-registers", |fake| {
            // The notes of a CPU are not in a list, but their sizes lead from one to the next.
            let note = fake.image.registers_of_cpu_0;
            fake.image.put32(note, u32::MAX);
        }),
        ("page-tables", |fake| {
            let root = fake.image.root();
            for slot in 0..512 {
                fake.image.put64(root + 8 * slot, Image::physical(root) | 3);
            }
        }),
    ];
    for (code, damage) in damage {
        let dump = damaged(damage);
        assert!(noted(&dump, code), "no note {code}: {:?}", dump.facts().notes);
        assert!(dump.log().text.ends_with("Kernel panic - not syncing: made up\n"));
    }
}

#[test]
fn a_cgroup_that_is_its_own_parent_has_no_path() {
    let dump = damaged(|fake| fake.image.put64(fake.cgroup, fake.cgroup));
    assert_eq!(dump.facts().cgroup, None);
    assert_eq!(dump.facts().comm.as_deref(), Some("culprit"));
}

#[test]
fn a_stack_that_leads_back_into_itself_ends() {
    // By its saved frame pointer `worker_thread` is its own caller.
    let dump = damaged(|fake| {
        let bottom = fake.image.stack(3) + STACK - 0x80;
        let memory = fake.image.memory_of(fake.image.stack(3)) + STACK - 0x80;
        fake.image.put64(memory, bottom);
        fake.image.put64(memory - 16, bottom);
        fake.image.put64(memory + 8, code::at("worker_thread", 0x30));
    });
    let sleeper = dump.tasks().tasks[3].clone();
    assert!(sleeper.stack_error.is_some(), "{:?}", sleeper.stack);
    assert!(sleeper.stack.unwrap().len() < 8);
}

#[test]
fn types_that_are_members_of_themselves_are_left() {
    // Every word of the types' part in turn, and runs of it, as a reference to each of the first types.
    let sound = Fake::new(X86_64);
    let (_, btf) = sound.image.regions.iter().find(|(name, _)| *name == "btf").cloned().unwrap();
    let mut random = Random(0x1a57_0004);
    for round in 0..200 {
        let mut image = sound.image.clone();
        for _ in 0..1 + round % 40 {
            let word = random.below((btf.end - btf.start) as usize / 4) as u64;
            image.put32(btf.start + 4 * word, random.below(30) as u32);
        }
        survive(elf(&image.pages(), X86_64, &image.notes()));
    }
}

#[test]
fn symbol_and_unwind_tables_of_any_content_are_survived() {
    let sound = Fake::new(X86_64);
    let mut random = Random(0x1a57_0005);
    for (_, part) in sound.image.regions.iter().filter(|(name, _)| ["kallsyms", "orc", "log"].contains(name))
    {
        for round in 0..100 {
            let mut image = sound.image.clone();
            for _ in 0..1 << (round % 10) {
                let at = part.start + random.below((part.end - part.start) as usize) as u64;
                image.put(at, &[random.below(256) as u8]);
            }
            survive(elf(&image.pages(), X86_64, &image.notes()));
        }
    }
}

#[test]
fn where_the_list_of_tasks_is_lost_the_tree_of_process_ids_has_them() {
    // Neither end of the list leads on, no CPU tells, and the tasks know nothing of each other.
    let dump = damaged(|fake| {
        for &task in &fake.tasks {
            for at in [task + task::TASKS, task + task::TASKS + 8] {
                fake.image.put64(at, 0x10);
            }
        }
        let runqueues = fake.at("runqueues");
        fake.image.put64(runqueues, fake.tasks[0]);
    });
    let tasks = dump.tasks();
    assert!(!tasks.complete);
    let names: Vec<_> = tasks.tasks.iter().map(|task| task.comm.as_str()).collect();
    assert_eq!(names, ["swapper/0", "swapper/1", "culprit", "sleeper"]);
}

#[test]
fn where_no_symbol_leads_to_the_tasks_the_registers_still_tell_the_stacks() {
    // A kernel without CONFIG_KALLSYMS_ALL: its table has functions only.
    for machine in [X86_64, AARCH64] {
        let fake = Fake::functions_only(machine);
        let mut notes = fake.image.notes();
        let size = if machine == X86_64 { 336 } else { 392 };
        for cpu in 0..2 {
            notes.extend(fake.image.get(fake.image.registers_of_cpu_0 + 4096 * cpu, 20 + size));
        }
        let dump = vmcore::from_bytes(elf(&fake.image.pages(), machine, &notes)).unwrap();
        let tasks = dump.tasks();
        assert!(!tasks.complete);
        let said = "the kernel's symbols lack __start_BTF: it was built without CONFIG_KALLSYMS_ALL";
        assert_eq!(tasks.notes[0].text, said);
        let stack = tasks.tasks[0].stack.as_ref().unwrap();
        assert_eq!(stack[0].symbol.as_deref(), Some("__crash_kexec"));
        if machine == AARCH64 {
            assert_eq!(stack[1].symbol.as_deref(), Some("panic"));
        }
        assert_eq!(dump.log().notes, []);
    }
}
