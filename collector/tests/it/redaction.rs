//! Redaction on the way out: nothing that names the machine reaches the service, and every title stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use collector::config::Forget;
use collector::redact::Rules;
use report::Piece;

use crate::node::{DIED, Node, names};
use crate::service::Service;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/oops");

/// Logs of the corpus that are read; all of them take minutes in a debug build.
const LOGS: usize = 60;

#[test]
fn identifiers_do_not_reach_the_service() {
    let (node, service) = (Node::new(), Service::start());
    node.file("proc/sys/kernel/hostname", "db-17.example\n");
    let text = "Panic#1 Part1\n\
        <6>[    0.000000] Command line: root=UUID=d0e2a8b4-1111-4222-8333-123456789abc password=hunter2 ip=10.9.8.7\n\
        <6>[    1.000000] e1000 0000:00:03.0 eth0: 52:54:00:12:34:56\n\
        <6>[    2.000000] systemd[1]: Hostname set to <db-17.example>.\n\
        <0>[    9.000000] Kernel panic - not syncing: Fatal exception\n";
    let path = node.record("dmesg-ramoops-0", DIED, text);
    let mut config = node.config(Some(&service));
    config.forget = Forget::Receipted;
    let summary = node.run(&config);
    let id = summary.found[0].evidence;
    let sent = String::from_utf8(service.bytes(&id)).unwrap();
    for word in ["d0e2a8b4", "hunter2", "10.9.8.7", "52:54", "db-17"] {
        assert!(!sent.contains(word), "{word}: {sent}");
    }
    let manifest = service.manifest(&id);
    assert_eq!(manifest.redaction.applied, ["hostname", "ipv4", "mac", "secret", "uuid"]);
    assert_eq!(manifest.size, sent.len() as u64);
    // The source is known by its own bytes, not by what was sent.
    assert_eq!(summary.erased, 1);
    assert!(!path.exists());
}

#[test]
fn every_real_crash_keeps_its_titles() {
    let mut cases = 0;
    for family in ["pstore", "efi"] {
        for case in names(&Path::new(FIXTURES).join(family)) {
            let folder = Path::new(FIXTURES).join(family).join(&case);
            if !folder.is_dir() {
                continue;
            }
            let records: Vec<(String, Vec<u8>)> = names(&folder)
                .into_iter()
                .filter(|name| name.starts_with("dmesg-"))
                .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
                .collect();
            check(&case, &records);
            cases += 1;
        }
    }
    assert!(cases >= 12, "{cases} cases");
}

#[test]
fn logs_of_the_corpus_keep_their_titles() {
    let mut logs = Vec::new();
    find_logs(Path::new(CORPUS), &mut logs);
    if logs.is_empty() {
        println!("skipped: no corpus at {CORPUS}");
        return;
    }
    logs.sort();
    for path in logs.iter().step_by(logs.len().div_ceil(LOGS)) {
        check(&path.display().to_string(), &[("log".to_owned(), fs::read(path).unwrap())]);
    }
}

fn check(case: &str, records: &[(String, Vec<u8>)]) {
    let rules = Rules::load(&BTreeSet::new(), None).unwrap();
    let mut redactor = rules.begin();
    let redacted: Vec<(String, Vec<u8>)> =
        records.iter().map(|(name, bytes)| (name.clone(), redactor.apply(bytes.clone()))).collect();
    assert_eq!(titles(records), titles(&redacted), "{case}");
}

fn titles(records: &[(String, Vec<u8>)]) -> Vec<String> {
    let pieces: Vec<Piece<'_>> = records.iter().map(|(name, bytes)| Piece { name, bytes }).collect();
    report::read(&pieces).reports.into_iter().map(|report| report.title).collect()
}

fn find_logs(folder: &Path, logs: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            find_logs(&path, logs);
        } else if path.extension().is_none() {
            logs.push(path);
        }
    }
}
