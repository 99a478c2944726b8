//! Machines whose memory was handed over: as a summary that their agent made, or as the dump itself.

use std::fs;
use std::path::Path;

use handover::manifest::{DeadBoot, Kind, Manifest};
use handover::{BootId, EvidenceId};
use serde_json::Value;

use crate::harness::{Service, fixtures, manifest, manifest_of, parcel};
use crate::parts::Sender;

const CASE: &str = "vmcore/6.1.0-56-cloud-amd64-null_deref";

fn fixture(name: &str) -> Vec<u8> {
    fs::read(fixtures().join(CASE).join(name)).unwrap()
}

fn hand_over(service: &Service, manifest: Manifest, bytes: &[u8]) -> EvidenceId {
    let id = manifest.evidence_id;
    let (path, body) = parcel(manifest, bytes);
    let kept = service.send("PUT", &path, &service.token("ingest"), &body);
    assert_eq!(kept.status, 201, "{}", kept.text());
    id
}

fn hand_over_log(service: &Service) -> EvidenceId {
    hand_over(service, manifest(1, &fixture("dmesg.txt")), &fixture("dmesg.txt"))
}

fn hand_over_summary(service: &Service) -> EvidenceId {
    let summary = fixture("summary.json");
    hand_over(service, manifest_of(Kind::VmcoreSummary, 1, &summary), &summary)
}

/// The one crash there is.
fn crash(service: &Service) -> Value {
    let crashes = service.json("/api/v1/crashes");
    assert_eq!(crashes["items"].as_array().unwrap().len(), 1, "{crashes:#}");
    crashes["items"][0].clone()
}

fn tasks(service: &Service) -> Value {
    let id = crash(service)["crash_id"].as_str().unwrap().to_owned();
    service.json(&format!("/api/v1/crashes/{id}/tasks"))
}

