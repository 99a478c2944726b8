//! Naming a report: which format applies, and what it makes of the text.

use std::borrow::Cow;

use crate::body::Body;
use crate::chooser::Chosen;
use crate::corrupted::Corrupted;
use crate::explain::Trail;
use crate::log::Log;
use crate::recipe::{Kitchen, Place};
use crate::rules::{Format, Token};
use crate::syscall;
use crate::title;

/// A report with a name.
pub(crate) struct Named {
    pub(crate) title: String,
    pub(crate) alts: Vec<String>,
    pub(crate) format: Option<&'static Format>,
    pub(crate) corrupted: Option<Corrupted>,
    pub(crate) uncleaned: String,
    /// The function of the title as the log has it.
    pub(crate) raw_frame: Option<String>,
}

/// The most places at which the formats are tried: a token that comes more often in one report is noise.
const PLACES_MAX: usize = 64;

/// Names the report that lies in the kitchen. None when its body does not hold the token.
pub(crate) fn name(kitchen: &Kitchen<'_>, token: &'static Token, trail: &mut Trail) -> Option<Named> {
    let Kitchen { log, body, .. } = *kitchen;
    let places = places(log, body, token);
    let first = *places.first()?;
    let mut best: Option<Place> = None;
    let mut found: Option<Named> = None;
    let mut alts = Vec::new();
    // The earliest match wins, at equal places the earlier format. What a format has given as further names stays,
    // even when another format then matches earlier.
    for format in &token.formats {
        let Some(place) = places.iter().copied().find(|place| format.matches_at(log, body, *place)) else {
            continue;
        };
        if best.is_some_and(|best| place > best || place == best && found.is_some()) {
            continue;
        }
        if best.is_none_or(|best| place < best) {
            found = None;
            best = Some(place);
        }
        let Some((from, captures)) =
            places.iter().find_map(|from| Some((*from, format.read(log, body, *from)?)))
        else {
            continue;
        };
        let (mut frames, mut corrupted) = (Vec::new(), None);
        if let Some(recipe) = &format.recipe {
            let extracted = kitchen.run(recipe, from, trail);
            frames = extracted.frames;
            corrupted = (!extracted.complete).then_some(Corrupted::NoFrames);
        }
        let canonical: Vec<&str> =
            frames.iter().map(|frame| frame.as_ref().map_or("corrupted", |frame| &frame.name)).collect();
        let uncleaned = fill(format.name, &captures, &canonical);
        alts.extend(format.alts.iter().map(|alt| fill(alt, &captures, &canonical)));
        variants(format, &captures, &frames, &canonical, &mut alts);
        found = Some(Named {
            title: title::clean(&uncleaned),
            alts: Vec::new(),
            format: Some(format),
            corrupted: corrupted.or(format.corrupted.then_some(Corrupted::HeaderLost)),
            uncleaned,
            raw_frame: frames.first().and_then(Option::as_ref).map(|frame| frame.raw.to_string()),
        });
    }
    let mut named = found.unwrap_or_else(|| {
        let rest = text_at(log, body, first);
        let uncleaned = String::from_utf8_lossy(rest).into_owned();
        Named {
            title: title::clean(&uncleaned),
            alts: Vec::new(),
            format: None,
            corrupted: best.map(|_| Corrupted::NoBody),
            uncleaned,
            raw_frame: None,
        }
    });
    for alt in alts.iter().map(|alt| title::clean(alt)) {
        if alt != named.title && !named.alts.contains(&alt) {
            named.alts.push(alt);
        }
    }
    Some(named)
}

/// Where the token stands, in the lines that count for the title.
fn places(log: &Log, body: &Body, token: &Token) -> Vec<Place> {
    let mut places = Vec::new();
    for line in body.headers.iter().map(|line| *line as usize) {
        let columns = token.finder.find_iter(body.line(log, line));
        places.extend(columns.map(|column| Place { line, column }).take(PLACES_MAX - places.len()));
    }
    places
}

fn text_at<'a>(log: &'a Log, body: &Body, place: Place) -> &'a [u8] {
    body.line(log, place.line).get(place.column..).unwrap_or(&[])
}

