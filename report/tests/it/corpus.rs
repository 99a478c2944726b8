//! syzkaller's corpus, where it is beside the project: it holds the titles that kernel developers know.
//!
//! Its own scorer prints more figures; this test keeps the ones that must not fall.

use std::fs;
use std::path::Path;

use report::{Profile, parse_with, summary};

struct Case {
    title: Option<String>,
    alts: Vec<String>,
    kind: String,
    corrupted: bool,
    log: Vec<u8>,
}

/// The format is told in the scorer: headers, an empty line, the log, perhaps a `REPORT:` section.
fn case(bytes: &[u8]) -> Case {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\r').collect();
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut case = Case { title: None, alts: vec![], kind: "UNKNOWN".into(), corrupted: false, log: vec![] };
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
    let mut empty = false;
    for line in lines {
        if empty && line == b"REPORT:" {
            break;
        }
        empty = line.is_empty();
        case.log.extend_from_slice(line);
        case.log.push(b'\n');
    }
    case
}

#[test]
fn titles_agree_with_those_kernel_developers_know() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/oops");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("the corpus is not here: skipped");
        return;
    };
    let (mut all, mut title, mut kind, mut alts, mut corrupted, mut quiet) = (0, 0, 0, 0, 0, (0, 0));
    for entry in entries {
        let case = case(&fs::read(entry.unwrap().path()).unwrap());
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
