//! The plain buffer before 3.5: text with `<N>` before each line.

use super::{Log, MAX_LOG};
use crate::memory::{Fault, Memory};
use crate::vmcoreinfo::VmcoreInfo;
use report::Note;

pub(super) fn read(memory: &Memory, info: &VmcoreInfo) -> Log {
    let mut notes = Vec::new();
    let text = buffer(memory, info, &mut notes).unwrap_or_else(|text| {
        notes.push(Note::new("no-log", text));
        Vec::new()
    });
    Log { text: String::from_utf8_lossy(&text).into_owned(), records: Vec::new(), notes }
}

fn buffer(memory: &Memory, info: &VmcoreInfo, notes: &mut Vec<Note>) -> Result<Vec<u8>, String> {
    let fault = |fault: Fault| format!("the log cannot be read: {fault}");
    let symbol = |name: &str| info.symbol(name).ok_or_else(|| format!("VMCOREINFO lacks SYMBOL({name})"));
    let start = memory.u64(symbol("log_buf")?).map_err(fault)?;
    let length = u64::from(memory.u32(symbol("log_buf_len")?).map_err(fault)?);
    let end = u64::from(memory.u32(symbol("log_end")?).map_err(fault)?);
    if !length.is_power_of_two() || length > MAX_LOG {
        return Err(format!("the log has {length} bytes: not believed"));
    }
    // `logged_chars` stops growing when the buffer is full; without it, what was never written is zero.
    let logged = info.symbol("logged_chars").and_then(|at| memory.u32(at).ok()).map_or(end, u64::from);
    let mut ring = vec![0; length as usize];
    if let Some((fault, missing)) = memory.read_with_holes(start, &mut ring) {
        notes.push(Note::new("log-hole", format!("{missing} bytes of the log are missing ({fault})")));
    }
    let have = logged.min(end).min(length);
    Ok((end - have..end).map(|at| ring[(at & (length - 1)) as usize]).collect())
}
