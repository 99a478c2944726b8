//! What can be wrong with a message, said so that the sender can mend it.

use crate::digest::Mismatch;

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are larger than the protocol allows.
    #[error("{what} is {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Which message or field.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The most that is allowed, in bytes.
        limit: u64,
    },
    /// Not JSON, or JSON outside the canonical subset (RFC 8785 with integers only).
    #[error("{what} is not canonical JSON: {source}")]
    Json {
        /// Which message.
        what: &'static str,
        /// What the parser met, and where.
        source: serde_json::Error,
    },
    /// JSON of the right form that is not written canonically.
    #[error("{what} is not written canonically")]
    NotCanonical {
        /// Which message.
        what: &'static str,
    },
    /// A field breaks a rule of the protocol.
    #[error("{field}: {why}")]
    Field {
        /// The field's path, as in `pieces[3].size`.
        field: String,
        /// The rule that it breaks.
        why: String,
    },
    /// A parcel's framing is damaged.
    #[error("the parcel {0}")]
    Parcel(&'static str),
    /// A coding that this version cannot read.
    #[error("the parcel's coding {0} is not known")]
    Coding(u8),
    /// The coded bytes cannot be decoded.
    #[error("decoding the evidence")]
    Decode(#[source] std::io::Error),
    /// Decoded to another number of bytes than announced.
    #[error("the evidence decodes to {found} bytes, announced were {announced}")]
    Size {
        /// Bytes found; decoding stops at one more than announced.
        found: u64,
        /// Bytes that the manifest announces.
        announced: u64,
    },
    /// Two values that must be equal are not.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A signature does not verify, or its key is not trusted.
    #[error("{0}")]
    Signature(&'static str),
}

impl Error {
    /// A broken rule of one field.
    pub fn field(field: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Field { field: field.into(), why: why.into() }
    }
}
