//! Ids and digests: computed by both sides from the same fields, compared, never repaired.
//!
//! `h(tag, fields)` is `SHA-256(tag ‖ 0x00 ‖ lp(fields))` where `lp` writes each field as a 4-byte big-endian
//! length and its bytes. The tag separates the domains and carries the version.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest;

use crate::Error;
use crate::kind::Kind;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// From its raw bytes.
            pub const fn new(bytes: [u8; $size]) -> $name {
                $name(bytes)
            }

            /// All zeros: what stands where there is none yet.
            pub const ZERO: $name = $name([0; $size]);

            /// The raw bytes, as hashed and stored.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// From stored bytes; `None` if there are not exactly as many.
            pub fn from_slice(bytes: &[u8]) -> Option<$name> {
                bytes.try_into().ok().map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<$name, NotHex> {
                let mut bytes = [0; $size];
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok($name(bytes)),
                    _ => Err(NotHex { digits: 2 * $size }),
                }
            }
        }

        impl TryFrom<Vec<u8>> for $name {
            type Error = WrongLength;

            fn try_from(bytes: Vec<u8>) -> Result<$name, WrongLength> {
                let found = bytes.len();
                bytes.try_into().map($name).map_err(|_| WrongLength { found, expected: $size })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A machine, from its machine-id and the site's name; the machine-id itself never leaves the node.
    NodeId,
    16
);
id!(
    /// One life of an agent's state folder: a re-imaged machine keeps its node id and gets a new incarnation.
    Incarnation,
    16
);
id!(
    /// A boot, from `/proc/sys/kernel/random/boot_id`.
    BootId,
    16
);
id!(
    /// One piece of evidence: node, kind and bytes. Neither boot nor path is in it, so the same record met in
    /// another place, or again by an agent that lost its state, is the same evidence.
    EvidenceId,
    32
);
id!(
    /// One report of one boot: node, dead boot, kernel time of the report's header line. The same report in a
    /// pstore record and in a dump's log is one crash.
    CrashId,
    16
);
id!(
    /// SHA-256 over the canonical receipt, the link of a node's chain of receipts.
    ReceiptHash,
    32
);
id!(
    /// A signing key.
    KeyId,
    8
);
id!(
    /// A service: one database with its replicas.
    ServiceId,
    16
);
id!(
    /// A SHA-256 of bytes.
    Sha256,
    32
);

/// A text that is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {digits} lower-case hexadecimal digits")]
pub struct NotHex {
    digits: usize,
}

/// Stored bytes that are not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes where an id of {expected} is expected")]
pub struct WrongLength {
    found: usize,
    expected: usize,
}

/// Two values that must be equal and are not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, expected {expected}")]
pub struct Mismatch {
    /// What was compared.
    pub what: &'static str,
    /// The value received.
    pub found: String,
    /// The value that this side computed.
    pub expected: String,
}

impl Mismatch {
    /// `Ok` if both are equal.
    pub fn check<T: PartialEq + fmt::Display>(
        what: &'static str,
        found: &T,
        expected: &T,
    ) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        Err(Mismatch { what, found: found.to_string(), expected: expected.to_string() }.into())
    }
}

impl Sha256 {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

/// A SHA-256 over bytes that come one after the other.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

/// `SHA-256(tag ‖ 0x00 ‖ lp(fields…))`.
pub fn h(tag: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hasher = sha2::Sha256::new();
    hasher.update(tag);
    hasher.update([0]);
    for field in fields {
        hasher.update(length(field));
        hasher.update(field);
    }
    hasher.finalize().into()
}

/// `SHA-256(tag ‖ 0x00 ‖ bytes)`, for one document of which the tag names the kind.
pub(crate) fn tagged(tag: &str, bytes: &[u8]) -> [u8; 32] {
    let mut hasher = sha2::Sha256::new();
    hasher.update(tag);
    hasher.update([0]);
    hasher.update(bytes);
    hasher.finalize().into()
}

/// The first `N` bytes of a digest.
pub(crate) fn first<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    *digest.first_chunk().expect("N is at most 32")
}

fn length(field: &[u8]) -> [u8; 4] {
    u32::try_from(field.len()).expect("fields of ids are short").to_be_bytes()
}

impl NodeId {
    /// The node id of a machine: `HMAC-SHA256(machine-id, "lastwords/node/v1" ‖ 0x00 ‖ lp(site))`, the
    /// application-specific form that machine-id(5) asks for.
    pub fn of(machine_id: &[u8; 16], site: &str) -> NodeId {
        let mut mac =
            Hmac::<sha2::Sha256>::new_from_slice(machine_id).expect("HMAC takes keys of any length");
        mac.update(b"lastwords/node/v1\0");
        mac.update(&length(site.as_bytes()));
        mac.update(site.as_bytes());
        NodeId(first(&mac.finalize().into_bytes().into()))
    }
}

impl BootId {
    /// Stands for the boot that died when nothing on the node knows its id.
    pub fn derived(node: &NodeId, first_piece: &Sha256) -> BootId {
        BootId(first(&h("lastwords/dead-boot/v1", &[&node.0, &first_piece.0])))
    }
}

impl EvidenceId {
    /// The id of some evidence bytes of a node.
    pub fn of(node: &NodeId, kind: &Kind, sha256: &Sha256) -> EvidenceId {
        EvidenceId(h("lastwords/evidence/v1", &[&node.0, kind.as_str().as_bytes(), &sha256.0]))
    }
}

impl CrashId {
    /// The id of a report whose header line has a kernel time, in µs since boot.
    pub fn at(node: &NodeId, dead_boot: &BootId, kernel_us: u64) -> CrashId {
        CrashId::from_field(node, dead_boot, &kernel_us.to_string())
    }

    /// The id of a report without a kernel time: the evidence and the number of the report in it, from 0.
    pub fn numbered(node: &NodeId, dead_boot: &BootId, evidence: &EvidenceId, number: usize) -> CrashId {
        CrashId::from_field(node, dead_boot, &format!("e:{evidence}:{number}"))
    }

    fn from_field(node: &NodeId, dead_boot: &BootId, field: &str) -> CrashId {
        CrashId(first(&h("lastwords/crash/v1", &[&node.0, &dead_boot.0, field.as_bytes()])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_hex() {
        let text = "3724a5f041c56542683118ce1949a77e";
        let id: NodeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(format!("{id:?}"), format!("NodeId({text})"));
        for wrong in ["", "3724", "3724A5F041C56542683118CE1949A77E", "3724a5f041c56542683118ce1949a77g"] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(h("t", &[b"ab", b"c"]), h("t", &[b"a", b"bc"]));
        assert_ne!(h("t", &[b"abc"]), h("t", &[b"abc", b""]));
        assert_ne!(h("t", &[]), h("u", &[]));
    }
}
