//! Which service is trusted, and which keys: pinned once, durably, and followed only along endorsements.

use std::path::Path;

use handover::ServiceId;
use handover::key::{KeyDocument, Keyring, Keys, PublicKey};
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::{Doing, Error};
use crate::spool::Spool;

/// Name of the file in the spool.
const FILE: &str = "service.json";

/// `service.json`: an id and some keys of 64 digits.
const SIZE: u64 = 64 * 1024;

/// The service that this node hands over to.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Its id.
    pub service: ServiceId,
    /// The keys by which it may sign.
    pub keys: Keyring,
}

#[derive(Serialize, Deserialize)]
struct Pinned {
    service: ServiceId,
    keys: Vec<String>,
}

impl Trust {
    /// What was pinned before; `None` at the first contact. A file that cannot be read is an error: to trust anew
    /// is a decision for a person.
    pub fn load(disk: &dyn Disk, spool: &Path) -> Result<Option<Trust>, Error> {
        let path = spool.join(FILE);
        let bytes = match disk.read(&path, SIZE) {
            Ok(contents) => contents.bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing("reading", &path),
        };
        let damaged = |why: &dyn std::fmt::Display| {
            Error::Setting(format!("the pinned service in {} cannot be read: {why}", path.display()))
        };
        let pinned: Pinned = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
        let mut keys = Keyring::default();
        for key in &pinned.keys {
            keys.pin(PublicKey::from_hex(key).map_err(|error| damaged(&error))?);
        }
        Ok(Some(Trust { service: pinned.service, keys }))
    }

    /// Trust on first use: the service that answered, and the key that it says signs now. With a key from the
    /// configuration, only that one.
    pub fn first(published: &Keys, pin: Option<&PublicKey>) -> Result<Trust, String> {
        let mut keys = Keyring::default();
        match pin {
            Some(pin) => keys.pin(*pin),
            None => keys.pin(active(published).ok_or("the service publishes no usable key")?),
        }
        keys.admit(published);
        if !keys.knows(&published.active) {
            return Err(format!("the service signs with {}, which is not the pinned key", published.active));
        }
        Ok(Trust { service: published.service, keys })
    }

    /// Makes it durable.
    pub fn save(&self, spool: &Spool<'_>) -> Result<(), Error> {
        let keys = self.keys.iter().map(|(_, key)| key.to_string()).collect();
        let mut bytes = serde_json::to_vec_pretty(&Pinned { service: self.service, keys })
            .expect("ids and texts are JSON");
        bytes.push(b'\n');
        spool.write_file(FILE, &bytes)
    }
}

fn active(published: &Keys) -> Option<PublicKey> {
    published.keys.iter().find_map(|entry| {
        let document: KeyDocument = entry.document.typed("the key document").ok()?;
        let key = PublicKey::from_hex(&document.public).ok()?;
        let sound = key.id() == published.active && document.service == published.service;
        sound.then_some(key)
    })
}