/// How many line ends a title may run over (a task can be named so).
const ACROSS_MAX: usize = 3;

impl Format {
    fn matches_at(&self, log: &Log, body: &Body, place: Place) -> bool {
        text_at(log, body, place).starts_with(self.literal.as_bytes())
            && !(self.at_start && place != Place { line: 0, column: 0 })
            && self.title.is_match(&self.text(log, body, place))
    }

    /// What the title is looked for in: the rest of the line, with some more when it may run on.
    fn text<'a>(&self, log: &'a Log, body: &Body, place: Place) -> Cow<'a, [u8]> {
        let first = text_at(log, body, place);
        if !self.across {
            return Cow::Borrowed(first);
        }
        let mut text = first.to_vec();
        for at in (place.line + 1..body.cut).take(ACROSS_MAX) {
            text.push(b'\n');
            text.extend_from_slice(body.line(log, at));
        }
        Cow::Owned(text)
    }

    /// The captures of the whole form, when the report at `place` has all of it.
    fn read<'a>(&self, log: &'a Log, body: &Body, place: Place) -> Option<Vec<Cow<'a, str>>> {
        let head = self.head.as_ref().unwrap_or(&self.title);
        let mut captures = Vec::new();
        match self.text(log, body, place) {
            Cow::Borrowed(text) => take(head, text, &mut captures)?,
            // Such forms capture nothing.
            Cow::Owned(text) => head.is_match(&text).then_some(())?,
        }
        let mut line = place.line;
        for later in &self.body {
            let last = if later.adjacent { (line + 2).min(body.cut) } else { body.cut };
            line = (line + 1..last).find(|at| later.regex.is_match(body.line(log, *at)))?;
            take(&later.regex, body.line(log, line), &mut captures)?;
        }
        Some(captures)
    }
}

fn take<'a>(regex: &regex::bytes::Regex, text: &'a [u8], into: &mut Vec<Cow<'a, str>>) -> Option<()> {
    if regex.captures_len() == 1 {
        return regex.is_match(text).then_some(());
    }
    let found = regex.captures(text)?;
    into.extend(
        found
            .iter()
            .skip(1)
            .map(|group| group.map_or(Cow::Borrowed(""), |group| String::from_utf8_lossy(group.as_bytes()))),
    );
    Some(())
}

/// Fills `{1}`, `{2}` … with captures and `{F}`, `{F2}` with frames.
fn fill(template: &str, captures: &[Cow<'_, str>], frames: &[&str]) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((key, behind)) = after.split_once('}') else { break };
        rest = behind;
        out.push_str(match key {
            "F" => frames.first().copied().unwrap_or("corrupted"),
            "F2" => frames.get(1).copied().unwrap_or("corrupted"),
            _ => key
                .parse::<usize>()
                .ok()
                .and_then(|n| captures.get(n.checked_sub(1)?))
                .map_or("", |text| text),
        });
    }
    out + rest
}

/// The names under which the same bug came before system call prefixes and shared waits were taken together.
fn variants(
    format: &Format,
    captures: &[Cow<'_, str>],
    frames: &[Option<Chosen<'_>>],
    canonical: &[&str],
    alts: &mut Vec<String>,
) {
    for (index, frame) in frames.iter().enumerate() {
        let Some(frame) = frame else { continue };
        let with = |name: &str, template: &str| {
            let mut names = canonical.to_vec();
            names[index] = name;
            fill(template, captures, &names)
        };
        if frame.raw != frame.name {
            for name in std::iter::once(frame.raw.as_ref()).chain(syscall::stripped(&frame.raw)) {
                alts.push(with(name, format.name));
                alts.extend(format.alts.iter().map(|alt| with(name, alt)));
            }
        }
        if let Some(also) = &frame.also {
            let others = std::iter::once(also.raw.as_ref())
                .chain(syscall::stripped(&also.raw))
                .chain([also.name.as_ref()]);
            for name in others {
                alts.extend(format.alts.iter().map(|alt| with(name, alt)));
            }
        }
    }
}
