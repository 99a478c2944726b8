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

/// A report of `header` in task `task`, at second `second`, in `function`.
fn report(header: &str, task: u32, second: u32, function: &str) -> String {
    format!(
        "\
[   {second}.000001] {header}
[   {second}.000002] CPU: 0 PID: {task} Comm: t{task} Not tainted 6.6.0 #1
[   {second}.000003] RIP: 0010:{function}+0x5/0x10
[   {second}.000004] Call Trace:
[   {second}.000005]  {function}_outer+0x5/0x10
[   {second}.000006]  vfs_read+0x5/0x10
[   {second}.000007] ---[ end trace 0000000000000000 ]---
"
    )
}

#[test]
fn init_that_dies_of_an_oops_is_one_death_and_without_one_its_own() {
    let panic = "\
[   40.000001] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b
[   40.000002] CPU: 0 PID: 1 Comm: t1 Not tainted 6.6.0 #1
[   40.000003] Call Trace:
[   40.000004]  panic+0x5/0x10
[   40.000005]  do_exit+0x5/0x10
";
    let oops = "BUG: kernel NULL pointer dereference, address: 0000000000000008";
    let title = "BUG: unable to handle kernel NULL pointer dereference in turn";
    check(&(report(oops, 1, 39, "turn") + panic), title, Some("turn"));
    let other = report(oops, 77, 39, "turn") + panic;
    let parsed = check(&other, "kernel panic: Attempted to kill init!", None);
    assert_eq!(
        parsed.reports.iter().filter(|report| report.fatal).count(),
        1,
        "another task's oops was survived"
    );
}

#[test]
fn an_oops_that_was_survived_and_a_later_death_are_told_apart() {
    let log = report("BUG: kernel NULL pointer dereference, address: 0000000000000008", 11, 20, "first")
        + &report(
            "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#2]",
            22,
            90,
            "second",
        )
        + "[   91.000001] Kernel panic - not syncing: Fatal exception\n";
    let parsed = check(&log, "general protection fault in second", Some("second"));
    let told: Vec<_> = parsed.reports.iter().map(|report| report.fatal).collect();
    assert_eq!(told, [false, true]);
}

#[test]
fn stalls_of_one_minute_are_one_death_with_the_first_told() {
    let log = report("rcu: INFO: rcu_preempt self-detected stall on CPU", 11, 50, "spin")
        + &report("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [t11:11]", 11, 60, "spin")
        + "[   60.000010] Kernel panic - not syncing: softlockup: hung tasks\n";
    let parsed = check(&log, "BUG: soft lockup in spin", Some("spin"));
    assert_eq!(parsed.reports.iter().map(|report| report.fatal).collect::<Vec<_>>(), [false, true]);
    let codes: Vec<&str> = parsed.notes.iter().map(|note| &*note.code).collect();
    assert_eq!(codes, ["stalls-together"]);
    assert_eq!(parsed.notes[0].line, Some(0));
    // The two share a name, so that they meet in one signature.
    assert!(parsed.reports[0].alts.iter().any(|alt| parsed.reports[1].alts.contains(alt)));
}

#[test]
fn panics_over_limits_end_what_went_before() {
    for (text, header, title) in [
        (
            "Aiee, killing interrupt handler!",
            "general protection fault: 0000 [#1] SMP",
            "general protection fault in turn",
        ),
        (
            "Oopsed too often (kernel.oops_limit is 100)",
            "general protection fault: 0000 [#100] SMP",
            "general protection fault in turn",
        ),
        (
            "kernel: system warned too often (kernel.warn_limit is 5)",
            "WARNING: CPU: 0 PID: 11 at drivers/gizmo/main.c:77 turn+0x5/0x10",
            "WARNING in turn",
        ),
        (
            "kasan.fault=panic set ...",
            "BUG: KASAN: slab-use-after-free in turn+0x5/0x10\n[   30.000002] Read of size 8 at addr ffff888101234560 by task t/11",
            "KASAN: slab-use-after-free Read in turn",
        ),
        (
            "Fatal exception: panic_on_oops",
            "general protection fault: 0000 [#1] SMP",
            "general protection fault in turn",
        ),
    ] {
        let log =
            report(header, 11, 30, "turn") + &format!("[   31.000001] Kernel panic - not syncing: {text}\n");
        let parsed = check(&log, title, Some("turn"));
        assert_eq!(parsed.reports.len(), 1, "{text}");
    }
}

