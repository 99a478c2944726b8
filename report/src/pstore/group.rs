//! Which records belong to one crash, and in which order they are read.

use serde::Serialize;

use super::header::{PartHeader, Reason};
use super::name::{Backend, RecordKind, RecordName, parse_name};

/// One record as found in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The file's name.
    pub name: &'a str,
    /// Its modification time, microseconds since 1970. Times of 1970 itself count as unknown.
    pub mtime_us: Option<i64>,
    /// The first bytes of the record ([`super::header::HEAD_MAX`] are enough), or all of it; decompressed where it was
    /// compressed.
    pub head: &'a [u8],
}

/// The records of one crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Indices of what was passed in, in reading order: the oldest event first, in it Part N … Part 1.
    pub records: Vec<usize>,
    /// What the last event of the group was: the panic, when an oops led to one.
    pub reason: Reason,
    /// When the last part of it was written, microseconds since 1970.
    pub time_us: Option<i64>,
    /// The part numbers that are missing, per event and part.
    pub missing: Vec<Hole>,
}

/// A part of a dump that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// Dumps since boot.
    pub count: u32,
    /// The missing part. (Parts older than the oldest that was found cannot be known.)
    pub part: u32,
}

/// The parts of one dump are written in at most this time. Seen: 13 parts at second T and one at T+1, and a slow
/// firmware that needed three seconds for 28 variables.
const PARTS_WITHIN_S: i64 = 5;
/// A panic that follows an oops by no more than this is its consequence (panic_on_oops panics at once; writing the
/// oops record to slow firmware takes seconds).
const PANIC_WITHIN_S: i64 = 10;
/// One directory; a kernel keeps a few dozen.
const RECORDS_MAX: usize = 65_536;

struct Record {
    index: usize,
    name: RecordName,
    reason: Reason,
    count: u32,
    part: u32,
    seconds: Option<i64>,
}

struct Event {
    records: Vec<Record>,
}

impl Event {
    fn first(&self) -> &Record {
        &self.records[0]
    }

    fn seconds(&self) -> Option<i64> {
        self.records.iter().filter_map(|record| record.seconds).max()
    }

    fn reason(&self) -> Reason {
        self.records
            .iter()
            .map(|record| record.reason)
            .find(|reason| *reason != Reason::Unknown)
            .unwrap_or(Reason::Unknown)
    }

    /// Is `record` a further part of this dump?
    fn takes(&self, record: &Record) -> bool {
        let (first, last) = (self.first(), &self.records[self.records.len() - 1]);
        let many_parts = matches!(first.name.backend, Backend::Efi | Backend::Erst | Backend::Other(_));
        let near = match (self.seconds(), record.seconds) {
            (Some(a), Some(b)) => a.abs_diff(b) <= PARTS_WITHIN_S as u64,
            _ => true,
        };
        let same_reason = self.reason() == record.reason
            || record.reason == Reason::Unknown
            || self.reason() == Reason::Unknown;
        let consecutive = first.name.backend != Backend::Erst || record.name.id.abs_diff(last.name.id) == 1;
        many_parts
            && first.name.backend == record.name.backend
            && first.name.kind == record.name.kind
            && first.count == record.count
            && same_reason
            && near
            && consecutive
            && self.records.iter().all(|known| known.part != record.part)
    }

    /// Did this dump lead to `next`?
    fn leads_to(&self, next: &Event) -> bool {
        let (a, b) = (self.first(), next.first());
        let near = match (self.seconds(), next.seconds()) {
            (Some(a), Some(b)) => (-PARTS_WITHIN_S..=PANIC_WITHIN_S).contains(&(b - a)),
            _ => b.count == a.count + 1,
        };
        a.name.backend == b.name.backend
            && self.reason() == Reason::Oops
            && matches!(next.reason(), Reason::Panic | Reason::Oops)
            && b.count > a.count
            && near
    }
}

