//! The lockless ring of 5.10 and later (`kernel/printk/printk_ringbuffer.c`).

use super::{Found, MAX_LOG, MAX_RECORDS, Record, level};
use crate::memory::{Fault, Memory};
use crate::vmcoreinfo::VmcoreInfo;
use report::Note;

/// `state_var` and the ids are 64 bits; the two highest are the state.
const ID: u64 = !(3 << 62);
/// The record's id stands before its text.
const WORD: u64 = 8;
/// A text block without data: `begin` and `next` are both 1 (lost) or 3 (empty line).
const NO_DATA: u64 = 1;
const EMPTY_LINE: u64 = 3;
/// `CONFIG_LOG_BUF_SHIFT` is 12..=25, and `log_buf_len=` can ask for more: here up to 128 MiB of text, with
/// one descriptor for each 32 bytes of it.
const SIZE_BITS: std::ops::RangeInclusive<u32> = 10..=27;
const COUNT_BITS: std::ops::RangeInclusive<u32> = 5..=22;

/// States of a descriptor (`enum desc_state`).
const RESERVED: u64 = 0;
const REUSABLE: u64 = 3;

struct Ring<'a> {
    memory: &'a Memory,
    descs: u64,
    infos: u64,
    data: u64,
    count: u64,
    size: u64,
    layout: Layout,
}

/// Sizes and offsets, all from VMCOREINFO.
struct Layout {
    desc: u64,
    state: u64,
    begin: u64,
    next: u64,
    info: u64,
    seq: u64,
    ts: u64,
    text_len: u64,
    caller: Option<u64>,
}

/// What to print for one descriptor.
enum Text {
    Whole(Vec<u8>),
    /// A record that was being written.
    Torn(Vec<u8>),
    Nothing,
    Damaged(&'static str),
}

pub(super) fn read(memory: &Memory, info: &VmcoreInfo) -> Found {
    match open(memory, info) {
        Ok((ring, tail, head)) => ring.walk(tail, head),
        Err(text) => Found { records: Vec::new(), notes: vec![Note::new("no-log", text)] },
    }
}

/// Finds the ring's three arrays, its tail id and its head id.
fn open<'a>(memory: &'a Memory, info: &VmcoreInfo) -> Result<(Ring<'a>, u64, u64), String> {
    let lacks = |key: &str| format!("VMCOREINFO lacks {key}");
    let offset = |key: &str| info.offset(key).ok_or_else(|| lacks(key));
    let size = |key: &str| info.size(key).ok_or_else(|| lacks(key));
    let fault = |fault: Fault| format!("the log cannot be read: {fault}");
    let prb = memory.u64(info.symbol("prb").ok_or_else(|| lacks("prb"))?).map_err(fault)?;
    let desc_ring = prb.wrapping_add(offset("printk_ringbuffer.desc_ring")?);
    let text_ring = prb.wrapping_add(offset("printk_ringbuffer.text_data_ring")?);
    let word = |base: u64, key: &str| memory.u64(base.wrapping_add(offset(key)?)).map_err(fault);
    let counter = info.offset("atomic_long_t.counter").unwrap_or(0);
    let id =
        |key: &str| memory.u64(desc_ring.wrapping_add(offset(key)?).wrapping_add(counter)).map_err(fault);
    let half = |base: u64, key: &str| memory.u32(base.wrapping_add(offset(key)?)).map_err(fault);
    let count_bits = half(desc_ring, "prb_desc_ring.count_bits")?;
    let size_bits = half(text_ring, "prb_data_ring.size_bits")?;
    if !COUNT_BITS.contains(&count_bits) || !SIZE_BITS.contains(&size_bits) {
        return Err(format!(
            "the log's ring has 2^{count_bits} records and 2^{size_bits} bytes: not believed"
        ));
    }
    let blk = offset("prb_desc.text_blk_lpos")?;
    let layout = Layout {
        desc: size("prb_desc")?,
        state: offset("prb_desc.state_var")?.wrapping_add(counter),
        begin: blk.wrapping_add(offset("prb_data_blk_lpos.begin")?),
        next: blk.wrapping_add(offset("prb_data_blk_lpos.next")?),
        info: size("printk_info")?,
        seq: offset("printk_info.seq")?,
        ts: offset("printk_info.ts_nsec")?,
        text_len: offset("printk_info.text_len")?,
        caller: info.offset("printk_info.caller_id"),
    };
    let (tail, head) = (id("prb_desc_ring.tail_id")? & ID, id("prb_desc_ring.head_id")? & ID);
    let ring = Ring {
        memory,
        descs: word(desc_ring, "prb_desc_ring.descs")?,
        infos: word(desc_ring, "prb_desc_ring.infos")?,
        data: word(text_ring, "prb_data_ring.data")?,
        count: 1 << count_bits,
        size: 1 << size_bits,
        layout,
    };
    Ok((ring, tail, head))
}