#[test]
fn two_headers_of_one_trap_are_one_report() {
    for (first, second) in [
        ("kernel BUG at drivers/gizmo/main.c:77!", "Kernel bug detected[#1]:"),
        ("kernel BUG at drivers/gizmo/main.c:77!", "Oops: Exception in kernel mode, sig: 5 [#1]"),
        ("kernel BUG at drivers/gizmo/main.c:77!", "Oops: invalid opcode: 0000 [#1] SMP"),
        (
            "BUG: Kernel NULL pointer dereference on read at 0x00000008",
            "Oops: Kernel access of bad area, sig: 11 [#1]",
        ),
        (
            "Unable to handle kernel paging request at virtual address 00000008",
            "Internal error: Oops: 5 [#1] SMP ARM",
        ),
    ] {
        let log = report(&format!("{first}\n[   30.000001] {second}"), 11, 30, "turn");
        assert_eq!(parse(log.as_bytes()).reports.len(), 1, "{second}");
    }
}

#[test]
fn lines_inside_a_report_are_no_reports() {
    let log = "\
[  500.000001] INFO: task reader:321 blocked for more than 120 seconds.
[  500.000002]       Not tainted 6.16.0 #1
[  500.000003] Call Trace:
[  500.000004]  __schedule+0x10/0x20
[  500.000005]  gizmo_open+0x10/0x20 [gizmo]
[  500.000006] INFO: task reader:321 is blocked on a mutex likely owned by task writer:322.
[  500.000007] task:writer state:S stack:0 pid:322
";
    assert_eq!(parse(log.as_bytes()).reports.len(), 1);
}

#[test]
fn what_firmware_tells_of_the_boot_before_is_no_death_of_this_one() {
    let log = "\
[    0.000000] Linux version 6.6.0 (x) #1
[    0.500001] BERT: Error records from previous boot:
[    0.500002] [Hardware Error]: event severity: fatal
[    0.500003] [Hardware Error]:  Error 0, type: fatal
[    0.500004] [Hardware Error]:   section_type: memory error
[    0.500005] [Hardware Error]:   physical_address: 0x0000000123456780
[    0.500006] BERT: Total records found: 1
[    9.000001] systemd[1]: Reached target
";
    let parsed = parse(log.as_bytes());
    assert!(parsed.reports.is_empty() && parsed.cause().is_none());
    let [finding] = &parsed.findings[..] else { panic!("{:?}", parsed.findings) };
    assert!(finding.previous_boot);
    assert_eq!(
        (finding.key.as_str(), finding.get("physical_address")),
        ("memory error", Some("0x0000000123456780"))
    );
    // A crash of the same boot stays its own.
    let log = log.to_owned()
        + &report("general protection fault: 0000 [#1] SMP", 11, 30, "turn")
        + "[   31.000001] Kernel panic - not syncing: Fatal exception\n";
    let parsed = check(&log, "general protection fault in turn", Some("turn"));
    assert!(parsed.findings.iter().all(|finding| finding.previous_boot));
}

#[test]
fn a_watchdogs_panic_blames_no_function() {
    let log = format!(
        "[   29.000001] watchdog: watchdog0: pretimeout event\n[   30.000001] Kernel panic - not syncing: watchdog pretimeout event\n{STACK}"
    );
    let parsed = check(&log, "kernel panic: watchdog pretimeout event", None);
    assert_eq!(parsed.findings[0].key, "watchdog0");
}

#[test]
fn power_names_the_cpu_that_is_stuck() {
    let log = "\
[   30.000001] watchdog: CPU 2 detected hard LOCKUP on other CPUs 6
[   30.000002] watchdog: CPU 2 TB:12345678, last SMP heartbeat TB:12345000 (13242ms ago)
[   30.000003] watchdog: CPU 6 Hard LOCKUP
[   30.000004] watchdog: CPU 6 TB:12345678, last heartbeat TB:12345000 (15211ms ago)
[   30.000005] CPU: 6 PID: 9 Comm: worker Not tainted 6.6.0 #1
[   30.000006] NIP:  c008000000a40120 LR: c008000000a40210 CTR: 0000000000000000
[   30.000007] NIP [c008000000a40120] spin_here+0x20/0x50 [gizmo]
[   30.000008] LR [c008000000a40210] gizmo_write+0x40/0xa0 [gizmo]
[   30.000009] Call Trace:
[   30.000010] [c00000000b7cbce0] [c008000000a40210] gizmo_write+0x40/0xa0 [gizmo]
[   30.000011] [c00000000b7cbd20] [c0000000004e5e58] vfs_write+0xe8/0x330
[   30.000012] Kernel panic - not syncing: Hard LOCKUP
";
    check(log, "hard LOCKUP in spin_here", Some("spin_here"));
}