/// Puts the records of each crash together. An oops and the panic it led to are one crash; a record that is no dump
/// of the log (console, pmsg, ftrace …) is a group by itself; files that are no records are left out.
pub fn group(found: &[Found<'_>]) -> Vec<Group> {
    let mut records: Vec<Record> =
        found.iter().take(RECORDS_MAX).enumerate().filter_map(|(index, found)| read(index, found)).collect();
    // Oldest first; ids of ERST and EFI grow with time, so they decide where times are equal.
    records.sort_by_key(|r| (r.seconds, r.count, r.name.id, r.index));
    let mut events: Vec<Event> = Vec::new();
    for record in records {
        match events.iter_mut().rev().find(|event| event.takes(&record)) {
            Some(event) => event.records.push(record),
            None => events.push(Event { records: vec![record] }),
        }
    }
    for event in &mut events {
        event.records.sort_by(|a, b| b.part.cmp(&a.part).then(a.index.cmp(&b.index)));
    }
    events.sort_by_key(|event| (event.seconds(), event.first().count, event.first().index));
    let mut chains: Vec<Vec<Event>> = Vec::new();
    for event in events {
        match chains.iter_mut().find(|chain| chain.last().is_some_and(|last| last.leads_to(&event))) {
            Some(chain) => chain.push(event),
            None => chains.push(vec![event]),
        }
    }
    chains.iter().map(|chain| close(chain)).collect()
}

fn read(index: usize, found: &Found<'_>) -> Option<Record> {
    let name = parse_name(found.name)?;
    let header = PartHeader::read(found.head).map(|(header, _)| header);
    let efi = name.efi();
    let header = header.filter(|_| name.kind == RecordKind::Dmesg);
    // A time of the first day of 1970 is a clock that was never set.
    let mtime = found.mtime_us.map(|us| us.div_euclid(1_000_000)).filter(|seconds| *seconds > 86_400);
    Some(Record {
        index,
        reason: header.map_or(Reason::Unknown, |header| header.reason),
        count: efi.map(|efi| efi.count).or(header.map(|header| header.count)).unwrap_or(0),
        part: header.map(|header| header.part).or(efi.map(|efi| efi.part)).unwrap_or(1),
        seconds: efi.map(|efi| efi.time as i64).filter(|seconds| *seconds > 86_400).or(mtime),
        name,
    })
}

fn close(chain: &[Event]) -> Group {
    let mut missing = Vec::new();
    for event in chain {
        let newest_missing = (1..event.first().part).take(RECORDS_MAX);
        missing.extend(
            newest_missing
                .filter(|part| event.records.iter().all(|record| record.part != *part))
                .map(|part| Hole { count: event.first().count, part }),
        );
    }
    let last = &chain[chain.len() - 1];
    Group {
        records: chain.iter().flat_map(|event| event.records.iter().map(|record| record.index)).collect(),
        reason: last.reason(),
        time_us: last.seconds().map(|seconds| seconds.saturating_mul(1_000_000)),
        missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[(&str, i64, &str)], expected: &[&[usize]]) {
        let found: Vec<Found<'_>> = found
            .iter()
            .map(|(name, seconds, head)| Found {
                name,
                mtime_us: Some(seconds * 1_000_000),
                head: head.as_bytes(),
            })
            .collect();
        let groups: Vec<Vec<usize>> = group(&found).into_iter().map(|group| group.records).collect();
        assert_eq!(groups, expected);
    }

    const T: i64 = 1_795_373_792;

    #[test]
    fn parts_of_one_dump_stay_together_when_the_clock_ticks_between_them() {
        check(
            &[
                ("dmesg-efi-179537379201001", T, "Panic#1 Part1\n"),
                ("dmesg-efi-179537379202001", T, "Panic#1 Part2\n"),
                ("dmesg-efi-179537379303001", T + 1, "Panic#1 Part3\n"),
            ],
            &[&[2, 1, 0]],
        );
    }

    #[test]
    fn an_oops_and_the_panic_it_led_to_are_one_crash() {
        check(
            &[("dmesg-ramoops-1", T, "Panic#2 Part1\n"), ("dmesg-ramoops-0", T, "Oops#1 Part1\n")],
            &[&[1, 0]],
        );
    }

    #[test]
    fn an_oops_that_was_survived_and_a_later_death_are_two() {
        check(
            &[("dmesg-ramoops-0", T, "Oops#1 Part1\n"), ("dmesg-ramoops-1", T + 3600, "Panic#2 Part1\n")],
            &[&[0], &[1]],
        );
    }

    #[test]
    fn the_same_part_twice_is_two_dumps() {
        check(
            &[
                ("dmesg-efi-179537379201001", T, "Panic#1 Part1\n"),
                ("dmesg-efi-179537379501001", T + 3, "Panic#1 Part1\n"),
            ],
            &[&[0], &[1]],
        );
    }

    #[test]
    fn erst_runs_end_where_the_count_changes() {
        check(
            &[
                ("dmesg-erst-700", T, "Panic#1 Part1\n"),
                ("dmesg-erst-701", T, "Panic#1 Part2\n"),
                ("dmesg-erst-702", T + 900, "Panic#1 Part1\n"),
            ],
            &[&[1, 0], &[2]],
        );
    }

    #[test]
    fn a_missing_part_is_known_when_an_older_one_is_there() {
        let found = [
            Found { name: "dmesg-efi-179537379201001", mtime_us: None, head: b"" },
            Found { name: "dmesg-efi-179537379203001", mtime_us: None, head: b"" },
        ];
        assert_eq!(group(&found)[0].missing, [Hole { count: 1, part: 2 }]);
    }

    #[test]
    fn what_is_no_dump_of_the_log_is_alone() {
        check(
            &[("console-ramoops-0", T, ""), ("dmesg-ramoops-0", T, "Panic#1 Part1\n"), ("readme", T, "")],
            &[&[0], &[1]],
        );
    }
}
