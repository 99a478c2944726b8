//! The source file to blame, once the frames of a report have places: what the maintainers' list is asked about.

use std::sync::LazyLock;

use regex::Regex;

use crate::subsystem;

/// Where a function of a stack stands in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The function; empty for the place that a header names.
    pub function: &'a str,
    /// The path below the kernel's folder, the whole one of what was built elsewhere; empty when it is not known.
    pub file: &'a str,
}

/// See [`guilty_file`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuiltyFile {
    /// As in [`Place::file`].
    pub path: String,
    /// Which part of the kernel it belongs to, as in [`crate::Report::subsystem`].
    pub subsystem: Option<String>,
}

/// The file that a report with this title is most likely about. `places` are those of the report in the order of its
/// text, inlined functions before those they were inlined into: the header's own, the instruction pointer's, the stacks'.
/// None when no place has a file.
///
/// The first file that is not in `rules/files.txt`; then, as long as there is one further down in a folder below it,
/// that: `fs/ext4/inode.c` rather than `fs/read_write.c`.
pub fn guilty_file(title: &str, places: &[Place<'_>]) -> Option<GuiltyFile> {
    let path = behind_interrupt(title, places).and_then(choose).or_else(|| choose(places))?;
    let subsystem = subsystem::guess(Some(&path), None, false);
    Some(GuiltyFile { path, subsystem })
}

/// Of a stall on a CPU the places behind the timer's interrupt: those before it are of the report itself.
fn behind_interrupt<'p, 'a>(title: &str, places: &'p [Place<'a>]) -> Option<&'p [Place<'a>]> {
    const ENTRIES: [&str; 3] = ["apic_timer_interrupt", "el1h_64_irq", "__irq_svc"];
    title.starts_with("INFO: rcu detected stall").then_some(())?;
    let entry = |name: &&str| places.iter().position(|place| place.function.ends_with(*name));
    ENTRIES.iter().find_map(entry).map(|at| &places[at..])
}

fn choose(places: &[Place<'_>]) -> Option<String> {
    let mut files = places.iter().map(|place| below_root(place.file)).filter(|file| !file.is_empty());
    let counts = |file: &String| !NOBODYS.iter().any(|pattern| pattern.is_match(file));
    let first = files.next()?;
    let Some(mut guilty) = Some(first.clone()).filter(counts).or_else(|| files.by_ref().find(counts)) else {
        return Some(first);
    };
    for file in files.filter(counts) {
        if is_below(&file, &guilty) {
            guilty = file;
        }
    }
    Some(guilty)
}

/// Is the file in a folder below the one the other file is in?
fn is_below(file: &str, other: &str) -> bool {
    let Some((folder, _)) = other.rsplit_once('/') else { return false };
    let rest = file.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| rest.contains('/'))
}

