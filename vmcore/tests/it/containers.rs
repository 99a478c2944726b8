//! One made-up kernel in every container and compression: the same log, tasks and facts from each.

use crate::builder::code;
use crate::builder::elf::{elf, note};
use crate::builder::flattened::{Order, flatten};
use crate::builder::image::Image;
use crate::builder::kdump::{Kdump, Packing};
use crate::builder::kernel::Fake;
use crate::builder::tasks::{STACK, VMALLOC};
use crate::builder::{AARCH64, Offsets, X86_64};
use vmcore::{Dump, Format, Machine};

/// Where the fake kernel has its BPF program.
const BPF: u64 = 0xffff_ffff_8110_0000;

/// What the fake kernel holds, whatever the file around it.
fn check(dump: &Dump) {
    let log = dump.log();
    assert_eq!(
        log.text,
        "[    0.001000] Linux version 6.12.0-fake\n[    2.500000] Kernel panic - not syncing: made up\n"
    );
    let tasks = dump.tasks();
    assert_eq!(tasks.notes, []);
    assert!(tasks.complete);
    let who: Vec<_> =
        tasks.tasks.iter().map(|task| (task.comm.as_str(), task.pid, task.state, task.on_cpu)).collect();
    assert_eq!(
        who,
        [
            ("swapper/0", 0, 'R', false),
            ("swapper/1", 0, 'R', true),
            ("culprit", 41, 'R', true),
            ("sleeper", 42, 'D', false)
        ]
    );
    assert_eq!(stack(dump, 3), "schedule worker_thread ret_from_fork");
    let facts = dump.facts();
    // x86-64's tables do not know the way out of __crash_kexec; arm64 has frame pointers.
    let (doubt, pc) = if facts.machine == Machine::X86_64 { ("?", "rip") } else { ("", "pc") };
    assert_eq!(stack(dump, 2), format!("__crash_kexec panic{doubt} do_syscall_64 entry_SYSCALL_64 user"));
    assert_eq!((facts.pid, facts.comm.as_deref(), facts.panic_cpu), (Some(41), Some("culprit"), Some(0)));
    assert_eq!(facts.cgroup.as_deref(), Some("/kubepods.slice/pod-7"));
    assert_eq!(facts.taint.as_deref(), Some("O"));
    assert_eq!(facts.panic_message.as_deref(), Some("Kernel panic - not syncing: made up"));
    assert_eq!(facts.registers.unwrap().get(pc), Some(code::at("__crash_kexec", 0x10)));
    assert_eq!(facts.modules[0].name, "fake_driver");
    assert_eq!(facts.modules[0].build_id.as_ref().map(ToString::to_string), Some("ab".repeat(20)));
    assert_eq!(facts.bpf_programs[0].tag.as_deref(), Some("0123456789abcdef"));
}

/// The names of a task's frames; a frame that no table led to has a question mark.
fn stack(dump: &Dump, task: usize) -> String {
    let frames = dump.tasks().tasks[task].stack.clone().unwrap_or_default();
    let name = |frame: &vmcore::Frame| match &frame.symbol {
        Some(symbol) => symbol.clone() + if frame.reliable { "" } else { "?" },
        None => "user".into(),
    };
    frames.iter().map(|frame| name(frame)).collect::<Vec<_>>().join(" ")
}

fn kdump(packing: Packing) -> Vec<u8> {
    Kdump::of(&Fake::new(X86_64).image, packing).write()
}

#[test]
fn elf_cores() {
    let image = Fake::new(X86_64).image;
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    assert_eq!(dump.format(), Format::Elf);
    check(&dump);
}

#[test]
fn arm64_page_tables_frame_pointers_and_authentication_codes() {
    let image = Fake::new(AARCH64).image;
    let dump = vmcore::from_bytes(elf(&image.pages(), AARCH64, &image.notes())).unwrap();
    assert_eq!(dump.facts().machine, Machine::Aarch64);
    check(&dump);
    // KDUMP's header does not say which machine it is of; VMCOREINFO does.
    let file = Kdump::of(&image, Packing::Zlib);
    check(&vmcore::from_bytes(file.write()).unwrap());
}

#[test]
fn arm64_with_pages_of_16_and_64_kib() {
    for shift in [14, 16] {
        let image = Fake::of(Image::with_pages(AARCH64, shift)).image;
        check(&vmcore::from_bytes(elf(&image.pages(), AARCH64, &image.notes())).unwrap());
        for packing in [Packing::Zlib, Packing::Lzo, Packing::Snappy, Packing::Zstd] {
            let file = Kdump::of(&image, packing).write();
            let dump = vmcore::from_bytes(file).unwrap();
            check(&dump);
            let mut small = Vec::new();
            assert_eq!(dump.extract(&mut small).unwrap().page_size, 1 << shift);
            check(&vmcore::from_bytes(small).unwrap());
        }
    }
}

