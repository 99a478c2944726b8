//! What must hold for every log.

use proptest::prelude::*;
use report::{Piece, Profile, parse, parse_with, read, summary};

/// A log with a warning, an oops and its panic, as a console prints it: time stamps, no level.
fn console() -> String {
    crate::whole::OOPS
        .lines()
        .enumerate()
        .fold(String::new(), |log, (n, line)| log + &format!("[   12.{n:06}] {line}\n"))
}

fn titles(log: &str) -> Vec<(String, Vec<String>, bool)> {
    parse(log.as_bytes())
        .reports
        .into_iter()
        .map(|report| (report.title, report.alts, report.corrupted.is_some()))
        .collect()
}

/// Writes line N of a log in some program's form.
type Style = Box<dyn Fn(usize, &str) -> String>;

#[test]
fn the_style_of_the_prefix_does_not_change_a_title() {
    let oops = crate::whole::OOPS
        .replace("RIP: 0010:gizmo_read+0x1c/0x40 [gizmo]", "RIP: 0010:memcpy+0x1/0x2")
        .replace(" gizmo_fop_read", " ? stale_pointer+0x1/0x2 [gizmo]\n gizmo_fop_read");
    let plain: String =
        oops.lines().enumerate().map(|(n, line)| format!("[   12.{n:06}] {line}\n")).collect();
    let expected = titles(&plain);
    assert_eq!(expected.len(), 1);
    let styles: Vec<(&str, Style)> = vec![
        ("bare", Box::new(|_, line| line.to_owned())),
        ("level", Box::new(|n, line| format!("<4>[   12.{n:06}] {line}"))),
        ("task", Box::new(|n, line| format!("[   12.{n:06}][  T115] {line}"))),
        ("carriage return", Box::new(|n, line| format!("[   12.{n:06}] {line}\r"))),
        ("syslog", Box::new(|n, line| format!("Nov 22 18:54:34 host kernel: [   12.{n:06}] {line}"))),
        ("journal", Box::new(|_, line| format!("Nov 22 18:54:34 host kernel: {line}"))),
        ("journal, iso", Box::new(|_, line| format!("2026-11-22T18:54:34+0000 host kernel: {line}"))),
        ("journal, monotonic", Box::new(|n, line| format!("[   12.{n:06}] host kernel: {line}"))),
        ("kmsg", Box::new(|n, line| format!("4,{n},12{n:06},-;{line}"))),
        ("kmsg with caller", Box::new(|n, line| format!("4,{n},12{n:06},-,caller=T115;{line}"))),
        ("netconsole with release", Box::new(|n, line| format!("6.12.0,4,{n},12{n:06},-;{line}"))),
        ("dmesg -x", Box::new(|n, line| format!("kern  :warn  : [   12.{n:06}] {line}"))),
        ("dmesg -T", Box::new(|_, line| format!("[Sun Nov 22 18:54:34 2026] {line}"))),
        ("dmesg -H", Box::new(|_, line| format!("[  +0.000012] {line}"))),
        ("dmesg --time-format iso", Box::new(|n, line| format!("2026-11-22T18:54:34,{n:06}+00:00 {line}"))),
    ];
    for (name, style) in styles {
        let log: String = oops.lines().enumerate().map(|(n, line)| style(n, line) + "\n").collect();
        assert_eq!(titles(&log), expected, "{name}");
    }
}

#[test]
fn reading_again_from_the_start_of_a_report_finds_the_same_report() {
    let log = console();
    let parsed = parse_with(log.as_bytes(), Profile::Scoring);
    assert!(parsed.reports.len() >= 2);
    for report in &parsed.reports {
        let start = parsed.log.lines()[report.lines.start].span().start;
        let again = parse_with(&parsed.log.text()[start..], Profile::Scoring);
        assert_eq!(again.reports[0].title, report.title);
        assert_eq!(again.reports[0].alts, report.alts);
    }
}

#[test]
fn a_log_cut_at_any_line_is_read() {
    let log = console();
    let lines: Vec<&str> = log.split_inclusive('\n').collect();
    for at in 0..=lines.len() {
        let (head, tail) = (lines[..at].concat(), lines[at..].concat());
        parse(head.as_bytes());
        parse(tail.as_bytes());
        let whole =
            read(&[Piece { name: "a", bytes: head.as_bytes() }, Piece { name: "b", bytes: tail.as_bytes() }]);
        assert_eq!(whole.reports.len(), 1, "cut at {at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        summary(&parse(&bytes));
        summary(&parse_with(&bytes, Profile::Scoring));
    }

    #[test]
    fn damage_anywhere_is_read(at in 0usize..4000, byte in any::<u8>(), length in 0usize..64) {
        let mut log = console().into_bytes();
        let start = at.min(log.len());
        let end = (start + length).min(log.len());
        log[start..end].fill(byte);
        let parsed = parse(&log);
        for report in &parsed.reports {
            prop_assert!(!report.title.is_empty());
            prop_assert!(report.lines.start < report.lines.end && report.lines.end <= parsed.log.lines().len());
            prop_assert!(report.title.len() <= 120 && report.title.is_ascii());
        }
    }

    #[test]
    fn shuffled_words_of_real_reports_are_read(words in prop::collection::vec(prop::sample::select(WORDS), 0..200)) {
        let log: String = words.concat();
        summary(&parse(log.as_bytes()));
        summary(&parse_with(log.as_bytes(), Profile::Scoring));
    }
}

const WORDS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "[   12.345678] ",
    "[   12.345678][ T12] ",
    "[   12.345678][    C1] ",
    "<4>",
    " ? ",
    " (unreliable)",
    "BUG: KASAN: slab-use-after-free in f+0x1/0x2",
    "Read of size 8 at addr ffff8880",
    "BUG: ",
    "WARNING: ",
    "INFO: ",
    "Kernel panic - not syncing: ",
    "Fatal exception",
    "general protection fault: 0000 [#1]",
    "Call Trace:",
    " f+0x1/0x2 [m]",
    "RIP: 0010:f+0x1/0x2",
    "RIP: 0033:0x1",
    "Code: <0f> 0b",
    "CPU: 1 PID: 2 Comm: x Not tainted 6.1 #1",
    "Modules linked in: a b",
    "---[ end trace 0 ]---",
    "task x:1 blocked for more than 9 seconds",
    "rcu_preempt detected stalls",
    "apic_timer_interrupt",
    "Panic#1 Part1",
    "Panic#1 Part3",
    "ECC: 1",
    "Linux version 6.1 (x) #1",
    "Sending NMI from CPU 1 to CPUs 0:",
    "{1}[Hardware Error]: ",
    "possible circular locking dependency detected",
    "at: f+0x1/0x2",
    "_ZN",
    "_R",
    "_Z3foo+0x1/0x2",
    "\u{fffd}",
    "\0",
];