/// A path without `./` and `folder/..`. Those of modules built elsewhere are whole.
fn below_root(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

static NOBODYS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    include_str!("../rules/files.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (_id, pattern) = line.split_once(' ').expect("a row of files.txt has an id and a pattern");
            Regex::new(pattern).expect("the embedded rules are well formed: a test loads them all")
        })
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    /// `function@file` words; the file is what is expected.
    #[track_caller]
    fn check(title: &str, places: &str, expected: Option<(&str, Option<&str>)>) {
        let places: Vec<Place<'_>> = places
            .split_ascii_whitespace()
            .map(|word| word.split_once('@').map(|(function, file)| Place { function, file }).unwrap())
            .collect();
        let found = guilty_file(title, &places);
        let found = found.as_ref().map(|found| (found.path.as_str(), found.subsystem.as_deref()));
        assert_eq!(found, expected, "{places:?}");
    }

    #[test]
    fn the_first_file_that_is_somebodys_is_to_blame() {
        check(
            "KASAN: slab-use-after-free Read in turn",
            "__dump_stack@lib/dump_stack.c print_report@mm/kasan/report.c list_add@./include/linux/list.h \
             turn@drivers/gizmo/turn.c vfs_ioctl@fs/ioctl.c",
            Some(("drivers/gizmo/turn.c", Some("drivers/gizmo"))),
        );
        check(
            "WARNING in f",
            "@net/core/dev.c f@net/core/dev.c g@net/ipv4/../ipv4/tcp.c",
            Some(("net/ipv4/tcp.c", Some("net/ipv4"))),
        );
        check("x", "f@/src/gizmo/./main.c", Some(("/src/gizmo/main.c", None)));
        check("x", "f@ g@", None);
        check("x", "", None);
    }

    #[test]
    fn a_folder_below_it_further_down_is_more_to_the_point() {
        check(
            "x",
            "f@fs/read_write.c g@fs/gizmo/file.c h@fs/gizmo/deep/er.c i@mm/mmap.c",
            Some(("fs/gizmo/deep/er.c", Some("fs/gizmo"))),
        );
        check("x", "f@fs/gizmo/a.c g@fs/gizmo/b.c", Some(("fs/gizmo/a.c", Some("fs/gizmo"))));
        check("x", "f@fs/gizmo/a.c g@fs/gizmos/deep/b.c", Some(("fs/gizmo/a.c", Some("fs/gizmo"))));
    }

    #[test]
    fn when_all_are_everybodys_the_first_counts() {
        check("x", "f@lib/string.c g@kernel/rcu/tree.c", Some(("lib/string.c", Some("lib"))));
    }

    #[test]
    fn what_a_stall_prints_of_itself_is_passed_over() {
        let stack = "watch@drivers/watch/dog.c asm_sysvec_apic_timer_interrupt@arch/x86/include/asm/idtentry.h \
                     spin@drivers/gizmo/spin.c";
        check(
            "INFO: rcu detected stall in spin",
            stack,
            Some(("drivers/gizmo/spin.c", Some("drivers/gizmo"))),
        );
        check("WARNING in spin", stack, Some(("drivers/watch/dog.c", Some("drivers/watch"))));
    }

    #[test]
    fn every_row_of_the_list_is_needed() {
        let files = [
            "include/linux/list.h",
            "arch/x86/lib/copy_user_64.S",
            "arch/x86/entry/entry_64.S",
            "lib/string.c",
            "virt/lib/irqbypass.c",
            "arch/x86/lib/usercopy.c",
            "rust/kernel/sync/arc.rs",
            "mm/kasan/report.c",
            "mm/kmsan/report.c",
            "mm/kfence/report.c",
            "mm/slub.c",
            "mm/filemap.c",
            "mm/folio-compat.c",
            "mm/truncate.c",
            "mm/memory.c",
            "mm/percpu-vm.c",
            "mm/vmalloc.c",
            "mm/page_alloc.c",
            "mm/mempool.c",
            "mm/util.c",
            "kernel/kcov.c",
            "kernel/kcsan/core.c",
            "kernel/rcu/tree.c",
            "kernel/locking/mutex.c",
            "kernel/sched/core.c",
            "kernel/printk/printk.c",
            "kernel/panic.c",
            "kernel/softirq.c",
            "kernel/kthread.c",
            "kernel/workqueue.c",
            "kernel/stacktrace.c",
            "kernel/time/timer.c",
            "net/core/dev.c",
            "net/core/sock.c",
            "net/core/skbuff.c",
            "fs/proc/generic.c",
            "drivers/usb/core/urb.c",
            "arch/x86/kernel/traps.c",
            "arch/x86/kernel/unwind_orc.c",
            "arch/arm64/kernel/stacktrace.c",
            "arch/riscv/mm/fault.c",
            "arch/x86/mm/physaddr.c",
            "arch/x86/kernel/apic/apic.c",
            "arch/arm64/kernel/entry-common.c",
            "arch/arm64/kernel/process.c",
        ];
        for pattern in NOBODYS.iter() {
            assert!(files.iter().any(|file| pattern.is_match(file)), "{pattern}");
        }
        for file in files {
            assert!(NOBODYS.iter().any(|pattern| pattern.is_match(file)), "{file}");
        }
        for file in
            ["mm/mmap.c", "kernel/fork.c", "kernel/time/hrtimer.c", "fs/proc/base.c", "net/core/filter.c"]
        {
            assert!(!NOBODYS.iter().any(|pattern| pattern.is_match(file)), "{file}");
        }
    }
}
