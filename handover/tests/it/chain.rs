//! A node's chain of receipts: gaps, forks and false links are seen.

use handover::ReceiptHash;
use handover::chain::{Broken, Chain};
use handover::digest::Sha256;
use handover::receipt::{Disposition, Envelope, Receipt};

use crate::examples::{key, manifest};

/// A receipt for the example's evidence.
pub fn receipt(seq: u64, prev: ReceiptHash) -> Receipt {
    let manifest = manifest();
    Receipt {
        schema: handover::receipt::SCHEMA.into(),
        service: "9a8b7c6d5e4f30211203f4e5d6c7b8a9".parse().unwrap(),
        key: key(1).public().id(),
        node_id: manifest.node_id,
        epoch: 1,
        seq,
        prev,
        evidence_id: manifest.evidence_id,
        kind: manifest.kind.clone(),
        sha256: manifest.sha256,
        size: manifest.size,
        manifest_sha256: Sha256::of(manifest.bytes()),
        disposition: Disposition::Stored,
        bytes_kept: true,
        weight: 1,
        received_us: 1,
        issued_us: 2,
        server: "0.1.0".into(),
        of: None,
        reason: None,
        retry_after_s: None,
    }
}

fn sealed(count: u64) -> Vec<(Envelope, Receipt)> {
    let mut chain = Vec::new();
    let mut prev = ReceiptHash::ZERO;
    for seq in 1..=count {
        let receipt = receipt(seq, prev);
        let envelope = Envelope::seal(receipt.clone(), &key(1));
        prev = envelope.hash();
        chain.push((envelope, receipt));
    }
    chain
}

fn check(receipts: &[(Envelope, Receipt)]) -> Vec<Broken> {
    let mut chain = Chain::default();
    receipts.iter().for_each(|(envelope, receipt)| chain.add(envelope, receipt).unwrap());
    chain.check()
}

#[test]
fn a_whole_chain_is_whole_in_any_order() {
    let mut receipts = sealed(5);
    assert_eq!(check(&receipts), []);
    receipts.reverse();
    assert_eq!(check(&receipts), []);
    receipts.push(receipts[0].clone());
    assert_eq!(check(&receipts), [], "the same receipt again is nothing new");
}

#[test]
fn a_gap_is_named() {
    let mut receipts = sealed(6);
    receipts.drain(1..3);
    assert_eq!(check(&receipts), [Broken::Gap { epoch: 1, from: 2, to: 3 }]);
}

#[test]
fn a_false_link_is_named() {
    let mut receipts = sealed(2);
    receipts[1].1.prev = ReceiptHash::ZERO;
    receipts[1].0 = Envelope::seal(receipts[1].1.clone(), &key(1));
    let before = receipts[0].0.hash();
    assert_eq!(check(&receipts), [Broken::Link { epoch: 1, seq: 2, named: ReceiptHash::ZERO, before }]);
}

#[test]
fn two_stories_with_one_number_are_a_fork() {
    let receipts = sealed(1);
    let mut other = receipts[0].1.clone();
    other.issued_us += 1;
    let envelope = Envelope::seal(other.clone(), &key(1));
    let mut chain = Chain::default();
    chain.add(&receipts[0].0, &receipts[0].1).unwrap();
    let broken = chain.add(&envelope, &other).unwrap_err();
    assert!(matches!(broken, Broken::Fork { seq: 1, .. }), "{broken}");
}
