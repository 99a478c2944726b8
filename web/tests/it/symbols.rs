//! Debug files, early and late.

use std::fs;

use serde_json::Value;

use crate::harness::{Machine, Service, fixtures};

const RELEASE: &str = "6.12.117+deb12-cloud-amd64";

fn module(release: &str) -> Vec<u8> {
    fs::read(fixtures().join("modules").join(release).join("crashlab.ko")).unwrap()
}

/// Every `file:line` that a crash's frames have.
fn lines(service: &Service, crash: &str) -> Vec<String> {
    let whole = service.json(&format!("/api/v1/crashes/{crash}"));
    let located = &whole["located"];
    let traces = located["traces"].as_array().unwrap().iter().flat_map(|trace| trace.as_array().unwrap());
    let found = std::iter::once(&located["ip"]).chain(traces);
    let steps = found.filter_map(|found| found["chain"].as_array()).flatten();
    steps
        .map(|step| {
            format!("{}:{}", step["file"].as_str().unwrap().rsplit('/').next().unwrap(), step["line"])
        })
        .collect()
}

#[test]
fn a_debug_file_that_comes_late_gives_waiting_crashes_their_lines() {
    let service = Service::start();
    let case = format!("pstore/{RELEASE}-null_deref");
    let truth: Value =
        serde_json::from_slice(&fs::read(fixtures().join(&case).join("truth.json")).unwrap()).unwrap();
    let line = truth["source_line"].as_str().unwrap();
    Machine::of(&case).collect(&service.url(), &service.token("ingest"));
    service.settle();
    let crash = service.json("/api/v1/crashes?fatal=true")["items"][0].clone();
    let id = crash["crash_id"].as_str().unwrap();
    assert_eq!(lines(&service, id), Vec::<String>::new());
    let missing = service.json("/api/v1/symbols/missing");
    let named = |name: &str| missing["items"].as_array().unwrap().iter().any(|item| item["name"] == name);
    assert!(named("crashlab") && named("vmlinux"), "{missing}");

    let other =
        service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module("6.1.0-56-cloud-amd64"));
    assert_eq!((other.status, &other.json()["crashes"]), (201, &0.into()), "another build helps nobody");
    let kept = service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module(RELEASE));
    assert_eq!(kept.status, 201, "{}", kept.text());
    assert_eq!((&kept.json()["name"], &kept.json()["kernel"]), (&"crashlab".into(), &RELEASE.into()));
    assert_ne!(kept.json()["crashes"], 0);
    service.settle();
    let found = lines(&service, id);
    assert!(found.iter().any(|found| found == line), "{found:?} lacks {line}");
    let missing = service.json("/api/v1/symbols/missing");
    assert!(!missing["items"].as_array().unwrap().iter().any(|item| item["name"] == "crashlab"), "{missing}");

    let again = service.send("POST", "/api/v1/symbols", &service.token("symbols"), &module(RELEASE));
    assert_eq!((again.status, &again.json()["new"]), (200, &false.into()));
    assert_eq!(service.json("/api/v1/symbols")["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_crash_that_comes_after_its_debug_file_has_its_lines_at_once() {
    let service = Service::start();
    service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module(RELEASE));
    Machine::of(&format!("pstore/{RELEASE}-div0")).collect(&service.url(), &service.token("ingest"));
    service.settle();
    let crash = service.json("/api/v1/crashes?fatal=true")["items"][0].clone();
    let found = lines(&service, crash["crash_id"].as_str().unwrap());
    assert!(found.iter().any(|found| found.starts_with("crashlab.c:")), "{found:?}");
}

#[test]
fn what_is_no_debug_file_is_refused() {
    let service = Service::start();
    let token = service.token("symbols");
    service.send("PUT", "/api/v1/symbols", &token, b"").is_problem(422, "not-a-debug-file");
    service.send("PUT", "/api/v1/symbols", &token, b"\x7fELF").is_problem(422, "not-a-debug-file");
    service.send("PUT", "/api/v1/symbols", &token, &[0x41; 10_000]).is_problem(422, "not-a-debug-file");
    let left = fs::read_dir(service.data.join("symbols/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of it");
}

#[test]
fn debug_files_are_served_as_debuginfod_does() {
    let service = Service::start();
    let file = module(RELEASE);
    let kept = service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &file).json();
    let build_id = kept["build_id"].as_str().unwrap();
    let answer = service.get(&format!("/buildid/{build_id}/debuginfo"));
    assert!(answer.body == file);
    assert_eq!(answer.header("x-debuginfod-size"), file.len().to_string());
    service.get("/buildid/00112233/debuginfo").is_problem(404, "not-found");
}
