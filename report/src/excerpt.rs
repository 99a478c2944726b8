//! What is read of a log that is far larger than any kernel's buffer: its beginning, and the neighbourhood of every
//! line that could start a report.

use std::ops::Range;

use crate::profile::Profile;
use crate::scan;

/// A log up to this size is read whole. Log buffers have 128 KiB to 16 MiB, nearly always less than 2; what is larger
/// is a collection of boots or days, most of it quiet.
pub(crate) const WHOLE_MAX: usize = 4 << 20;
/// The beginning tells the kernel.
const HEAD: usize = 64 << 10;
/// Before a header: modules loading, devices failing.
const BEFORE: usize = 8 << 10;
/// Behind it: the longest report, all-CPU backtraces of a big machine.
const AFTER: usize = 256 << 10;

/// The parts of `text` that are read, in order, each beginning and ending at a line's end.
pub(crate) fn ranges(text: &[u8], profile: Profile) -> Vec<Range<usize>> {
    let all = 0..text.len();
    if text.len() <= WHOLE_MAX {
        return vec![all];
    }
    let mut ranges = Vec::from([Range { start: 0, end: HEAD }]);
    for header in scan::headers(text, profile) {
        let wanted = header.saturating_sub(BEFORE)..header.saturating_add(AFTER).min(text.len());
        match ranges.last_mut() {
            Some(last) if wanted.start <= last.end => last.end = last.end.max(wanted.end),
            _ => ranges.push(wanted),
        }
    }
    // When even that is too much, the oldest half is kept and the newest: the first report often is the root, the
    // last one the death.
    let size: usize = ranges.iter().map(Range::len).sum();
    if size > WHOLE_MAX {
        let mut oldest =
            take(ranges.iter().cloned(), WHOLE_MAX / 2, |range, left| range.start..range.start + left);
        let mut newest =
            take(ranges.into_iter().rev(), WHOLE_MAX / 2, |range, left| range.end - left..range.end);
        newest.reverse();
        oldest.append(&mut newest);
        ranges = oldest;
    }
    ranges.iter().map(|range| whole_lines(text, range)).filter(|range| !range.is_empty()).collect()
}

fn take(
    ranges: impl Iterator<Item = Range<usize>>,
    mut left: usize,
    cut: impl Fn(&Range<usize>, usize) -> Range<usize>,
) -> Vec<Range<usize>> {
    let mut taken = Vec::new();
    for range in ranges {
        if left == 0 {
            break;
        }
        let range = if range.len() > left { cut(&range, left) } else { range };
        left -= range.len();
        taken.push(range);
    }
    taken
}

fn whole_lines(text: &[u8], range: &Range<usize>) -> Range<usize> {
    let start = match range.start {
        0 => 0,
        start => memchr::memchr(b'\n', &text[start - 1..range.end]).map_or(range.end, |at| start + at),
    };
    let end = if range.end == text.len() {
        range.end
    } else {
        memchr::memrchr(b'\n', &text[start..range.end]).map_or(start, |at| start + at + 1)
    };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(bytes: usize) -> String {
        "[    1.000000] nothing happened here\n".repeat(bytes / 37)
    }

    #[test]
    fn a_log_of_usual_size_is_read_whole() {
        let log = quiet(100_000);
        assert_eq!(
            ranges(log.as_bytes(), Profile::Production),
            Vec::from([Range { start: 0, end: log.len() }])
        );
    }

    #[test]
    fn of_a_huge_log_the_neighbourhood_of_the_headers_is_read() {
        let header = "[    2.000000] BUG: it happened\n";
        let log = quiet(8 << 20) + header + &quiet(1 << 20);
        let ranges = ranges(log.as_bytes(), Profile::Production);
        let at = log.find("BUG:").unwrap();
        assert!(ranges.len() == 2 && ranges[1].contains(&at) && ranges[1].len() < 400 << 10);
        for range in &ranges {
            assert!(log[range.clone()].starts_with('[') && log[range.clone()].ends_with('\n'));
        }
    }

    #[test]
    fn of_too_many_reports_the_oldest_and_the_newest_are_read() {
        let log = "[    2.000000] BUG: it happened\n".repeat(400_000);
        let ranges = ranges(log.as_bytes(), Profile::Production);
        assert!(ranges.iter().map(Range::len).sum::<usize>() <= WHOLE_MAX);
        assert!(ranges[0].start == 0 && ranges[ranges.len() - 1].end == log.len());
    }
}
