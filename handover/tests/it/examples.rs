//! The worked examples of the protocol text: true ids, digests and signatures, computed by another program.

use std::io::Write;

use handover::canonical::Document;
use handover::digest::{CrashId, Sha256, h};
use handover::key::{Keyring, SigningKey};
use handover::manifest::{self, Manifest};
use handover::offer::{Answer, OfferAnswer};
use handover::receipt::{Disposition, Envelope, Expected, Receipt};
use handover::{EvidenceId, NodeId, ReceiptHash, parcel};

/// The two pieces of the example, one after the other.
pub const EVIDENCE: &str = "Oops#1 Part1\n\
    <4>[   27.100776] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
    Panic#2 Part1\n\
    <0>[   27.101902] Kernel panic - not syncing: Fatal exception\n";

/// The manifest of the example, with white space.
pub const MANIFEST: &str = r#"{
 "schema": "lastwords.manifest/1",
 "evidence_id": "50fa0797e4451a69d09980d2c1bb6c80c284bc62e25f919905d18c0f448f2205",
 "node_id": "3724a5f041c56542683118ce1949a77e",
 "incarnation": "b3f1c2d4e5f60718293a4b5c6d7e8f90",
 "kind": "kernel-log",
 "size": 171,
 "sha256": "07920c1af415db88f91b9d2bc0d22733e2e3d9b09f42456af8ea49062619eb81",
 "pieces": [
  {"name": "dmesg-ramoops-0", "size": 95, "mtime_us": 1795376475123456},
  {"name": "dmesg-ramoops-1", "size": 76, "mtime_us": 1795376475131072}
 ],
 "source": {"type": "pstore", "backend": "ramoops"},
 "dead_boot": {"id": "7c9e6679742540de944be07fc1f90ae7", "basis": "ledger"},
 "found_boot": "550e8400e29b41d4a716446655440000",
 "found_us": 1795376533000000,
 "found_boottime_us": 21400000,
 "crash_time": {"us": 1795376475123456, "basis": "pstore-mtime"},
 "clock": {"synced": true, "basis": "adjtimex"},
 "host": {
  "name": "",
  "kernel": "6.12.117+deb12-cloud-amd64",
  "build_id": "5d2c1f0e9b8a79685746352413021f0e9d8c7b6a",
  "arch": "x86_64",
  "cmdline_sha256": "ef371752225262b34c15e7c8a9610467ac8bf9d4f97577e585dcbe18c5032855"
 },
 "labels": {"cloud.region": "eu-1", "host.type": "m-4", "pool": "blue"},
 "agent": {"version": "0.1.0", "build": "1f2e3d4"},
 "redaction": {
  "rules": 3,
  "applied": ["ipv4", "mac"],
  "counts": {"ipv4": 2, "mac": 1},
  "off": []
 },
 "class": "field",
 "notes": [],
 "weight": 1
}"#;

const FIRST: &str = r#"{
 "receipt": {
  "schema": "lastwords.receipt/1",
  "service": "9a8b7c6d5e4f30211203f4e5d6c7b8a9",
  "key": "82d6941398e85417",
  "node_id": "3724a5f041c56542683118ce1949a77e",
  "epoch": 1,
  "seq": 1,
  "prev": "0000000000000000000000000000000000000000000000000000000000000000",
  "evidence_id": "50fa0797e4451a69d09980d2c1bb6c80c284bc62e25f919905d18c0f448f2205",
  "kind": "kernel-log",
  "sha256": "07920c1af415db88f91b9d2bc0d22733e2e3d9b09f42456af8ea49062619eb81",
  "size": 171,
  "manifest_sha256": "58ebb2bc6d75a300b20b1ee767334e3adfee638a0b5696ff5457e1c5831147e2",
  "disposition": "stored",
  "bytes_kept": true,
  "weight": 1,
  "received_us": 1795376545100000,
  "issued_us": 1795376545104211,
  "server": "0.1.0"
 },
 "signature": "NTZ22vhaOikAnqXkxrqts7J6t9LsL-Jmm8yhtGcy65vHoYuo4WDCehnLzHhatX2j2pxuuNkoX4t9YfkKNHiEAw"
}"#;

const DUPLICATE: &str = r#"{
 "receipt": {
  "schema": "lastwords.receipt/1",
  "service": "9a8b7c6d5e4f30211203f4e5d6c7b8a9",
  "key": "82d6941398e85417",
  "node_id": "3724a5f041c56542683118ce1949a77e",
  "epoch": 1,
  "seq": 2,
  "prev": "fafc056731f8eaad89a9f0ca27858dbe6d904cfd6473a5106bbdd380c2363360",
  "evidence_id": "50fa0797e4451a69d09980d2c1bb6c80c284bc62e25f919905d18c0f448f2205",
  "kind": "kernel-log",
  "sha256": "07920c1af415db88f91b9d2bc0d22733e2e3d9b09f42456af8ea49062619eb81",
  "size": 171,
  "manifest_sha256": "58ebb2bc6d75a300b20b1ee767334e3adfee638a0b5696ff5457e1c5831147e2",
  "disposition": "duplicate",
  "bytes_kept": true,
  "weight": 1,
  "received_us": 1795376550100000,
  "issued_us": 1795376550104211,
  "server": "0.1.0",
  "of": "fafc056731f8eaad89a9f0ca27858dbe6d904cfd6473a5106bbdd380c2363360"
 },
 "signature": "k1lckFNj1ZVHI7AdWMnzr_50y3dJQwne1RaCrxu0Zrbdxf4F3AhBnBPcJDT0_ffDJKcmfj_TpeGiMwv29SveBQ"
}"#;

