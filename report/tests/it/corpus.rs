//! syzkaller's corpus, where it is beside the project: it holds the titles that kernel developers know.
//!
//! Its own scorer prints more figures; this test keeps the ones that must not fall.

use std::fs;
use std::path::Path;

use regex::bytes::Regex;
use report::{Log, Piece, Profile, explain, parse, parse_with, summary};

struct Case {
    title: Option<String>,
    alts: Vec<String>,
    kind: String,
    corrupted: bool,
    log: Vec<u8>,
    /// The text of the first report, when the case tells it.
    report: Vec<Vec<u8>>,
}

/// The format is told in the scorer: headers, an empty line, the log, perhaps a `REPORT:` section.
fn case(bytes: &[u8]) -> Case {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut case = Case {
        title: None,
        alts: vec![],
        kind: "UNKNOWN".into(),
        corrupted: false,
        log: vec![],
        report: vec![],
    };
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        let (key, value) = line.split_once(": ").unwrap_or((&line, ""));
        match key {
            "TITLE" => case.title = Some(value.to_owned()).filter(|title| !title.is_empty()),
            "ALT" => case.alts.push(value.to_owned()),
            "TYPE" => case.kind = value.to_owned(),
            "CORRUPTED" => case.corrupted = value == "Y",
            _ => {}
        }
    }
    let (mut empty, mut report) = (false, false);
    for line in lines {
        if report {
            case.report.push(line.to_owned());
            continue;
        }
        report = empty && line == b"REPORT:";
        if report {
            continue;
        }
        empty = line.is_empty();
        case.log.extend_from_slice(line);
        case.log.push(b'\n');
    }
    case
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/oops");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("the corpus is not here: skipped");
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| case(&fs::read(path).unwrap())).collect()
}

/// How a program writes line N of a log: microseconds since boot, who printed it, what it says.
type Style = fn(u64, &str, &[u8]) -> Vec<u8>;

fn line(prefix: String, message: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), message, b"\n"].concat()
}

