//! `receipts.log`: the receipts that this node holds, one a line, appended and never changed.
//!
//! A line is `<CRC-32C, 8 hex digits> <receipt envelope, canonical JSON>\n`. The checksum tells a torn line from a
//! whole one; what a receipt is worth is told by its signature.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use handover::offer::Head;
use handover::receipt::{Disposition, Envelope, Receipt};
use handover::{EvidenceId, ReceiptHash, ServiceId};

use crate::disk::Disk;
use crate::error::{Doing, Error};

pub mod verify;

/// The most that is read of the log: 64 MiB are some 70,000 receipts, a crash an hour for eight years.
const LOG: u64 = 64 << 20;

/// The receipts of a node, as they stand in the file.
#[derive(Debug, Default)]
pub struct Log {
    text: Vec<u8>,
    lines: Vec<Line>,
    newest: HashMap<EvidenceId, usize>,
    heads: HashMap<ServiceId, Head>,
    damaged: usize,
}

/// What is asked of a receipt again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What the service did.
    pub disposition: Disposition,
    /// The epoch of its stream.
    pub epoch: u64,
    /// Its hash.
    pub hash: ReceiptHash,
    /// After how long the service wants to be asked again, in seconds.
    pub retry_after_s: Option<u64>,
}

#[derive(Debug)]
struct Line {
    span: Range<usize>,
    told: Told,
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
            match envelope(&text[line.clone()]).and_then(|e| Some((e.unverified().ok()?, e.hash()))) {
                Some((receipt, hash)) => {
                    log.index(&receipt, hash, line);
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
        let text = text(disk, path)?;
        let length = text.len();
        let (log, whole) = Log::read(text);
        if whole < length {
            disk.truncate(path, whole as u64).doing("cutting a torn line off", path)?;
        }
        Ok(log)
    }

    /// Appends receipts durably, with one fsync for all of them. Those that the log has already are left out: a repeated
    /// answer brings the same receipt again.
    pub(crate) fn append(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        receipts: &[(Envelope, Receipt)],
    ) -> Result<(), Error> {
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        for (envelope, receipt) in receipts {
            let hash = envelope.hash();
            if self.told(&receipt.evidence_id).is_some_and(|told| told.hash == hash) {
                continue;
            }
            let canonical = envelope.bytes();
            let start = self.text.len() + text.len();
            text.extend_from_slice(format!("{:08x} ", crc32c(&canonical)).as_bytes());
            text.extend_from_slice(&canonical);
            lines.push((receipt, hash, start..self.text.len() + text.len()));
            text.push(b'\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        let mut file = disk.append(path).doing("opening", path)?;
        let written = file.write_all(&text).and_then(|()| file.sync());
        if let Err(error) = written {
            // The next append must not continue a torn line. If even this fails, the next start cuts it off.
            disk.truncate(path, self.text.len() as u64).ok();
            return Err(error).doing("appending to", path);
        }
        if let (true, Some(folder)) = (self.text.is_empty(), path.parent()) {
            disk.sync_folder(folder).doing("syncing", folder)?;
        }
        self.text.extend_from_slice(&text);
        lines.into_iter().for_each(|(receipt, hash, span)| self.index(receipt, hash, span));
        Ok(())
    }

    /// The receipt that decides what may become of a piece of evidence: the newest by which the service took
    /// custody, else the newest.
    pub fn get(&self, id: &EvidenceId) -> Option<Envelope> {
        self.newest.get(id).and_then(|&n| envelope(&self.text[self.lines[n].span.clone()]))
    }

    /// What that receipt says, without reading it again.
    pub fn told(&self, id: &EvidenceId) -> Option<&Told> {
        self.newest.get(id).map(|&n| &self.lines[n].told)
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
        self.heads.get(&service).copied().unwrap_or(Head::NONE)
    }

    fn index(&mut self, receipt: &Receipt, hash: ReceiptHash, span: Range<usize>) {
        let &Receipt { disposition, epoch, seq, service, evidence_id, retry_after_s, .. } = receipt;
        // A later `refused` does not take back what an earlier `stored` said.
        let settled = self.told(&evidence_id).is_some_and(|told| told.disposition.takes_custody());
        if disposition.takes_custody() || !settled {
            self.newest.insert(evidence_id, self.lines.len());
        }
        let head = self.heads.entry(service).or_insert(Head::NONE);
        if (epoch, seq) > (head.epoch, head.seq) {
            *head = Head { epoch, seq, hash };
        }
        self.lines.push(Line { span, told: Told { disposition, epoch, hash, retry_after_s } });
    }
}

/// The bytes of a log; none where there is no file. One that is too long is an error: it must not be taken for a torn one.
fn text(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, Error> {
    match disk.read(path, LOG) {
        Ok(contents) if contents.cut => Err(too_long()).doing("reading", path),
        Ok(contents) => Ok(contents.bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).doing("reading", path),
    }
}

/// What to do about it: what still lies here is offered again, and the service, which has it, gives its receipts again.
fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it is longer than {LOG} bytes; move it to a safe place, and a new one is begun"),
    )
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
