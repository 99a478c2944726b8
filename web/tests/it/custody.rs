//! Receipts: signed, chained, given once, and durable with what they are about.

use handover::chain::Chain;
use handover::key::{Keyring, Keys, PublicKey};
use handover::manifest::Withheld;
use handover::receipt::{Disposition, Envelope, Expected, Receipt};
use serde_json::{Value, json};

use crate::harness::{Answer, Service, manifest, oops, parcel, request};

fn keyring(service: &Service) -> Keyring {
    let keys: Keys = serde_json::from_value(service.json("/api/v1/handover/keys")).unwrap();
    let mut ring = Keyring::default();
    let document = serde_json::to_value(&keys.keys[0].document).unwrap();
    ring.pin(PublicKey::from_hex(document["public"].as_str().unwrap()).unwrap());
    ring
}

fn receipt(answer: &Answer, ring: &Keyring) -> (Envelope, Receipt) {
    let envelope = Envelope::read(&answer.body).unwrap();
    let receipt = envelope.verify(ring).unwrap();
    (envelope, receipt)
}

fn offer(service: &Service, manifest: &Value, whole: bool) -> Value {
    let mut item = json!({"coded_size": 100, "manifest_sha256": "0".repeat(64)});
    for field in ["evidence_id", "kind", "size", "sha256"] {
        item[field] = manifest[field].clone();
    }
    if whole {
        item["manifest"] = manifest.clone();
        item["coded_size"] = json!(0);
    }
    let head = json!({"epoch": 1, "seq": 0, "hash": "0".repeat(64)});
    let offer =
        json!({"schema": "lastwords.offer/1", "node_id": manifest["node_id"], "head": head, "items": [item]});
    let answer = service.send(
        "POST",
        "/api/v1/evidence/offers",
        &service.token("ingest"),
        offer.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"][0].clone()
}

#[test]
fn a_repeat_gets_one_duplicate_receipt_and_counts_nothing() {
    let service = Service::start();
    let ring = keyring(&service);
    let token = service.token("ingest");
    let manifest = manifest(1, &oops(27));
    let (path, body) = parcel(manifest.clone(), &oops(27));
    let document = manifest.write().unwrap();
    let as_json = serde_json::to_value(&*document).unwrap();
    assert_eq!(offer(&service, &as_json, false)["answer"], "need");

    let first = service.send("PUT", &path, &token, &body);
    assert_eq!(first.status, 201);
    let (stored, receipt_1) = receipt(&first, &ring);
    receipt_1.check(&Expected { manifest: &document, service: None }).unwrap();
    assert_eq!((receipt_1.disposition, receipt_1.seq), (Disposition::Stored, 1));

    let second = service.send("PUT", &path, &token, &body);
    assert_eq!(second.status, 200);
    let (duplicate, receipt_2) = receipt(&second, &ring);
    receipt_2.check(&Expected { manifest: &document, service: None }).unwrap();
    assert_eq!((receipt_2.disposition, receipt_2.seq), (Disposition::Duplicate, 2));
    assert_eq!(receipt_2.prev, stored.hash());
    assert_eq!(receipt_2.of, Some(stored.hash()));

    let third = service.send("PUT", &path, &token, &body);
    assert_eq!(third.body, second.body, "the same bytes again");
    let answer = offer(&service, &as_json, false);
    assert_eq!(answer["answer"], "have");
    assert_eq!(answer["receipt"], second.json());

    let url = format!("{}/api/v1/nodes/{}/receipts", service.url(), document.node_id);
    let list = request("GET", &url, Some(&token), &[], &[]);
    let envelopes: Vec<Envelope> = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(envelopes, [stored, duplicate]);
    let mut chain = Chain::default();
    for envelope in &envelopes {
        chain.add(envelope, &envelope.verify(&ring).unwrap()).unwrap();
    }
    assert_eq!(chain.check(), []);

    service.settle();
    assert_eq!(service.json("/api/v1/crashes")["items"].as_array().unwrap().len(), 1);
    let newest = request("GET", &format!("{}{path}/receipt", service.url()), Some(&token), &[], &[]).json();
    assert_eq!(newest["receipt"]["disposition"], "duplicate");
    assert!(newest["advice"][0]["title"].as_str().unwrap().contains("start_engine"));
}

#[test]
fn the_same_report_in_two_sources_is_one_crash() {
    let service = Service::start();
    let token = service.token("ingest");
    let mut longer = b"<6>[ 1.000000] Linux version 6.12.117+deb12-cloud-amd64 (gcc) #1 SMP\n".to_vec();
    longer.extend(oops(27));
    for log in [&oops(27), &longer] {
        let (path, body) = parcel(manifest(1, log), log);
        assert_eq!(service.send("PUT", &path, &token, &body).status, 201);
    }
    service.settle();
    let crashes = service.json("/api/v1/crashes");
    assert_eq!(crashes["items"].as_array().unwrap().len(), 1, "{crashes}");
    let id = crashes["items"][0]["crash_id"].as_str().unwrap();
    let whole = service.json(&format!("/api/v1/crashes/{id}"));
    assert_eq!(whole["evidence"].as_array().unwrap().len(), 2);
    assert_eq!(service.json("/api/v1/signatures")["items"][0]["crashes"], 1);
}

#[test]
fn withheld_evidence_is_counted_and_may_still_come() {
    let service = Service::start();
    let ring = keyring(&service);
    let mut withheld = manifest(1, &oops(27));
    withheld.withheld = Some(Withheld { reason: "loop".to_owned() });
    withheld.weight = 3;
    let as_json = serde_json::to_value(&withheld).unwrap();
    let answer = offer(&service, &as_json, true);
    assert_eq!(answer["answer"], "counted", "{answer}");
    let counted = Envelope::read(answer["receipt"].to_string().as_bytes()).unwrap().verify(&ring).unwrap();
    assert_eq!((counted.disposition, counted.weight, counted.bytes_kept), (Disposition::Counted, 3, false));
    assert_eq!(counted.reason.as_deref(), Some("withheld"));
    assert_eq!(offer(&service, &as_json, true)["receipt"], answer["receipt"], "the same bytes again");
    service.settle();
    assert_eq!(service.json("/api/v1/evidence?unnamed=true")["items"][0]["weight"], 3);

    assert_eq!(offer(&service, &as_json, false)["answer"], "need", "bytes are on hand after all");
    let (path, body) = parcel(manifest(1, &oops(27)), &oops(27));
    let answer = service.send("PUT", &path, &service.token("ingest"), &body);
    assert_eq!((answer.status, receipt(&answer, &ring).1.disposition), (201, Disposition::Stored));
    service.settle();
    assert_eq!(service.json("/api/v1/evidence?unnamed=true")["items"].as_array().unwrap().len(), 0);
    assert_eq!(service.json("/api/v1/crashes")["items"].as_array().unwrap().len(), 1);
}

#[test]
fn large_evidence_is_a_file_and_comes_back_whole() {
    let service = Service::start();
    let token = service.token("ingest");
    // Random enough that its coded form is more than a row holds.
    let mut log: Vec<u8> = Vec::new();
    for number in 0..20_000_u64 {
        let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        log.extend(format!("<6>[ {}.{:06}] x {noise:016x}\n", number / 1000, number % 1000).into_bytes());
    }
    log.extend(oops(27));
    let (path, body) = parcel(manifest(1, &log), &log);
    assert!(body.len() > 100_000, "{}", body.len());
    assert_eq!(service.send("PUT", &path, &token, &body).status, 201);
    let (path_2, body) = parcel(manifest(2, &log), &log);
    assert_eq!(
        service.send("PUT", &path_2, &token, &body).status,
        201,
        "another node's evidence of the same bytes"
    );
    assert!(service.get(&format!("{path}/raw")).body == log);
    let folders = std::fs::read_dir(service.data.join("blobs")).unwrap().count();
    assert_eq!(folders, 3, "tmp, parts and one blob");
    service.settle();
    assert_eq!(service.json("/api/v1/signatures")["items"][0]["nodes"], 2);
}

#[test]
fn many_at_once_share_commits_and_each_gets_its_own_receipt() {
    let service = Service::start();
    let ring = keyring(&service);
    let token = service.token("ingest");
    std::thread::scope(|scope| {
        for machine in 1..=8 {
            let (service, ring, token) = (&service, &ring, &token);
            scope.spawn(move || {
                for second in 10..20 {
                    let (path, body) = parcel(manifest(machine, &oops(second)), &oops(second));
                    let answer = service.send("PUT", &path, token, &body);
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    assert_eq!(receipt(&answer, ring).1.seq, u64::from(second) - 9);
                }
            });
        }
    });
    service.settle();
    let signature = &service.json("/api/v1/signatures")["items"][0];
    assert_eq!((&signature["crashes"], &signature["nodes"]), (&80.into(), &8.into()));
}

#[test]
fn a_restart_keeps_identity_key_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let before = Service::on(folder.path(), true);
    let (service, keys, token) = (
        before.json("/api/v1/handover")["service"].clone(),
        before.json("/api/v1/handover/keys"),
        before.token("ingest"),
    );
    drop(before);
    let after = Service::on(folder.path(), true);
    assert_eq!(after.json("/api/v1/handover")["service"], service);
    assert_eq!(after.json("/api/v1/handover/keys"), keys);
    assert_eq!(after.token("ingest"), token);
    use std::os::unix::fs::PermissionsExt;
    for name in ["tokens/ingest", "tokens/read", "tokens/symbols", "tokens/admin", "signing.key"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_restored_backup_is_proven_by_receipts_and_what_it_lost_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let send = |service: &Service, second: u32| {
        let (path, body) = parcel(manifest(1, &oops(second)), &oops(second));
        service.send("PUT", &path, &service.token("ingest"), &body)
    };
    let service = Service::on(&data, true);
    assert_eq!(send(&service, 11).status, 201);
    service.settle();
    drop(service);
    copy_folder(&data, &backup);
    let service = Service::on(&data, true);
    let newest = send(&service, 12).json();
    service.settle();
    drop(service);
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&backup, &data);

    let service = Service::on(&data, true);
    let hash = Envelope::read(newest.to_string().as_bytes()).unwrap().hash();
    let node = newest["receipt"]["node_id"].as_str().unwrap();
    let head = json!({"epoch": 1, "seq": 2, "hash": hash});
    let offer = json!({"schema": "lastwords.offer/1", "node_id": node, "head": head, "items": []});
    let token = service.token("ingest");
    let answer = service.send("POST", "/api/v1/evidence/offers", &token, offer.to_string().as_bytes());
    assert_eq!(answer.json()["head"], "unknown");

    let path = format!("/api/v1/nodes/{node}/reconcile");
    let shown = json!({"schema": "lastwords.reconcile/1", "node_id": node, "receipts": [newest]});
    for _ in 0..2 {
        let answer = service.send("POST", &path, &token, shown.to_string().as_bytes()).json();
        assert_eq!(answer["epoch"], 2, "raised once: {answer}");
        assert_eq!(answer["items"][0]["state"], "lost");
    }
    assert_ne!(service.json("/readyz")["rolled_back_us"], Value::Null);
    let again = send(&service, 12);
    let receipt = &again.json()["receipt"];
    assert_eq!(
        (&receipt["disposition"], &receipt["epoch"], &receipt["seq"]),
        (&"stored".into(), &2.into(), &1.into())
    );
    let answer = service.send("POST", &path, &token, shown.to_string().as_bytes()).json();
    assert_eq!((&answer["epoch"], &answer["items"][0]["state"]), (&2.into(), &"known".into()));
    service.settle();
    assert_eq!(service.json("/api/v1/crashes")["items"].as_array().unwrap().len(), 2);

    service.send("POST", "/api/v1/service/acknowledge", &token, b"").is_problem(403, "wrong-scope");
    assert_eq!(service.send("POST", "/api/v1/service/acknowledge", &service.token("admin"), b"").status, 204);
    assert_eq!(service.json("/readyz")["rolled_back_us"], Value::Null);

    let mut forged = shown;
    forged["receipts"][0]["receipt"]["seq"] = json!(7);
    service.send("POST", &path, &token, forged.to_string().as_bytes()).is_problem(422, "receipt-not-ours");
}
