//! Keys: who may sign receipts, and how one key vouches for the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::canonical::{Document, Value};
use crate::digest::{KeyId, ServiceId, first, tagged};

/// The schema of a key document.
pub const SCHEMA: &str = "lastwords.key/1";

const TAG: &str = "lastwords/key/v1";

/// The most keys that one service may publish: one a month for ten years.
const KEYS: usize = 120;

/// A private Ed25519 key (RFC 8032).
pub struct SigningKey(ed25519_dalek::SigningKey);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl SigningKey {
    /// From its 32 secret bytes, which the caller draws at random and keeps.
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `tag ‖ 0x00 ‖ body`.
    pub(crate) fn sign(&self, tag: &str, body: &[u8]) -> String {
        encode_signature(&self.0.sign(&message(tag, body)).to_bytes())
    }

    /// Writes the document by which this key vouches for another.
    pub fn endorse(&self, service: ServiceId, key: &PublicKey, not_before_us: i64) -> KeyEntry {
        let document = KeyDocument {
            schema: SCHEMA.to_owned(),
            service,
            key: key.id(),
            public: key.to_string(),
            not_before_us,
            endorsed_by: Some(self.public().id()),
        };
        let document = Document::write(document);
        let endorsement = self.sign(TAG, document.bytes());
        KeyEntry { document: Value::of(&*document), state: KeyState::Next, endorsement: Some(endorsement) }
    }
}

/// A public Ed25519 key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// From its 32 bytes. Keys of small order, under which anything verifies, are refused.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, Error> {
        match ed25519_dalek::VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(PublicKey(key)),
            _ => Err(Error::Signature("the public key is not a usable Ed25519 key")),
        }
    }

    /// From 64 hex digits.
    pub fn from_hex(text: &str) -> Result<PublicKey, Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| Error::Signature("a public key is 64 hexadecimal digits"))?;
        PublicKey::from_bytes(&bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Its id: the first 8 bytes of `SHA-256("lastwords/key/v1" ‖ 0x00 ‖ key)`.
    pub fn id(&self) -> KeyId {
        KeyId::new(first(&tagged(TAG, self.0.as_bytes())))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A key as a service publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDocument {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whose key.
    pub service: ServiceId,
    /// Its id.
    pub key: KeyId,
    /// Its 32 bytes in hex.
    pub public: String,
    /// Not used before, µs since 1970 UTC.
    pub not_before_us: i64,
    /// The older key that vouches for it; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsed_by: Option<KeyId>,
}

/// A key document with its state and the signature of the key that vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The [`KeyDocument`] as it was signed.
    pub document: Value,
    /// Where the key is in its life.
    pub state: KeyState,
    /// Signature of the key named by `endorsed_by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement: Option<String>,
}

impl KeyEntry {
    /// The entry of a service's first key, for which nobody vouches.
    pub fn first(service: ServiceId, key: &PublicKey, not_before_us: i64) -> KeyEntry {
        let document = KeyDocument {
            schema: SCHEMA.to_owned(),
            service,
            key: key.id(),
            public: key.to_string(),
            not_before_us,
            endorsed_by: None,
        };
        KeyEntry { document: Value::of(&document), state: KeyState::Active, endorsement: None }
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Published, not used yet.
    Next,
    /// Signs.
    Active,
    /// Signs no more; what it signed stays valid.
    Retired,
    /// Compromised: verifies only receipts that a node already holds, vouches for nothing.
    Revoked,
}

/// `GET /api/v1/handover/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Whose.
    pub service: ServiceId,
    /// The key that signs now.
    pub active: KeyId,
    /// All that were ever published.
    pub keys: Vec<KeyEntry>,
}

/// The keys that a node trusts.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: BTreeMap<KeyId, PublicKey>,
}

impl Keyring {
    /// Trusts a key outright: pinned by configuration, or on first use.
    pub fn pin(&mut self, key: PublicKey) {
        self.keys.insert(key.id(), key);
    }

    /// Whether a key is trusted.
    pub fn knows(&self, key: &KeyId) -> bool {
        self.keys.contains_key(key)
    }

    /// The trusted keys.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &PublicKey)> {
        self.keys.iter()
    }

    /// Takes in the keys of a service as far as a chain of endorsements leads from a trusted one. Entries that
    /// do not verify are left out; returns how many keys are new.
    pub fn admit(&mut self, published: &Keys) -> usize {
        let mut entries: Vec<&KeyEntry> = published.keys.iter().take(KEYS).collect();
        let id = |entry: &&KeyEntry| Some(entry.document.typed::<KeyDocument>("the key document").ok()?.key);
        let revoked = entries.iter().filter(|entry| entry.state == KeyState::Revoked);
        let revoked: BTreeSet<KeyId> = revoked.filter_map(id).collect();
        let before = self.keys.len();
        loop {
            let known = self.keys.len();
            entries.retain(|entry| match self.endorsed(entry, published.service, &revoked) {
                Some(key) => {
                    self.keys.insert(key.id(), key);
                    false
                }
                None => true,
            });
            if self.keys.len() == known {
                return known - before;
            }
        }
    }

    fn endorsed(&self, entry: &KeyEntry, service: ServiceId, revoked: &BTreeSet<KeyId>) -> Option<PublicKey> {
        let document: KeyDocument = entry.document.typed("the key document").ok()?;
        let key = PublicKey::from_hex(&document.public).ok()?;
        let by = document.endorsed_by?;
        let signature = entry.endorsement.as_deref()?;
        let sound = document.schema == SCHEMA && document.service == service && document.key == key.id();
        let usable = sound && !revoked.contains(&document.key) && !revoked.contains(&by);
        (usable && self.verify(&by, TAG, &entry.document.bytes(), signature).is_ok()).then_some(key)
    }

    /// Verifies a signature over `tag ‖ 0x00 ‖ body` strictly (RFC 8032, no small-order points).
    pub(crate) fn verify(&self, key: &KeyId, tag: &str, body: &[u8], signature: &str) -> Result<(), Error> {
        let key =
            self.keys.get(key).ok_or(Error::Signature("it is signed with a key that is not trusted"))?;
        let signature = ed25519_dalek::Signature::from_bytes(&decode_signature(signature)?);
        key.0
            .verify_strict(&message(tag, body), &signature)
            .map_err(|_| Error::Signature("the signature does not verify"))
    }
}

fn message(tag: &str, body: &[u8]) -> Vec<u8> {
    [tag.as_bytes(), &[0], body].concat()
}

pub(crate) fn encode_signature(signature: &[u8; 64]) -> String {
    URL_SAFE_NO_PAD.encode(signature)
}

pub(crate) fn decode_signature(text: &str) -> Result<[u8; 64], Error> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
    bytes.ok_or(Error::Signature("a signature is 64 bytes in base64url without padding"))
}