/// The example's key: its seed is the digest of a text.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(
        Sha256::of(format!("lastwords example key {number}, never use").as_bytes()).as_bytes(),
    )
}

/// The example's manifest.
pub fn manifest() -> Document<Manifest> {
    serde_json::from_str::<Manifest>(MANIFEST).unwrap().write().unwrap()
}

fn ring() -> Keyring {
    let mut ring = Keyring::default();
    ring.pin(key(1).public());
    ring
}

#[test]
fn ids_are_those_of_the_text() {
    let machine_id = <[u8; 16]>::try_from(hex::decode("0f1e2d3c4b5a69788796a5b4c3d2e1f0").unwrap()).unwrap();
    let node = NodeId::of(&machine_id, "");
    assert_eq!(node.to_string(), "3724a5f041c56542683118ce1949a77e");
    let sha256 = Sha256::of(EVIDENCE.as_bytes());
    assert_eq!(sha256.to_string(), "07920c1af415db88f91b9d2bc0d22733e2e3d9b09f42456af8ea49062619eb81");
    let evidence = EvidenceId::of(&node, &manifest::Kind::KernelLog, &sha256);
    assert_eq!(evidence.to_string(), "50fa0797e4451a69d09980d2c1bb6c80c284bc62e25f919905d18c0f448f2205");
    let dead_boot = "7c9e6679742540de944be07fc1f90ae7".parse().unwrap();
    let crash = CrashId::at(&node, &dead_boot, 27_100_776);
    assert_eq!(crash.to_string(), "174deca69ffb4f1cbad964889d514db5");
    assert_ne!(h("lastwords/crash/v1", &[]), h("lastwords/crash/v2", &[]));
}

#[test]
fn the_manifest_has_the_length_and_digest_of_the_text() {
    let manifest = manifest();
    assert_eq!(manifest.bytes().len(), 1228);
    let digest = Sha256::of(manifest.bytes());
    assert_eq!(digest.to_string(), "58ebb2bc6d75a300b20b1ee767334e3adfee638a0b5696ff5457e1c5831147e2");
    assert_eq!(Manifest::read(manifest.bytes()).unwrap(), manifest);
    let pieces = manifest.split(EVIDENCE.as_bytes());
    assert_eq!(
        pieces.iter().map(|(name, bytes)| (*name, bytes.len())).collect::<Vec<_>>(),
        [("dmesg-ramoops-0", 95), ("dmesg-ramoops-1", 76)]
    );
    assert!(pieces[1].1.starts_with(b"Panic#2 Part1\n"));
}

#[test]
fn receipts_have_the_hashes_and_signatures_of_the_text() {
    assert_eq!(
        key(1).public().to_string(),
        "81d30e690b8eacc3afb0d4465e6ee78b4ce8e36275cc16e0d2daf44f840a57d3"
    );
    assert_eq!(key(1).public().id().to_string(), "82d6941398e85417");
    let hashes = [
        "fafc056731f8eaad89a9f0ca27858dbe6d904cfd6473a5106bbdd380c2363360",
        "9898ae079da10ec0c1bdca030222443d23369f6d2953d28d3f31fc5a603a18a0",
    ];
    let manifest = manifest();
    for (text, hash) in [FIRST, DUPLICATE].iter().zip(hashes) {
        let envelope = Envelope::read(text.as_bytes()).unwrap();
        assert_eq!(envelope.hash().to_string(), hash);
        let receipt = envelope.verify(&ring()).unwrap();
        receipt.check(&Expected { manifest: &manifest, service: Some(receipt.service) }).unwrap();
        assert_eq!(Envelope::seal(receipt, &key(1)), envelope, "signing is deterministic");
        let stored = Envelope::from_parts(&envelope.body(), &envelope.signature().unwrap()).unwrap();
        assert_eq!(stored, envelope);
    }
    assert_eq!(Envelope::read(FIRST.as_bytes()).unwrap().body().len(), 641);
}

