//! The boot record: a node's word about the boot it is in, and how the one before it ended.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::{BootId, EvidenceId, Incarnation, NodeId};
use crate::manifest::{Agent, Clock, Host};

/// The schema of this version.
pub const SCHEMA: &str = "lastwords.boot/1";

/// The whole record; sent again with a higher `rev` whenever something in it changed. The service keeps the
/// highest, so that retries, reordering and heartbeats are one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The node.
    pub node_id: NodeId,
    /// The life of the agent's state folder.
    pub incarnation: Incarnation,
    /// The boot.
    pub boot_id: BootId,
    /// Rises with each change.
    pub rev: u64,
    /// Number of the boot on this node since the agent knows it.
    pub ordinal: u64,
    /// When it began.
    pub started: Started,
    /// Wall clock at writing, µs since 1970 UTC.
    pub seen_us: i64,
    /// `CLOCK_BOOTTIME` at writing, µs.
    pub uptime_us: i64,
    /// How far the wall clock can be trusted.
    pub clock: Clock,
    /// The machine in this boot.
    pub host: Host,
    /// Live patches loaded, by name.
    pub livepatches: Vec<String>,
    /// BPF programs loaded.
    pub bpf: Vec<BpfProgram>,
    /// What the node could not look at, with the reason: `bpf: Operation not permitted`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    /// Labels of the node.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The agent.
    pub agent: Agent,
    /// How the boot before ended; absent for the first boot that the agent saw.
    #[serde(default)]
    pub previous: Option<Previous>,
    /// When and how this boot ended, once it does.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// What waits in the spool.
    pub spool: SpoolState,
}

/// When a boot began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// µs since 1970 UTC.
    pub us: i64,
    /// What tells: `btime` (`/proc/stat`).
    pub basis: String,
}

/// A loaded BPF program, by which a frame `bpf_prog_<tag>_<name>` is attributed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfProgram {
    /// 16 hex digits.
    pub tag: String,
    /// Its name; may be empty.
    pub name: String,
    /// Its type, as `cgroup_skb`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// How the boot before ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its id.
    pub boot_id: BootId,
    /// How.
    pub ending: Ending,
    /// What tells: `clean-marker`, `no-clean-marker`, `pstore-record`, `watchdog-reset`, …
    pub basis: Vec<String>,
    /// Evidence found about it.
    pub evidence: Vec<EvidenceId>,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Shut down in order; the stopping unit wrote a marker.
    Clean,
    /// Died, and left an artifact.
    Crash,
    /// A hardware error record was found.
    Hardware,
    /// The watchdog reset the machine.
    Watchdog,
    /// Power was lost.
    Power,
    /// Neither clean nor with an artifact: a silent reboot.
    Silent,
    /// Nothing tells, or a word of a later version.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Ending {
    /// As the boot record has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ending::Clean => "clean",
            Ending::Crash => "crash",
            Ending::Hardware => "hardware",
            Ending::Watchdog => "watchdog",
            Ending::Power => "power",
            Ending::Silent => "silent",
            Ending::Unknown => "unknown",
        })
    }
}

/// That a boot is about to end in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// µs since 1970 UTC.
    pub us: i64,
    /// Always [`Ending::Clean`] from the node itself.
    pub ending: Ending,
}

/// What waits in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolState {
    /// Parcels without a receipt.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was found, µs since 1970 UTC.
    pub oldest_us: Option<i64>,
    /// Parcels whose bytes were given up.
    pub withheld: u64,
    /// Records erased before a receipt because their store was nearly full.
    pub emergency_erases: u64,
}