#[test]
fn registers_come_from_the_containers_notes_where_the_kernel_left_none() {
    // QEMU's dump of a machine without kexec: nothing in crash_notes, a note for each CPU, which has the CPU's
    // number where the kernel has a process id. On x86-64 also notes of its own.
    for (machine, size) in [(X86_64, 336), (AARCH64, 392)] {
        let fake = Fake::new(machine);
        let online = fake.at("__cpu_online_mask");
        let mut image = fake.image;
        let mut notes = image.notes();
        for cpu in 0..2 {
            let own = image.registers_of_cpu_0 + 4096 * cpu;
            image.put32(own + 20 + 32, cpu as u32 + 1);
            notes.extend(image.get(own, 20 + size));
            image.put(own, &[0; 20]);
        }
        // A panic takes the other CPUs off the list.
        image.put64(online, 1);
        if machine == X86_64 {
            notes.extend(note("QEMU", 0, &[0; 440]));
        }
        check(&vmcore::from_bytes(elf(&image.pages(), machine, &notes)).unwrap());
    }
}

#[test]
fn facts_print_what_a_person_asks_first() {
    let image = Fake::new(X86_64).image;
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    let facts = dump.facts().to_string();
    assert!(facts.contains("reason        Kernel panic - not syncing: made up\n"), "{facts}");
    assert!(facts.contains("module fake_driver "), "{facts}");
}

#[test]
fn every_form_of_the_symbol_table() {
    for offsets in [Offsets::Base, Offsets::PerCpu, Offsets::Place] {
        let image = Fake::with(X86_64, offsets).image;
        check(&vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap());
    }
}

#[test]
fn a_frame_of_bpf_code_is_crossed_by_its_frame_pointer() {
    let mut image = Fake::new(X86_64).image;
    // The sleeper: what called schedule is the BPF program, which keeps a frame pointer.
    let memory = image.memory_of(VMALLOC + 3 * 2 * STACK);
    image.put64(memory + STACK - 0x100 + 56 + 8, BPF + 0x20);
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    assert_eq!(stack(&dump, 3), "schedule bpf_prog_0123456789abcdef_watch ret_from_fork?");
}

#[test]
fn an_exception_on_another_stack_leads_back_to_the_tasks() {
    let mut image = Fake::new(X86_64).image;
    // The culprit stands on a stack of an interrupt, above saved registers of a place in schedule on its own
    // stack.
    let (own, other) = (VMALLOC + 2 * 2 * STACK, VMALLOC + 0x40_0000);
    let memory = image.alloc(4096, 4096);
    image.map(other, Image::physical(memory) | 3, 12);
    image.put64(memory + 0x100, code::at("entry_SYSCALL_64", 0x60));
    let (regs, sp) = (memory + 0x108, own + STACK - 0x100 + 56);
    for (offset, value) in [(32, own + STACK - 0x80), (128, code::at("schedule", 0x20)), (152, sp)] {
        image.put64(regs + offset, value);
    }
    let notes = image.registers_of_cpu_0;
    image.put64(notes + 20 + 112 + 8 * 16, code::at("do_syscall_64", 0x50));
    image.put64(notes + 20 + 112 + 8 * 19, other + 0x100);
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    assert_eq!(stack(&dump, 2), "do_syscall_64 entry_SYSCALL_64 schedule worker_thread ret_from_fork");
    let frames = dump.tasks().tasks[2].stack.clone().unwrap();
    assert_eq!(
        frames.iter().map(|frame| frame.interrupted).collect::<Vec<_>>(),
        [true, false, true, false, false]
    );
}

#[test]
fn a_dump_can_be_read_in_another_thread() {
    let dump = vmcore::from_bytes(kdump(Packing::Zlib)).unwrap();
    std::thread::spawn(move || check(&dump)).join().unwrap();
}

#[test]
fn every_compression_of_kdump() {
    for packing in [Packing::Raw, Packing::Zlib, Packing::Lzo, Packing::Snappy, Packing::Zstd] {
        let dump = vmcore::from_bytes(kdump(packing)).unwrap();
        assert_eq!(dump.notes(), [], "{packing:?}");
        check(&dump);
    }
}

#[test]
fn every_kdump_header() {
    let mut image = Fake::new(X86_64).image;
    // Up to version 2 the header does not say where VMCOREINFO is: its page is searched for.
    let at = image.alloc(4096, 4096);
    image.put(at, image.info.clone().as_bytes());
    for version in 1..=6 {
        let file = Kdump { version, ..Kdump::of(&image, Packing::Zlib) };
        check(&vmcore::from_bytes(file.write()).unwrap());
    }
    // The notes of a dump come with version 4; the registers are in them.
    let notes = [image.notes(), note("CORE", 1, &[0; 336])].concat();
    let file = Kdump { vmcoreinfo: String::new(), notes, version: 4, ..Kdump::of(&image, Packing::Raw) };
    check(&vmcore::from_bytes(file.write()).unwrap());
}

