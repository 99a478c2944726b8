//! Readiness: would a crash of this node be captured? Checks with what they saw, never a guess.

use serde::{Deserialize, Serialize};

use crate::digest::{BootId, NodeId};
use crate::{Error, limits};

/// The schema of this version.
pub const SCHEMA: &str = "lastwords.readiness/1";

/// The checks of a node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// [`SCHEMA`].
    pub schema: String,
    /// The node.
    pub node_id: NodeId,
    /// The boot in which it looked.
    pub boot_id: BootId,
    /// When, µs since 1970 UTC.
    pub checked_us: i64,
    /// The worst of the checks, [`summary`] of them.
    pub summary: Verdict,
    /// The last drill.
    #[serde(default)]
    pub proven: Option<Proven>,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// What a check found. `Unknown` is worse than `Pass`: what was not seen is not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Seen to be right.
    Pass,
    /// Could not be seen, or is too old.
    Unknown,
    /// Seen to be wrong.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name in kebab-case.
    pub id: String,
    /// What it found.
    pub verdict: Verdict,
    /// When, µs since 1970 UTC.
    pub observed_us: i64,
    /// How long the finding holds, in seconds; then it is unknown.
    pub max_age_s: u64,
    /// What was seen.
    pub evidence: String,
    /// Where it was seen.
    pub how: String,
    /// The command that mends it; empty with `pass`.
    pub fix: String,
}

/// The last drill of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// When, µs since 1970 UTC.
    pub at_us: i64,
    /// Kernel release then.
    pub kernel: String,
    /// Digest of the initramfs then, in hex; empty when none was found.
    pub initramfs_sha256: String,
    /// `proven` or what went wrong.
    pub result: String,
    /// Whether kernel and initramfs are still the same.
    pub still: bool,
}

/// The worst verdict; `Unknown` when nothing was checked.
pub fn summary<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Verdict {
    checks.into_iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unknown)
}

impl Readiness {
    /// Reads a document and recomputes its summary, which must be the one it states.
    pub fn read(bytes: &[u8]) -> Result<Readiness, Error> {
        if bytes.len() > limits::STATE {
            let (size, limit) = (bytes.len() as u64, limits::STATE as u64);
            return Err(Error::TooLarge { what: "the readiness document", size, limit });
        }
        let readiness: Readiness = serde_json::from_slice(bytes)
            .map_err(|source| Error::Json { what: "the readiness document", source })?;
        let worst = summary(&readiness.checks);
        if readiness.summary != worst {
            let stated = readiness.summary;
            return Err(Error::field("summary", format!("says {stated:?}, the checks say {worst:?}")));
        }
        Ok(readiness)
    }
}
