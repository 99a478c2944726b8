//! The kinds of evidence.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What evidence bytes are, not where they were found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A kernel log: pstore dmesg records, `vmcore-dmesg.txt`, a journal's kernel lines.
    KernelLog,
    /// What the console showed, as ramoops keeps it.
    ConsoleLog,
    /// What user space left in pmsg.
    UserLog,
    /// A hardware error record: MCE, CPER.
    HardwareError,
    /// A whole dump of memory.
    Vmcore,
    /// A dump that holds only what matters.
    VmcoreExtract,
    /// What was read from a dump, without its memory.
    VmcoreSummary,
    /// Something else that was found beside a crash.
    Other,
    /// A kind of a later version; kept, and quarantined by a service that does not know it.
    Unknown(String),
}

impl Kind {
    /// Its word, as in the manifest.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::KernelLog => "kernel-log",
            Kind::ConsoleLog => "console-log",
            Kind::UserLog => "user-log",
            Kind::HardwareError => "hardware-error",
            Kind::Vmcore => "vmcore",
            Kind::VmcoreExtract => "vmcore-extract",
            Kind::VmcoreSummary => "vmcore-summary",
            Kind::Other => "other",
            Kind::Unknown(word) => word,
        }
    }

    /// From its word.
    pub fn from_word(word: &str) -> Kind {
        match word {
            "kernel-log" => Kind::KernelLog,
            "console-log" => Kind::ConsoleLog,
            "user-log" => Kind::UserLog,
            "hardware-error" => Kind::HardwareError,
            "vmcore" => Kind::Vmcore,
            "vmcore-extract" => Kind::VmcoreExtract,
            "vmcore-summary" => Kind::VmcoreSummary,
            "other" => Kind::Other,
            word => Kind::Unknown(word.to_owned()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        String::deserialize(deserializer).map(|word| Kind::from_word(&word))
    }
}
