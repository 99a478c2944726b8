//! What passes between a node and the service: offers, parcels, receipts, boot records.
//!
//! Both sides are built from this crate and hold no type, digest or check of their own, so that they
//! cannot disagree. Three rules explain the rest:
//!
//! 1. The node keeps custody until it holds a verified receipt that says somebody else has it.
//! 2. Every message can be sent twice, in any order, and changes nothing the second time.
//! 3. Nobody says "stored" before it is durable, and nobody says it without a signature.
//!
//! A tour, in the order of one delivery: the node describes a piece of evidence in a [`manifest`], packs both
//! into a [`parcel`] and asks with an [`offer`] whether it is known. The service answers *need*, takes the
//! parcel, and returns a signed [`receipt`], which the node checks against its own digests ([`digest`]) and
//! the service's [`key`]. Everything that is signed or hashed is [`canonical`] JSON. What is not evidence but
//! state goes up beside it: [`boot`] records and [`readiness`]. A refusal is a [`problem`].

pub mod boot;
pub mod canonical;
pub mod chain;
pub mod digest;
mod error;
pub mod key;
mod kind;
pub mod limits;
pub mod manifest;
pub mod offer;
pub mod parcel;
pub mod problem;
pub mod readiness;
pub mod receipt;

pub use digest::{BootId, CrashId, EvidenceId, Incarnation, KeyId, NodeId, ReceiptHash, ServiceId, Sha256};
pub use error::Error;

/// The major version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;

/// Request and answer header with the protocol's major version. An answer without it is not ours, whatever
/// its status: a captive portal, a proxy's page.
pub const PROTOCOL_HEADER: &str = "lastwords-protocol";

/// Answer header with the id of the service, 32 hex digits.
pub const SERVICE_HEADER: &str = "lastwords-service";

/// Header that names the coding of the parts of a large upload: `identity` or `zstd`.
pub const CODING_HEADER: &str = "lastwords-coding";
