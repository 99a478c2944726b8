//! Ways to die that a fuzzing corpus does not hold.

use report::{Corrupted, Parsed, Piece, Severity, parse, read};

/// The title of the death, whom it blames, and whether it was asked for.
#[track_caller]
fn check(log: &str, title: &str, guilty: Option<&str>) -> Parsed {
    let parsed = parse(log.as_bytes());
    let cause = parsed.cause().expect("the machine died");
    let report = &parsed.reports[cause];
    assert_eq!(report.title, title);
    assert_eq!(report.guilty.as_ref().map(|guilty| guilty.name.as_str()), guilty);
    parsed
}

const STACK: &str = "\
[   30.000010] CPU: 2 PID: 9 Comm: worker Not tainted 6.6.0 #1
[   30.000011] Call Trace:
[   30.000012]  <TASK>
[   30.000013]  dump_stack_lvl+0x44/0x5c
[   30.000014]  panic+0x118/0x2f4
[   30.000015]  handler+0x10/0x20
[   30.000016]  outer+0x10/0x20
[   30.000017]  </TASK>
";

#[test]
fn a_machine_check_blames_no_function() {
    let log = format!(
        "\
[   30.000001] mce: [Hardware Error]: CPU 12: Machine Check Exception: f Bank 1: bd80000000100134
[   30.000002] mce: [Hardware Error]: PROCESSOR 0:a06d0 TIME 1706000767 SOCKET 1 APIC 211 microcode 80001490
[   30.000003] Kernel panic - not syncing: Fatal local machine check
{STACK}"
    );
    let parsed = check(&log, "kernel panic: Fatal local machine check", None);
    assert_eq!(parsed.findings[0].key, "socket 1 bank 1 code 0134");
    let bare = "[   30.000003] Kernel panic - not syncing: Fatal machine check on current CPU\n";
    assert_eq!(parse(bare.as_bytes()).reports[0].corrupted, None, "it needs no stack");
}

#[test]
fn out_of_memory_blames_no_function() {
    for (text, title) in [
        (
            "Out of memory: system-wide panic_on_oom is enabled",
            "kernel panic: Out of memory: system-wide panic_on_oom is enabled",
        ),
        ("System is deadlocked on memory", "kernel panic: System is deadlocked on memory"),
        (
            "Out of memory and no killable processes...",
            "kernel panic: Out of memory and no killable processes",
        ),
    ] {
        check(&format!("[   30.000001] Kernel panic - not syncing: {text}\n{STACK}"), title, None);
    }
}

#[test]
fn a_boot_that_found_no_root_blames_no_function() {
    let log = format!(
        "[    3.000001] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(8,1)\n{STACK}"
    );
    check(&log, "kernel panic: VFS: Unable to mount root fs", None);
    let log = format!(
        "[    3.000001] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.\n{STACK}"
    );
    check(&log, "kernel panic: No working init found", None);
}

#[test]
fn a_plain_panic_blames_its_caller() {
    let log = format!("[   30.000001] Kernel panic - not syncing: handler is tired of 12 errors\n{STACK}");
    check(&log, "kernel panic: handler is tired of NUM errors", Some("handler"));
}

