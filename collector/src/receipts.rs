//! `receipts.log`: the receipts that this node holds, one a line, appended and never changed.
//!
//! A line is `<CRC-32C, 8 hex digits> <receipt envelope, canonical JSON>\n`. The checksum tells a torn line from a
//! whole one; what a receipt is worth is told by its signature.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use handover::offer::Head;
use handover::receipt::{Envelope, Receipt};
use handover::{EvidenceId, ServiceId};

use crate::disk::Disk;
use crate::error::{Doing, Error};

pub mod verify;

/// The most that is read of the log: 64 MiB are some 70,000 receipts, a crash an hour for eight years.
pub(crate) const LOG: u64 = 64 << 20;

/// The receipts of a node, as they stand in the file.
#[derive(Debug, Default)]
pub struct Log {
    text: Vec<u8>,
    lines: Vec<Line>,
    newest: HashMap<EvidenceId, usize>,
    damaged: usize,
}

#[derive(Debug)]
struct Line {
    span: Range<usize>,
    takes_custody: bool,
}

impl Log {
    /// Reads a log. Returns it and the length up to which it is whole: what is behind is a torn last line.
    pub fn read(text: Vec<u8>) -> (Log, usize) {
        let mut log = Log::default();
        let (mut start, mut whole) = (0, 0);
        let mut bad = 0;
        while let Some(length) = text[start..].iter().position(|&b| b == b'\n') {
            let line = start..start + length;
            start = line.end + 1;
            match envelope(&text[line.clone()]).and_then(|e| e.unverified().ok()) {
                Some(receipt) => {
                    log.index(&receipt, line);
                    (whole, log.damaged) = (start, log.damaged + bad);
                    bad = 0;
                }
                None => bad += 1,
            }
        }
        log.text = text;
        log.text.truncate(whole);
        (log, whole)
    }

    /// Opens the log of a spool and cuts off a torn last line.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Log, Error> {
        let text = match disk.read(path, LOG) {
            Ok(contents) => contents.bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).doing("reading", path),
        };
        let length = text.len();
        let (log, whole) = Log::read(text);
        if whole < length {
            disk.truncate(path, whole as u64).doing("cutting a torn line off", path)?;
        }
        Ok(log)
    }

    /// Appends a receipt durably.
    pub(crate) fn append(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        envelope: &Envelope,
        receipt: &Receipt,
    ) -> Result<(), Error> {
        let text = envelope.bytes();
        let mut line = format!("{:08x} ", crc32c(&text)).into_bytes();
        line.extend_from_slice(&text);
        line.push(b'\n');

        let mut file = disk.append(path).doing("opening", path)?;
        let written = file.write_all(&line).and_then(|()| file.sync());
        if let Err(error) = written {
            // The next append must not continue a torn line. If even this fails, the next start cuts it off.
            disk.truncate(path, self.text.len() as u64).ok();
            return Err(error).doing("appending to", path);
        }
        if let (true, Some(folder)) = (self.text.is_empty(), path.parent()) {
            disk.sync_folder(folder).doing("syncing", folder)?;
        }
        let start = self.text.len();
        self.text.extend_from_slice(&line);
        self.index(receipt, start..self.text.len() - 1);
        Ok(())
    }

    /// The receipt that decides what may become of a piece of evidence: the newest by which the service took
    /// custody, else the newest.
    pub fn get(&self, id: &EvidenceId) -> Option<Envelope> {
        self.newest.get(id).and_then(|&n| envelope(&self.text[self.lines[n].span.clone()]))
    }

    /// Every receipt, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Envelope> {
        self.lines.iter().filter_map(|line| envelope(&self.text[line.span.clone()]))
    }

    /// How many receipts there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lines between whole ones that are not readable any more.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// The newest receipt from a service: highest epoch, highest number.
    pub fn head(&self, service: ServiceId) -> Head {
        self.iter()
            .filter_map(|envelope| Some((envelope.unverified().ok()?, envelope)))
            .filter(|(receipt, _)| receipt.service == service)
            .max_by_key(|(receipt, _)| (receipt.epoch, receipt.seq))
            .map_or(Head::NONE, |(receipt, envelope)| Head {
                epoch: receipt.epoch,
                seq: receipt.seq,
                hash: envelope.hash(),
            })
    }

    fn index(&mut self, receipt: &Receipt, span: Range<usize>) {
        let takes_custody = receipt.disposition.takes_custody();
        // A later `refused` does not take back what an earlier `stored` said.
        let settled = self.newest.get(&receipt.evidence_id).is_some_and(|&n| self.lines[n].takes_custody);
        if takes_custody || !settled {
            self.newest.insert(receipt.evidence_id, self.lines.len());
        }
        self.lines.push(Line { span, takes_custody });
    }
}

fn envelope(line: &[u8]) -> Option<Envelope> {
    let (sum, text) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32c(text)).then(|| Envelope::read(text).ok())?
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4), a bit at a time: a few hundred bytes a receipt.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli() {
        // RFC 3720 B.4: 32 bytes of zeros, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
