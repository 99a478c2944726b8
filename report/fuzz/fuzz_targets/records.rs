//! Any set of records is grouped and joined: each record in at most one group, no record lost.

#![no_main]

use libfuzzer_sys::fuzz_target;
use report::pstore::{Found, group, parse_name};
use report::{Piece, read};

const NAMES: [&str; 8] = [
    "dmesg-ramoops-0",
    "dmesg-ramoops-1",
    "dmesg-efi-179537379201001",
    "dmesg-efi-179537379202001",
    "dmesg-efi_pstore-179537379304002",
    "dmesg-erst-7000000000000000001",
    "console-ramoops-0",
    "dmesg-ramoops-2.enc.z",
];

fuzz_target!(|bytes: &[u8]| {
    // A record is a byte that names it and the text up to the next 0xfe.
    let records: Vec<(&str, &[u8])> = bytes
        .split(|byte| *byte == 0xfe)
        .filter_map(|record| record.split_first())
        .map(|(name, text)| (NAMES[usize::from(*name) % NAMES.len()], text))
        .take(32)
        .collect();
    let found: Vec<Found<'_>> = records
        .iter()
        .map(|(name, text)| Found { name, mtime_us: text.first().map(|byte| i64::from(*byte) << 40), head: text })
        .collect();
    let groups = group(&found);
    let mut grouped: Vec<usize> = groups.into_iter().flat_map(|group| group.records).collect();
    grouped.sort_unstable();
    let known: Vec<usize> = (0..records.len()).filter(|index| parse_name(records[*index].0).is_some()).collect();
    assert_eq!(grouped, known);
    let pieces: Vec<Piece<'_>> = records.iter().map(|(name, bytes)| Piece { name, bytes }).collect();
    read(&pieces);
});
