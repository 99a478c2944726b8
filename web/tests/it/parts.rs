//! Large evidence in parts: resumed, refused, finished once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handover::Sha256;
use handover::manifest::Manifest;
use serde_json::{Value, json};

use crate::harness::{Answer, Service, manifest, oops, request};

/// A log that hardly shrinks.
fn log(lines: u64) -> Vec<u8> {
    let mut log = oops(27);
    for number in 0..lines {
        let noise =
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).wrapping_mul(0xd6e8_feb8_6659_fd93);
        log.extend(
            format!("<6>[ {}.{:06}] x {noise:016x}\n", 100 + number / 1000, number % 1000).into_bytes(),
        );
    }
    log
}

/// A node that sends one piece of evidence in parts.
pub struct Sender<'a> {
    pub service: &'a Service,
    pub token: String,
    pub manifest: Manifest,
}

impl<'a> Sender<'a> {
    fn new(service: &'a Service, evidence: &[u8]) -> Sender<'a> {
        Sender { service, token: service.token("ingest"), manifest: manifest(1, evidence) }
    }

    fn open(&self, length: usize, coding: &str) -> Answer {
        let body = self.manifest.clone().write().unwrap();
        let url = format!("{}/api/v1/evidence/{}/upload", self.service.url(), body.evidence_id);
        let headers = [("upload-length", &*length.to_string()), ("lastwords-coding", coding)];
        request("POST", &url, Some(&self.token), &headers, body.bytes())
    }

    /// Sends all of it, uncoded, and returns the receipt.
    pub fn send(&self, evidence: &[u8]) -> Value {
        let opened = self.open(evidence.len(), "identity");
        assert_eq!(opened.status, 201, "{}", opened.text());
        let location = opened.header("location").to_owned();
        let mut offset = 0;
        let mut last = None;
        for part in evidence.chunks(8 << 20) {
            last = Some(self.part(&location, offset, part));
            offset += part.len();
        }
        last.unwrap().json()
    }

    fn ask(&self, method: &str, location: &str) -> Answer {
        request(method, &format!("{}{location}", self.service.url()), Some(&self.token), &[], &[])
    }

    fn part(&self, location: &str, offset: usize, part: &[u8]) -> Answer {
        self.part_with(location, offset, part, &Sha256::of(part))
    }

    fn part_with(&self, location: &str, offset: usize, part: &[u8], digest: &Sha256) -> Answer {
        let digest = format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()));
        let url = format!("{}{location}", self.service.url());
        let headers = [
            ("upload-offset", &*offset.to_string()),
            ("content-digest", &digest),
            ("content-type", "application/offset+octet-stream"),
        ];
        request("PATCH", &url, Some(&self.token), &headers, part)
    }
}

