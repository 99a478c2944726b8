//! From a machine's records to a named crash.

use std::fs;

use serde_json::Value;

use crate::harness::{Machine, Service, fixtures};

fn cases() -> Vec<String> {
    let mut cases = Vec::new();
    for folder in ["pstore", "efi"] {
        for entry in fs::read_dir(fixtures().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.join("truth.json").exists() {
                cases.push(format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap()));
            }
        }
    }
    cases.sort();
    assert!(cases.len() >= 12);
    cases
}

/// The title that a case must get: ours, or syzkaller's unless that gives up.
fn truth(case: &str) -> Vec<String> {
    let truth: Value =
        serde_json::from_slice(&fs::read(fixtures().join(case).join("truth.json")).unwrap()).unwrap();
    let titles = [&truth["title"], &truth["syzkaller"]["title"]];
    let titles = titles.into_iter().filter_map(Value::as_str);
    titles.filter(|title| !title.ends_with("in corrupted")).map(str::to_owned).collect()
}

#[test]
fn every_real_record_is_taken_named_and_counted_once() {
    let service = Service::start();
    let token = service.token("ingest");
    let machines: Vec<_> = cases().into_iter().map(|case| (Machine::of(&case), case)).collect();
    for (machine, case) in &machines {
        let summary = machine.collect(&service.url(), &token);
        assert_eq!(summary.troubles, Vec::<String>::new(), "{case}");
        assert_eq!((summary.receipts.len(), summary.waiting), (1, 0), "{case}");
    }
    service.settle();
    let mut wrong = Vec::new();
    for (machine, case) in &machines {
        let again = machine.collect(&service.url(), &token);
        assert!(again.found.iter().all(|seen| !seen.new), "{case}: the second run adds nothing");
        let evidence = again.found[0].evidence;
        let whole = service.json(&format!("/api/v1/evidence/{evidence}"));
        let titles: Vec<&str> = whole["crashes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|crash| crash["title"].as_str().unwrap())
            .collect();
        if !truth(case).iter().any(|truth| titles.contains(&truth.as_str())) {
            wrong.push(format!("{case}: {titles:?}, not {:?}", truth(case)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    service.settle();
    let app = service.app.as_ref().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let differences = runtime.block_on(web::store::rollup::differences(app.store.read())).unwrap();
    assert_eq!(differences, []);
    assert_eq!(service.json("/api/v1/nodes?limit=500")["items"].as_array().unwrap().len(), machines.len());
}

#[test]
fn lists_are_paged_by_cursors_that_belong_to_them() {
    let service = Service::start();
    let token = service.token("ingest");
    for case in cases().iter().take(4) {
        Machine::of(case).collect(&service.url(), &token);
    }
    service.settle();
    for list in ["crashes", "nodes", "evidence", "signatures"] {
        let whole = service.json(&format!("/api/v1/{list}?limit=500"));
        assert_eq!(whole["next"], Value::Null);
        let whole = whole["items"].as_array().unwrap().clone();
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = service.json(&format!("/api/v1/{list}?limit=1&after={after}"));
            items.extend(page["items"].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(next) => after = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(items, whole, "{list}");
        assert!(items.len() > 1, "{list}");
        if list != "nodes" {
            let foreign = service.get(&format!("/api/v1/nodes?after={after}"));
            foreign.is_problem(400, "malformed");
        }
    }
}

#[test]
fn a_crash_shows_its_report_its_evidence_and_its_boot_mates() {
    let service = Service::start();
    let machine = Machine::of("pstore/6.12.117+deb12-cloud-amd64-null_deref");
    let summary = machine.collect(&service.url(), &service.token("ingest"));
    service.settle();
    let crashes = service.json("/api/v1/crashes");
    let crash = &crashes["items"][0];
    let id = crash["crash_id"].as_str().unwrap();
    let whole = service.json(&format!("/api/v1/crashes/{id}"));
    assert_eq!(whole["node_id"], summary.node.to_string());
    assert_eq!(whole["kernel"], "6.12.117+deb12-cloud-amd64");
    assert_eq!(whole["report"]["title"], whole["title"]);
    assert!(!whole["report"]["traces"].as_array().unwrap().is_empty());
    assert_eq!(whole["evidence"][0]["evidence_id"], summary.found[0].evidence.to_string());
    let explained = service.json(&format!("/api/v1/crashes/{id}/explain"));
    assert_eq!(explained["title"], whole["title"]);
    assert!(explained["explanation"]["token"].is_string(), "{explained}");
    let signature = whole["signature_id"].as_str().unwrap();
    let signature = service.json(&format!("/api/v1/signatures/{signature}"));
    assert_eq!((&signature["crashes"], &signature["nodes"]), (&1.into(), &1.into()));
    assert!(!signature["stacks"][0]["frames"].as_array().unwrap().is_empty());
}
