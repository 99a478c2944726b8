//! The `Code:` line: the bytes around the instruction that faulted.

use serde::Serialize;

/// Instruction bytes around the program counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The bytes in memory order for byte-wise dumps (x86, s390x); for word-wise dumps (arm, arm64, ppc, riscv) the
    /// words as printed, most significant byte first.
    pub bytes: Vec<u8>,
    /// Bytes in one printed group: 1, 2 (thumb, riscv) or 4.
    pub unit: u8,
    /// Index into `bytes` of the marked group, at which the program counter stood.
    pub mark: Option<usize>,
}
