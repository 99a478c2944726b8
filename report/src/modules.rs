//! The `Modules linked in:` line.

use serde::Serialize;

use crate::kernel::BuildId;

/// One loaded module as the log names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// As in `/proc/modules`: with underscores.
    pub name: String,
    /// Taint letters and state signs in the parentheses: `OE`, `+` loading, `-` unloading.
    pub flags: String,
    /// Printed behind the frames of the module with CONFIG_STACKTRACE_BUILD_ID.
    pub build_id: Option<BuildId>,
    /// It had been unloaded when the report was printed (`[last unloaded: …]`).
    pub unloaded: bool,
}
