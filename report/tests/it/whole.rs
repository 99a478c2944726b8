//! Whole logs, written for the purpose.

use report::{Context, Corrupted, Profile, Severity, explain, parse};

/// An oops in a module's read function, and the panic it led to.
pub const OOPS: &str = "\
BUG: kernel NULL pointer dereference, address: 0000000000000008
#PF: supervisor read access in kernel mode
#PF: error_code(0x0000) - not-present page
PGD 0 P4D 0
Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
CPU: 3 UID: 0 PID: 4321 Comm: reader Tainted: G        W  OE      6.12.0-test #1
Tainted: [W]=WARN, [O]=OOT_MODULE, [E]=UNSIGNED_MODULE
Hardware name: ACME Turbo/9000, BIOS 1.2 01/01/2026
RIP: 0010:gizmo_read+0x1c/0x40 [gizmo]
Code: 90 90 f3 0f 1e fa 48 8b 47 08 <48> 8b 40 08 c3 cc cc cc cc
RSP: 0018:ffffc90000b7fd98 EFLAGS: 00010246
RAX: 0000000000000000 RBX: 0000000000000001 RCX: 0000000000000002
CR2: 0000000000000008 CR3: 0000000001aa6000 CR4: 0000000000750eb0
Call Trace:
 <TASK>
 gizmo_fop_read+0x33/0x90 [gizmo]
 ? gizmo_fop_open+0x10/0x10 [gizmo]
 vfs_read+0xa0/0x310
 ksys_read+0x6b/0xf0
 do_syscall_64+0x5d/0x90
 entry_SYSCALL_64_after_hwframe+0x6e/0xd8
RIP: 0033:0x47fbe9
RSP: 002b:00007ffd74bcdd28 EFLAGS: 00000246 ORIG_RAX: 0000000000000000
RAX: ffffffffffffffda RBX: 000000000f757d80 RCX: 000000000047fbe9
 </TASK>
Modules linked in: gizmo(OE) virtio_net
CR2: 0000000000000008
---[ end trace 0000000000000000 ]---
RIP: 0010:gizmo_read+0x1c/0x40 [gizmo]
Kernel panic - not syncing: Fatal exception
Kernel Offset: 0x1c000000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)
";

#[test]
fn an_oops_is_read_whole() {
    let parsed = parse(OOPS.as_bytes());
    assert_eq!(parsed.reports.len(), 1);
    let report = &parsed.reports[0];
    assert_eq!(report.title, "BUG: unable to handle kernel NULL pointer dereference in gizmo_read");
    assert_eq!(report.alts, ["bad-access in gizmo_read"]);
    assert_eq!((report.kind.as_str(), report.severity), ("NULL-POINTER-DEREFERENCE", Severity::High));
    assert!(report.fatal && parsed.cause() == Some(0));
    assert_eq!((report.cpu, report.pid, report.comm.as_deref()), (Some(3), Some(4321), Some("reader")));
    assert_eq!(
        report.variant_names(),
        [
            "gizmo_read",
            "gizmo_fop_read",
            "vfs_read",
            "ksys_read",
            "do_syscall_64",
            "entry_SYSCALL_64_after_hwframe"
        ]
    );
    assert_eq!(report.traces[0].frames[0].context, Context::Task);
    assert_eq!(report.subsystem.as_deref(), Some("out-of-tree/gizmo"));
    assert_eq!(parsed.kernel.kaslr, Some(0x1c000000));
    assert_eq!(parsed.modules.len(), 2);
}

#[test]
fn a_survived_oops_and_a_later_death_are_told_apart() {
    let survived = OOPS.replace("Kernel panic - not syncing: Fatal exception\n", "usb 1-1: new device\n");
    let death = "Kernel panic - not syncing: disk on fire\nCPU: 0 PID: 9 Comm: burner Tainted: G      D    6.12.0-test #1\nCall Trace:\n <TASK>\n panic+0x1/0x2\n burn+0x3/0x4 [fire]\n kthread+0x5/0x6\n </TASK>\n";
    let parsed = parse((survived + death).as_bytes());
    let found: Vec<_> = parsed.reports.iter().map(|report| (report.title.as_str(), report.fatal)).collect();
    assert_eq!(
        found,
        [
            ("BUG: unable to handle kernel NULL pointer dereference in gizmo_read", false),
            ("kernel panic: disk on fire", true)
        ]
    );
    let guilty = parsed.reports[1].guilty.as_ref().unwrap();
    assert_eq!((guilty.name.as_str(), guilty.module.as_deref()), ("burn", Some("fire")));
}

#[test]
fn a_panic_whose_cause_was_lost_says_so() {
    let parsed = parse(b"[ 1.0] Kernel panic - not syncing: Fatal exception in interrupt\n");
    assert_eq!(parsed.reports[0].corrupted, Some(Corrupted::HeaderLost));
    assert!(parsed.reports[0].fatal);
}

#[test]
fn an_explanation_names_the_rules() {
    let (parsed, stories) =
        explain(&[report::Piece { name: "", bytes: OOPS.as_bytes() }], Profile::Production);
    assert_eq!(stories.len(), parsed.reports.len());
    let story = &stories[0];
    assert_eq!((story.token, story.format, story.line), ("bug", Some("null-dereference"), 0));
    assert_eq!(story.chosen.as_deref(), Some("gizmo_read"));
    assert!(story.cause.as_deref().is_some_and(|cause| cause.contains("derived.fatal-exception")));
}

#[test]
fn user_programs_are_no_crash_of_the_kernel() {
    for line in [
        "fatal error: all goroutines are asleep",
        "panic: oh no",
        "traps: x general protection fault ip:1 sp:2 error:0 in y[1]",
        "DEBUG: x",
        "BUG UNIX (Not tainted): x",
    ] {
        assert!(parse(line.as_bytes()).reports.is_empty(), "{line}");
    }
}
