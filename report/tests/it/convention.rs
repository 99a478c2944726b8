//! Each format has cases of its own: texts after the kernel's sources, with the title the convention gives them.
//!
//! `tests/convention/FAMILY.txt` holds those of `rules/formats/FAMILY.txt`:
//!
//! ```text
//! = FORMAT [production|scoring]   the format that must name it; for both profiles when none is told
//! title TITLE
//! alt ALT                         as many as there are
//! type TYPE                       when it matters
//! corrupted                       when it is
//! | a line of the log
//! @trace f g                      Call Trace: and a stack of these functions
//! @stack f g                      the stack alone
//! @at f, @psw f, @epc f           where x86, s390, mips was
//! @cpu                            CPU: … Comm: …
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use report::{Piece, Profile, explain};

#[derive(Default)]
struct Case {
    place: String,
    format: String,
    only: Option<Profile>,
    title: String,
    alts: Vec<String>,
    kind: Option<String>,
    corrupted: bool,
    log: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn cases() -> Vec<Case> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root().join("tests/convention")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let family = path.file_stem().unwrap().to_string_lossy().into_owned();
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if word == "=" {
                let (format, only) = rest.split_once(' ').unwrap_or((rest, ""));
                cases.push(Case {
                    place: format!("{family}.txt:{}", number + 1),
                    format: format.to_owned(),
                    only: match only {
                        "" => None,
                        "production" => Some(Profile::Production),
                        "scoring" => Some(Profile::Scoring),
                        _ => panic!("{family}.txt: {only}?"),
                    },
                    ..Case::default()
                });
                continue;
            }
            let Some(case) = cases.last_mut() else { continue };
            match word {
                "title" => case.title = rest.to_owned(),
                "alt" => case.alts.push(rest.to_owned()),
                "type" => case.kind = Some(rest.to_owned()),
                "corrupted" => case.corrupted = true,
                "|" => case.log.push(rest.to_owned()),
                "" | "#" => {}
                _ => expand(word, rest, &mut case.log),
            }
        }
    }
    cases
}

fn expand(word: &str, rest: &str, log: &mut Vec<String>) {
    let frames = || {
        rest.split(' ')
            .enumerate()
            .map(|(depth, name)| format!(" {name}+0x{:x}/0x{:x}", depth + 3, depth + 64))
    };
    match word {
        "@trace" => {
            log.extend(["Call Trace:".to_owned(), " <TASK>".to_owned()]);
            log.extend(frames());
            log.push(" </TASK>".to_owned());
        }
        "@stack" => log.extend(frames()),
        "@at" => log.extend([
            format!("RIP: 0010:{rest}+0x1c/0x40"),
            "Code: 90 90 <0f> 0b c3".to_owned(),
            "RSP: 0018:ffffc90000b7fd98 EFLAGS: 00010246".to_owned(),
        ]),
        "@psw" => log.push(format!("Krnl PSW : 0704c00180000000 000003ff800a0120 ({rest}+0x20/0x50)")),
        "@epc" => log.push(format!("epc   : 80a40120 {rest}+0x20/0x50")),
        "@cpu" => log.extend([
            "CPU: 1 PID: 431 Comm: reader Not tainted 6.6.0 #1".to_owned(),
            "Hardware name: ACME Turbo/9000, BIOS 1.2 01/01/2026".to_owned(),
        ]),
        _ => panic!("{word}?"),
    }
}

/// The log as three consoles write it, with a quiet line before and after.
fn written(case: &Case) -> Vec<String> {
    let styles: [fn(usize, &str) -> String; 3] = [
        |n, line| format!("[   12.{n:06}] {line}\n"),
        |n, line| format!("[   12.{n:06}][  T431] {line}\n"),
        |n, line| format!("<4>[   12.{n:06}][    C1] {line}\r\n"),
    ];
    styles
        .iter()
        .map(|style| case.log.iter().enumerate().map(|(n, line)| style(n, line)).collect::<String>())
        .collect()
}

#[test]
fn each_format_names_what_it_is_for() {
    let mut wrong = Vec::new();
    for case in cases() {
        for profile in [Profile::Production, Profile::Scoring] {
            if case.only.is_some_and(|only| only != profile) {
                continue;
            }
            for log in written(&case) {
                let (parsed, stories) = explain(&[Piece { name: "", bytes: log.as_bytes() }], profile);
                let found = parsed.reports.first().map(|report| {
                    let mut alts = report.alts.clone();
                    alts.sort();
                    (report.title.clone(), alts, report.corrupted.is_some(), report.kind.to_string())
                });
                let mut alts = case.alts.clone();
                alts.sort();
                let kind = case.kind.clone().or_else(|| Some(found.as_ref()?.3.clone())).unwrap_or_default();
                let expected = (case.title.clone(), alts, case.corrupted, kind);
                let format = stories.first().and_then(|story| story.format);
                if found.as_ref() != Some(&expected) || format != Some(case.format.as_str()) {
                    wrong.push(format!(
                        "{} {profile:?}: {} wanted {expected:?}, {format:?} gave {found:?} {:?}",
                        case.place,
                        case.format,
                        parsed.reports.first().and_then(|report| report.corrupted)
                    ));
                    break;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_format_is_without_a_case() {
    let mut formats = BTreeSet::new();
    for entry in fs::read_dir(root().join("rules/formats")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        formats.extend(text.lines().filter_map(|line| Some(line.strip_prefix("= ")?.to_owned())));
    }
    let tested: BTreeSet<String> = cases().into_iter().map(|case| case.format).collect();
    assert_eq!(formats.difference(&tested).collect::<Vec<_>>(), Vec::<&String>::new(), "these have none");
    assert_eq!(
        tested.difference(&formats).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "these are no formats"
    );
}