#[test]
fn a_field_of_a_later_version_stays_under_the_signature() {
    let receipt = Envelope::read(FIRST.as_bytes()).unwrap().unverified().unwrap();
    let mut tree: serde_json::Value = serde_json::to_value(&receipt).unwrap();
    tree["later"] = "field".into();
    let tree: handover::canonical::Value = serde_json::from_value(tree).unwrap();
    let unsigned = format!(
        r#"{{"receipt":{},"signature":"{}"}}"#,
        String::from_utf8(tree.bytes()).unwrap(),
        "A".repeat(86)
    );
    let envelope = Envelope::read(unsigned.as_bytes()).unwrap();
    assert!(String::from_utf8(envelope.body()).unwrap().contains(r#""later":"field""#));
    assert_eq!(envelope.unverified().unwrap(), receipt);
    assert!(envelope.verify(&ring()).is_err());
}

#[test]
fn an_endorsed_key_is_admitted_and_no_other() {
    let service = "9a8b7c6d5e4f30211203f4e5d6c7b8a9".parse().unwrap();
    let next = key(1).endorse(service, &key(2).public(), 1_795_400_000_000_000);
    assert_eq!(
        next.endorsement.as_deref(),
        Some("oJgHoAnkn-EKJz3tcJG6y5OFtStjw3astxKh3UhN5jutKDaFooSxqHFAnxy9WtGGwV6QZ8u0ZBaYwibgcbNUBA")
    );
    let stranger = key(3).endorse(service, &key(4).public(), 0);
    let third = key(2).endorse(service, &key(5).public(), 0);
    let keys =
        handover::key::Keys { service, active: key(2).public().id(), keys: vec![third, stranger, next] };
    let mut ring = ring();
    assert_eq!(ring.admit(&keys), 2, "the chain 1, 2, 5 is followed in whatever order it comes");
    assert!(ring.knows(&key(2).public().id()) && ring.knows(&key(5).public().id()));
    assert!(!ring.knows(&key(4).public().id()));
}

#[test]
fn a_revoked_key_vouches_for_none() {
    let service = "9a8b7c6d5e4f30211203f4e5d6c7b8a9".parse().unwrap();
    let mut next = key(1).endorse(service, &key(2).public(), 0);
    let third = key(2).endorse(service, &key(5).public(), 0);
    let keys = |keys| handover::key::Keys { service, active: key(2).public().id(), keys };
    let mut ring = ring();
    assert_eq!(ring.admit(&keys(vec![next.clone()])), 1);
    next.state = handover::key::KeyState::Revoked;
    assert_eq!(ring.admit(&keys(vec![next, third])), 0, "though it was trusted before");
}

#[test]
fn a_parcel_that_is_written_piece_by_piece_is_the_same() {
    let manifest = manifest();
    let mut encoder = parcel::Encoder::new(Vec::new()).unwrap();
    EVIDENCE.as_bytes().chunks(7).for_each(|chunk| encoder.write_all(chunk).unwrap());
    let (coded, said) = encoder.finish().unwrap();
    assert_eq!((said.size, said.sha256, said.coded), (manifest.size, manifest.sha256, coded.len() as u64));
    let bytes = [parcel::begin(&manifest, parcel::Coding::Zstd, said.coded), coded].concat();
    let parcel = parcel::open(&bytes).unwrap();
    assert_eq!((&parcel.manifest, parcel.decode().unwrap().as_slice()), (&manifest, EVIDENCE.as_bytes()));
}

#[test]
fn a_parcel_reads_back() {
    let manifest = manifest();
    let bytes = parcel::encode(&manifest, Some(EVIDENCE.as_bytes())).unwrap();
    let parcel = parcel::open(&bytes).unwrap();
    assert_eq!(parcel.manifest, manifest);
    assert_eq!(parcel.decode().unwrap(), EVIDENCE.as_bytes());
}

#[test]
fn an_offer_answer_carries_its_receipts_whole() {
    let answer = format!(
        r#"{{"schema":"lastwords.offer-answer/1","head":"unknown","time_us":1795376540010000,"items":[
            {{"evidence_id":"{0}","answer":"have","receipt":{FIRST}}},
            {{"evidence_id":"{0}","answer":"need"}},
            {{"evidence_id":"{0}","answer":"later","retry_after_s":7,"code":"busy"}},
            {{"evidence_id":"{0}","answer":"teleport","where":"moon"}}]}}"#,
        manifest().evidence_id
    );
    let answer: OfferAnswer = serde_json::from_str(&answer).unwrap();
    let Answer::Have { receipt } = &answer.items[0].answer else { panic!("{:?}", answer.items[0]) };
    let receipt: Receipt = receipt.verify(&ring()).unwrap();
    assert_eq!((receipt.disposition, receipt.prev), (Disposition::Stored, ReceiptHash::ZERO));
    assert_eq!(answer.items[1].answer, Answer::Need);
    assert_eq!(answer.items[2].answer, Answer::Later { retry_after_s: 7, code: "busy".into() });
    assert_eq!(answer.items[3].answer, Answer::Unknown);
    assert_eq!(
        serde_json::from_str::<OfferAnswer>(&serde_json::to_string(&answer).unwrap()).unwrap(),
        answer
    );
}
