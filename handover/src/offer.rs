//! The offer: digests first, so that what the service knows costs no bytes.

use serde::{Deserialize, Serialize};

use crate::canonical::Value;
use crate::digest::{EvidenceId, NodeId, ReceiptHash, Sha256};
use crate::manifest::Kind;
use crate::receipt::Envelope;

/// The schema of an offer.
pub const SCHEMA: &str = "lastwords.offer/1";
/// The schema of its answer.
pub const ANSWER_SCHEMA: &str = "lastwords.offer-answer/1";

/// What a node has ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// [`SCHEMA`].
    pub schema: String,
    /// Who offers.
    pub node_id: NodeId,
    /// The newest receipt that the node holds, by which a service that forgot finds out.
    pub head: Head,
    /// At most 100.
    pub items: Vec<OfferItem>,
}

/// The newest receipt of a node from one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The service's epoch when it was given.
    pub epoch: u64,
    /// Its number; 0 when there is none.
    pub seq: u64,
    /// Its hash; zeros when there is none.
    pub hash: ReceiptHash,
}

impl Head {
    /// The head of a node that holds no receipt.
    pub const NONE: Head = Head { epoch: 1, seq: 0, hash: ReceiptHash::ZERO };
}

/// One piece of evidence on offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferItem {
    /// Its id.
    pub evidence_id: EvidenceId,
    /// What it is.
    pub kind: Kind,
    /// Its bytes, decoded.
    pub size: u64,
    /// Its bytes as they would be sent; 0 when withheld.
    pub coded_size: u64,
    /// Digest of the decoded bytes.
    pub sha256: Sha256,
    /// Digest of the canonical manifest.
    pub manifest_sha256: Sha256,
    /// The whole manifest, when the bytes are withheld and nothing else will follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
}

/// The service's answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferAnswer {
    /// [`ANSWER_SCHEMA`].
    pub schema: String,
    /// Whether the service knows the node's head.
    pub head: HeadAnswer,
    /// The service's clock, µs since 1970 UTC.
    pub time_us: i64,
    /// One for each item, in the order of the offer.
    pub items: Vec<ItemAnswer>,
}

/// Whether the service knows the node's newest receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadAnswer {
    /// It does.
    Known,
    /// It does not: it was restored from a backup that is older.
    Unknown,
}

/// The answer for one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemAnswer {
    /// Of which evidence.
    pub evidence_id: EvidenceId,
    /// What the node is to do.
    #[serde(flatten)]
    pub answer: Answer,
}

/// What the node is to do with an offered piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Send the parcel.
    Need,
    /// Send parts.
    Parts {
        /// Path of the upload.
        upload: String,
        /// Where to go on, in coded bytes.
        offset: u64,
    },
    /// The service has it.
    Have {
        /// Disposition `duplicate`.
        receipt: Envelope,
    },
    /// It was counted, without its bytes.
    Counted {
        /// Disposition `counted`.
        receipt: Envelope,
    },
    /// The service does not want it; custody stays with the node.
    Refused {
        /// Disposition `refused`.
        receipt: Envelope,
    },
    /// Not now.
    Later {
        /// Seconds to wait.
        #[serde(default)]
        retry_after_s: u64,
        /// Why, in kebab-case.
        #[serde(default)]
        code: String,
    },
    /// The item breaks a rule of the protocol.
    Invalid {
        /// Which, in kebab-case.
        code: String,
    },
    /// An answer of a later version; to be taken as [`Answer::Later`].
    #[serde(other)]
    Unknown,
}
