//! From the pieces of one crash to one log: parts in order, text that two pieces both hold once, holes marked.

use std::borrow::Cow;

use crate::census::Census;
use crate::excerpt;
use crate::line::{Before, Prefix};
use crate::log::{KernelTime, Log};
use crate::note::Note;
use crate::profile::Profile;
use crate::pstore::header::{HEAD_MAX, is_total, split_ecc};
use crate::pstore::{self, Found, PartHeader, Reason};
use crate::read::Piece;
use crate::wrapping::{self, Inside};

/// The joined log and what was learned on the way.
pub(crate) struct Joined {
    pub(crate) log: Log,
    pub(crate) notes: Vec<Note>,
    /// The reports of logs that are too large to be kept whole.
    pub(crate) census: Census,
    /// Why the newest record was written, when there were records at all.
    pub(crate) reason: Option<Reason>,
}

/// One line of a piece.
#[derive(Clone, Copy)]
struct Raw<'a> {
    text: &'a [u8],
    piece: usize,
    /// Something is missing before it.
    hole: Option<Hole>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hole {
    /// A part of a dump that was not found.
    Lost,
    /// Quiet lines of a huge log.
    Unread,
}

/// What must agree for two lines to be the same: they may come with and without a level.
fn key<'a>(line: &Raw<'a>) -> (Option<KernelTime>, &'a [u8]) {
    let prefix = Prefix::read(line.text, Profile::Scoring, Before::default());
    (prefix.time, line.text[prefix.length..].trim_ascii_end())
}

/// So many lines in a row must agree for two texts to overlap: kernels whose clock stood still print the same line
/// with the same time more than once.
const OVERLAP_LINES: usize = 3;

pub(crate) fn join(pieces: &[Piece<'_>], profile: Profile) -> Joined {
    let mut notes = Vec::new();
    let mut census = Census::default();
    let texts: Vec<Cow<'_, [u8]>> = pieces.iter().map(|piece| text(piece, &mut notes)).collect();
    let (groups, others) = order(pieces, &texts);
    let mut merged: Vec<Raw<'_>> = Vec::new();
    let mut reason = None;
    for event in &groups {
        let (lines, why) = records(event, pieces, &texts, &mut notes);
        reason = why.or(reason);
        merge(&mut merged, lines);
    }
    for piece in others {
        let text = &texts[piece];
        let ranges = excerpt::ranges(text, profile, &mut census);
        let kept: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        if ranges.len() > 1 && text.len() <= excerpt::WHOLE_MAX {
            notes.push(Note::new(
                "lines-cut",
                format!("of its lines the first and the last {} are kept", excerpt::LINES_MAX / 2),
            ));
        } else if kept < text.len() {
            notes.push(Note::new(
                "log-excerpt",
                format!(
                    "of {} KiB the {} KiB around the first report of each title and around the last reports are \
                     kept; all {} reports are named and counted",
                    text.len() >> 10,
                    kept >> 10,
                    census.reports
                ),
            ));
        }
        let mut lines = Vec::new();
        for range in ranges {
            let first = lines.len();
            lines.extend(plain(&text[range], piece));
            if let Some(line) = lines.get_mut(first).filter(|_| first > 0) {
                line.hole = Some(Hole::Unread);
            }
        }
        merge(&mut merged, lines);
    }
    let mut log = Log::default();
    for piece in pieces {
        log.piece(piece.name);
    }
    log.reserve(merged.len(), merged.iter().map(|line| line.text.len() + 1).sum());
    let inside: Vec<Inside> = texts.iter().map(|text| Inside::of(text, profile)).collect();
    for (number, line) in merged.iter().enumerate() {
        let piece = line.piece.min(usize::from(u16::MAX)) as u16;
        log.push(line.text, inside[line.piece], number as u32 + 1, piece, profile);
        if line.hole.is_some() {
            log.mark_hole();
        }
        if line.hole == Some(Hole::Lost) {
            notes.push(Note::at(
                "part-missing",
                log.lines().len().saturating_sub(1),
                "a part of the dump is missing before this line",
            ));
        }
    }
    notes.extend(log.damage());
    Joined { log, notes, census, reason }
}

/// The text of a piece, decompressed when it is the payload of a record the kernel could not read.
fn text<'a>(piece: &Piece<'a>, notes: &mut Vec<Note>) -> Cow<'a, [u8]> {
    let name = pstore::parse_name(piece.name);
    let Some(name) = name.filter(|name| name.compressed || pstore::nvram::is_raw(name, piece.bytes)) else {
        return wrapping::decode(piece.bytes);
    };
    let payload = match name.backend {
        pstore::Backend::Nvram => pstore::nvram::payload(piece.bytes),
        _ => piece.bytes,
    };
    match pstore::decompress(payload) {
        Some(done) => {
            if !done.complete {
                notes.push(Note::new(
                    "payload-damaged",
                    format!("the payload of {} is damaged: what came before is shown", piece.name),
                ));
            }
            Cow::Owned(done.text)
        }
        None => {
            notes.push(Note::new(
                "payload-unreadable",
                format!(
                    "{} of backend {} is compressed in a way we lack, or damaged",
                    piece.name, name.backend
                ),
            ));
            Cow::Borrowed(&[])
        }
    }
}