#[test]
fn parts_are_resumed_after_a_restart_and_make_one_crash() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(100_000);
    let coded = zstd::encode_all(log.as_slice(), 3).unwrap();
    assert!(coded.len() > 1 << 20, "{}", coded.len());
    let half = coded.len() / 2;

    let service = Service::on(folder.path(), true);
    let sender = Sender::new(&service, &log);
    let mut item = json!({"coded_size": coded.len(), "manifest_sha256": "0".repeat(64)});
    let document = serde_json::to_value(&sender.manifest).unwrap();
    for field in ["evidence_id", "kind", "size", "sha256"] {
        item[field] = document[field].clone();
    }
    let head = json!({"epoch": 1, "seq": 0, "hash": "0".repeat(64)});
    let offer =
        json!({"schema": "lastwords.offer/1", "node_id": document["node_id"], "head": head, "items": [item]});
    let offered = |service: &Service| {
        let offer = offer.to_string();
        service.send("POST", "/api/v1/evidence/offers", &service.token("ingest"), offer.as_bytes()).json()["items"][0]
            .clone()
    };
    assert_eq!((&offered(&service)["answer"], &offered(&service)["offset"]), (&"parts".into(), &0.into()));

    let opened = sender.open(coded.len(), "zstd");
    assert_eq!((opened.status, opened.header("upload-offset")), (201, "0"), "{}", opened.text());
    let location = opened.header("location").to_owned();
    let first = sender.part(&location, 0, &coded[..half]);
    assert_eq!((first.status, first.header("upload-offset")), (204, &*half.to_string()));
    drop(service);

    let service = Service::on(folder.path(), true);
    let sender = Sender::new(&service, &log);
    assert_eq!(
        (&offered(&service)["upload"], &offered(&service)["offset"]),
        (&(&*location).into(), &half.into())
    );
    let again = sender.open(coded.len(), "zstd");
    assert_eq!((again.status, again.header("location")), (200, &*location));
    assert_eq!(sender.ask("HEAD", &location).header("upload-offset"), half.to_string());
    let early = sender.part(&location, 0, &coded[..half]);
    early.is_problem(409, "offset-mismatch");
    assert_eq!(early.header("upload-offset"), half.to_string());
    let wrong = sender.part_with(&location, half, &coded[half..], &Sha256::of(b"x"));
    wrong.is_problem(422, "part-digest");
    let last = sender.part(&location, half, &coded[half..]);
    assert_eq!(last.status, 201, "{}", last.text());
    assert_eq!(last.json()["receipt"]["disposition"], "stored");
    assert_eq!(sender.ask("HEAD", &location).status, 410);
    assert_eq!(offered(&service)["answer"], "have");
    let held = sender.open(coded.len(), "zstd");
    assert_eq!((held.status, &held.json()["receipt"]["disposition"]), (200, &"duplicate".into()));

    service.settle();
    assert!(service.get(&format!("/api/v1/evidence/{}/raw", sender.manifest.evidence_id)).body == log);
    assert!(!service.json("/api/v1/crashes")["items"].as_array().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(service.data.join("blobs/parts")).unwrap().count(), 0);
}

#[test]
fn a_whole_that_is_not_what_its_manifest_says_is_dropped() {
    let service = Service::start();
    let (log, other) = (log(10), log(11));
    let sender = Sender::new(&service, &log);
    let opened = sender.open(other.len(), "identity");
    let location = opened.header("location").to_owned();
    sender.part(&location, 0, &other).is_problem(422, "size-mismatch");
    sender.part(&location, 0, &other).is_problem(404, "not-found");
    let opened = sender.open(log.len(), "identity");
    assert_eq!(opened.status, 201, "it starts over");
    let location = opened.header("location").to_owned();
    let mut damaged = log.clone();
    damaged[5] ^= 1;
    sender.part(&location, 0, &damaged).is_problem(422, "digest-mismatch");
    let location = sender.open(log.len(), "identity").header("location").to_owned();
    assert_eq!(sender.part(&location, 0, &log).status, 201);
}

#[test]
fn uploads_are_bounded() {
    let service = Service::start();
    let logs: Vec<_> = (0..5).map(log).collect();
    for log in &logs[..4] {
        assert_eq!(Sender::new(&service, log).open(log.len(), "identity").status, 201);
    }
    let fifth = Sender::new(&service, &logs[4]);
    let refused = fifth.open(logs[4].len(), "identity");
    refused.is_problem(429, "too-many-uploads");
    assert_ne!(refused.header("retry-after"), "");
    let first = Sender::new(&service, &logs[0]);
    first.open(logs[0].len() + 1, "identity").is_problem(409, "upload-differs");
    let location = first.open(logs[0].len(), "identity").header("location").to_owned();
    let over = vec![0; logs[0].len() + 1];
    first.part(&location, 0, &over).is_problem(400, "malformed");
    first.part(&location, 0, &vec![0; (8 << 20) + 1]).is_problem(413, "part-too-large");
    assert_eq!(first.ask("DELETE", &location).status, 204);
    first.ask("GET", &location).is_problem(405, "method-not-allowed");
    assert_eq!(fifth.open(logs[4].len(), "identity").status, 201);
    fifth.open(5 << 30, "identity").is_problem(413, "evidence-too-large");
    fifth.open(logs[4].len(), "lzo").is_problem(415, "unknown-coding");
}
