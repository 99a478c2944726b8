//! The chain of a node's receipts: no gap, no fork, each naming the one before.

use std::collections::BTreeMap;

use crate::digest::{NodeId, ReceiptHash, ServiceId};
use crate::receipt::{Envelope, Receipt};

/// Walks receipts in the order in which a node got them and says what is wrong with their chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    streams: BTreeMap<(ServiceId, NodeId, u64), BTreeMap<u64, Link>>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: ReceiptHash,
    hash: ReceiptHash,
}

/// What is wrong with a chain of receipts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Receipts that the node never got; it can fetch them.
    #[error("receipts {from} to {to} of epoch {epoch} are missing")]
    Gap {
        /// The stream's epoch.
        epoch: u64,
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// Two different receipts with one number: proof that the service told two stories.
    #[error("receipt {seq} of epoch {epoch} exists twice: {one} and {other}")]
    Fork {
        /// The stream's epoch.
        epoch: u64,
        /// The number that both have.
        seq: u64,
        /// One of them.
        one: ReceiptHash,
        /// The other.
        other: ReceiptHash,
    },
    /// A receipt that does not name the one before it.
    #[error("receipt {seq} of epoch {epoch} names {named} as the one before it, which is {before}")]
    Link {
        /// The stream's epoch.
        epoch: u64,
        /// Its number.
        seq: u64,
        /// What it names.
        named: ReceiptHash,
        /// What is there.
        before: ReceiptHash,
    },
}

impl Chain {
    /// Adds a receipt. The same one again is nothing new; another one with its number is a fork.
    pub fn add(&mut self, envelope: &Envelope, receipt: &Receipt) -> Result<(), Broken> {
        let stream = self.streams.entry((receipt.service, receipt.node_id, receipt.epoch)).or_default();
        let link = Link { prev: receipt.prev, hash: envelope.hash() };
        match stream.insert(receipt.seq, link) {
            Some(other) if other.hash != link.hash => {
                let (epoch, seq) = (receipt.epoch, receipt.seq);
                Err(Broken::Fork { epoch, seq, one: other.hash, other: link.hash })
            }
            _ => Ok(()),
        }
    }

    /// What is wrong between the receipts that were added.
    pub fn check(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        for (&(_, _, epoch), stream) in &self.streams {
            let mut before = (0, ReceiptHash::ZERO);
            for (&seq, link) in stream {
                if seq > before.0 + 1 {
                    broken.push(Broken::Gap { epoch, from: before.0 + 1, to: seq - 1 });
                } else if link.prev != before.1 {
                    broken.push(Broken::Link { epoch, seq, named: link.prev, before: before.1 });
                }
                before = (seq, link.hash);
            }
        }
        broken
    }
}