/// The events among the pieces, each with its parts in reading order, and the pieces that are plain logs.
fn order(pieces: &[Piece<'_>], texts: &[Cow<'_, [u8]>]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let is_dump = |index: &usize| {
        let name = pstore::parse_name(pieces[*index].name);
        name.is_some_and(|name| name.kind == pstore::RecordKind::Dmesg)
    };
    let (dumps, others): (Vec<usize>, Vec<usize>) = (0..pieces.len()).partition(is_dump);
    let found: Vec<Found<'_>> = dumps
        .iter()
        .map(|index| Found { name: pieces[*index].name, mtime_us: None, head: &texts[*index] })
        .collect();
    let groups = pstore::group(&found);
    // A crash may be an oops and a panic: each is an event of its own here.
    let mut events: Vec<Vec<usize>> = Vec::new();
    let mut last = None;
    for index in groups.iter().flat_map(|group| &group.records).map(|record| dumps[*record]) {
        let count = PartHeader::read(&texts[index]).map(|(header, _)| (header.count, header.reason));
        let part = PartHeader::read(&texts[index]).map(|(header, _)| header.part);
        match events
            .last_mut()
            .filter(|_| last.is_some_and(|(known, before)| known == count && part < before))
        {
            Some(event) => event.push(index),
            None => events.push(vec![index]),
        }
        last = Some((count, part));
    }
    (events, others)
}

/// The lines of one event: parts in order, without their headers and ECC lines.
fn records<'a>(
    event: &[usize],
    pieces: &[Piece<'_>],
    texts: &'a [Cow<'_, [u8]>],
    notes: &mut Vec<Note>,
) -> (Vec<Raw<'a>>, Option<Reason>) {
    let mut lines: Vec<Raw<'a>> = Vec::new();
    let (mut reason, mut before) = (None, None);
    for index in event {
        let mut text: &[u8] = &texts[*index];
        if text.len() > excerpt::WHOLE_MAX {
            // No backend keeps so much; the newest lines stand at the end.
            text = &text[text.len() - excerpt::WHOLE_MAX..];
            notes.push(Note::new("record-cut", format!("only the end of {} is read", pieces[*index].name)));
        }
        let (body, ecc) = split_ecc(text);
        if let Some(ecc) = ecc.filter(|ecc| !ecc.starts_with(b"ECC: No errors")) {
            let said = String::from_utf8_lossy(ecc).into_owned();
            notes.push(Note::new("ecc", format!("{}: {said}", pieces[*index].name)));
        }
        let header = PartHeader::read(body);
        let start = header.map_or(0, |(_, length)| length);
        let part = header.map(|(header, _)| header.part);
        let after_hole = matches!((before, part), (Some(before), Some(part)) if before > part + 1);
        let first = lines.len();
        lines.extend(plain(&body[start..], *index));
        if let Some(line) = lines.get_mut(first) {
            line.hole = after_hole.then_some(Hole::Lost);
        }
        reason = header.map(|(header, _)| header.reason).or(reason);
        before = part;
    }
    (lines, reason)
}