/// `12.345678`, padded as the kernel does it.
fn stamp(micros: u64) -> String {
    format!("{:5}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Without a caller: the first is the console's own, to which the others must be equal.
const PLAIN: [(&str, Style); 14] = [
    ("console", |at, _, message| line(format!("[{}] ", stamp(at)), message)),
    ("level", |at, _, message| line(format!("<4>[{}] ", stamp(at)), message)),
    ("carriage returns", |at, _, message| {
        [format!("[{}] ", stamp(at)).as_bytes(), message, b"\r\n"].concat()
    }),
    ("syslog", |at, _, message| line(format!("Nov 22 18:54:34 host kernel: [{}] ", stamp(at)), message)),
    ("rsyslog", |at, _, message| {
        line(format!("2026-11-22T18:54:34.123456+00:00 host kernel: [{}] ", stamp(at)), message)
    }),
    ("journal", |_, _, message| line("Nov 22 18:54:34 host kernel: ".into(), message)),
    ("journal, iso", |_, _, message| line("2026-11-22T18:54:34+0000 host kernel: ".into(), message)),
    ("journal, monotonic", |at, _, message| line(format!("[{}] host kernel: ", stamp(at)), message)),
    ("kmsg", |at, _, message| line(format!("4,77,{at},-;"), message)),
    ("netconsole with release", |at, _, message| line(format!("6.12.0,4,77,{at},-;"), message)),
    ("dmesg -x", |at, _, message| line(format!("kern  :warn  : [{}] ", stamp(at)), message)),
    ("dmesg -T", |_, _, message| line("[Sun Nov 22 18:54:34 2026] ".into(), message)),
    ("dmesg -H", |_, _, message| line("[  +0.000012] ".into(), message)),
    ("dmesg --time-format iso", |_, _, message| line("2026-11-22T18:54:34,123456+00:00 ".into(), message)),
];

/// With a caller.
const CALLERS: [(&str, Style); 4] = [
    ("console", |at, who, message| line(format!("[{}][{who:>6}] ", stamp(at)), message)),
    ("level", |at, who, message| line(format!("<4>[{}][{who:>6}] ", stamp(at)), message)),
    ("syslog", |at, who, message| {
        line(format!("Nov 22 18:54:34 host kernel: [{}][{who:>6}] ", stamp(at)), message)
    }),
    ("kmsg", |at, who, message| line(format!("4,77,{at},-,caller={who};"), message)),
];

/// The lines of `log` in another style.
fn rewritten(log: &Log, style: Style) -> Vec<u8> {
    let mut text = Vec::new();
    let (mut at, mut who) = (0, "T1".to_owned());
    for (index, entry) in log.lines().iter().enumerate() {
        at = entry.time.map_or(at, |time| time.0);
        who = entry.caller().unwrap_or(who);
        text.extend(style(at, &who, log.message(index)));
    }
    text
}

fn told(log: &[u8]) -> Vec<(String, Vec<String>, bool, bool)> {
    summary(&parse(log))
        .into_iter()
        .map(|report| (report.title, report.alts, report.corrupted, report.fatal))
        .collect()
}

#[test]
fn the_style_of_the_prefix_changes_no_title() {
    let all = std::env::var_os("EVERY_STYLE").is_some();
    for (number, case) in cases().into_iter().enumerate() {
        let log = parse(&case.log).log;
        for styles in [&PLAIN[..], &CALLERS[..]] {
            let expected = told(&rewritten(&log, styles[0].1));
            // One of them for each case is enough to see a difference; all of them take a minute.
            let chosen = 1 + number % (styles.len() - 1);
            for (index, (name, style)) in styles.iter().enumerate().skip(1) {
                if all || index == chosen {
                    assert_eq!(told(&rewritten(&log, *style)), expected, "{name}: {:?}", case.title);
                }
            }
        }
    }
}

/// Does the title take its function from a frame, not from the rest of the header?
fn is_framed(title: &str) -> bool {
    !title.starts_with("KCSAN: ") && !title.ends_with(" in corrupted")
}

#[test]
fn what_compilers_and_new_kernels_add_to_a_frame_changes_no_title() {
    const ID: &str = "00112233445566778899aabbccddeeff00112233";
    let frame = Regex::new(r"(?-u)(\b[a-zA-Z_][a-zA-Z0-9_]*)(\+0x[0-9a-f]+/0x[0-9a-f]+)(\r?\n)").unwrap();
    let added = [
        "$1.isra.0.cold$2$3".to_owned(),
        format!("$1$2 [gizmo {ID}]$3"),
        "$1$2 (P)$3".to_owned(),
        "$1$2 (drivers/gizmo/main.c:77)$3".to_owned(),
    ];
    for (number, case) in cases().into_iter().enumerate() {
        let Some(title) = case.title.filter(|title| is_framed(title) && !case.corrupted) else { continue };
        let log = frame.replace_all(&case.log, added[number % added.len()].as_bytes());
        let found = summary(&parse_with(&log, Profile::Scoring));
        assert_eq!(found[0].title, title, "{}", added[number % added.len()]);
    }
}

#[test]
fn a_title_moves_with_its_function_and_not_with_anything_else() {
    // These stand for many functions, or in the header's own words.
    let shared = ["synchronize_rcu", "smp_call_function", "unmount"];
    for case in cases() {
        let frame = case.title.as_deref().filter(|title| is_framed(title)).and_then(|title| {
            let frame = title.rsplit_once(" in ")?.1.split('/').next()?;
            frame.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(frame)
        });
        let Some(frame) = frame.filter(|frame| !shared.contains(frame)) else { continue };
        let name = Regex::new(&format!(r"(?-u)(\b|_){frame}(\b|[.+])")).unwrap();
        let log = name.replace_all(&case.log, &b"${1}zebra_turned${2}"[..]);
        // The prefixes of system calls stay where they are; a mangled name stays whole.
        if log == case.log {
            continue;
        }
        let expected = case.title.as_ref().unwrap().replace(&format!(" in {frame}"), " in zebra_turned");
        assert_eq!(summary(&parse_with(&log, Profile::Scoring))[0].title, expected);
    }
}

#[test]
fn the_text_of_a_report_has_the_lines_the_convention_gives_it() {
    for case in cases().into_iter().filter(|case| !case.report.is_empty()) {
        let (parsed, stories) = explain(&[Piece { name: "", bytes: &case.log }], Profile::Scoring);
        let header = parsed.log.message(stories[0].line);
        // The lines shown before the header are not part of it.
        let first = case.report.iter().position(|line| line == header).unwrap();
        let last = case.report.iter().rposition(|line| !line.is_empty()).unwrap();
        let blank = |at: usize| parsed.log.message(at).is_empty();
        let trailing = (0..parsed.log.lines().len()).rev().take_while(|at| blank(*at)).count();
        let found = stories[0].lines;
        assert!(
            (last + 1 - first..=last + 1 - first + trailing).contains(&found),
            "{:?}: {found}",
            case.title
        );
    }
}

#[test]
fn titles_agree_with_those_kernel_developers_know() {
    let cases = cases();
    if cases.is_empty() {
        return;
    }
    let (mut all, mut title, mut kind, mut alts, mut corrupted, mut quiet) = (0, 0, 0, 0, 0, (0, 0));
    for case in cases {
        let reports = summary(&parse_with(&case.log, Profile::Scoring));
        let Some(expected) = &case.title else {
            quiet.0 += 1;
            quiet.1 += usize::from(reports.is_empty());
            continue;
        };
        all += 1;
        let Some(first) = reports.first() else { continue };
        title += usize::from(first.title == *expected);
        kind += usize::from(first.kind == case.kind);
        corrupted += usize::from(first.corrupted == case.corrupted);
        let (mut ours, mut theirs) = (first.alts.clone(), case.alts.clone());
        ours.sort();
        theirs.sort();
        alts += usize::from(ours == theirs);
    }
    let percent = |count: usize| 100.0 * count as f64 / all as f64;
    println!(
        "title {:.2} type {:.2} alts {:.2} corrupted {:.2}",
        percent(title),
        percent(kind),
        percent(alts),
        percent(corrupted)
    );
    assert_eq!(quiet.0, quiet.1, "look-alikes that are no crash");
    assert!(
        percent(title) >= 98.5
            && percent(kind) >= 99.0
            && percent(alts) >= 98.0
            && percent(corrupted) >= 98.0
    );
}
