//! The records of 3.5 to 5.9 (`struct printk_log`, before 3.11 and in RHEL 7 `struct log`).

use super::{Found, MAX_RECORDS, Record, level};
use crate::memory::{Fault, Memory};
use crate::vmcoreinfo::VmcoreInfo;
use report::Note;

/// `log_buf_len` is a power of two; the command line allows up to 2 GiB, nobody sets more than some MiB.
const BUFFER: std::ops::RangeInclusive<u64> = 4096..=128 << 20;

pub(super) fn read(memory: &Memory, info: &VmcoreInfo) -> Found {
    let mut found = Found::default();
    if let Err(text) = walk(memory, info, &mut found) {
        found.notes.push(Note::new("log-damaged", text));
    }
    found
}

fn walk(memory: &Memory, info: &VmcoreInfo, found: &mut Found) -> Result<(), String> {
    let fault = |fault: Fault| format!("the log ends early: {fault}");
    let symbol = |name: &str| info.symbol(name).ok_or_else(|| format!("VMCOREINFO lacks SYMBOL({name})"));
    let name = if info.size("printk_log").is_some() { "printk_log" } else { "log" };
    let size = info.size(name).ok_or_else(|| format!("VMCOREINFO lacks SIZE({name})"))?;
    let field = |field: &str, typical| info.offset(&format!("{name}.{field}")).unwrap_or(typical);
    let (ts, len, text_len) = (field("ts_nsec", 0), field("len", 8), field("text_len", 10));
    let dict_len = field("dict_len", 12);
    let buffer = memory.u64(symbol("log_buf")?).map_err(fault)?;
    let length = u64::from(memory.u32(symbol("log_buf_len")?).map_err(fault)?);
    if !BUFFER.contains(&length) || !length.is_power_of_two() || !(16..=64).contains(&size) {
        return Err(format!("the log has {length} bytes, a record's header {size}: not believed"));
    }
    let mut at = u64::from(memory.u32(symbol("log_first_idx")?).map_err(fault)?);
    let end = u64::from(memory.u32(symbol("log_next_idx")?).map_err(fault)?);
    let mut wrapped = false;
    for _ in 0..(length / size).min(MAX_RECORDS as u64) {
        if at == end {
            return Ok(());
        }
        if at > length - size {
            return Err(format!("a record at {at:#x} is outside the log"));
        }
        let head = buffer.wrapping_add(at);
        let half = |offset: u64| memory.u16(head.wrapping_add(offset)).map(u64::from).map_err(fault);
        let (total, text, dict) = (half(len)?, half(text_len)?, half(dict_len)?);
        if total == 0 {
            // The mark of the wrap, not a record.
            if wrapped {
                return Err("the log wraps twice".into());
            }
            (wrapped, at) = (true, 0);
            continue;
        }
        if total < size || total % 4 != 0 || size + text + dict > total || at + total > length {
            return Err(format!("a record at {at:#x} of the log has impossible lengths"));
        }
        let mut bytes = vec![0; text as usize];
        memory.read(head.wrapping_add(size), &mut bytes).map_err(fault)?;
        let bits = memory.array::<2>(head.wrapping_add(dict_len + 2)).map_err(fault)?;
        found.records.push(Record {
            seq: None,
            ts_nsec: memory.u64(head.wrapping_add(ts)).ok(),
            facility: bits[0],
            level: level(bits[1]),
            caller_id: (size >= 20).then(|| memory.u32(head.wrapping_add(16)).ok()).flatten(),
            text: bytes,
        });
        at += total;
    }
    Err("the log's records go round in a circle, or are too many".into())
}
