//! Debug files, early and late.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use web::symbols::Settings;

use crate::harness::{Machine, Service, fixtures};

pub const RELEASE: &str = "6.12.117+deb12-cloud-amd64";

pub fn module_path(release: &str) -> PathBuf {
    fixtures().join("modules").join(release).join("crashlab.ko")
}

pub fn module(release: &str) -> Vec<u8> {
    fs::read(module_path(release)).unwrap()
}

/// Every `file:line` that a crash's frames have.
pub fn lines(service: &Service, crash: &str) -> Vec<String> {
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
fn a_full_folder_refuses_with_the_numbers_and_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let most = module(RELEASE).len() as u64 + 1000;
    let settings = Settings { most_bytes: most, ..Settings::default() };
    let service = Service::with(folder.path(), true, settings);
    let token = service.token("symbols");
    assert_eq!(service.send("PUT", "/api/v1/symbols", &token, &module(RELEASE)).status, 201);
    let refused = service.send("PUT", "/api/v1/symbols", &token, &module("6.1.0-56-cloud-amd64"));
    refused.is_problem(507, "symbols-full");
    assert!(refused.text().contains("lastwords symbols prune"), "{}", refused.text());
    assert_eq!(service.json("/api/v1/symbols")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_compressed_file_is_kept_and_served_as_it_was_before() {
    let service = Service::start();
    let packed = zstd::encode_all(module(RELEASE).as_slice(), 3).unwrap();
    let kept = service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &packed);
    assert_eq!(kept.status, 201, "{}", kept.text());
    let kept = kept.json();
    let served = service.get(&format!("/buildid/{}/debuginfo", kept["build_id"].as_str().unwrap()));
    assert!(served.body == module(RELEASE));
    let bomb = zstd::encode_all(&vec![0; 64 << 20][..], 3).unwrap();
    service
        .send("PUT", "/api/v1/symbols", &service.token("symbols"), &bomb)
        .is_problem(422, "not-a-debug-file");
}

/// `objcopy --only-keep-debug` leaves a module neither its name nor its release.
#[test]
fn the_path_tells_what_a_separate_debug_file_does_not_say() {
    let service = Service::start();
    let Some((_, debug)) = split(RELEASE) else { return };
    let path = format!("/api/v1/symbols/lib/modules/{RELEASE}/extra/crashlab.ko.debug");
    let kept = service.send("PUT", &path, &service.token("symbols"), &debug);
    assert_eq!(kept.status, 201, "{}", kept.text());
    let kept = kept.json();
    assert_eq!((&kept["name"], &kept["kernel"]), (&"crashlab".into(), &RELEASE.into()));
    Machine::of(&format!("pstore/{RELEASE}-div0")).collect(&service.url(), &service.token("ingest"));
    service.settle();
    let crash = service.json("/api/v1/crashes?fatal=true")["items"][0].clone();
    let found = lines(&service, crash["crash_id"].as_str().unwrap());
    assert!(found.iter().any(|found| found.starts_with("crashlab.c:")), "{found:?}");
}

/// A whole module was put in; what is put in after it is no more than a part of it.
#[test]
fn a_part_does_not_replace_the_whole() {
    let service = Service::start();
    let Some((code, debug)) = split(RELEASE) else { return };
    let token = service.token("symbols");
    let kept = service.send("PUT", "/api/v1/symbols/crashlab.ko", &token, &module(RELEASE)).json();
    let build_id = kept["build_id"].as_str().unwrap();
    for part in [&code, &debug] {
        let again = service.send("PUT", "/api/v1/symbols/crashlab.ko", &token, part);
        assert_eq!((again.status, &again.json()["new"]), (200, &false.into()));
    }
    assert!(service.get(&format!("/buildid/{build_id}/debuginfo")).body == module(RELEASE));
    assert!(service.get(&format!("/buildid/{build_id}/executable")).body == module(RELEASE));
}

#[test]
fn the_worklist_is_ranked_and_names_the_package() {
    let service = Service::start();
    for case in ["null_deref", "div0"] {
        Machine::of(&format!("pstore/{RELEASE}-{case}")).collect(&service.url(), &service.token("ingest"));
    }
    service.settle();
    let missing = service.json("/api/v1/symbols/missing");
    let items = missing["items"].as_array().unwrap();
    let crashes: Vec<i64> = items.iter().map(|item| item["crashes"].as_i64().unwrap()).collect();
    assert!(crashes.is_sorted_by(|a, b| a >= b) && crashes[0] >= 2, "{missing}");
    let package = format!("linux-image-{RELEASE}-dbg");
    assert!(items.iter().all(|item| item["package"]["name"] == *package), "{missing}");
    let page = service.get("/symbols").text();
    assert!(page.contains(&package), "{page}");
    let text = service.get("/symbols.txt").text();
    assert!(text.contains(&format!("apt install {package}")), "{text}");
}

/// A module in two files, code and debug information; `None`, with a line that says so, without objcopy.
pub fn split(release: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let part = |how: &str| {
        let out = folder.path().join(how);
        let done = Command::new("objcopy").arg(how).arg(module_path(release)).arg(&out).status().ok()?;
        assert!(done.success());
        Some(fs::read(out).unwrap())
    };
    let parts = part("--strip-debug").and_then(|code| Some((code, part("--only-keep-debug")?)));
    if parts.is_none() {
        println!("no objcopy: files in two parts are not tested");
    }
    parts
}
