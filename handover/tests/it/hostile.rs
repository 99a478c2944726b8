//! What a broken disk or a hostile peer can send: refused with a reason, within bounds.

use handover::canonical::Document;
use handover::digest::{EvidenceId, Sha256};
use handover::key::{Keyring, PublicKey};
use handover::manifest::{Manifest, Piece, Withheld};
use handover::receipt::{Disposition, Expected};
use handover::{Error, parcel};

use crate::examples::{EVIDENCE, key, manifest};

fn changed(change: impl FnOnce(&mut Manifest)) -> Result<Document<Manifest>, Error> {
    let mut manifest = manifest().into_inner();
    change(&mut manifest);
    manifest.write()
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Manifest), why: &str) {
    let error = changed(change).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused() {
    refused(|m| m.schema = "lastwords.manifest/2".into(), "schema");
    refused(|m| m.sha256 = Sha256::of(b"other"), "the evidence id");
    refused(|m| m.size += 1, "do not sum");
    refused(|m| m.pieces[0].size = u64::MAX, "do not sum");
    refused(|m| m.weight = 0, "weight");
    refused(|m| m.weight = 2, "weight");
    refused(|m| m.labels.extend([("k".repeat(64), String::new())]), "label");
    refused(|m| m.labels.extend((0..65).map(|n| (n.to_string(), String::new()))), "labels");
    refused(|m| m.pieces = vec![Piece { name: String::new(), size: 0, mtime_us: 0 }; 129], "pieces");
    refused(|m| m.host.name = "h".repeat(20_000), "more than the 16384");
    assert!(changed(|m| (m.weight, m.withheld) = (9, Some(Withheld { reason: "loop".into() }))).is_ok());
}

#[test]
fn a_manifest_written_otherwise_is_refused() {
    let spaced = [manifest().bytes(), b" "].concat();
    assert!(matches!(Manifest::read(&spaced), Err(Error::NotCanonical { .. })));
}

#[test]
fn a_parcel_cut_or_lengthened_anywhere_is_refused() {
    let whole = parcel::encode(&manifest(), Some(EVIDENCE.as_bytes())).unwrap();
    for end in 0..whole.len() {
        assert!(parcel::open(&whole[..end]).is_err(), "cut at {end}");
    }
    assert!(parcel::open(&[&whole[..], b"x"].concat()).is_err());
}

#[test]
fn a_flipped_byte_never_passes_for_the_evidence() {
    let whole = parcel::encode(&manifest(), Some(EVIDENCE.as_bytes())).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        if let Ok(parcel) = parcel::open(&damaged)
            && let Ok(bytes) = parcel.decode()
        {
            assert_eq!(bytes, EVIDENCE.as_bytes(), "byte {at}");
        }
    }
}

#[test]
fn a_body_that_decodes_to_more_than_announced_stops_there() {
    let bomb = vec![0; 64 << 20];
    let manifest = manifest();
    let bytes = parcel::encode(&manifest, Some(&bomb)).unwrap();
    assert!(bytes.len() < 16 << 10, "64 MiB of zeros are small when coded");
    let error = parcel::open(&bytes).unwrap().decode().unwrap_err();
    assert!(matches!(error, Error::Size { found: 172, announced: 171 }), "{error}");
}

#[test]
fn other_bytes_of_the_announced_length_are_a_mismatch() {
    let other = EVIDENCE.replace("NULL", "null");
    let bytes = parcel::encode(&manifest(), Some(other.as_bytes())).unwrap();
    assert!(matches!(parcel::open(&bytes).unwrap().decode(), Err(Error::Mismatch(_))));
}

#[test]
fn a_receipt_for_something_else_is_not_taken() {
    let manifest = manifest();
    let receipt = crate::chain::receipt(1, handover::ReceiptHash::ZERO);
    let expected = Expected { manifest: &manifest, service: Some(receipt.service) };
    receipt.check(&expected).unwrap();
    let mut other = receipt.clone();
    other.evidence_id = EvidenceId::ZERO;
    assert!(other.check(&expected).is_err());
    let mut other = receipt.clone();
    other.size += 1;
    assert!(other.check(&expected).is_err());
    let mut other = receipt.clone();
    other.manifest_sha256 = Sha256::ZERO;
    assert!(other.check(&expected).is_err(), "the service keeps another manifest");
    other.disposition = Disposition::Duplicate;
    other.check(&expected).unwrap();
    let elsewhere = Expected { service: Some(handover::ServiceId::ZERO), ..expected };
    assert!(receipt.check(&elsewhere).is_err());
}

#[test]
fn a_key_under_which_anything_verifies_is_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert!(PublicKey::from_bytes(&identity).is_err());
    assert!(PublicKey::from_hex("not hex").is_err());
}

#[test]
fn a_key_that_is_not_trusted_signs_nothing() {
    let receipt = crate::chain::receipt(1, handover::ReceiptHash::ZERO);
    let envelope = handover::receipt::Envelope::seal(receipt, &key(1));
    assert!(envelope.verify(&Keyring::default()).is_err());
    let mut ring = Keyring::default();
    ring.pin(key(1).public());
    envelope.verify(&ring).unwrap();
    let text = String::from_utf8(envelope.bytes()).unwrap().replace("\"size\":171", "\"size\":172");
    let forged = handover::receipt::Envelope::read(text.as_bytes()).unwrap();
    assert!(forged.verify(&ring).is_err());
}