#[test]
fn a_dump_that_ran_out_of_space_says_so_and_is_read() {
    let image = Fake::new(X86_64).image;
    let file = Kdump { incomplete: true, ..Kdump::of(&image, Packing::Zlib) };
    let dump = vmcore::from_bytes(file.write()).unwrap();
    assert_eq!(dump.notes()[0].code, "dump-incomplete");
    assert_eq!(dump.tasks().tasks.len(), 4);
    // The same mark in an ELF core is a bit of e_flags.
    let mut core = elf(&image.pages(), X86_64, &image.notes());
    core[48] = 1;
    assert_eq!(vmcore::from_bytes(core).unwrap().notes()[0].code, "dump-incomplete");
}

#[test]
fn flattened_streams_of_both_in_any_order() {
    let image = Fake::new(X86_64).image;
    for file in [kdump(Packing::Lzo), elf(&image.pages(), X86_64, &image.notes())] {
        for order in [Order::AsInFile, Order::Backwards, Order::OddFirst, Order::Rewritten] {
            for size in [1 << 12, 1000] {
                let dump = vmcore::from_bytes(flatten(&file, size, order)).unwrap();
                assert!(dump.flattened());
                check(&dump);
            }
        }
    }
}

#[test]
fn a_split_set_is_one_dump() {
    let image = Fake::new(X86_64).image;
    let pages = image.pages();
    let (first, last) = (*pages.keys().next().unwrap(), *pages.keys().last().unwrap() + 1);
    let middle = (first + last) / 2;
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    // The second half first: names and order tell nothing.
    for (i, split) in [middle..last, 0..middle].into_iter().enumerate() {
        let file = Kdump { split: Some(split), ..Kdump::of(&image, Packing::Zlib) };
        paths.push(folder.path().join(format!("vmcore.{i}")));
        std::fs::write(&paths[i], file.write()).unwrap();
    }
    let paths: Vec<_> = paths.iter().map(std::path::PathBuf::as_path).collect();
    check(&vmcore::open_set(&paths).unwrap());
    assert!(vmcore::open_set(&[paths[0], paths[0]]).is_err());
    // One file alone gives what it has.
    assert!(!vmcore::open(paths[0]).unwrap().tasks().complete);
}

#[test]
fn packed_files_are_unpacked_on_the_way() {
    use std::io::Write;
    let plain = kdump(Packing::Zlib);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let zstd = zstd::bulk::compress(&plain, 1).unwrap();
    let bzip2 = crate::bzip2::packed("-1", &plain);
    let packed = [("zst", Some(zstd)), ("gz", Some(gzip.finish().unwrap())), ("bz2", bzip2)];
    for (name, bytes) in packed.into_iter().filter_map(|(name, bytes)| Some((name, bytes?))) {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        check(&vmcore::open(&path).unwrap());
        let refused = vmcore::open_within(&path, plain.len() as u64 - 1).err().unwrap();
        assert_eq!(
            refused.to_string(),
            format!("the packed dump is larger than {} bytes when unpacked", plain.len() - 1)
        );
        if name == "gz" {
            // What was cut off a packed file is cut off the dump.
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            assert_eq!(vmcore::open(&path).unwrap().notes()[0].code, "dump-cut");
        }
    }
}

#[test]
fn a_small_dump_of_the_fake_reads_the_same() {
    let dump = vmcore::from_bytes(kdump(Packing::Zlib)).unwrap();
    let mut small = Vec::new();
    dump.extract(&mut small).unwrap();
    check(&vmcore::from_bytes(small).unwrap());
}

#[test]
fn vmcoreinfo_is_searched_for_where_no_note_gives_it() {
    let mut image = Fake::new(X86_64).image;
    let at = image.alloc(4096, 4096);
    image.put(at, image.info.clone().as_bytes());
    check(&vmcore::from_bytes(elf(&image.pages(), X86_64, &[])).unwrap());
}

#[test]
fn what_is_no_dump_says_so() {
    for (bytes, want) in [
        (&b""[..], "this is no dump that we know: it is empty"),
        (b"hello", "this is no dump that we know: it begins with \"hello\""),
        (b"PAGEDU64", "this is a Windows crash dump file, which is not supported"),
        (b"KDUMP   ", "the KDUMP header is damaged: the file ends within it"),
        (b"\x7fELF\x01\x01", "this is a 32-bit or big-endian ELF file, which is not supported"),
    ] {
        assert_eq!(vmcore::from_bytes(bytes.to_vec()).err().unwrap().to_string(), want);
    }
}

#[test]
fn the_last_record_may_fill_the_ring_to_its_end() {
    // 6.18 lets a block end exactly at the ring's end; the next one then begins a new round at offset 0.
    let mut image = Image::new(X86_64);
    let long = "x".repeat(1024 - 16 - 8);
    let ring = image.ring(&[(1, "first"), (2, &long), (3, "third")], 10);
    // The first was overwritten by the third.
    image.put64(ring.prb + 32, 1001);
    let dump = vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap();
    let log = dump.log();
    assert_eq!(log.text, format!("[    0.000000] {long}\n[    0.000000] third\n"));
    assert_eq!(log.notes, []);
}
