//! What is not evidence but state: boot records and readiness.

use serde_json::{Value, json};

use crate::harness::{Answer, Service, manifest, oops, parcel};

const NODE: &str = "01010101010101010101010101010101";
const BOOT: &str = "550e8400e29b41d4a716446655440000";
const DEAD: &str = "01010101010101010101010101010101";

fn record(rev: u64, ending: &str) -> Value {
    json!({
        "schema": "lastwords.boot/1", "node_id": NODE, "incarnation": "b3f1c2d4e5f60718293a4b5c6d7e8f90",
        "boot_id": BOOT, "rev": rev, "ordinal": 42, "started": {"us": 1_795_376_511_600_000_i64, "basis": "btime"},
        "seen_us": 1_795_376_811_600_000_i64, "uptime_us": 300_000_000, "clock": {"synced": true, "basis": "adjtimex"},
        "host": {"name": "", "kernel": "6.12.117+deb12-cloud-amd64", "build_id": "", "arch": "x86_64",
                 "cmdline_sha256": ""},
        "livepatches": [], "bpf": [], "labels": {"pool": "blue"}, "agent": {"version": "0.1.0", "build": ""},
        "previous": {"boot_id": DEAD, "ending": ending, "basis": ["no-clean-marker"], "evidence": []},
        "ended": null, "spool": {"files": 0, "bytes": 0, "oldest_us": null, "withheld": 0, "emergency_erases": 0}
    })
}

fn send(service: &Service, record: &Value) -> Answer {
    let path = format!("/api/v1/nodes/{NODE}/boots/{BOOT}");
    service.send("PUT", &path, &service.token("ingest"), record.to_string().as_bytes())
}

fn endings(service: &Service) -> Vec<(String, i64)> {
    let boots = service.json(&format!("/api/v1/nodes/{NODE}/boots"));
    let ending =
        |boot: &Value| (boot["boot_id"].as_str().unwrap().to_owned(), boot["ending"].as_i64().unwrap());
    let mut endings: Vec<_> = boots["items"].as_array().unwrap().iter().map(ending).collect();
    endings.sort();
    endings
}

#[test]
fn the_highest_revision_of_a_boot_is_kept_whatever_the_order() {
    let service = Service::start();
    assert_eq!(send(&service, &record(3, "silent")).json()["rev"], 3);
    assert_eq!(send(&service, &record(2, "clean")).json()["rev"], 3, "an older one changes nothing");
    assert_eq!(send(&service, &record(3, "clean")).json()["rev"], 3, "nor does a repeat");
    let silent = vec![(DEAD.to_owned(), 5), (BOOT.to_owned(), 0)];
    assert_eq!(endings(&service), silent);
    assert_eq!(send(&service, &record(4, "power")).json()["rev"], 4, "corrected");
    assert_eq!(endings(&service)[0].1, 4);
    let node = service.json(&format!("/api/v1/nodes/{NODE}"));
    assert_eq!(
        (&node["labels"]["pool"], &node["kernel"]),
        (&"blue".into(), &"6.12.117+deb12-cloud-amd64".into())
    );
}

#[test]
fn labels_are_as_short_in_a_boot_record_as_in_a_manifest() {
    let service = Service::start();
    let mut long = record(1, "clean");
    long["labels"] = json!({"pool": "b".repeat(256)});
    send(&service, &long).is_problem(400, "malformed");
    long["labels"] = json!({"p".repeat(64): "blue"});
    send(&service, &long).is_problem(400, "malformed");
    assert_eq!(send(&service, &record(1, "clean")).status, 200);
}

#[test]
fn evidence_of_a_crash_is_stronger_than_a_silent_reboot() {
    let service = Service::start();
    send(&service, &record(1, "silent"));
    let (path, body) = parcel(manifest(1, &oops(27)), &oops(27));
    assert_eq!(service.send("PUT", &path, &service.token("ingest"), &body).status, 201);
    service.settle();
    assert_eq!(endings(&service)[0], (DEAD.to_owned(), 2));
    send(&service, &record(2, "silent"));
    assert_eq!(endings(&service)[0], (DEAD.to_owned(), 2));
}

#[test]
fn a_boot_record_must_be_what_its_path_says() {
    let service = Service::start();
    let mut other = record(1, "clean");
    other["boot_id"] = json!(DEAD);
    send(&service, &other).is_problem(409, "id-mismatch");
    send(&service, &json!({"schema": "lastwords.boot/1"})).is_problem(400, "malformed");
    let mut huge = record(1, "clean");
    huge["livepatches"] = json!(["x".repeat(70_000)]);
    send(&service, &huge).is_problem(413, "boot-too-large");
}

#[test]
fn the_newest_readiness_is_kept_and_its_summary_must_be_true() {
    let service = Service::start();
    let readiness = |checked_us: i64, verdict: &str, summary: &str| {
        json!({"schema": "lastwords.readiness/1", "node_id": NODE, "boot_id": BOOT, "checked_us": checked_us,
               "summary": summary, "proven": null,
               "checks": [{"id": "pstore-backend", "verdict": verdict, "observed_us": checked_us, "max_age_s": 3600,
                           "evidence": "backend=ramoops", "how": "/sys/module/pstore/parameters/backend",
                           "fix": ""}]})
    };
    let path = format!("/api/v1/nodes/{NODE}/readiness");
    let send_it = |document: Value| {
        service.send("PUT", &path, &service.token("ingest"), document.to_string().as_bytes())
    };
    send_it(readiness(1000, "pass", "pass")).is_problem(404, "not-found");
    send(&service, &record(1, "clean"));
    send_it(readiness(1000, "fail", "pass")).is_problem(422, "summary-differs");
    assert_eq!(send_it(readiness(2000, "pass", "pass")).status, 200);
    assert_eq!(send_it(readiness(1000, "fail", "fail")).json()["checked_us"], 2000);
    assert_eq!(service.json(&path)["state"], "armed");
    assert_eq!(service.json(&format!("/api/v1/nodes/{NODE}"))["readiness"], "armed");
    assert_eq!(send_it(readiness(3000, "fail", "fail")).json()["checked_us"], 3000);
    assert_eq!(service.json(&path)["state"], "unarmed");
}
