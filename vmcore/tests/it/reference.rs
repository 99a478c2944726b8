//! The lab's dumps against makedumpfile's log and drgn's tasks, stacks and facts (see `fixtures/lab`).
//!
//! The dumps are too large for the repository; where they are absent, these tests say so and pass.

use serde_json::Value;
use std::path::PathBuf;

const OLD: &str = "6.1.0-56-cloud-amd64-null_deref";
const NEW: &str = "6.12.117+deb12-cloud-amd64-sysrq";

/// Why a frame may bear another name than drgn's: we print what the kernel prints.
const SAME_PLACE: [(&str, &str); 1] = [("crashlab_init", "init_module")];

pub fn artifact(name: &str) -> Option<PathBuf> {
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/artifacts/vmcore")).join(name);
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

fn reference(name: &str) -> Value {
    let path = artifact(name).expect("a dump comes with its references");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Everything about one dump; `frames` is how many frames drgn finds without inlined ones.
fn check(case: &str, format: &str, frames: usize) {
    let Some(path) = artifact(&format!("{case}.{format}")) else { return };
    let dump = vmcore::open(&path).unwrap();
    check_dump(&dump, case, frames);
}

fn check_dump(dump: &vmcore::Dump, case: &str, frames: usize) {
    let log = dump.log();
    let want = std::fs::read_to_string(artifact(&format!("{case}.dmesg.txt")).unwrap()).unwrap();
    assert!(log.text == want, "the log differs from makedumpfile's");
    assert_eq!(log.notes, []);

    let tasks = dump.tasks();
    assert!(tasks.complete);
    assert_eq!(tasks.notes, []);
    let got = serde_json::to_value(&tasks.tasks).unwrap();
    let want = reference(&format!("{case}.tasks.json"));
    check_tasks(got.as_array().unwrap(), want.as_array().unwrap(), frames);

    let got = serde_json::to_value(dump.facts()).unwrap();
    let want = reference(&format!("{case}.crash.json"));
    for (key, want) in want.as_object().unwrap().iter().filter(|(key, _)| *key != "stack") {
        match key.as_str() {
            "modules" => {
                for (got, want) in got[key].as_array().unwrap().iter().zip(want.as_array().unwrap()) {
                    want.as_object().unwrap().iter().for_each(|(field, want)| assert_eq!(&got[field], want));
                }
                assert_eq!(got[key].as_array().unwrap().len(), want.as_array().unwrap().len());
            }
            _ => assert_eq!(&got[key], want, "{key}"),
        }
    }
}

fn check_tasks(got: &[Value], want: &[Value], frames: usize) {
    assert_eq!(got.len(), want.len());
    let (mut all, mut equal) = (0, 0);
    for (got, want) in got.iter().zip(want) {
        for key in ["pid", "tgid", "ppid", "comm", "state", "cpu", "on_cpu", "kernel_thread", "task_struct"] {
            assert_eq!(got[key], want[key], "{key} of {}", want["comm"]);
        }
        // We know no DWARF, so no inlined calls.
        let mine = got["stack"].as_array().unwrap();
        let theirs = want["stack"].as_array().unwrap().iter().filter(|frame| frame["inline"] != true);
        for (at, theirs) in theirs.enumerate() {
            all += 1;
            equal += usize::from(mine.get(at).is_some_and(|mine| same(mine, theirs)));
        }
    }
    assert_eq!(all, frames);
    println!("{equal} of {all} frames are equal");
    assert!(equal * 100 >= all * 99, "only {equal} of {all} frames are equal");
}

/// The same pc, and a name that drgn or the kernel's own table has for it.
fn same(mine: &Value, theirs: &Value) -> bool {
    let name = |frame: &Value| (frame["symbol"].as_str().map(str::to_owned), frame["offset"].as_u64());
    let (symbol, offset) = name(mine);
    let printed = format!("{}+{:#x}", symbol.as_deref().unwrap_or_default(), offset.unwrap_or(0));
    let by_kallsyms =
        theirs["kallsyms"].as_array().is_some_and(|names| names.iter().any(|name| *name == *printed));
    let by_alias =
        SAME_PLACE.iter().any(|&(ours, drgns)| symbol.as_deref() == Some(ours) && theirs["symbol"] == drgns);
    mine["pc"] == theirs["pc"]
        && mine["interrupted"] == theirs["interrupted"]
        && (name(mine) == name(theirs) || by_kallsyms || by_alias)
}

#[test]
fn zlib_pages_of_6_1() {
    check(OLD, "zlib", 328);
}

#[test]
fn lzo_pages_of_6_1() {
    check(OLD, "lzo", 328);
}

#[test]
fn a_flattened_stream_of_6_1() {
    check(OLD, "flat", 328);
}

#[test]
fn five_level_page_tables_of_6_12() {
    check(NEW, "zlib", 433);
}

#[test]
fn the_crashed_tasks_stack_is_whole() {
    for (case, want) in [
        (OLD, "read_rpm start_engine.isra.0 crash_null_deref crashlab_init do_one_initcall do_init_module"),
        (NEW, "__crash_kexec panic sysrq_handle_crash __handle_sysrq write_sysrq_trigger proc_reg_write"),
    ] {
        let Some(path) = artifact(&format!("{case}.zlib")) else { continue };
        let stack = vmcore::open(&path).unwrap().facts().stack.unwrap();
        let names: Vec<_> = stack.iter().filter_map(|frame| frame.symbol.clone()).take(6).collect();
        assert_eq!(names.join(" "), want);
    }
}

#[test]
fn frames_of_a_module_say_which() {
    let Some(path) = artifact(&format!("{OLD}.zlib")) else { return };
    let facts = vmcore::open(&path).unwrap().facts();
    let stack = facts.stack.unwrap();
    assert_eq!(stack[0].module.as_deref(), Some("crashlab"));
    assert_eq!(stack[0].build_id, facts.modules[0].build_id);
    assert_eq!(facts.modules[0].taints, "OE");
    assert_eq!(
        facts.panic_message.as_deref(),
        Some("BUG: kernel NULL pointer dereference, address: 0000000000000000")
    );
}

#[test]
fn a_small_dump_reads_like_the_whole_one() {
    for (case, frames) in [(OLD, 328), (NEW, 433)] {
        let Some(path) = artifact(&format!("{case}.zlib")) else { continue };
        let dump = vmcore::open(&path).unwrap();
        let mut elf = Vec::new();
        let extracted = dump.extract(&mut elf).unwrap();
        assert!(elf.len() <= 16 << 20, "{} bytes", elf.len());
        assert_eq!(elf.len() / extracted.page_size / 256, extracted.pages / 256);
        let packed = zstd::bulk::compress(&elf, 1).unwrap();
        assert!(packed.len() <= 5 << 20, "{} bytes packed", packed.len());
        let small = vmcore::from_bytes(elf).unwrap();
        assert_eq!(small.format(), vmcore::Format::Elf);
        check_dump(&small, case, frames);
        assert_eq!(small.facts(), dump.facts());
    }
}

#[test]
fn tasks_whose_slab_pages_makedumpfile_dropped_cost_no_others() {
    // makedumpfile 1.7.2 takes some slab pages of 6.12 for user pages and drops them at `-d 31`, its default: the
    // list of tasks leads to pages that are not there.
    let Some(path) = artifact(&format!("{NEW}.zlib")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dropped = folder.path().join("d31");
    let made =
        std::process::Command::new("makedumpfile").args(["-c", "-d", "31"]).args([&path, &dropped]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return println!("skipped: makedumpfile is not here");
    }
    let dump = vmcore::open(&dropped).unwrap();
    assert_eq!(dump.log(), vmcore::open(&path).unwrap().log());
    let (tasks, whole) = (dump.tasks(), vmcore::open(&path).unwrap().tasks().tasks);
    let of =
        |task: &vmcore::Task| tasks.tasks.iter().find(|mine| mine.task_struct == task.task_struct).cloned();
    let (found, lost): (Vec<_>, Vec<_>) = whole.iter().partition(|task| of(task).is_some());
    println!("{} of {} tasks are found", found.len(), whole.len());
    assert!(lost.len() <= 4, "{} tasks are lost", lost.len());
    assert!(lost.iter().all(|task| !task.on_cpu), "a CPU's task is lost");
    for task in found {
        let mine = of(task).unwrap();
        // Of a task whose own page is gone the registers tell the stack.
        assert!(mine.stack == task.stack || mine.on_cpu && mine.stack.is_some(), "{}", task.comm);
    }
    assert!(lost.is_empty() || !tasks.complete);
    assert!(lost.is_empty() || tasks.notes.iter().any(|note| note.code == "task"));
}
