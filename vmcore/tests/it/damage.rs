//! Damage on purpose: cuts, flipped bits, missing pages, lists in circles. Notes or a clear error, never
//! more.

use crate::builder::X86_64;
use crate::builder::elf::elf;
use crate::builder::flattened::{Order, flatten};
use crate::builder::image::Image;
use crate::builder::kdump::{Kdump, Packing};
use crate::builder::kernel::Fake;
use crate::builder::tasks::task;
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

#[test]
fn real_dumps_cut_and_flipped() {
    let Some(path) = artifact("6.1.0-56-cloud-amd64-null_deref.lzo") else { return };
    let file = std::fs::read(path).unwrap();
    let mut random = Random(0x1a57_0003);
    for _ in 0..4 {
        let cut = random.below(file.len());
        survive(file[..cut].to_vec());
        let mut bad = file.clone();
        for _ in 0..2000 {
            let at = random.below(bad.len());
            bad[at] ^= 1 << random.below(8);
        }
        survive(bad);
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
