//! The header that PowerPC's NVRAM keeps before a log. pstore takes it off; a copy of the partition still has it.

use super::header::PartHeader;
use super::name::{Backend, RecordKind, RecordName};

/// `OOPS_HDR_VERSION` of arch/powerpc/include/asm/nvram.h, big endian.
const VERSION: [u8; 2] = 5000u16.to_be_bytes();
/// `struct oops_log_info`: version, length of the log, time; all big endian.
const LOG_INFO: usize = 2 + 2 + 8;
/// `struct err_log_info`, which the firmware's own partitions begin with: type, sequence number.
const ERROR_INFO: usize = 4 + 4;

/// Is it a copy of the partition rather than what pstore makes of it?
pub(crate) fn is_raw(name: &RecordName, record: &[u8]) -> bool {
    let is_log = name.backend == Backend::Nvram && name.kind == RecordKind::Dmesg;
    is_log && PartHeader::read(record).is_none() && header(record).is_some()
}

/// The log behind the header; all of `record` when it has none.
pub(crate) fn payload(record: &[u8]) -> &[u8] {
    let Some(at) = header(record) else { return record };
    let length = usize::from(u16::from_be_bytes([record[at + 2], record[at + 3]]));
    let log = &record[at + LOG_INFO..];
    &log[..length.min(log.len())]
}

fn header(record: &[u8]) -> Option<usize> {
    let is_there = |at: &usize| record.len() >= at + LOG_INFO && record[*at..].starts_with(&VERSION);
    [0, ERROR_INFO].into_iter().find(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pstore::parse_name;

    #[test]
    fn the_log_stands_behind_the_header() {
        let text = b"Oops#1 Part1\n<4>[ 1.0] x\n";
        let mut record = vec![0x13, 0x88, 0, text.len() as u8, 0, 0, 0, 0, 0, 0, 0, 1];
        record.extend(text);
        record.extend(b"what an older log left");
        let name = parse_name("dmesg-nvram-1").unwrap();
        let in_firmware = [&[0, 0, 0, 5, 0, 0, 0, 9][..], &record].concat();
        for record in [&record, &in_firmware] {
            assert!(is_raw(&name, record));
            assert_eq!(payload(record), text);
        }
        assert!(!is_raw(&name, text) && !is_raw(&parse_name("dmesg-efi-1").unwrap(), &record));
        assert_eq!(
            (payload(text), payload(&record[..8]), payload(&record[..12])),
            (&text[..], &record[..8], &b""[..])
        );
    }
}
