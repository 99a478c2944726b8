//! Real records of real crashes: what we say must be what is known of them.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use report::{Parsed, Piece, read};
use serde_json::Value;

/// The cases in the repository, and all of them where the lab's folder is beside it.
fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = [
        "../fixtures/pstore",
        "../fixtures/efi",
        "../../shared/artifacts/pstore",
        "../../shared/artifacts/efi",
    ];
    let mut cases = Vec::new();
    for place in places {
        let Ok(entries) = fs::read_dir(root.join(place)) else {
            println!("{place} is not here");
            continue;
        };
        cases.extend(
            entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("truth.json").exists()),
        );
    }
    assert!(!cases.is_empty());
    cases.sort();
    cases
}

fn records(case: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(case).unwrap().map(|entry| entry.unwrap());
    let mut records: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| report::pstore::parse_name(name).is_some())
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    records.sort();
    records
}

fn parsed(case: &Path) -> Parsed {
    let records = records(case);
    read(&records.iter().map(|(name, bytes)| Piece { name, bytes }).collect::<Vec<_>>())
}

fn truth(case: &Path) -> Value {
    serde_json::from_slice(&fs::read(case.join("truth.json")).unwrap()).unwrap()
}

#[test]
fn every_case_is_one_report_that_says_what_is_known() {
    for case in cases() {
        let (parsed, truth, name) = (parsed(&case), truth(&case), case.display());
        assert_eq!(parsed.reports.len(), 1, "{name}: an oops and its panic, in one record or two, are one");
        let report = &parsed.reports[0];
        let other = truth["syzkaller"]["title"].as_str().filter(|title| !title.ends_with("in corrupted"));
        assert!(
            truth["title"] == report.title.as_str() || other == Some(&report.title),
            "{name}: {}",
            report.title
        );
        assert_eq!(
            report.guilty.as_ref().map(|guilty| guilty.name.as_str()),
            truth["guilty_function"].as_str(),
            "{name}"
        );
        assert_eq!(
            report.guilty.as_ref().and_then(|guilty| guilty.module.as_deref()),
            truth["module"].as_str(),
            "{name}"
        );
        assert_eq!(Some(report.fatal), truth["panicked"].as_bool(), "{name}");
        assert_eq!(parsed.cause().is_some(), report.fatal, "{name}");
        assert_eq!(report.corrupted, None, "{name}");
        assert_eq!(report.cpu.map(u64::from), truth["cpu"].as_u64(), "{name}");
        assert_eq!(report.pid.map(u64::from), truth["pid"].as_u64(), "{name}");
        assert_eq!(report.comm.as_deref(), truth["comm"].as_str(), "{name}");
        assert_eq!(parsed.kernel.release.as_deref(), truth["kernel_release"].as_str(), "{name}");
        let offset = parsed.kernel.kaslr.map(|offset| format!("{offset:#x}"));
        assert_eq!(offset.as_deref(), truth["kaslr_offset"].as_str(), "{name}");
        assert_eq!(report.intentional, truth["kind"] == "sysrq", "{name}");
        assert!(parsed.notes.is_empty(), "{name}: {:?}", parsed.notes);
    }
}

#[test]
fn the_sure_frames_of_the_module_are_all_found() {
    for case in cases() {
        let (parsed, truth) = (parsed(&case), truth(&case));
        let report = &parsed.reports[0];
        let frames = report.ip.iter().chain(report.traces.iter().flat_map(|trace| &trace.frames));
        let found: HashSet<String> = frames
            .filter(|frame| frame.reliable && frame.module.as_deref() == Some("crashlab"))
            .filter_map(|frame| Some(format!("{}+{:#x}", frame.symbol.as_deref()?, frame.offset)))
            .collect();
        let Some(known) = truth["module_frames"].as_array() else { continue };
        for frame in known {
            let symbol = frame["symbol"].as_str().unwrap();
            assert!(found.contains(symbol), "{}: {symbol} is not among {found:?}", case.display());
        }
    }
}

#[test]
fn the_instruction_pointer_is_the_one_that_was_printed() {
    for case in cases() {
        let (parsed, truth) = (parsed(&case), truth(&case));
        let Some(known) = truth["rip"].as_str() else { continue };
        let ip = parsed.reports[0].ip.as_ref().unwrap_or_else(|| panic!("{}: no pointer", case.display()));
        let size = ip.size.unwrap();
        assert_eq!(format!("{}+{:#x}/{size:#x}", ip.symbol.as_deref().unwrap(), ip.offset), known);
        assert!(ip.exact && ip.reliable);
    }
}

#[test]
fn each_kind_of_crash_is_one_signature_on_both_kernels() {
    let mut kinds: BTreeMap<String, Vec<HashSet<String>>> = BTreeMap::new();
    for case in cases() {
        let report = parsed(&case).reports.remove(0);
        let names = report.alts.into_iter().chain([report.title]).collect();
        kinds.entry(truth(&case)["kind"].as_str().unwrap().to_owned()).or_default().push(names);
    }
    for (kind, sets) in kinds {
        assert!(sets.iter().all(|names| !names.is_disjoint(&sets[0])), "{kind}: {sets:?}");
    }
}

#[test]
fn the_order_in_which_records_are_passed_does_not_matter() {
    for case in cases() {
        let mut records = records(&case);
        let first = parsed(&case);
        records.reverse();
        let pieces: Vec<Piece<'_>> = records.iter().map(|(name, bytes)| Piece { name, bytes }).collect();
        let second = read(&pieces);
        assert_eq!(first.log.text(), second.log.text(), "{}", case.display());
        assert_eq!(first.reports, second.reports);
    }
}
