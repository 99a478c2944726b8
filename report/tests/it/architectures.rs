//! The same crash as each architecture prints it. The texts were written after the kernel's own `show_regs` and
//! stack dumpers.

use report::{Arch, Report, parse};

#[track_caller]
fn check(log: &str, arch: Arch, title: &str, register: (&str, u64), frames: &[&str]) -> Report {
    let mut parsed = parse(log.as_bytes());
    assert_eq!(parsed.kernel.arch, arch);
    let report = parsed.reports.remove(0);
    assert_eq!(report.title, title);
    assert_eq!(report.corrupted, None);
    let value = report.registers.iter().find(|known| known.name == register.0).map(|known| known.value);
    assert_eq!(value, Some(register.1), "{:?}", report.registers);
    let found: Vec<_> = report.traces[0]
        .frames
        .iter()
        .filter(|frame| frame.reliable)
        .filter_map(|frame| frame.name())
        .collect();
    assert_eq!(found, frames);
    report
}

#[test]
fn arm64() {
    let report = check(
        "\
[   20.000001] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
[   20.000002] Mem abort info:
[   20.000003]   ESR = 0x0000000096000004
[   20.000004] Internal error: Oops: 0000000096000004 [#1] SMP
[   20.000005] Modules linked in: gizmo(OE)
[   20.000006] CPU: 1 UID: 0 PID: 321 Comm: reader Tainted: G           OE      6.13.0 #1
[   20.000007] Hardware name: ACME Board (DT)
[   20.000008] pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)
[   20.000009] pc : gizmo_read+0x1c/0x40 [gizmo]
[   20.000010] lr : gizmo_fop_read+0x30/0x90 [gizmo]
[   20.000011] sp : ffff800082b33c60
[   20.000012] x29: ffff800082b33c60 x28: ffff0000c1234567 x27: 0000000000000000
[   20.000013] Call trace:
[   20.000014]  gizmo_read+0x1c/0x40 [gizmo] (P)
[   20.000015]  gizmo_fop_read+0x30/0x90 [gizmo]
[   20.000016]  vfs_read+0xc4/0x2d0
[   20.000017]  invoke_syscall+0x48/0x110
[   20.000018] Code: a9bf7bfd 910003fd f9400401 f9400421 (f9400420)
[   20.000019] ---[ end trace 0000000000000000 ]---
",
        Arch::Arm64,
        "BUG: unable to handle kernel NULL pointer dereference in gizmo_read",
        ("x28", 0xffff0000c1234567),
        &["gizmo_read", "gizmo_fop_read", "vfs_read", "invoke_syscall"],
    );
    assert!(report.traces[0].frames[0].exact && !report.traces[0].frames[1].exact);
    assert_eq!(report.code.unwrap().mark, Some(16));
    assert_eq!(report.guilty.unwrap().module.as_deref(), Some("gizmo"));
    assert_eq!(report.oops_number, Some(1));
}