fn page(service: &Service, suffix: &str) -> String {
    let id = crash(service)["crash_id"].as_str().unwrap().to_owned();
    let answer = service.get(&format!("/crashes/{id}{suffix}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[test]
fn a_log_and_a_summary_of_one_boot_are_one_crash_whichever_comes_first() {
    for log_first in [true, false] {
        let service = Service::start();
        let summary = if log_first {
            hand_over_log(&service);
            service.settle();
            hand_over_summary(&service)
        } else {
            let summary = hand_over_summary(&service);
            service.settle();
            assert_eq!(service.json("/api/v1/evidence?unnamed=true")["items"][0]["crashes"], 0);
            hand_over_log(&service);
            summary
        };
        service.settle();
        let tasks = tasks(&service);
        assert_eq!(tasks["evidence_id"], summary.to_string());
        let died = &tasks["on_cpu"][0];
        assert_eq!((&died["died"], &died["task"]["comm"]), (&true.into(), &"insmod".into()), "{died:#}");
        assert_eq!(died["stack"]["frames"][0]["name"], "read_rpm+0x5");
        let unnamed = service.json("/api/v1/evidence?unnamed=true");
        assert_eq!(unnamed["items"].as_array().unwrap().len(), 0, "{unnamed:#}");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let app = service.app.as_ref().unwrap();
        let again = runtime.block_on(web::reindex::run(app, true, false)).unwrap();
        assert!(again.changes.is_empty(), "{:?}", again.changes);
        service.settle();
        assert_eq!(self::tasks(&service)["evidence_id"], summary.to_string(), "after a reindex too");
    }
}

#[test]
fn a_summary_of_a_boot_that_nobody_knew_finds_its_crash_by_process_and_time() {
    let service = Service::start();
    hand_over_log(&service);
    service.settle();
    let died_us = crash(&service)["at_us"].as_i64().unwrap();
    for (minutes, attached) in [(90, false), (1, true)] {
        // The summary says in seconds when the machine died.
        let text = String::from_utf8(fixture("summary.json")).unwrap();
        let said = format!("\"crash_time\":{}", died_us / 1_000_000 + minutes * 60);
        let summary = text.replacen("\"crash_time\":1795377315", &said, 1);
        assert_ne!(summary, text);
        let mut manifest = manifest_of(Kind::VmcoreSummary, 1, summary.as_bytes());
        manifest.dead_boot =
            DeadBoot { id: BootId::new([minutes.try_into().unwrap(); 16]), basis: "derived".to_owned() };
        hand_over(&service, manifest, summary.as_bytes());
        service.settle();
        let id = crash(&service)["crash_id"].as_str().unwrap().to_owned();
        let sources = service.json(&format!("/api/v1/crashes/{id}"))["evidence"].as_array().unwrap().len();
        assert_eq!(sources, if attached { 2 } else { 1 }, "{minutes} minutes apart");
    }
}

#[test]
fn the_page_of_a_crash_tells_its_tasks_with_their_lines() {
    let service = Service::start();
    let module = fs::read(fixtures().join("modules/6.1.0-56-cloud-amd64/crashlab.ko")).unwrap();
    assert_eq!(service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module).status, 201);
    hand_over_log(&service);
    hand_over_summary(&service);
    service.settle();
    let died = tasks(&service)["on_cpu"][0]["stack"]["frames"].clone();
    let inner = &died[0]["place"]["chain"];
    assert_eq!(inner[0]["line"], 40, "{died:#}");
    assert!(inner[0]["file"].as_str().unwrap().ends_with("crashlab.c"));
    let html = page(&service, "");
    for held in
        ["id=\"h-task\"", "crashlab.c:40", "insmod 121", "different stacks", "do_nanosleep", "sleeping"]
    {
        assert!(html.contains(held), "the page lacks {held}");
    }
    let json: Value = serde_json::from_str(&page(&service, ".json")).unwrap();
    assert_eq!(json["tasks"], tasks(&service));
    let text = page(&service, ".txt");
    let section = text.split("Tasks\n-----\n").nth(1).unwrap().split("\nEvidence\n").next().unwrap();
    insta::assert_snapshot!(section.split("\n\n").take(4).collect::<Vec<_>>().join("\n\n"));
    let missing = service.json("/api/v1/symbols/missing");
    let names: Vec<_> = missing["items"].as_array().unwrap().iter().map(|m| m["name"].clone()).collect();
    assert_eq!(
        names,
        ["vmlinux"],
        "one file is asked for once, with the build that the memory tells: {missing:#}"
    );
    assert_eq!(missing["items"][0]["build_id"], "3b43fad5034874490492495d552c0af6a5fab235");
}

#[test]
fn a_damaged_summary_is_kept_and_said_to_be_damaged() {
    let service = Service::start();
    hand_over_log(&service);
    let mut summary = fixture("summary.json");
    summary.truncate(20_000);
    let id = hand_over(&service, manifest_of(Kind::VmcoreSummary, 1, &summary), &summary);
    service.settle();
    let notes = service.json(&format!("/api/v1/evidence/{id}"))["notes"].clone();
    assert_eq!(notes[0]["code"], "summary-unreadable", "{notes:#}");
    assert!(!page(&service, "").contains("id=\"h-task\""));
    let id = crash(&service)["crash_id"].as_str().unwrap().to_owned();
    service.get(&format!("/api/v1/crashes/{id}/tasks")).is_problem(404, "not-found");
}

#[test]
fn what_is_called_a_dump_and_is_none_stops_nothing() {
    let service = Service::start();
    for (kind, bytes) in [
        (Kind::Vmcore, b"KDUMP   ".repeat(500)),
        (Kind::VmcoreExtract, b"\x7fELF\x02\x01\x01".repeat(500)),
        (Kind::Vmcore, Vec::new()),
    ] {
        let id = hand_over(&service, manifest_of(kind, 1, &bytes), &bytes);
        service.settle();
        let evidence = service.json(&format!("/api/v1/evidence/{id}"));
        let code = &evidence["notes"][0]["code"];
        assert!(code == "dump-unreadable" || evidence["reports"] == 0, "{evidence:#}");
        assert_eq!(service.get(&format!("/api/v1/evidence/{id}/raw")).body, bytes);
    }
    hand_over_log(&service);
    service.settle();
    crash(&service);
}

#[test]
fn a_dump_names_its_crash_and_tells_its_tasks() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/artifacts/vmcore/6.12.117+deb12-cloud-amd64-sysrq.zlib");
    let Ok(dump) = fs::read(&path) else {
        println!("skipped: no {}", path.display());
        return;
    };
    let service = Service::start();
    let sender = Sender {
        service: &service,
        token: service.token("ingest"),
        manifest: manifest_of(Kind::Vmcore, 1, &dump),
    };
    let receipt = sender.send(&dump);
    assert_eq!(receipt["receipt"]["disposition"], "stored", "{receipt}");
    service.settle();
    let id = sender.manifest.evidence_id;
    let evidence = service.json(&format!("/api/v1/evidence/{id}"));
    let crash_id = evidence["crashes"][0]["crash_id"].as_str().unwrap_or_else(|| panic!("{evidence:#}"));
    let title = evidence["crashes"][0]["title"].as_str().unwrap();
    assert!(title.contains("sysrq"), "{title}");
    let tasks = service.json(&format!("/api/v1/crashes/{crash_id}/tasks"));
    assert_eq!(tasks["on_cpu"][0]["died"], true);
    assert!(tasks["total"].as_u64().unwrap() > 50, "{}", tasks["total"]);
    let explained = service.json(&format!("/api/v1/crashes/{crash_id}/explain"));
    assert_eq!(explained["title"], title);
    assert!(service.get(&format!("/crashes/{crash_id}")).text().contains("id=\"h-task\""));
    assert!(service.get(&format!("/api/v1/evidence/{id}/raw")).body == dump);
    let answer = service.get(&format!("/evidence/{id}"));
    assert!(answer.text().contains("sysrq"), "its log is shown");

    // As if the reader of then had found no log in it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = service.app.as_ref().unwrap();
    let as_if = |reader: i64| {
        runtime.block_on(async {
            let mut transaction = app.store.write().await.unwrap();
            sqlx::query("UPDATE dump SET log = $1, reader = $2")
                .bind(zstd::bulk::compress(b"", 1).unwrap())
                .bind(reader)
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        });
    };
    let evidence = || service.json(&format!("/api/v1/evidence/{id}"));
    let crashes = || evidence()["crashes"].as_array().unwrap().len();
    as_if(web::dump::READER);
    let emptied = runtime.block_on(web::reindex::run(app, true, false)).unwrap();
    assert_eq!((emptied.dumps, crashes()), (0, 0));
    as_if(web::dump::READER - 1);
    let dry = runtime.block_on(web::reindex::run(app, false, true)).unwrap();
    assert_eq!((dry.dumps, crashes()), (0, 0), "a dry run reads no dump");
    let again = runtime.block_on(web::reindex::run(app, false, false)).unwrap();
    assert_eq!((again.dumps, again.read, crashes()), (1, 1, 1));
    assert_eq!(evidence()["crashes"][0]["title"], title);
    let nothing = runtime.block_on(web::reindex::run(app, false, false)).unwrap();
    assert_eq!(nothing, web::reindex::Outcome::default());
}
