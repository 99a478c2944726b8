//! Which lines belong to a report, which of them name it, and when its text was damaged.

use report::{Corrupted, CrashType, Piece, Profile, explain, parse_with};

const PROFILES: [Profile; 2] = [Profile::Production, Profile::Scoring];

#[track_caller]
fn check(log: &str, title: &str, corrupted: Option<Corrupted>) {
    for profile in PROFILES {
        let parsed = parse_with(log.as_bytes(), profile);
        let first = parsed.reports.first().map(|report| (report.title.as_str(), report.corrupted));
        assert_eq!(first, Some((title, corrupted)), "{profile:?}");
    }
}

fn console(text: &str) -> String {
    text.lines().map(|line| format!("[   12.000001] {line}\n")).collect()
}

const WARNING: &str = "WARNING: CPU: 0 PID: 11 at drivers/gizmo/main.c:77 turn+0x5/0x10";

#[test]
fn lines_of_other_callers_are_none_of_the_report() {
    // Two CPUs print at once; the padding is part of who they are.
    let log = "\
[   12.000001][  T11] WARNING: CPU: 0 PID: 11 at drivers/gizmo/main.c:77 turn+0x5/0x10
[   12.000002][  T22] general protection fault: 0000 [#1] SMP
[   12.000003][    C1] RIP: 0010:tick+0x5/0x10
[   12.000004][ T11] RIP: 0010:padded+0x5/0x10
[   12.000005][  T22] RIP: 0010:other+0x5/0x10
[   12.000006][  T11] RIP: 0010:turn+0x5/0x10
[   12.000007][  T22] Call Trace:
[   12.000008][  T11] Call Trace:
[   12.000009][  T22]  other_outer+0x5/0x10
[   12.000010][  T11]  turn_outer+0x5/0x10
[   12.000011][  T22]  vfs_read+0x5/0x10
[   12.000012][  T11]  vfs_write+0x5/0x10
";
    for profile in PROFILES {
        let parsed = parse_with(log.as_bytes(), profile);
        let titles: Vec<_> = parsed.reports.iter().map(|report| report.title.as_str()).collect();
        assert_eq!(titles, ["WARNING in turn", "general protection fault in other"], "{profile:?}");
    }
}

#[test]
fn behind_an_nmi_the_lines_of_all_cpus_belong_to_it_but_no_doubted_ones() {
    let log = "\
[   12.000001][    C0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   12.000002][    C1] RIP: 0010:before+0x5/0x10
[   12.000003][    C0] Sending NMI from CPU 0 to CPUs 1:
[   12.000004][   T11] RIP: 0010:a_task+0x5/0x10
[   12.000005][    C1] NMI backtrace for cpu 1
[   12.000006][    C1] CPU: 1 PID: 11 Comm: t11 Not tainted 6.6.0 #1
[   12.000007][    C1] Call Trace:
[   12.000008][    C1]  <IRQ>
[   12.000009][    C1]  ? stale+0x5/0x10
[   12.000010][    C1]  asm_apic_timer_interrupt+0x5/0x10
[   12.000011][    C1] RIP: 0010:spin+0x5/0x10
[   12.000012][    C1]  ? stale+0x5/0x10
[   12.000013][    C1]  turn+0x5/0x10
[   12.000014][    C1]  vfs_write+0x5/0x10
";
    for (profile, function) in [(Profile::Production, "spin"), (Profile::Scoring, "turn")] {
        let parsed = parse_with(log.as_bytes(), profile);
        assert_eq!(parsed.reports[0].title, format!("INFO: rcu detected stall in {function}"));
    }
}

#[test]
fn frames_the_kernel_doubted_do_not_name_the_report() {
    for doubted in
        [" ? stale+0x5/0x10", " [<ffffffff81234567>] ? stale+0x5/0x10", " stale+0x5/0x10 (unreliable)"]
    {
        let log = console(&format!(
            "BUG: sleeping function called from invalid context at x.c:1\nCall Trace:\n{doubted}\n turn+0x5/0x10\n outer+0x5/0x10"
        ));
        check(&log, "BUG: sleeping function called from invalid context in turn", None);
    }
    // What stands behind an interrupt's stack is sure even with the mark.
    let log = console(
        "BUG: sleeping function called from invalid context at x.c:1\nCall Trace:\n <EOI>  ? turn+0x5/0x10\n[<ffffffff81234567>] outer+0x5/0x10\n x+0x1/0x2",
    );
    check(&log, "BUG: sleeping function called from invalid context in outer", None);
}

#[test]
fn a_header_with_a_question_mark_is_a_header() {
    let log = console("BUG: gizmo is lost ? who knows\nCall Trace:\n turn+0x5/0x10\n outer+0x5/0x10");
    check(&log, "BUG: gizmo is lost ? who knows", None);
}

#[test]
fn drop_notices_and_login_prompts_may_be_glued_to_a_line() {
    for glued in
        ["** 17 printk messages dropped ** ", "gizmo login: ", "<4>", "** 1 printk messages dropped ** <4>"]
    {
        let log = format!("{glued}[   12.000001] {WARNING}\n")
            + &console("RIP: 0010:turn+0x5/0x10\nCall Trace:\n outer+0x5/0x10\n vfs_read+0x5/0x10");
        check(&log, "WARNING in turn", None);
    }
}

#[test]
fn noise_of_a_serial_line_does_not_hide_a_report() {
    let log = format!("\0\0\u{fffd}[   12.0000\n[   12.000001] {WARNING}\r\r\n")
        + &console("RIP: 0010:turn+0x5/0x10\n\0\0\nCall Trace:\n outer+0x5/0x10\n vfs_read+0x5/0x10");
    check(&log, "WARNING in turn", None);
}

/// A warning whose stack was not printed, `lines` lines, and then a panic with a stack.
fn repeated(header: &str, lines: usize) -> String {
    let filler = "quiet\n".repeat(lines);
    console(&format!(
        "{header}\n{filler}Kernel panic - not syncing: panic_on_warn set ...\nCall Trace:\n dump_stack+0x1/0x2\n panic+0x1/0x2\n turn+0x5/0x10\n outer+0x5/0x10"
    ))
}

#[test]
fn a_short_report_has_the_stack_of_its_panic_and_a_long_one_has_not() {
    let header = "WARNING: CPU: 0 PID: 11 at drivers/gizmo/main.c:77 turn+0x5/0x10";
    // Header, filler, panic line: the 22nd line may still be the panic, the 23rd may not.
    for (lines, title, corrupted) in
        [(20, "WARNING in turn", None), (21, "WARNING in corrupted", Some(Corrupted::NoFrames))]
    {
        let parsed = parse_with(repeated(header, lines).as_bytes(), Profile::Scoring);
        assert_eq!(
            (parsed.reports[0].title.as_str(), parsed.reports[0].corrupted),
            (title, corrupted),
            "{lines}"
        );
    }
    // The checks look at the same text; KMSAN's reports are shorter.
    for (header, most) in [(header, 22), ("BUG: KMSAN: uninit-value in turn+0x5/0x10", 16)] {
        for (filler, kept) in [(most - 2, most + 5), (most - 1, most)] {
            let log = repeated(header, filler);
            let (_, stories) = explain(&[Piece { name: "", bytes: log.as_bytes() }], Profile::Scoring);
            assert_eq!(stories[0].lines, kept, "{header}, {filler}");
        }
    }
}

#[test]
fn the_stack_of_another_report_does_not_name_this_one() {
    let stack = "Call Trace:\n other+0x5/0x10\n vfs_read+0x5/0x10";
    for other in [
        "BUG: something else",
        "FAULT_INJECTION: forcing a failure.",
        "reader: vmalloc: allocation failure: 4096 bytes",
        "FAULT_FLAG_ALLOW_RETRY missing 30",
    ] {
        let log = console(&format!(
            "BUG: sleeping function called from invalid context at x.c:1\n{other}\n{stack}"
        ));
        check(
            &log,
            "BUG: sleeping function called from invalid context in corrupted",
            Some(Corrupted::NoFrames),
        );
    }
    for same in [
        "invalid opcode: 0000 [#1] SMP",
        "Kernel panic - not syncing: oh",
        "unregister_netdevice: waiting for lo to become free. Usage count = 1",
        "traps: PANIC: double fault, error_code: 0x0",
        "Internal error: Oops - BUG: 0 [#1]",
        "Disabling lock debugging due to kernel taint",
    ] {
        let log =
            console(&format!("BUG: sleeping function called from invalid context at x.c:1\n{same}\n{stack}"));
        check(&log, "BUG: sleeping function called from invalid context in other", None);
    }
    // With a caller the lines are sorted out already.
    let log = "\
[   12.000001][   T11] BUG: sleeping function called from invalid context at x.c:1
[   12.000002][   T22] BUG: something else
[   12.000003][   T11] Call Trace:
[   12.000004][   T11]  turn+0x5/0x10
[   12.000005][   T11]  outer+0x5/0x10
";
    check(log, "BUG: sleeping function called from invalid context in turn", None);
}

#[test]
fn damage_is_told_with_its_reason() {
    let sleeping = "BUG: sleeping function called from invalid context at x.c:1";
    let title = "BUG: sleeping function called from invalid context in";
    let broken = |text: &str| console(&format!("{sleeping}\n{text}"));
    let corrupted = format!("{title} corrupted");
    let turn = format!("{title} turn");
    check(&broken("quiet"), &corrupted, Some(Corrupted::NoFrames));
    check(
        &broken("Call Trace:\n dump_stack+0x1/0x2\n kasan_report+0x1/0x2"),
        &corrupted,
        Some(Corrupted::NoFrames),
    );
    check(
        &broken("Call Trace:\n should_failslab.cold+0x5/0x10\n turn+0x5/0x10\n outer+0x1/0x2"),
        &corrupted,
        Some(Corrupted::NoFrames),
    );
    check(&broken("Call Trace:\n turn+0x5/0x10"), &turn, Some(Corrupted::StackCut));
    check(
        &broken("Call Trace:\n turn+0x5/0x10\n outer+0x1/0x2\nAllocated by task 11:\nquiet\nquiet"),
        &turn,
        Some(Corrupted::StackEmpty),
    );
    check(
        &broken(
            "Call Trace:\n turn+0x5/0x10\n outer+0x1/0x2\nAllocated by task 11:\n(stack is not available)\nquiet",
        ),
        &turn,
        None,
    );
    let far = "quiet\n".repeat(15);
    check(
        &broken(&format!("Call Trace:\n{far} turn+0x5/0x10\n outer+0x1/0x2")),
        &turn,
        Some(Corrupted::StackEmpty),
    );
    check(
        &console("BUG: Bad page map in process reader  pte:1 pmd:2"),
        "BUG: Bad page map",
        Some(Corrupted::NoStack),
    );
    check(
        &console("WARNING: suspicious RCU usage\nquiet"),
        "WARNING: suspicious RCU usage",
        Some(Corrupted::NoBody),
    );
    check(
        &console("INFO: gizmo [   12.345678] usb 1-1: new device"),
        "INFO: gizmo [ NUM.ADDR] usb NUM-NUM: new device",
        Some(Corrupted::MergedLines),
    );
    check(
        &(broken("Call Trace:\n turn+0x5/0x10\n outer+0x1/0x2") + "serialport: VM disconnected.\n"),
        &turn,
        Some(Corrupted::ConsoleLost),
    );
}

#[test]
fn a_header_of_a_known_kind_without_what_must_stand_in_it_is_damaged() {
    for header in [
        "BUG: KMSAN: uninit-val",
        "BUG: KMSAN: kernel-usb-infoleak",
        "BUG: Dentry gizmo still in use",
        "UBSAN: array-ind",
        "rust_kernel: panicked",
        "INFO: possible recursive locking detected",
        "INFO: inconsistent lock state",
    ] {
        let log = console(&format!("{header}\nCall Trace:\n turn+0x5/0x10\n fly+0x5/0x10\n"));
        check(&log, header, Some(Corrupted::NoBody));
    }
}

#[test]
fn a_stack_of_riscv_may_be_empty() {
    let log = console(
        "Unable to handle kernel paging request at virtual address 0000000000000008\nepc : turn+0x10/0x24\nstatus: 0000000200000120 badaddr: 0000000000000008 cause: 000000000000000d\nquiet\nCall Trace:\n[<ffffffff01a32010>] outer+0x10/0x24\n[<ffffffff01a32120>] vfs_read+0x22/0x58",
    );
    check(&log, "BUG: unable to handle kernel paging request in turn", None);
}

#[test]
fn the_earliest_match_names_it_and_a_bare_header_is_its_own_name() {
    check(&console("WARNING: gizmo is 12 years old"), "WARNING: gizmo is NUM years old", None);
    check(&console("foo: WARNING: gizmo at 10.0.0.1"), "WARNING: gizmo at IP", None);
    let both = console(&format!(
        "WARNING: suspicious RCU usage\ndrivers/gizmo/a.c:7 suspicious\nCall Trace:\n first+0x5/0x10\n outer+0x1/0x2\n{WARNING}"
    ));
    check(&both, "WARNING: suspicious RCU usage in first", None);
}

#[test]
fn the_first_token_of_the_table_counts() {
    // One line holds two tokens.
    check(&console("BUG: WARNING: gizmo"), "BUG: WARNING: gizmo", None);
    check(&console("WARNING: BUG: gizmo"), "BUG: gizmo", None);
}

#[test]
fn types_follow_from_titles() {
    for (title, kind) in [
        ("KFENCE: use-after-free write in f", "KFENCE-USE-AFTER-FREE-WRITE"),
        ("KFENCE: use-after-free read in f", "KFENCE-USE-AFTER-FREE-READ"),
        ("KFENCE: invalid write in f", "KFENCE-WRITE"),
        ("KFENCE: out-of-bounds write in f", "KFENCE-WRITE"),
        ("KFENCE: invalid read in f", "KFENCE-READ"),
        ("KFENCE: out-of-bounds read in f", "KFENCE-READ"),
        ("KFENCE: memory corruption in f", "KFENCE-MEMORY-CORRUPTION"),
        ("KFENCE: invalid free in f", "KFENCE-INVALID-FREE"),
        ("KFENCE: gizmo", "KFENCE-UNKNOWN"),
        ("KMSAN: uninit-value in f", "KMSAN-UNINIT-VALUE"),
        ("KMSAN: kernel-infoleak-after-free in f", "KMSAN-USE-AFTER-FREE-READ"),
        ("KMSAN: use-after-free in f", "KMSAN-USE-AFTER-FREE-READ"),
        ("KMSAN: kernel-infoleak in f", "KMSAN-INFO-LEAK"),
        ("KMSAN: gizmo", "KMSAN-UNKNOWN"),
        ("KASAN: null-ptr-deref Write in f", "KASAN-NULL-POINTER-DEREFERENCE-WRITE"),
        ("KASAN: null-ptr-deref Read in f", "KASAN-NULL-POINTER-DEREFERENCE-READ"),
        ("BUG: unable to handle kernel NULL pointer dereference in f", "NULL-POINTER-DEREFERENCE"),
        ("KASAN: global-out-of-bounds Write in f", "KASAN-WRITE"),
        ("KASAN: vmalloc-out-of-bounds Write in f", "KASAN-WRITE"),
        ("KASAN: out-of-bounds Write in f", "KASAN-WRITE"),
        ("KASAN: user-memory-access Write in f", "KASAN-WRITE"),
        ("KASAN: wild-memory-access Write in f", "KASAN-WRITE"),
        ("KASAN: stack-out-of-bounds Write in f", "KASAN-WRITE"),
        ("KASAN: global-out-of-bounds Read in f", "KASAN-READ"),
        ("KASAN: vmalloc-out-of-bounds Read in f", "KASAN-READ"),
        ("KASAN: out-of-bounds Read in f", "KASAN-READ"),
        ("KASAN: user-memory-access Read in f", "KASAN-READ"),
        ("KASAN: invalid-access Read in f", "KASAN-READ"),
        ("KASAN: unknown-crash Read in f", "KASAN-READ"),
        ("KASAN: slab-out-of-bounds in f", "KASAN-READ"),
        ("KASAN: wild-memory-access in f", "KASAN-READ"),
        ("KASAN: global-out-of-bounds in f", "KASAN-UNKNOWN"),
        ("KASAN: double-free or invalid-free in f", "KASAN-INVALID-FREE"),
        ("KASAN: invalid-free in f", "KASAN-INVALID-FREE"),
        ("KASAN: slab-use-after-free Write in f", "KASAN-USE-AFTER-FREE-WRITE"),
        ("KASAN: use-after-free Write in f", "KASAN-USE-AFTER-FREE-WRITE"),
        ("KASAN: slab-use-after-free Read in f", "KASAN-USE-AFTER-FREE-READ"),
        ("KASAN: use-after-free in f", "KASAN-USE-AFTER-FREE-READ"),
        ("BUG: corrupted list in f", "MEMORY_SAFETY_BUG"),
        ("WARNING: refcount bug in f", "REFCOUNT_WARNING"),
        ("UBSAN: array-index-out-of-bounds in f", "MEMORY_SAFETY_UBSAN"),
        ("UBSAN: shift-out-of-bounds in f", "UBSAN"),
        ("KCSAN: data-race in f / g", "KCSAN-DATARACE"),
        ("KCSAN: assert: race in f", "KCSAN-ASSERT"),
        ("BUG: rwlock bad magic in f", "LOCKDEP"),
        ("BUG: still has locks held in f", "LOCKDEP"),
        ("WARNING: lock held when returning to user space in f", "LOCKDEP"),
        ("BUG: lock held when returning to user space in f", "UNKNOWN"),
        ("INFO: suspicious RCU usage in f", "UNKNOWN"),
        ("BUG: scheduling while atomic in f", "ATOMIC_SLEEP"),
        ("memory leak in f", "LEAK"),
        ("BUG: bad usercopy in f", "BUG"),
        ("kernel BUG in f", "BUG"),
        ("WARNING in f", "WARNING"),
        ("WARNING: kobject bug in f", "WARNING"),
        ("WARNING: corrupted", "UNKNOWN"),
        ("INFO: task can't die in f", "HANG"),
        ("kernel stack overflow in f", "DoS"),
        ("go runtime error", "DoS"),
        ("no output from test machine", "NO_OUTPUT"),
        ("unexpected kernel reboot", "REBOOT"),
        ("SYZFATAL: x", "SYZ_FAILURE"),
        ("BUG: Poison overwritten in f", "MEMORY_SAFETY_BUG"),
        ("BUG: unable to handle kernel instruction fetch in f", "MEMORY_SAFETY_BUG"),
        ("BUG: unable to handle kernel access to user memory in f", "UNKNOWN"),
        ("illegal instruction in f", "DoS"),
        ("truncated panic in f", "DoS"),
        ("something else", "UNKNOWN"),
    ] {
        assert_eq!(CrashType::of_title(title).as_str(), kind, "{title}");
    }
}