/// The lines of a text. Archives keep the part headers inside (`dmesg.txt` of systemd): they are no lines of the log.
fn plain(text: &[u8], piece: usize) -> Vec<Raw<'_>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    let ends = memchr::memchr_iter(b'\n', text).chain([text.len()]);
    let mut start = 0;
    let lines = ends.map(|end| &text[std::mem::replace(&mut start, end + 1)..end]);
    lines.filter(|line| !is_part_header(line)).map(|text| Raw { text, piece, hole: None }).collect()
}

fn is_part_header(line: &[u8]) -> bool {
    let candidate = line.len() <= HEAD_MAX / 2 && line.first().is_some_and(u8::is_ascii_uppercase);
    let is_header = |line: &str| PartHeader::parse(line).is_some() || is_total(line);
    candidate && std::str::from_utf8(line).is_ok_and(|line| is_header(line.trim_end()))
}

/// Puts `newer` behind `merged`; what both hold is kept once.
fn merge<'a>(merged: &mut Vec<Raw<'a>>, newer: Vec<Raw<'a>>) {
    if merged.is_empty() {
        *merged = newer;
        return;
    }
    let (Some((skipped, newer_head)), Some(newer_tail)) = (head(&newer), tail(&newer)) else {
        merged.extend(newer);
        return;
    };
    let newer_from = find(merged, &newer_head, 0);
    if newer_from.is_some_and(|from| find(merged, &newer_tail, from).is_some()) {
        return;
    }
    let covers = |head, tail| find(&newer, head, 0).is_some_and(|from| find(&newer, tail, from).is_some());
    if let (Some((_, old_head)), Some(old_tail)) = (head(merged), tail(merged))
        && covers(&old_head, &old_tail)
    {
        *merged = newer;
        return;
    }
    match newer_from {
        Some(from) => {
            merged.truncate(from);
            merged.extend(&newer[skipped..]);
        }
        None => merged.extend(newer),
    }
}

type Key<'a> = (Option<KernelTime>, &'a [u8]);

/// The first lines that carry a time, and how many stand before them. The very first line may be cut in the middle and
/// is passed over.
fn head<'a>(lines: &[Raw<'a>]) -> Option<(usize, [Key<'a>; OVERLAP_LINES])> {
    let skip = usize::from(lines.len() > OVERLAP_LINES);
    (skip..lines.len().saturating_sub(OVERLAP_LINES - 1))
        .take(64)
        .find_map(|at| Some((at, window(lines, at)?)))
}

fn tail<'a>(lines: &[Raw<'a>]) -> Option<[Key<'a>; OVERLAP_LINES]> {
    (0..lines.len().saturating_sub(OVERLAP_LINES - 1)).rev().take(64).find_map(|at| window(lines, at))
}

fn window<'a>(lines: &[Raw<'a>], at: usize) -> Option<[Key<'a>; OVERLAP_LINES]> {
    let keys = [key(&lines[at]), key(&lines[at + 1]), key(&lines[at + 2])];
    keys.iter().all(|(time, _)| time.is_some()).then_some(keys)
}

