//! The manifest: what a piece of evidence is, where it was found, of which boot, and what was done to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::Document;
use crate::digest::{BootId, EvidenceId, Incarnation, Mismatch, NodeId, Sha256};
use crate::{Error, limits};

pub use crate::kind::Kind;

/// The schema of this version.
pub const SCHEMA: &str = "lastwords.manifest/1";

/// Describes one piece of evidence. Written once, when it is spooled; its digest is in the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// Computed from `node_id`, `kind` and `sha256`.
    pub evidence_id: EvidenceId,
    /// The node that found it.
    pub node_id: NodeId,
    /// The life of the agent's state folder that found it.
    pub incarnation: Incarnation,
    /// What the bytes are.
    pub kind: Kind,
    /// Evidence bytes: decoded, after redaction, all pieces one after the other.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// The artifacts that the bytes are made of, in the order of the bytes.
    pub pieces: Vec<Piece>,
    /// Where they were found.
    pub source: Source,
    /// The boot that died.
    pub dead_boot: DeadBoot,
    /// The boot in which they were found.
    pub found_boot: BootId,
    /// Wall clock then, µs since 1970 UTC.
    pub found_us: i64,
    /// `CLOCK_BOOTTIME` then, µs.
    pub found_boottime_us: i64,
    /// When the machine died, if anything tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_time: Option<CrashTime>,
    /// How far the node's wall clock can be trusted.
    pub clock: Clock,
    /// The machine, as it was in the boot that died where that is known.
    pub host: Host,
    /// Labels of the node: at most 64, keys of at most 63 bytes, values of at most 255.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The agent that gathered it.
    pub agent: Agent,
    /// What was replaced in the bytes before they were hashed.
    pub redaction: Redaction,
    /// Real, a drill that was asked for, or a canary.
    pub class: Class,
    /// Damage seen while gathering.
    pub notes: Vec<Note>,
    /// How many occurrences this evidence stands for; more than 1 only with `withheld`.
    pub weight: u64,
    /// The bytes are gone and will not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
}

/// One artifact among the evidence bytes, as found but for redaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name where it was found. Text, never used as a path.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its modification time, µs since 1970 UTC; 0 if unknown.
    pub mtime_us: i64,
}

/// Where artifacts were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `pstore`, `systemd-archive`, `kdump`, `apport`, `journal`, `import`, `netconsole` or `drill`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The pstore backend: `ramoops`, `efi_pstore`, `erst`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// The boot that died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadBoot {
    /// Its id.
    pub id: BootId,
    /// Who knows it: `ledger`, `journal`, `record`, or `derived` when nobody does.
    pub basis: String,
}

/// When the machine died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashTime {
    /// µs since 1970 UTC, by the node's clock.
    pub us: i64,
    /// What tells: `pstore-mtime`, `pstore-name`, `kdump-name`, `vmcore`, `journal`, `file-mtime`.
    pub basis: String,
}

/// How far the node's wall clock can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The kernel says that it is synchronised.
    pub synced: bool,
    /// What was asked: `adjtimex`, `none`.
    pub basis: String,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name; empty unless the node's owner allows it.
    pub name: String,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Build id of the kernel image in hex; empty if unknown.
    pub build_id: String,
    /// Machine, as `uname -m`.
    pub arch: String,
    /// SHA-256 of the kernel's command line; empty if unknown.
    pub cmdline_sha256: String,
}

/// The agent that gathered the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// The commit it was built from; empty if unknown.
    pub build: String,
}

/// What was replaced in the bytes before they were hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// Version of the rules; 0 if there was none.
    pub rules: u32,
    /// Classes that were found.
    pub applied: Vec<String>,
    /// Replacements per class; zeros are left out.
    pub counts: BTreeMap<String, u64>,
    /// Classes that the operator switched off.
    pub off: Vec<String>,
}

/// Whether a crash was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It happened.
    Field,
    /// It was asked for, to prove the way.
    Drill,
    /// It was made up, to prove the service.
    Canary,
}

/// Damage seen while gathering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What kind, in kebab-case: `part-missing`, `truncated`, `host-of-finding-boot`.
    pub code: String,
    /// Name of the piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
    /// Byte offset in the piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why there are no bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// `spool-bytes`, `spool-files`, `spool-age` or `loop`.
    pub reason: String,
}

impl Manifest {
    /// Reads the canonical bytes of a manifest and checks every rule that needs no evidence bytes.
    pub fn read(bytes: &[u8]) -> Result<Document<Manifest>, Error> {
        let manifest: Document<Manifest> = Document::read("the manifest", bytes, limits::MANIFEST)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Writes it canonically, if it keeps the rules.
    pub fn write(self) -> Result<Document<Manifest>, Error> {
        self.check()?;
        let document = Document::write(self);
        let size = document.bytes().len();
        if size > limits::MANIFEST {
            let (what, limit) = ("the manifest", limits::MANIFEST as u64);
            return Err(Error::TooLarge { what, size: size as u64, limit });
        }
        Ok(document)
    }

    /// The rules between its fields.
    fn check(&self) -> Result<(), Error> {
        if self.schema != SCHEMA {
            return Err(Error::field("schema", format!("{:?} is not {SCHEMA:?}", self.schema)));
        }
        let word = self.kind.as_str();
        if word.is_empty() || word.len() > 32 || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
            return Err(Error::field("kind", "not a word of a-z and '-' of at most 32 bytes"));
        }
        Mismatch::check(
            "the evidence id",
            &self.evidence_id,
            &EvidenceId::of(&self.node_id, &self.kind, &self.sha256),
        )?;
        at_most("pieces", self.pieces.len(), limits::PIECES)?;
        at_most("notes", self.notes.len(), limits::NOTES)?;
        at_most("labels", self.labels.len(), limits::LABELS)?;
        for (key, value) in &self.labels {
            if key.len() > limits::LABEL.0 || value.len() > limits::LABEL.1 {
                let (key_limit, value_limit) = limits::LABEL;
                let why = format!("a label's key has at most {key_limit} bytes and its value {value_limit}");
                return Err(Error::field("labels", why));
            }
        }
        let sum = self.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.size));
        if sum != Some(self.size) {
            return Err(Error::field("pieces", format!("their sizes do not sum to size {}", self.size)));
        }
        if self.weight == 0 || (self.weight > 1 && self.withheld.is_none()) {
            return Err(Error::field("weight", "is 1, or more only with withheld"));
        }
        Ok(())
    }

    /// Cuts evidence bytes into the pieces that they are made of.
    pub fn split<'a>(&self, evidence: &'a [u8]) -> Vec<(&str, &'a [u8])> {
        let mut rest = evidence;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let size = usize::try_from(piece.size).unwrap_or(usize::MAX).min(rest.len());
            let (head, tail) = rest.split_at(size);
            pieces.push((piece.name.as_str(), head));
            rest = tail;
        }
        pieces
    }
}

fn at_most(field: &'static str, count: usize, limit: usize) -> Result<(), Error> {
    if count > limit {
        return Err(Error::field(field, format!("{count} of them, more than {limit}")));
    }
    Ok(())
}
