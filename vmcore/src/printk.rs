//! The kernel log as it lies in memory: three formats over the years, one text.

mod plain;
mod records;
mod ring;

use crate::memory::Memory;
use crate::vmcoreinfo::VmcoreInfo;
use report::Note;
use serde::Serialize;
use std::fmt::Write;

/// `CONFIG_LOG_BUF_SHIFT` and `log_buf_len=` reach far, but a log is text that people wrote.
pub(crate) const MAX_LOG: u64 = 64 << 20;
/// As many records as 64 MiB hold at 32 bytes each.
const MAX_RECORDS: usize = 2 << 20;

/// The log of a dead kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    /// As `dmesg` prints it, and byte for byte as `makedumpfile --dump-dmesg`: `[%5lu.%06lu] text`,
    /// continuation lines indented, bytes that are not ASCII text as `\xNN`.
    pub text: String,
    /// The records one by one, with what the text does not show. Empty for kernels before 3.5, which had
    /// none.
    pub records: Vec<Record>,
    /// Torn and lost records, and pages that are missing.
    pub notes: Vec<Note>,
}

/// One record (`struct printk_info`, `struct printk_log`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Sequence number since boot; none before 5.10.
    pub seq: Option<u64>,
    /// Nanoseconds of the boot clock; none when the page with it is missing.
    pub ts_nsec: Option<u64>,
    /// 0 (emergency) to 7 (debug).
    pub level: u8,
    /// 0 is the kernel.
    pub facility: u8,
    /// Bit 31 set: the number of a CPU in interrupt; else the thread's id. None when the kernel did not keep
    /// it.
    pub caller_id: Option<u32>,
    /// The text, bytes as they are.
    #[serde(skip)]
    pub text: Vec<u8>,
}

/// What a reader found, before it is made into text.
#[derive(Default)]
struct Found {
    records: Vec<Record>,
    notes: Vec<Note>,
}

/// Reads whichever log this kernel has.
pub(crate) fn read(memory: &Memory, info: &VmcoreInfo) -> Log {
    let found = if info.symbol("prb").is_some() {
        ring::read(memory, info)
    } else if info.symbol("log_first_idx").is_some() {
        records::read(memory, info)
    } else if info.symbol("log_end").is_some() {
        return plain::read(memory, info);
    } else {
        Found {
            records: Vec::new(),
            notes: vec![Note::new("no-log", "VMCOREINFO does not say where the log is")],
        }
    };
    Log { text: text(&found.records), records: found.records, notes: found.notes }
}

fn text(records: &[Record]) -> String {
    let mut out = String::new();
    for record in records {
        let start = out.len();
        match record.ts_nsec {
            Some(ns) => {
                let _ = write!(out, "[{:5}.{:06}] ", ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
            }
            None => out.push_str("[    ?.??????] "),
        }
        let indent = out.len() - start;
        for &byte in &record.text {
            match byte {
                b'\n' => {
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                // What isprint and isspace of the C locale let through.
                b' '..=b'~' | b'\t' | 0x0b | 0x0c | b'\r' => out.push(char::from(byte)),
                _ => {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
        out.push('\n');
    }
    out
}

/// Level and facility of a record: `u8 facility; u8 flags:5, level:3`.
fn level(bits: u8) -> u8 {
    bits >> 5
}