fn find(lines: &[Raw<'_>], wanted: &[Key<'_>; OVERLAP_LINES], from: usize) -> Option<usize> {
    (from..lines.len().saturating_sub(OVERLAP_LINES - 1))
        .find(|at| (0..OVERLAP_LINES).all(|offset| key(&lines[at + offset]) == wanted[offset]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("<6>[    {n}.000000] line {n}\n")).collect()
    }

    #[track_caller]
    fn check(pieces: &[(&str, String)], expected: std::ops::Range<u32>, codes: &[&str]) {
        let pieces: Vec<Piece<'_>> =
            pieces.iter().map(|(name, text)| Piece { name, bytes: text.as_bytes() }).collect();
        let joined = join(&pieces, Profile::Production);
        let wanted: Vec<String> = expected.map(|n| format!("line {n}")).collect();
        let found: Vec<_> =
            (0..joined.log.lines().len()).map(|index| joined.log.message_text(index).into_owned()).collect();
        assert_eq!(found, wanted);
        assert_eq!(joined.notes.iter().map(|note| &*note.code).collect::<Vec<_>>(), codes);
    }

    #[test]
    fn parts_are_read_from_the_highest_to_the_lowest() {
        check(
            &[
                ("dmesg-efi-179537379201001", format!("Panic#1 Part1\n{}", lines(6..9))),
                ("dmesg-efi-179537379303001", format!("Panic#1 Part3\n{}", lines(0..3))),
                ("dmesg-efi-179537379202001", format!("Panic#1 Part2\n{}", lines(3..6))),
            ],
            0..9,
            &[],
        );
    }

    #[test]
    fn what_the_oops_and_the_panic_both_hold_is_read_once() {
        let oops = ("dmesg-ramoops-0", format!("Oops#1 Part1\n{}\nECC: No errors detected\n", lines(0..10)));
        check(&[oops.clone(), ("dmesg-ramoops-1", format!("Panic#2 Part1\n{}", lines(0..15)))], 0..15, &[]);
        check(&[oops.clone(), ("dmesg-ramoops-1", format!("Panic#2 Part1\n{}", lines(5..15)))], 0..15, &[]);
        check(&[oops, ("console-ramoops-0", lines(2..8).replace("<6>", ""))], 0..10, &[]);
    }

    #[test]
    fn a_hole_is_told_and_so_is_what_ecc_could_not_mend() {
        check(
            &[
                ("dmesg-efi-179537379201001", format!("Panic#1 Part1\n{}", lines(3..6))),
                ("dmesg-efi-179537379203001", format!("Panic#1 Part3\n{}", lines(0..3))),
            ],
            0..6,
            &["part-missing"],
        );
        let mended =
            format!("Panic#1 Part1\n{}\nECC: 3 Corrected bytes, 1 unrecoverable blocks\n", lines(0..3));
        check(&[("dmesg-ramoops-0", mended)], 0..3, &["ecc"]);
    }

    #[test]
    fn part_headers_inside_an_archive_are_no_lines() {
        check(
            &[("dmesg.txt", format!("Panic#1 Part2\n{}Panic#1 Part1\n{}", lines(0..2), lines(2..4)))],
            0..4,
            &[],
        );
    }

    #[test]
    fn of_a_record_no_backend_keeps_the_end_is_read() {
        let huge =
            format!("Panic#1 Part1\n{}{}", "x".repeat(excerpt::WHOLE_MAX), "\n<6>[    0.000000] line 0\n");
        let joined = join(&[Piece { name: "dmesg-ramoops-0", bytes: huge.as_bytes() }], Profile::Production);
        assert_eq!(joined.notes[0].code, "record-cut");
        assert_eq!(joined.log.message_text(1), "line 0");
    }

    #[test]
    fn records_of_flash_and_of_nvram_have_headers_of_their_own() {
        let text = |range| format!("Panic#2 Part1\n{}", lines(range));
        check(&[("dmesg-pstore_blk-3", format!("Panic: Total 7 times\n{}", text(0..4)))], 0..4, &[]);
        check(&[("log.txt", format!("Panic: Total 7 times\n{}", text(0..4)))], 0..4, &[]);
        let payload = text(0..4);
        let header = [&b"\x13\x88"[..], &(payload.len() as u16).to_be_bytes(), &[0; 8]].concat();
        let record = [&header, payload.as_bytes(), b"older"].concat();
        let joined = join(&[Piece { name: "dmesg-nvram-1", bytes: &record }], Profile::Production);
        assert_eq!(
            (joined.log.lines().len(), joined.reason, joined.notes.len()),
            (4, Some(Reason::Panic), 0)
        );
    }

    #[test]
    fn a_payload_that_cannot_be_read_is_told() {
        check(&[("dmesg-ramoops-0.enc.z", "nonsense".into())], 0..0, &["payload-unreadable"]);
    }
}
