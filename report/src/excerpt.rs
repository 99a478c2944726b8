//! What is kept of a log that is far larger than any kernel's buffer: its beginning, the first report of each title,
//! and the last reports. All reports in it are named and counted.

use std::collections::VecDeque;
use std::ops::Range;

use crate::assemble::Reader;
use crate::census::Census;
use crate::log::Log;
use crate::profile::Profile;
use crate::scan;
use crate::wrapping::Inside;

/// A log up to this size is kept whole. Log buffers have 128 KiB to 16 MiB, nearly always less than 2; what is larger
/// is a collection of boots or days, most of it quiet.
pub(crate) const WHOLE_MAX: usize = 4 << 20;
/// So many lines are kept of a log of that size; a real one has a fifth. Each costs some eighty bytes, so that a log of
/// line feeds alone would take many times its size.
pub(crate) const LINES_MAX: usize = 1 << 18;
/// So much is kept of a larger one: half of it for the first reports, which often hold the root, half for the last,
/// which hold the death.
const KEPT_MAX: usize = 2 << 20;
/// The beginning tells the kernel.
const HEAD: usize = 64 << 10;
/// Before a header: modules loading, devices failing.
const BEFORE: usize = 8 << 10;
/// Behind it: the longest report, all-CPU backtraces of a big machine.
const AFTER: usize = 256 << 10;
/// Behind the start of the next report: what the check for damage looks at.
const BEYOND: usize = 8 << 10;
/// So much is read at a time.
const CHUNK: usize = 4 << 20;

/// The parts of `text` that are kept, in order, each beginning and ending at a line's end. When that is not all of it,
/// its reports are counted.
pub(crate) fn ranges(text: &[u8], profile: Profile, census: &mut Census) -> Vec<Range<usize>> {
    if text.len() <= WHOLE_MAX {
        return whole(text);
    }
    let mut oldest = VecDeque::from([Range { start: 0, end: HEAD }]);
    let mut newest = VecDeque::new();
    let mut kept = (HEAD, 0);
    reports(text, profile, census, |range, is_first| {
        if is_first && kept.0 + range.len() <= KEPT_MAX / 2 {
            kept.0 += keep(&mut oldest, range.clone());
        }
        kept.1 += keep(&mut newest, range);
        while kept.1 > KEPT_MAX / 2
            && let Some(range) = newest.pop_front()
        {
            kept.1 -= range.len();
        }
    });
    oldest.append(&mut newest);
    oldest.make_contiguous().sort_by_key(|range| range.start);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for range in oldest {
        let range = whole_lines(text, &range);
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
    ranges
}

/// All of a log, or its first and last lines when it has more than any kernel's.
fn whole(text: &[u8]) -> Vec<Range<usize>> {
    let head = memchr::memchr_iter(b'\n', text).nth(LINES_MAX / 2);
    let tail = memchr::memrchr_iter(b'\n', text).nth(LINES_MAX / 2);
    match (head, tail) {
        (Some(head), Some(tail)) if head < tail => vec![0..head, tail + 1..text.len()],
        _ => Vec::from([Range { start: 0, end: text.len() }]),
    }
}

/// Adds a range that starts behind the start of the last one, and tells how many bytes that adds: what both hold is
/// held once.
fn keep(ranges: &mut VecDeque<Range<usize>>, mut range: Range<usize>) -> usize {
    let Some(last) = ranges.back_mut().filter(|last| last.end > range.start) else {
        ranges.push_back(range.clone());
        return range.len();
    };
    range.end = range.end.max(last.end);
    let added = range.end - last.end;
    last.end = range.start.max(last.start);
    ranges.push_back(range);
    added
}

/// Names and counts all reports of `text`, and gives the neighbourhood of each, and whether it is the first of its
/// title. Quiet stretches are only searched for headers.
fn reports(text: &[u8], profile: Profile, census: &mut Census, mut take: impl FnMut(Range<usize>, bool)) {
    let mut done = 0;
    let mut room = (Log::default(), Vec::new());
    while let Some(header) = scan::next_header(text, done, profile) {
        let start = line_end(text, header.saturating_sub(BEFORE));
        let end = line_before(text, start, start + CHUNK);
        // What begins near the end of a chunk is read with the next one.
        let until = if end == text.len() { end } else { end.saturating_sub(AFTER).max(header + 1) };
        chunk(&text[start..end], profile, &mut room);
        let (log, starts) = (&room.0, &room.1);
        let place = |line: usize| starts.get(line).map_or(end, |at| start + at);
        let marks = scan::marks(log, profile);
        let reader = Reader::new(log, &marks, profile, false);
        for index in reader.headers() {
            let at = place(marks[index].line);
            if !(done..until).contains(&at) {
                continue;
            }
            let mut is_first = false;
            if census.has_room() {
                let Some(title) = reader.title(index) else { continue };
                is_first = census.count(&title, log.lines()[marks[index].line].time);
            }
            let next = marks[index + 1..].iter().find(|mark| mark.ends_report);
            let next = next.map_or(end, |mark| place(mark.line));
            take(at.saturating_sub(BEFORE)..(next + BEYOND).min(at + AFTER).min(text.len()), is_first);
        }
        done = line_end(text, until - 1).max(until);
    }
}

/// The lines of a part of a text, and where each begins in it, in the room of the part before: fresh memory for each
/// part would cost a fifth of the time.
fn chunk(text: &[u8], profile: Profile, (log, starts): &mut (Log, Vec<usize>)) {
    log.clear();
    starts.clear();
    let piece = log.piece("");
    let inside = Inside::of(text, profile);
    log.reserve(0, text.len());
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
        log.push(&text[start..end], inside, 0, piece, profile);
        starts.push(start);
        start = end + 1;
    }
}