#[test]
fn the_second_header_of_one_trap_is_no_second_report() {
    let log = "\
[   20.000001] Unable to handle kernel paging request at virtual address dead000000000108
[   20.000004] Internal error: Oops: 0000000096000004 [#1] SMP
[   20.000009] pc : gizmo_read+0x1c/0x40 [gizmo]
[   20.000013] Call trace:
[   20.000014]  gizmo_read+0x1c/0x40 [gizmo]
[   20.000016]  vfs_read+0xc4/0x2d0
";
    assert_eq!(parse(log.as_bytes()).reports.len(), 1);
}

#[test]
fn arm() {
    check(
        "\
[   20.000001] Unable to handle kernel NULL pointer dereference at virtual address 00000008
[   20.000002] pgd = 5b2d8b1a
[   20.000003] Internal error: Oops: 5 [#1] SMP ARM
[   20.000004] CPU: 0 PID: 77 Comm: reader Tainted: G           O       5.15.0 #1
[   20.000005] Hardware name: ACME (Flattened Device Tree)
[   20.000006] PC is at gizmo_read+0x14/0x30 [gizmo]
[   20.000007] LR is at gizmo_fop_read+0x20/0x60 [gizmo]
[   20.000008] pc : [<bf000014>]    lr : [<bf000120>]    psr: 60000013
[   20.000009] sp : c2a5bf00  ip : 00000000  fp : c2a5bf1c
[   20.000010] r10: 00000000  r9 : c2a5bf68  r8 : b6f00000
[   20.000011] [<bf000014>] (gizmo_read [gizmo]) from [<bf000120>] (gizmo_fop_read+0x20/0x60 [gizmo])
[   20.000012] [<bf000120>] (gizmo_fop_read [gizmo]) from [<c0287d54>] (vfs_read+0xa0/0x2c0)
[   20.000013] Call Trace:
[   20.000014]  gizmo_read from gizmo_fop_read+0x20/0x60
[   20.000015]  gizmo_fop_read from vfs_read+0xa0/0x2c0
[   20.000016] Code: e1a0c00d e92dd800 (e5930008)
",
        Arch::Arm,
        "BUG: unable to handle kernel NULL pointer dereference in gizmo_read",
        ("sp", 0xc2a5bf00),
        &["gizmo_read", "gizmo_fop_read", "gizmo_fop_read", "vfs_read"],
    );
}

#[test]
fn riscv64() {
    check(
        "\
[   20.000001] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
[   20.000002] Oops [#1]
[   20.000003] CPU: 2 PID: 88 Comm: reader Tainted: G           O       6.6.0 #1
[   20.000004] Hardware name: ACME RISC-V (DT)
[   20.000005] epc : gizmo_read+0x10/0x24 [gizmo]
[   20.000006]  ra : gizmo_fop_read+0x22/0x58 [gizmo]
[   20.000007] epc : ffffffff01a32010 ra : ffffffff01a32120 sp : ff2000000105bd60
[   20.000008]  gp : ffffffff815154f8 tp : ff600000021c8000 t0 : 0000000000000000
[   20.000009] status: 0000000200000120 badaddr: 0000000000000008 cause: 000000000000000d
[   20.000010] [<ffffffff01a32010>] gizmo_read+0x10/0x24 [gizmo]
[   20.000011] [<ffffffff01a32120>] gizmo_fop_read+0x22/0x58 [gizmo]
[   20.000012] [<ffffffff801a3b1c>] vfs_read+0x8e/0x1f2
[   20.000013] ---[ end trace 0000000000000000 ]---
",
        Arch::Riscv64,
        "BUG: unable to handle kernel NULL pointer dereference in gizmo_read",
        ("gp", 0xffffffff815154f8),
        &["gizmo_read", "gizmo_fop_read", "vfs_read"],
    );
}

#[test]
fn ppc64() {
    check(
        "\
[   20.000001] BUG: Kernel NULL pointer dereference on read at 0x00000008
[   20.000002] Faulting instruction address: 0xc008000000a40120
[   20.000003] Oops: Kernel access of bad area, sig: 11 [#1]
[   20.000004] CPU: 3 PID: 99 Comm: reader Tainted: G           O       6.1.0 #1
[   20.000005] NIP:  c008000000a40120 LR: c008000000a40210 CTR: 0000000000000000
[   20.000006] REGS: c00000000b7cba00 TRAP: 0380   Tainted: G           O        (6.1.0)
[   20.000007] GPR00: c008000000a40210 c00000000b7cbca0 c008000000a48300 0000000000000000
[   20.000008] NIP [c008000000a40120] gizmo_read+0x20/0x50 [gizmo]
[   20.000009] LR [c008000000a40210] gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000010] Call Trace:
[   20.000011] [c00000000b7cbca0] [c00000000b7cbce0] 0xc00000000b7cbce0 (unreliable)
[   20.000012] [c00000000b7cbce0] [c008000000a40210] gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000013] [c00000000b7cbd20] [c0000000004e5e58] vfs_read+0xe8/0x330
[   20.000014] Code: 60000000 <e9230008> 7c0802a6
",
        Arch::Ppc64,
        "BUG: unable to handle kernel NULL pointer dereference in gizmo_read",
        ("GPR1", 0xc00000000b7cbca0),
        &["gizmo_fop_read", "vfs_read"],
    );
}

#[test]
fn s390x() {
    let report = check(
        "\
[   20.000001] Unable to handle kernel pointer dereference in virtual kernel address space
[   20.000002] Failing address: 0000000000000000 TEID: 0000000000000483
[   20.000003] Oops: 0004 ilc:3 [#1] SMP
[   20.000004] CPU: 1 PID: 111 Comm: reader Tainted: G           O      6.1.0 #1
[   20.000005] Krnl PSW : 0704c00180000000 000003ff800a0120 (gizmo_read+0x20/0x50 [gizmo])
[   20.000006] Krnl GPRS: 0000000000000001 0000000000000002 0000000000000003 0000000000000004
[   20.000007]            0000000000000005 0000000000000006 0000000000000007 0000000000000008
[   20.000008] Call Trace:
[   20.000009]  [<000003ff800a0120>] gizmo_read+0x20/0x50 [gizmo]
[   20.000010] ([<000003ff800a0110>] gizmo_read+0x10/0x50 [gizmo])
[   20.000011]  [<00000000003a1b2c>] vfs_read+0x9c/0x1c8
[   20.000012] Last Breaking-Event-Address:
",
        Arch::S390x,
        "BUG: unable to handle kernel pointer dereference in gizmo_read",
        ("R7", 8),
        &["gizmo_read", "vfs_read"],
    );
    assert_eq!(report.guilty.unwrap().name, "gizmo_read");
}

#[test]
fn i386() {
    check(
        "\
[   20.000001] BUG: kernel NULL pointer dereference, address: 00000008
[   20.000002] Oops: 0000 [#1] SMP
[   20.000003] CPU: 0 PID: 66 Comm: reader Tainted: G           O      6.1.0 #1
[   20.000004] EIP: gizmo_read+0x10/0x20 [gizmo]
[   20.000005] Code: 00 00 <8b> 40 08
[   20.000006] EAX: 00000000 EBX: c1234567 ECX: 00000001 EDX: 00000002
[   20.000007] Call Trace:
[   20.000008]  gizmo_fop_read+0x20/0x60 [gizmo]
[   20.000009]  vfs_read+0x7a/0x1a0
",
        Arch::I386,
        "BUG: unable to handle kernel NULL pointer dereference in gizmo_read",
        ("EBX", 0xc1234567),
        &["gizmo_fop_read", "vfs_read"],
    );
}

#[test]
fn loongarch64() {
    check(
        "\
[   20.000001] CPU 2 Unable to handle kernel paging request at virtual address 0000000000000008, era == ffff800002a40120, ra == ffff800002a40210
[   20.000002] Oops[#1]:
[   20.000003] CPU: 2 UID: 0 PID: 88 Comm: reader Tainted: G           O       6.12.0 #1
[   20.000004] Hardware name: ACME LoongArch
[   20.000005] pc ffff800002a40120 ra ffff800002a40210 tp 9000000105b58000 sp 9000000105b5bd60
[   20.000006] a0 0000000000000000 a1 00007ffffb8d1f10 a2 0000000000000040 a3 9000000105b5be00
[   20.000007]    ra: ffff800002a40210 gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000008]   ERA: ffff800002a40120 gizmo_read+0x20/0x50 [gizmo]
[   20.000009]  CRMD: 000000b0 (PLV0 -IE -DA +PG DACF=CC DACM=CC -WE)
[   20.000010] ESTAT: 00010000 [PIL] (IS= ECode=1 EsubCode=0)
[   20.000011]  BADV: 0000000000000008
[   20.000012] Modules linked in: gizmo(O)
[   20.000013] Stack : 0000000000000000 9000000105b5be00 0000000000000040 90000000004e5e58
[   20.000014] Call Trace:
[   20.000015] [<ffff800002a40120>] gizmo_read+0x20/0x50 [gizmo]
[   20.000016] [<ffff800002a40210>] gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000017] [<90000000004e5e58>] vfs_read+0xe8/0x330
[   20.000018] Code: 02ffc063  29c02061 <28c02084> 4c000020
[   20.000019] ---[ end trace 0000000000000000 ]---
",
        Arch::Loongarch64,
        "BUG: unable to handle kernel paging request in gizmo_read",
        ("tp", 0x9000000105b58000),
        &["gizmo_read", "gizmo_fop_read", "vfs_read"],
    );
}

#[test]
fn mips() {
    check(
        "\
[   20.000001] CPU 0 Unable to handle kernel paging request at virtual address 00000008, epc == c0a40120, ra == c0a40210
[   20.000002] Oops[#1]:
[   20.000003] CPU: 0 PID: 88 Comm: reader Tainted: G           O       6.1.0 #1
[   20.000004] $ 0   : 00000000 00000001 80f30000 00000000
[   20.000005] $ 4   : 81234560 7f8d1f10 00000040 82b5be00
[   20.000006] $24   : 00000000 77e5e580                  
[   20.000007] $28   : 82b58000 82b5bd60 00000000 c0a40210
[   20.000008] Hi    : 00000000
[   20.000009] Lo    : 00000000
[   20.000010] epc   : c0a40120 gizmo_read+0x20/0x50 [gizmo]
[   20.000011] ra    : c0a40210 gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000012] Status: 1100fc03	KERNEL EXL IE 
[   20.000013] Cause : 00800008 (ExcCode 02)
[   20.000014] BadVA : 00000008
[   20.000015] Modules linked in: gizmo(O)
[   20.000016] Process reader (pid: 88, threadinfo=5b2d8b1a, task=1a2b3c4d, tls=77e5e580)
[   20.000017] Stack : 00000000 82b5be00 00000040 804e5e58
[   20.000018] Call Trace:
[   20.000019] [<c0a40120>] gizmo_read+0x20/0x50 [gizmo]
[   20.000020] [<c0a40210>] gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000021] [<804e5e58>] vfs_read+0xe8/0x330
[   20.000022] Code: 27bdffe8  afbf0014 <8c820008> 03e00008
[   20.000023] ---[ end trace 0000000000000000 ]---
",
        Arch::Mips,
        "BUG: unable to handle kernel paging request in gizmo_read",
        ("$7", 0x82b5be00),
        &["gizmo_read", "gizmo_fop_read", "vfs_read"],
    );
}

#[test]
fn a_jump_to_nowhere_is_named_by_who_jumped() {
    for (pointer, arch) in [
        ("RIP: 0010:0x0", Arch::X86_64),
        ("pc : 0x0", Arch::Arm64),
        ("NIP [0000000000000000] 0x0", Arch::Ppc64),
        ("  ERA: 0000000000000000 0x0", Arch::Loongarch64),
    ] {
        let log = format!(
            "\
[   20.000001] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000
[   20.000002] {pointer}
[   20.000003] Call Trace:
[   20.000004]  gizmo_fop_read+0x40/0xa0 [gizmo]
[   20.000005]  vfs_read+0xe8/0x330
"
        );
        let parsed = parse(log.as_bytes());
        assert_eq!(
            parsed.reports[0].title,
            "BUG: unable to handle kernel NULL pointer dereference in gizmo_fop_read"
        );
        assert_eq!(parsed.kernel.arch, arch);
    }
}

#[test]
fn a_live_patch_is_the_function_it_replaces() {
    let log = "\
[   20.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   20.000002] CPU: 0 PID: 66 Comm: reader Tainted: G              K    6.8.0 #1
[   20.000003] RIP: 0010:gizmo_read+0x1c/0x40 [livepatch_gizmo]
[   20.000004] Call Trace:
[   20.000005]  <TASK>
[   20.000006]  klp_ftrace_handler+0x52/0xf1
[   20.000007]  0xffffffffc03ac0de
[   20.000008]  gizmo_fop_read+0x5/0x2a0 [gizmo]
[   20.000009]  </TASK>
";
    let report = &parse(log.as_bytes()).reports[0];
    assert_eq!(report.title, "BUG: unable to handle kernel NULL pointer dereference in gizmo_read");
    let guilty = report.guilty.as_ref().unwrap();
    assert_eq!((guilty.name.as_str(), guilty.module.as_deref()), ("gizmo_read", Some("livepatch_gizmo")));
    assert_eq!(report.traces[0].frames.len(), 3);
}

#[test]
fn rust_functions_are_named_by_their_path() {
    let log = "\
[   20.000001] WARNING: CPU: 0 PID: 66 at drivers/gizmo/gizmo.rs:77 _RNvMCsabc123_10gizmo_rustNtB2_5Gizmo4turn+0x1c/0x40 [gizmo_rust]
[   20.000002] RIP: 0010:_RNvMCsabc123_10gizmo_rustNtB2_5Gizmo4turn+0x1c/0x40 [gizmo_rust]
[   20.000003] Call Trace:
[   20.000004]  <TASK>
[   20.000005]  _RNvCsabc123_10gizmo_rust5start.llvm.123456+0x5/0x2a0 [gizmo_rust]
[   20.000006]  vfs_read+0x5/0x2a0
[   20.000007]  </TASK>
";
    let report = &parse(log.as_bytes()).reports[0];
    assert_eq!(report.title, "WARNING in <gizmo_rust::Gizmo>::turn");
    assert_eq!(report.frame.as_deref(), Some("<gizmo_rust::Gizmo>::turn"));
}

#[test]
fn generated_code_is_told_by_its_program() {
    let log = "\
[   20.000001] BUG: unable to handle page fault for address: ffffc90001234000
[   20.000002] CPU: 0 PID: 66 Comm: tracer Not tainted 6.8.0 #1
[   20.000003] RIP: 0010:bpf_prog_6deef7357e7b4530_trace_open+0x1c/0x40
[   20.000004] Call Trace:
[   20.000005]  <TASK>
[   20.000006]  bpf_trampoline_6442549234+0x52/0xf1
[   20.000007]  do_sys_openat2+0x5/0x2a0
[   20.000008]  </TASK>
";
    let parsed = parse(log.as_bytes());
    let report = &parsed.reports[0];
    assert_eq!(report.bpf.as_deref(), Some("6deef7357e7b4530_trace_open"));
    assert_eq!(report.title, "BUG: unable to handle kernel paging request in bpf_prog_ADDR_trace_open");
    assert!(report.traces[0].frames[0].bpf.is_some() && report.traces[0].frames[1].bpf.is_none());
    // What a program calls is met behind its glue: the program is named, not the trampoline.
    let called = log.replace("RIP: 0010:bpf_prog_6deef7357e7b4530_trace_open+0x1c/0x40", "RIP: 0010:0x0").replace(
        "bpf_trampoline_6442549234+0x52/0xf1",
        "bpf_trampoline_6442549234+0x52/0xf1\n[   20.000006]  bpf_prog_6deef7357e7b4530_trace_open+0x1c/0x40",
    );
    assert_eq!(parse(called.as_bytes()).reports[0].title, report.title);
}
