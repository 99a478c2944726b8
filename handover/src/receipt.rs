//! The receipt: the service's signed word about one piece of evidence.

use serde::{Deserialize, Serialize};

use crate::canonical::{Document, Value};
use crate::digest::{EvidenceId, KeyId, Mismatch, NodeId, ReceiptHash, ServiceId, Sha256, tagged};
use crate::key::{Keyring, SigningKey};
use crate::manifest::{Kind, Manifest};
use crate::{Error, limits};

/// The schema of this version.
pub const SCHEMA: &str = "lastwords.receipt/1";

pub(crate) const TAG: &str = "lastwords/receipt/v1";

/// What the service says, and signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`SCHEMA`].
    pub schema: String,
    /// Which service.
    pub service: ServiceId,
    /// Signed with which key.
    pub key: KeyId,
    /// To which node; the stream is (service, node, epoch).
    pub node_id: NodeId,
    /// Raised when the service lost receipts, by a restored backup.
    pub epoch: u64,
    /// Counts from 1 without a gap in each stream.
    pub seq: u64,
    /// Hash of the receipt before; zeros for the first.
    pub prev: ReceiptHash,
    /// About which evidence.
    pub evidence_id: EvidenceId,
    /// What it is.
    pub kind: Kind,
    /// Digest of its decoded bytes.
    pub sha256: Sha256,
    /// Its decoded bytes.
    pub size: u64,
    /// Digest of the manifest that the service keeps; with `duplicate` perhaps an earlier one.
    pub manifest_sha256: Sha256,
    /// What became of it.
    pub disposition: Disposition,
    /// Whether the service holds the bytes.
    pub bytes_kept: bool,
    /// Occurrences counted by this receipt.
    pub weight: u64,
    /// When the first byte came, by the service's clock, µs since 1970 UTC.
    pub received_us: i64,
    /// When it was signed.
    pub issued_us: i64,
    /// Version of the service.
    pub server: String,
    /// Hash of the earlier receipt, with `duplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<ReceiptHash>,
    /// Why, with `refused` and `counted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When to offer it again, with `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

/// What became of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// Bytes and manifest are durable.
    Stored,
    /// They were before.
    Duplicate,
    /// The manifest alone is kept.
    Counted,
    /// Bytes and manifest are durable, but were not read: an unknown kind.
    Quarantined,
    /// Nothing but this receipt is kept.
    Refused,
    /// A disposition of a later version: no custody was taken.
    #[serde(other)]
    Unknown,
}

impl Disposition {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Disposition::Stored => "stored",
            Disposition::Duplicate => "duplicate",
            Disposition::Counted => "counted",
            Disposition::Quarantined => "quarantined",
            Disposition::Refused => "refused",
            Disposition::Unknown => "unknown",
        }
    }

    /// Whether the service has taken custody of the bytes, now or before, so that the node may let go of its own.
    pub fn takes_custody(self) -> bool {
        match self {
            Disposition::Stored | Disposition::Duplicate | Disposition::Quarantined => true,
            Disposition::Counted | Disposition::Refused | Disposition::Unknown => false,
        }
    }
}

impl std::fmt::Display for Disposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A receipt with its signature: `{"receipt": {…}, "signature": "<base64url>"}`. The receipt is kept as it came,
/// so that fields of a later version stay under the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    receipt: Value,
    signature: String,
}

/// What a node knows of its own evidence, to hold against a receipt.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The manifest as it was spooled.
    pub manifest: &'a Document<Manifest>,
    /// The service that was asked, once one is pinned.
    pub service: Option<ServiceId>,
}

impl Envelope {
    /// Signs a receipt. `key` must be the one that the receipt names.
    pub fn seal(receipt: Receipt, key: &SigningKey) -> Envelope {
        let receipt = Document::write(receipt);
        let signature = key.sign(TAG, receipt.bytes());
        Envelope { receipt: Value::of(&*receipt), signature }
    }

    /// From the parts as they are stored: the canonical text that was signed, and the signature.
    pub fn from_parts(body: &[u8], signature: &[u8; 64]) -> Result<Envelope, Error> {
        let receipt = Value::parse("the receipt", body)?;
        Ok(Envelope { receipt, signature: crate::key::encode_signature(signature) })
    }

    /// Reads an envelope.
    pub fn read(bytes: &[u8]) -> Result<Envelope, Error> {
        if bytes.len() > limits::ENVELOPE {
            let (size, limit) = (bytes.len() as u64, limits::ENVELOPE as u64);
            return Err(Error::TooLarge { what: "the receipt", size, limit });
        }
        Value::parse("the receipt", bytes)?.typed("the receipt")
    }

    /// The envelope as one line of canonical JSON.
    pub fn bytes(&self) -> Vec<u8> {
        Value::of(self).bytes()
    }

    /// The canonical receipt, the text that is signed.
    pub fn body(&self) -> Vec<u8> {
        self.receipt.bytes()
    }

    /// The raw signature.
    pub fn signature(&self) -> Result<[u8; 64], Error> {
        crate::key::decode_signature(&self.signature)
    }

    /// The link by which the next receipt names this one.
    pub fn hash(&self) -> ReceiptHash {
        ReceiptHash::new(tagged(TAG, &self.receipt.bytes()))
    }

    /// The receipt, its signature not verified.
    pub fn unverified(&self) -> Result<Receipt, Error> {
        self.receipt.typed("the receipt")
    }

    /// The receipt, if a key of the ring signed it.
    pub fn verify(&self, ring: &Keyring) -> Result<Receipt, Error> {
        let receipt = self.unverified()?;
        if receipt.schema != SCHEMA {
            return Err(Error::field("schema", format!("{:?} is not {SCHEMA:?}", receipt.schema)));
        }
        ring.verify(&receipt.key, TAG, &self.receipt.bytes(), &self.signature)?;
        Ok(receipt)
    }
}

impl Receipt {
    /// Holds the receipt against what the node computed itself: every id and digest must be equal.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), Error> {
        let manifest = expected.manifest;
        Mismatch::check("the receipt's node id", &self.node_id, &manifest.node_id)?;
        Mismatch::check("the receipt's evidence id", &self.evidence_id, &manifest.evidence_id)?;
        Mismatch::check("the receipt's kind", &self.kind, &manifest.kind)?;
        Mismatch::check("the receipt's SHA-256", &self.sha256, &manifest.sha256)?;
        Mismatch::check("the receipt's size", &self.size, &manifest.size)?;
        if let Some(service) = &expected.service {
            Mismatch::check("the receipt's service", &self.service, service)?;
        }
        if self.disposition != Disposition::Duplicate {
            let own = Sha256::of(manifest.bytes());
            Mismatch::check("the receipt's manifest digest", &self.manifest_sha256, &own)?;
        }
        Ok(())
    }
}