impl Ring<'_> {
    fn walk(&self, tail: u64, head: u64) -> Found {
        let mut found = Found::default();
        let (mut lost, mut damaged, mut unreadable) = (0_u64, 0_u64, 0_u64);
        let mut first_fault = None;
        let mut reason = "";
        let mut bytes = 0_u64;
        let mut id = tail;
        for _ in 0..self.count {
            match self.record(id) {
                Ok(Some((record, text))) => match text {
                    Text::Whole(text) => {
                        bytes += text.len() as u64;
                        found.records.push(Record { text, ..record });
                    }
                    Text::Torn(text) => {
                        found.notes.push(Note::new(
                            "log-torn",
                            format!(
                                "record {id} was being written when the machine died: its text may be cut"
                            ),
                        ));
                        found.records.push(Record { text, ..record });
                    }
                    Text::Nothing => lost += 1,
                    Text::Damaged(why) => {
                        damaged += 1;
                        reason = why;
                    }
                },
                Ok(None) => {}
                Err(fault) => {
                    unreadable += 1;
                    first_fault.get_or_insert(fault);
                }
            }
            if id == head {
                break;
            }
            if bytes > MAX_LOG || found.records.len() >= MAX_RECORDS {
                found.notes.push(Note::new(
                    "log-cut",
                    format!("the log is longer than {MAX_LOG} bytes or {MAX_RECORDS} records"),
                ));
                break;
            }
            id = id.wrapping_add(1) & ID;
        }
        // The ids wrap after 2^62 records; within one boot the sequence numbers tell the order.
        if found.records.windows(2).any(|pair| pair[0].seq > pair[1].seq) {
            found.records.sort_by_key(|record| record.seq);
        }
        let gaps: u64 = found
            .records
            .windows(2)
            .filter_map(|pair| Some(pair[1].seq?.checked_sub(pair[0].seq?)?.saturating_sub(1)))
            .fold(0, u64::saturating_add);
        let mut note = |count: u64, code, text: String| {
            if count > 0 {
                found.notes.push(Note::new(code, text));
            }
        };
        note(lost, "log-lost", format!("the text of {lost} records was already overwritten"));
        note(damaged, "log-damaged", format!("{damaged} records are damaged ({reason})"));
        if let Some(fault) = first_fault {
            note(unreadable, "log-hole", format!("{unreadable} records cannot be read ({fault})"));
        }
        note(gaps.saturating_sub(lost + damaged), "log-gap", format!("{gaps} sequence numbers are missing"));
        found
    }

    /// One descriptor; none when it holds no record now.
    fn record(&self, id: u64) -> Result<Option<(Record, Text)>, Fault> {
        let layout = &self.layout;
        let at = id % self.count;
        let desc = self.descs.wrapping_add(at.wrapping_mul(layout.desc));
        let state_var = self.memory.u64(desc.wrapping_add(layout.state))?;
        let state = state_var >> 62;
        if state_var & ID != id || state == REUSABLE {
            return Ok(None);
        }
        let begin = self.memory.u64(desc.wrapping_add(layout.begin))?;
        let next = self.memory.u64(desc.wrapping_add(layout.next))?;
        let info = self.infos.wrapping_add(at.wrapping_mul(layout.info));
        let text_len = info.wrapping_add(layout.text_len);
        let bits = self.memory.array::<2>(text_len.wrapping_add(2));
        let record = Record {
            seq: self.memory.u64(info.wrapping_add(layout.seq)).ok(),
            ts_nsec: self.memory.u64(info.wrapping_add(layout.ts)).ok(),
            facility: bits.map_or(0, |bits| bits[0]),
            level: bits.map_or(0, |bits| level(bits[1])),
            caller_id: layout.caller.and_then(|caller| self.memory.u32(info.wrapping_add(caller)).ok()),
            text: Vec::new(),
        };
        let text = match (begin, next) {
            (EMPTY_LINE, EMPTY_LINE) => Text::Whole(Vec::new()),
            (NO_DATA, NO_DATA) => Text::Nothing,
            _ if begin & 1 == 1 && next & 1 == 1 => Text::Nothing,
            _ => {
                let length = self.memory.u16(text_len).map_or(u64::MAX, u64::from);
                self.text(id, begin, next, length, state == RESERVED)?
            }
        };
        Ok(Some((record, text)))
    }

    fn text(&self, id: u64, begin: u64, next: u64, length: u64, reserved: bool) -> Result<Text, Fault> {
        // A block that would cross the end of the ring lies at its start instead. It may end exactly at the
        // end (6.18 and later): then next % size is 0, and comparing begin % size with next % size would be
        // wrong.
        let wrapped = begin / self.size != next.wrapping_sub(1) / self.size;
        let start = if wrapped { 0 } else { begin % self.size };
        let end = match next % self.size {
            0 => self.size,
            end => end,
        };
        if end < start || !(WORD..=self.size).contains(&(end - start)) {
            return Ok(Text::Damaged("a block outside the ring"));
        }
        if self.memory.u64(self.data.wrapping_add(start))? & ID != id {
            return Ok(if reserved { Text::Nothing } else { Text::Damaged("a block of another record") });
        }
        let room = end - start - WORD;
        // A page of the infos that is missing leaves the length unknown: then up to the first NUL.
        let known = length != u64::MAX && !(reserved && length == 0);
        let length = if known { length.min(room) } else { room };
        let mut text = vec![0; length as usize];
        self.memory.read(self.data.wrapping_add(start + WORD), &mut text)?;
        if reserved || !known {
            text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
        }
        Ok(if reserved { Text::Torn(text) } else { Text::Whole(text) })
    }
}
