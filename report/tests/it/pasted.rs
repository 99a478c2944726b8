//! Logs as people hand them on: the same title and the same frames as the clean log.

use std::fs;
use std::path::Path;

use regex::Regex;
use report::{Frame, Parsed, parse};

/// How a line looks on its way: its number, its stamp, what the kernel said.
type Style = fn(usize, &str, &str) -> String;

/// Each with the kernel's stamp, `[   12.000007]`, still in the line or gone.
const STYLES: [(&str, Style); 43] = [
    ("console", |_, stamp, said| format!("{stamp} {said}")),
    ("level", |_, stamp, said| format!("<4>{stamp} {said}")),
    ("task", |_, stamp, said| format!("{stamp}[  T115] {said}")),
    ("Windows line ends", |_, stamp, said| format!("{stamp} {said}\r")),
    ("serial console over IPMI", |_, stamp, said| format!("\r{stamp} {said}\r\r")),
    ("dmesg --color", |_, stamp, said| format!("\u{1b}[32m{stamp} \u{1b}[0m\u{1b}[1m{said}\u{1b}[0m")),
    ("dmesg with callers", |_, stamp, said| format!("{stamp} [  T115] {said}")),
    ("dmesg -x with callers", |_, stamp, said| format!("kern  :warn  : {stamp} [  T115] {said}")),
    ("dmesg -T", |_, _, said| format!("[Sun Nov 22 18:54:34 2026] {said}")),
    ("dmesg -T with callers", |_, _, said| format!("[Sun Nov 22 18:54:34 2026] [  T115] {said}")),
    ("crash: log -T", |_, _, said| format!("[Sun Nov 22 18:54:34 UTC 2026] {said}")),
    ("crash: log -m", |_, stamp, said| format!("{stamp} <4>{said}")),
    ("journal", |_, _, said| format!("Nov 23 18:54:34 host kernel: {said}")),
    ("journal, short-delta", |n, _, said| format!("[   12.{n:06} <    0.000012 >] host kernel: {said}")),
    ("journal, with console stamp", |_, stamp, said| format!("Nov 23 18:54:34 host kernel: {stamp} {said}")),
    ("netconsole", |n, _, said| format!("4,{n},12{n:06},-;{said}")),
    ("netconsole behind a level", |n, _, said| format!("6.12.0,4,{n},12{n:06},-,caller=T115;{said}")),
    ("syslog to a server", |_, stamp, said| format!("<4>Nov 23 18:54:34 host kernel: {stamp} {said}")),
    ("syslog, RFC 5424", |_, stamp, said| {
        format!("<4>1 2026-11-23T18:54:34.1Z host kernel - - - {stamp} {said}")
    }),
    ("busybox", |_, stamp, said| format!("Nov 23 18:54:34 host kern.warn kernel: {stamp} {said}")),
    ("logread", |_, stamp, said| format!("Mon Nov 23 18:54:34 2026 kern.warn kernel: {stamp} {said}")),
    ("kubectl logs --prefix", |_, stamp, said| format!("[pod/debug-1/shell] {stamp} {said}")),
    ("kubectl logs --timestamps", |_, _, said| format!("2026-11-23T18:54:34.123456789Z {said}")),
    ("docker logs -t", |_, stamp, said| format!("2026-11-23T18:54:34.12345678Z {stamp} {said}")),
    ("docker compose logs", |_, stamp, said| format!("guest-1  | {stamp} {said}")),
    ("a node's container log", |_, _, said| format!("2026-11-23T18:54:34.123456789Z stdout F {said}")),
    ("quoted", |_, stamp, said| format!("> {stamp} {said}")),
    ("quoted twice, no stamps", |_, _, said| format!("> > {said}")),
    ("quoted, no blank", |_, stamp, said| format!(">{stamp} {said}")),
    ("mangled by HTML", |_, stamp, said| {
        format!("{stamp} {said}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }),
    ("quoted and mangled", |_, stamp, said| {
        format!("> <4>{stamp} {said}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }),
    ("copied from a page", |_, stamp, said| format!("{stamp} {said}").replace(' ', "\u{a0}")),
    ("code block", |_, stamp, said| format!("    {stamp} {said}")),
    ("line numbers", |n, stamp, said| format!("{n:>6}\t{stamp} {said}")),
    ("grep -n", |n, stamp, said| format!("console.log:{n}:{stamp} {said}")),
    ("ts", |_, stamp, said| format!("Nov 23 18:54:34 {stamp} {said}")),
    ("terminal with a clock", |_, stamp, said| format!("[2026-11-23 18:54:34] {stamp} {said}")),
    ("test lab", |_, stamp, said| format!("18:54:34.123456  {stamp} {said}")),
    ("last_kmsg, Samsung", |_, stamp, said| format!("<4>{stamp}  [1:  kworker/1:0:  115] {said}")),
    ("last_kmsg, MediaTek", |_, stamp, said| format!("<4>{stamp} .(1)[115:reader]{said}")),
    ("last_kmsg, Qualcomm", |_, stamp, said| format!("<4>{stamp} c1    115 {said}")),
    ("last_kmsg, Motorola", |n, _, said| format!("[   12.{n:06},1] {said}")),
    ("bare", |_, _, said| said.to_owned()),
];

const OWN: [(&str, &str); 4] =
    [("oops", crate::whole::OOPS), ("kasan", KASAN), ("stall", STALL), ("arm64", ARM64)];

/// What the kernel said in each case: in our own, and in the records of real machines.
fn cases() -> Vec<(String, Vec<String>)> {
    let mut cases: Vec<(String, Vec<String>)> = OWN
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.lines().map(str::to_owned).collect()))
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/pstore");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut records: Vec<_> = fs::read_dir(&path).unwrap().map(|record| record.unwrap().path()).collect();
        records.retain(|record| record.file_name().unwrap().to_string_lossy().starts_with("dmesg-"));
        records.sort();
        let Some(record) = records.pop() else { continue };
        let log = parse(&fs::read(record).unwrap()).log;
        let lines = (0..log.lines().len()).map(|at| log.message_text(at).into_owned()).collect();
        cases.push((path.file_name().unwrap().to_string_lossy().into_owned(), lines));
    }
    cases
}

const KASAN: &str = "\
==================================================================
BUG: KASAN: slab-use-after-free in gizmo_poll+0x5c/0x80 [gizmo]
Read of size 8 at addr ffff888101234560 by task reader/431

CPU: 1 UID: 0 PID: 431 Comm: reader Not tainted 6.12.0 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x4a/0x60
 print_report+0xcb/0x620
 kasan_report+0xb0/0xe0
 gizmo_poll+0x5c/0x80 [gizmo]
 ? __pfx_gizmo_poll+0x10/0x10 [gizmo]
 do_sys_poll+0x2b1/0x680
 </TASK>

Allocated by task 431:
 kasan_save_stack+0x20/0x40
 gizmo_open+0x44/0x90 [gizmo]
 do_dentry_open+0x3a1/0x8f0

Memory state around the buggy address:
>ffff888101234560: fa fb fb fb fb fb fb fb fc fc fc fc fc fc fc fc
                   ^
==================================================================
";

const STALL: &str = "\
watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [reader:431]
CPU: 1 UID: 0 PID: 431 Comm: reader Not tainted 6.12.0 #1
RIP: 0010:gizmo_spin+0x12/0x30 [gizmo]
RSP: 0018:ffffc90000b7fd98 EFLAGS: 00000246
Call Trace:
 <TASK>
 gizmo_turn+0x33/0x90 [gizmo]
 gizmo_ioctl+0x21/0x40 [gizmo]
 __x64_sys_ioctl+0x9a/0xe0
 do_syscall_64+0x5d/0x90
 </TASK>
";

const ARM64: &str = "\
Unable to handle kernel paging request at virtual address dead000000000108
Internal error: Oops: 0000000096000044 [#1] SMP
CPU: 1 UID: 0 PID: 431 Comm: reader Not tainted 6.12.0 #1
pc : gizmo_unlink+0x1c/0x40 [gizmo]
lr : gizmo_release+0x30/0x90 [gizmo]
sp : ffff80008a3b3c60
Call trace:
 gizmo_unlink+0x1c/0x40 [gizmo] (P)
 gizmo_release+0x30/0x90 [gizmo]
 __fput+0xd0/0x2e8
---[ end trace 0000000000000000 ]---
";

fn written(lines: &[String], style: Style) -> String {
    lines.iter().enumerate().map(|(n, said)| style(n, &format!("[   12.{n:06}]"), said) + "\n").collect()
}

/// Title, alternatives, damage, and each trace by its frames, the instruction pointer first.
type Told = (String, Vec<String>, bool, Vec<Vec<String>>);

fn told(parsed: &Parsed) -> Vec<Told> {
    let frame = |frame: &Frame| {
        let name = frame.symbol.as_deref().unwrap_or("?");
        format!("{name} {:?} {}", frame.module, frame.reliable)
    };
    parsed
        .reports
        .iter()
        .map(|report| {
            let pointer = report.ip.iter().map(frame).collect();
            let traces = report.traces.iter().map(|trace| trace.frames.iter().map(frame).collect());
            let traces = std::iter::once(pointer).chain(traces).collect();
            (report.title.clone(), report.alts.clone(), report.corrupted.is_some(), traces)
        })
        .collect()
}

#[test]
fn however_a_log_was_handed_on_it_says_the_same() {
    for (number, (case, lines)) in cases().into_iter().enumerate() {
        let expected = told(&parse(written(&lines, STYLES[0].1).as_bytes()));
        assert!(!expected.is_empty(), "{case}");
        // Our own in every style; of the others, which are long, each in some.
        let every = if number < OWN.len() { 1 } else { 6 };
        for (name, style) in STYLES.into_iter().skip(number % every).step_by(every) {
            assert_eq!(told(&parse(written(&lines, style).as_bytes())), expected, "{case}, {name}");
        }
    }
}

#[test]
fn what_firmware_and_programs_print_between_changes_nothing() {
    let noise = [
        "\u{1b}[0;32m  OK  \u{1b}[0m Started reader.service - Reader.",
        "",
        "host login: ",
        "U-Boot 2026.01 (Nov 23 2026 - 18:54:34 +0000)",
        "[SOL Session operational.  Use ~? for help]",
        "BdsDxe: loading Boot0001 \"debian\" from HD(1,GPT)/\\EFI\\debian\\shimx64.efi",
        "reader[431]: segfault handler+0x1/0x2 called",
    ];
    for (case, lines) in cases() {
        let clean = written(&lines, STYLES[0].1);
        let log: String = clean
            .lines()
            .enumerate()
            .map(|(n, line)| format!("{line}\r\n{}\r\n", noise[n % noise.len()]))
            .collect();
        assert_eq!(told(&parse(log.as_bytes())), told(&parse(clean.as_bytes())), "{case}");
    }
}

#[test]
fn a_log_that_was_decoded_says_the_same() {
    let frame =
        Regex::new(r"(?-u)\b([a-zA-Z_][a-zA-Z0-9_.]*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[([a-z0-9_]+)\])?")
            .unwrap();
    for (case, lines) in cases() {
        let expected = told(&parse(written(&lines, STYLES[0].1).as_bytes()));
        // Symbols with a compiler's suffix lose it: the debug information has none.
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(title, alts, damaged, traces)| {
                let plain = |name: &String| name.replace(".isra.0", "").replace(".constprop.0", "");
                let traces: Vec<Vec<String>> =
                    traces.iter().map(|names| names.iter().map(plain).collect()).collect();
                (title, alts, damaged, traces)
            })
            .collect();
        let places = [
            " (drivers/gizmo/main.c:77)",
            " (drivers/gizmo/main.c:77 (discriminator 3) include/linux/gizmo.h:12 (discriminator 1))",
            " (??:?)",
        ];
        for place in places {
            let decoded: Vec<String> = lines
                .iter()
                .map(|line| {
                    let with = |found: &regex::Captures<'_>| {
                        let name = found[1].split('.').next().unwrap().to_owned();
                        let module =
                            found.get(2).map_or(String::new(), |module| format!(" {}", module.as_str()));
                        name + place + &module
                    };
                    frame.replace_all(line, with).into_owned()
                })
                .collect();
            assert_eq!(told(&parse(written(&decoded, STYLES[0].1).as_bytes())), expected, "{case},{place}");
        }
    }
}