/// Behind the end of the line that holds byte `at`; the start of the text is one too.
fn line_end(text: &[u8], at: usize) -> usize {
    match at {
        0 => 0,
        at if at >= text.len() => text.len(),
        at => memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end + 1),
    }
}

fn whole_lines(text: &[u8], range: &Range<usize>) -> Range<usize> {
    let start = line_end(text, range.start);
    start..line_before(text, start, range.end)
}

/// The last end of a line between `start` and `end`: a line may be longer than all that is kept.
fn line_before(text: &[u8], start: usize, end: usize) -> usize {
    if end >= text.len() || start >= end {
        return end.clamp(start, text.len());
    }
    memchr::memrchr(b'\n', &text[start..end]).map_or(start, |at| start + at + 1)
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
            ranges(log.as_bytes(), Profile::Production, &mut Census::default()),
            Vec::from([Range { start: 0, end: log.len() }])
        );
    }

    #[test]
    fn of_too_many_lines_the_first_and_the_last_are_kept() {
        let log = "first\n".to_owned() + &"\n".repeat(WHOLE_MAX - 12) + "last\n";
        let ranges = ranges(log.as_bytes(), Profile::Production, &mut Census::default());
        let lines = |range: &Range<usize>| log[range.clone()].lines().count();
        assert!(ranges.iter().map(lines).sum::<usize>() <= LINES_MAX + 2);
        assert!(log[ranges[0].clone()].starts_with("first\n") && log[ranges[1].clone()].ends_with("last\n"));
    }

    #[test]
    fn of_a_huge_log_the_neighbourhood_of_the_headers_is_read() {
        let header = "[    2.000000] BUG: it happened\n";
        let log = quiet(8 << 20) + header + &quiet(1 << 20);
        let ranges = ranges(log.as_bytes(), Profile::Production, &mut Census::default());
        let at = log.find("BUG:").unwrap();
        assert!(ranges.len() == 2 && ranges[1].contains(&at) && ranges[1].len() < 400 << 10);
        for range in &ranges {
            assert!(log[range.clone()].starts_with('[') && log[range.clone()].ends_with('\n'));
        }
    }

    #[test]
    fn all_reports_are_counted_and_the_first_and_the_last_are_kept() {
        let log = quiet(WHOLE_MAX)
            + &("[    2.000000] BUG: it happened\n".to_owned() + &quiet(4000)).repeat(500)
            + &quiet(WHOLE_MAX)
            + "[    3.000000] BUG: it ended\n";
        let mut census = Census::default();
        let ranges = ranges(log.as_bytes(), Profile::Production, &mut census);
        assert!(ranges.iter().map(Range::len).sum::<usize>() <= KEPT_MAX + 2 * AFTER);
        let kept = |at: Option<usize>| ranges.iter().any(|range| range.contains(&at.unwrap()));
        assert!(kept(log.find("BUG:")) && kept(log.rfind("BUG: it happened")) && kept(log.rfind("BUG:")));
        let counts: Vec<usize> = census.into_counts().iter().map(|count| count.reports).collect();
        assert_eq!(counts, [500, 1]);
    }
}
