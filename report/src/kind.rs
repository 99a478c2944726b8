//! The class of a title, and how much it matters.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::profile::Profile;
use crate::rules::Rules;

/// A class of titles, by syzkaller's names: `KASAN-USE-AFTER-FREE-READ`, `HANG`, `WARNING`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrashType(pub(crate) &'static str);

impl CrashType {
    /// What no rule knows.
    pub const UNKNOWN: CrashType = CrashType("UNKNOWN");

    /// The class of a title by the rules in `rules/types.txt`, whatever log it came from.
    pub fn of_title(title: &str) -> CrashType {
        Rules::of(Profile::Production).classify(title).map_or(CrashType::UNKNOWN, |rule| rule.kind)
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for CrashType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for CrashType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrashType({})", self.0)
    }
}

impl Serialize for CrashType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// How much a report matters to a fleet, low to high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Intended, or no fault of the kernel.
    Info,
    /// Survived, and harmless by itself.
    Low,
    /// Survived, but something is wrong.
    Medium,
    /// The machine died, or memory was misused.
    High,
    /// The machine died of misused memory.
    Critical,
}