#[test]
fn sysrq_is_intended_old_and_new() {
    let new = format!(
        "[   29.000001] sysrq: Trigger a crash\n[   30.000001] Kernel panic - not syncing: sysrq triggered crash\n{STACK}"
    );
    let parsed = check(&new, "kernel panic: sysrq triggered crash", Some("handler"));
    assert!(parsed.reports[0].intentional && parsed.reports[0].severity == Severity::Info);
    let old = "\
[   29.000001] sysrq: SysRq : Trigger a crash
[   29.000002] BUG: unable to handle kernel NULL pointer dereference at           (null)
[   29.000003] IP: sysrq_handle_crash+0x16/0x20
[   29.000004] Oops: 0002 [#1] SMP
[   29.000005] Call Trace:
[   29.000006]  __handle_sysrq+0x107/0x170
[   29.000007]  write_sysrq_trigger+0x2b/0x30
[   29.000008] Kernel panic - not syncing: Fatal exception
";
    let parsed = check(
        old,
        "BUG: unable to handle kernel NULL pointer dereference in sysrq_handle_crash",
        Some("sysrq_handle_crash"),
    );
    assert!(parsed.reports[0].intentional);
}

/// The stuck CPU's own stack.
const STUCK: &str = "\
[   30.000010] CPU: 6 PID: 9 Comm: worker Not tainted 6.6.0 #1
[   30.000011] RIP: 0010:spin_here+0x5/0x10 [gizmo]
[   30.000012] Call Trace:
[   30.000013]  <TASK>
[   30.000014]  gizmo_write+0x10/0x20 [gizmo]
[   30.000015]  vfs_write+0x10/0x20
[   30.000016]  </TASK>
[   30.000017] Kernel panic - not syncing: Hard LOCKUP
";

#[test]
fn a_hard_lockup_is_named_by_the_stuck_cpu_in_all_wordings() {
    for line in [
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 6",
        "watchdog: Watchdog detected hard LOCKUP on cpu 6",
        "watchdog: CPU6: Watchdog detected hard LOCKUP on cpu 6",
        "watchdog: CPU 6 self-detected hard LOCKUP @ spin_here+0x5/0x10",
    ] {
        let parsed =
            check(&format!("[   30.000001] {line}\n{STUCK}"), "hard LOCKUP in spin_here", Some("spin_here"));
        assert_eq!(parsed.reports.len(), 1);
        assert_eq!(parsed.reports[0].alts, ["stall in spin_here", "stall in gizmo_write"]);
    }
    let buddy = format!(
        "[   30.000001] watchdog: Watchdog detected hard LOCKUP on cpu 6\n[   30.000002] Sending NMI from CPU 5 to CPUs 6:\n[   30.000003] NMI backtrace for cpu 6\n{STUCK}"
    );
    let parsed = check(&buddy, "hard LOCKUP in spin_here", Some("spin_here"));
    assert_eq!(parsed.reports[0].traces[0].cpu, Some(6));
}

#[test]
fn a_hung_task_is_the_cause_of_its_panic() {
    let log = "\
[  500.000001] INFO: task reader:321 blocked for more than 120 seconds.
[  500.000002]       Not tainted 6.6.0 #1
[  500.000003] task:reader state:D stack:0 pid:321 ppid:1 flags:0x00004002
[  500.000004] Call Trace:
[  500.000005]  <TASK>
[  500.000006]  __schedule+0x10/0x20
[  500.000007]  schedule+0x10/0x20
[  500.000008]  gizmo_wait_ready+0x10/0x20 [gizmo]
[  500.000009]  gizmo_open+0x10/0x20 [gizmo]
[  500.000010]  </TASK>
[  500.000011] Kernel panic - not syncing: hung_task: blocked tasks
[  500.000012] CPU: 0 PID: 40 Comm: khungtaskd Not tainted 6.6.0 #1
";
    check(log, "INFO: task hung in gizmo_open", Some("gizmo_open"));
}

#[test]
fn the_oops_of_the_same_task_is_the_cause_not_the_nearest() {
    let oops = |task: u32, name: &str, second: u32| {
        format!(
            "\
[   {second}.000001][  T{task}] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   {second}.000002][  T{task}] CPU: 0 PID: {task} Comm: t{task} Not tainted 6.6.0 #1
[   {second}.000003][  T{task}] RIP: 0010:{name}+0x5/0x10
[   {second}.000004][  T{task}] Call Trace:
[   {second}.000005][  T{task}]  {name}_outer+0x5/0x10
[   {second}.000006][  T{task}]  vfs_read+0x5/0x10
"
        )
    };
    let log = oops(11, "first", 10)
        + &oops(22, "second", 11)
        + "[   12.000001][  T11] Kernel panic - not syncing: Fatal exception\n";
    let parsed = check(&log, "BUG: unable to handle kernel NULL pointer dereference in first", Some("first"));
    assert_eq!(parsed.reports.len(), 2);
    assert!(!parsed.reports[1].fatal);
}

#[test]
fn a_record_without_its_header_is_still_named() {
    let record = format!("Panic#1 Part1\n{}", STACK.replace("panic+0x118/0x2f4", "report_it+0x1/0x2"));
    let parsed = read(&[Piece { name: "dmesg-efi-179537379201001", bytes: record.as_bytes() }]);
    let report = &parsed.reports[0];
    assert_eq!(report.title, "truncated panic in report_it");
    assert_eq!((report.corrupted, report.fatal), (Some(Corrupted::Truncated), true));
    assert_eq!(report.comm.as_deref(), Some("worker"));
}

#[test]
fn trouble_before_the_log_is_told() {
    let oops = crate::whole::OOPS.replace("[#1]", "[#2]");
    let parsed = parse(oops.as_bytes());
    assert_eq!(parsed.notes.iter().map(|note| &*note.code).collect::<Vec<_>>(), ["earlier-trouble"]);
    assert!(parse(crate::whole::OOPS.as_bytes()).notes.is_empty());
}

#[test]
fn each_boot_of_a_console_has_its_own_death() {
    let boot = |cause: &str| {
        format!(
            "[    0.000000] Linux version 6.6.0 (x) #1\n[   30.000001] Kernel panic - not syncing: {cause}\n{STACK}"
        )
    };
    let parsed = parse((boot("first") + &boot("second")).as_bytes());
    let found: Vec<_> = parsed.reports.iter().map(|report| (report.title.as_str(), report.fatal)).collect();
    assert_eq!(found, [("kernel panic: first", true), ("kernel panic: second", true)]);
    assert_eq!(parsed.cause(), Some(1));
}

#[test]
fn a_dump_of_all_tasks_belongs_to_no_report() {
    let log = "\
[   20.000001] WARNING: CPU: 0 PID: 1 at kernel/foo.c:12 foo+0x1/0x2
[   20.000002] Call Trace:
[   20.000003]  bar+0x1/0x2
[   20.000004]  baz+0x1/0x2
[   21.000001] sysrq: Show State
[   21.000002] task:init state:S
[   21.000003] Call Trace:
[   21.000004]  __schedule+0x1/0x2
";
    let parsed = parse(log.as_bytes());
    assert_eq!(parsed.reports.len(), 1);
    assert_eq!(parsed.reports[0].traces.len(), 1);
    assert_eq!(parsed.reports[0].source.as_deref(), Some("kernel/foo.c:12"));
}
