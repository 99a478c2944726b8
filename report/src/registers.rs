//! The register dump of a report.

use serde::Serialize;

/// One register as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// The kernel's name for it, in its case: `RAX`, `x29`, `a0`, `CR2`.
    pub name: String,
    /// Its value.
    pub value: u64,
}
