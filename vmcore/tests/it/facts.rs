//! Facts whose source can lie or be missing.

use crate::builder::X86_64;
use crate::builder::elf::elf;
use crate::builder::kernel::Fake;
use vmcore::Facts;

/// The facts of the made-up kernel after a change.
fn facts(change: impl FnOnce(&mut Fake)) -> Facts {
    let mut fake = Fake::new(X86_64);
    change(&mut fake);
    vmcore::from_bytes(elf(&fake.image.pages(), X86_64, &fake.image.notes())).unwrap().facts()
}

fn said<'f>(facts: &'f Facts, code: &str) -> Option<&'f str> {
    facts.notes.iter().find(|note| note.code == code).map(|note| note.text.as_str())
}

#[test]
fn the_build_id_is_the_kernels_own_whatever_vmcoreinfo_says() {
    let own = Some("cd".repeat(20));
    let id = |facts: &Facts| facts.build_id.as_ref().map(ToString::to_string);
    let untold = facts(|_| ());
    assert_eq!((id(&untold), said(&untold, "build-id")), (own.clone(), None));

    let garbage = facts(|fake| fake.image.info += &format!("BUILD-ID={}\n", "12".repeat(20)));
    assert_eq!(id(&garbage), own);
    let text = "VMCOREINFO has another build id than the kernel's own notes";
    assert_eq!(said(&garbage, "build-id"), Some(text));

    let unread = facts(|fake| {
        fake.image.info += &format!("BUILD-ID={}\n", "12".repeat(20));
        let notes = fake.at("__start_notes");
        fake.image.put64(notes, 0);
    });
    assert_eq!(id(&unread), Some("12".repeat(20)));
    let text = "the build id is VMCOREINFO's, not checked: no build id in .notes";
    assert_eq!(said(&unread, "build-id"), Some(text));
}

#[test]
fn the_cpu_that_panicked_is_the_one_that_the_kernel_names() {
    // Kernels before 4.5 know only `crashing_cpu`.
    let old = facts(|fake| {
        let (panic, crashing) = (fake.at("panic_cpu"), fake.at("crashing_cpu"));
        fake.image.put32(panic, u32::MAX);
        fake.image.put32(crashing, 0);
    });
    assert_eq!((old.panic_cpu, old.pid), (Some(0), Some(41)));

    let living = facts(|fake| {
        let panic = fake.at("panic_cpu");
        fake.image.put32(panic, u32::MAX);
    });
    assert_eq!((living.panic_cpu, living.pid), (None, None));
    let text = "no CPU had panicked: the dump was taken from a living kernel, or it hung";
    assert_eq!(said(&living, "no-panic"), Some(text));
}

#[test]
fn the_time_is_that_of_the_crash() {
    assert_eq!(facts(|fake| fake.image.info += "CRASHTIME=1795396052\n").crash_time, Some(1_795_396_052));
    assert_eq!(facts(|_| ()).crash_time, None);
}

#[test]
fn a_cgroup_is_told_for_the_tasks_on_a_cpu() {
    let facts = facts(|_| ());
    assert_eq!(facts.cgroup.as_deref(), Some("/kubepods.slice/pod-7"));
}

#[test]
fn bpf_programs_have_name_tag_and_range() {
    let facts = facts(|_| ());
    let [program] = &facts.bpf_programs[..] else { panic!("{:?}", facts.bpf_programs) };
    assert_eq!(program.name, "bpf_prog_0123456789abcdef_watch");
    assert_eq!(program.tag.as_deref(), Some("0123456789abcdef"));
    assert_eq!(program.end.0 - program.start.0, 0x100);
}
