//! A whole log, annotated for people to read: at 80 columns, in colour only where somebody asks for it.

use std::fmt::Write;
use std::path::Path;

use report::{Frame, Parsed, Report, Trace};

use crate::resolve::{Location, Quality, Resolution};
use crate::resolved::{ResolvedFrame, ResolvedReport, resolve_report};
use crate::source::{around, context};
use crate::store::{Library, Wanted};

/// Terminals have 80 columns unless they say otherwise, and so have mails.
const WIDTH: usize = 80;
/// Columns of a register and of its name.
const REGISTER: usize = 24;

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style<'s> {
    /// Columns that text may take. A name that has more stays whole.
    pub width: usize,
    /// Use ANSI colours.
    pub colour: bool,
    /// Show the lines around the instruction that faulted, from this folder of sources.
    pub source: Option<&'s Path>,
}

impl Default for Style<'_> {
    fn default() -> Self {
        Style { width: WIDTH, colour: false, source: None }
    }
}

impl Style<'_> {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// The text in lines that fit.
    pub(crate) fn wrapped(self, out: &mut String, indent: usize, text: &str) {
        for line in lines_of(text, self.width.saturating_sub(indent)) {
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    }

    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn place(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// The annotated text of one crash: every report with its facts and its traces resolved, then the damage, then what
/// is missing to say more.
pub fn annotate(parsed: &Parsed, library: &Library, style: Style) -> String {
    let mut out = String::new();
    let cause = parsed.cause();
    let mut missing = Vec::new();
    for (number, report) in parsed.reports.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let resolved = resolve_report(parsed, report, library);
        one(&mut out, parsed, report, &resolved, library, cause == Some(number), style);
        missing.extend(resolved.missing);
    }
    if parsed.reports.is_empty() {
        out.push_str("No crash in this log.\n");
    }
    if !parsed.notes.is_empty() {
        let _ = writeln!(out, "\n{}", style.bold("Notes"));
        for note in &parsed.notes {
            let line = note.line.map_or(String::new(), |line| format!("line {}: ", line + 1));
            style.wrapped(&mut out, 2, &format!("{line}{}", note.text));
        }
    }
    missing.sort();
    missing.dedup();
    if !missing.is_empty() {
        let _ = writeln!(out, "\n{}", style.bold("Debug information that would say more"));
        for wanted in &missing {
            style.wrapped(&mut out, 2, &describe(wanted));
        }
    }
    out
}

fn one(
    out: &mut String,
    parsed: &Parsed,
    report: &Report,
    resolved: &ResolvedReport,
    library: &Library,
    cause: bool,
    style: Style,
) {
    for line in lines_of(&report.title, style.width) {
        let _ = writeln!(out, "{}", style.bold(line));
    }
    style.wrapped(out, 2, &facts(parsed, report, cause));
    if let Some(corrupted) = report.corrupted {
        style.wrapped(out, 2, &format!("the text is damaged: {corrupted}"));
    }
    if let Some(taint) = report.taint.as_ref().filter(|taint| !taint.letters.is_empty()) {
        let meanings: Vec<&str> = taint.meanings().map(|(_, _, meaning)| meaning).collect();
        style.wrapped(out, 2, &format!("tainted {}: {}", taint.letters, meanings.join("; ")));
    }
    if let Some(hardware) = &report.hardware {
        style.wrapped(out, 2, &format!("hardware {hardware}"));
    }
    if let Some(guilty) = resolved.guilty_file(report) {
        style.wrapped(out, 2, &format!("most likely about {}", guilty.path));
    }
    if let (Some(ip), Some(found)) = (&report.ip, &resolved.ip) {
        let _ = writeln!(out, "\n  {}", style.bold("Instruction"));
        frame(out, ip, found, resolved, style);
        if let Some(at) = found.chain().first() {
            let of_folder = style.source.and_then(|folder| context(at, folder));
            let of_server = || around(&library.source(resolved.ip_build_id.as_ref()?, &at.file)?, at.line);
            for (number, text) in of_folder.or_else(of_server).unwrap_or_default() {
                let mark = if number == at.line { '>' } else { ' ' };
                let _ = writeln!(out, "   {mark}{number:>6}  {}", text.replace('\t', "    "));
            }
        }
    }
    code(out, resolved, style);
    for (trace, found) in report.traces.iter().zip(&resolved.traces) {
        let _ = writeln!(out, "\n  {}", style.bold(&heading(trace)));
        let mut context = report::Context::Unknown;
        for (at, found) in trace.frames.iter().zip(&found.frames) {
            if at.context != context {
                context = at.context;
                let name = format!("{context:?}").to_lowercase();
                let _ = writeln!(out, "   {}", style.faint(&format!("<{name}>")));
            }
            frame(out, at, found, resolved, style);
        }
    }
    if !report.registers.is_empty() {
        let _ = writeln!(out, "\n  {}", style.bold("Registers"));
        for row in report.registers.chunks((style.width.saturating_sub(2) / REGISTER).clamp(1, 3)) {
            let row: Vec<String> = row.iter().map(|r| format!("{:>6} {:016x}", r.name, r.value)).collect();
            let _ = writeln!(out, "  {}", row.join(" "));
        }
    }
    for wanted in &resolved.mismatched {
        let text = format!("no lines from {}: its symbols are not those of this log", describe(wanted));
        let _ = writeln!(out);
        style.wrapped(out, 2, &text);
    }
    for failure in &resolved.failures {
        let _ = writeln!(out);
        style.wrapped(out, 2, failure);
    }
}

/// Instructions shown before and after the one that faulted: the printed bytes hold some 25.
const AROUND: usize = 5;

fn code(out: &mut String, resolved: &ResolvedReport, style: Style) {
    if let Some(fault) = resolved.listing.iter().position(|line| line.faulting) {
        let _ = writeln!(out);
        let lines =
            resolved.listing.iter().skip(fault.saturating_sub(AROUND)).take(fault.min(AROUND) + 1 + AROUND);
        for line in lines {
            let bytes: Vec<String> = line.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mark = if line.faulting { "->" } else { "  " };
            let text = format!("  {mark} {:+4} {:<30} {}", line.offset, bytes.join(" "), line.text);
            let _ = writeln!(out, "{}", if line.faulting { style.bold(&text) } else { text });
        }
    }
    if resolved.listing_of_image {
        style.wrapped(
            out,
            2,
            "the log has no instruction bytes: these are the image's, before the kernel patched itself",
        );
    }
    match resolved.code {
        Some(code) if code.contradicts() => {
            style.wrapped(
                out,
                2,
                "the instruction bytes are not those of the image: another build, or patched code",
            );
        }
        Some(code) if code.is_proof() => {
            style.wrapped(out, 2, "the instruction bytes are those of the image");
        }
        _ => {}
    }
}

fn facts(parsed: &Parsed, report: &Report, cause: bool) -> String {
    let mut facts = vec![if cause {
        "killed the machine".to_string()
    } else {
        format!("{:?}", report.severity).to_lowercase()
    }];
    if report.intentional {
        facts.push("on purpose".into());
    }
    facts.extend(parsed.kernel.release.iter().map(|release| format!("kernel {release}")));
    facts.extend(report.at.iter().map(|at| format!("{at} s after boot")));
    facts.extend(report.cpu.iter().map(|cpu| format!("CPU {cpu}")));
    match (report.pid, &report.comm) {
        (Some(pid), Some(comm)) => facts.push(format!("{comm} ({pid})")),
        (Some(pid), None) => facts.push(format!("PID {pid}")),
        (None, Some(comm)) => facts.push(comm.clone()),
        (None, None) => {}
    }
    facts.extend(report.subsystem.iter().cloned());
    facts.join(", ")
}

fn heading(trace: &Trace) -> String {
    match trace.cpu {
        Some(cpu) if !trace.heading.contains("cpu") => format!("{} (CPU {cpu})", trace.heading),
        _ => trace.heading.clone(),
    }
}

/// One frame as the kernel printed it; behind it the place, or below it the chain where calls were inlined.
fn frame(out: &mut String, frame: &Frame, found: &ResolvedFrame, report: &ResolvedReport, style: Style) {
    let mark = if frame.reliable { ' ' } else { '?' };
    let mut text = format!("   {mark} {}", printed(frame));
    if let Some(line) = frame.kernel_line.as_ref().filter(|_| found.chain().is_empty()) {
        let _ = write!(text, " ({}:{})", line.file, line.line);
    }
    if !found.chain().is_empty() {
        return with_chain(out, &text, frame.reliable, found.chain(), &report.source_roots, style);
    }
    if let Some(remark) = found.resolution.as_ref().and_then(remark) {
        let _ = write!(text, "  {remark}");
    }
    let text = if frame.reliable { text } else { style.faint(&text) };
    let _ = writeln!(out, "{}", text.trim_end());
    ambiguous(out, found, report);
}

/// A frame's text with its place behind it, or with the chain of inlined calls below it.
pub(crate) fn with_chain(
    out: &mut String,
    text: &str,
    reliable: bool,
    chain: &[Location],
    source_roots: &[String],
    style: Style,
) {
    let shown = if reliable { text.to_string() } else { style.faint(text) };
    match chain {
        [] => {
            let _ = writeln!(out, "{shown}");
        }
        [only] => {
            let place = place(only, source_roots);
            let fits = text.chars().count() + 2 + place.chars().count() <= style.width;
            let gap = if fits { "  ".to_string() } else { format!("\n{:9}", "") };
            let _ = writeln!(out, "{shown}{gap}{}", style.place(&place));
        }
        chain => {
            let _ = writeln!(out, "{shown}");
            for location in chain {
                let inlined = if location.inlined { " (inlined)" } else { "" };
                let place = style.place(&place(location, source_roots));
                let _ = writeln!(out, "         {} {place}{inlined}", location.function);
            }
        }
    }
}

fn printed(frame: &Frame) -> String {
    let mut text = match (&frame.symbol, frame.address) {
        (Some(symbol), _) if frame.is_decoded() => symbol.clone(),
        (Some(symbol), _) => match rustc_demangle::try_demangle(symbol) {
            Ok(name) => format!("{name:#}+{:#x}", frame.offset),
            Err(_) => format!("{symbol}+{:#x}", frame.offset),
        },
        (None, Some(address)) => format!("{address:#x}"),
        (None, None) => "?".into(),
    };
    if let Some(size) = frame.size {
        let _ = write!(text, "/{size:#x}");
    }
    if let Some(module) = &frame.module {
        let _ = write!(text, " [{module}]");
    }
    text
}

fn remark(resolution: &Resolution) -> Option<String> {
    Some(match resolution.quality {
        Quality::SizeDiffers => "(size differs: another build?)".into(),
        Quality::Ambiguous => format!("(one of {})", resolution.candidates.len()),
        Quality::FunctionPointer => format!("(pointer to {})", resolution.candidates.first()?.symbol),
        Quality::NotFound => "(no such symbol)".into(),
        _ => return None,
    })
}

fn ambiguous(out: &mut String, found: &ResolvedFrame, report: &ResolvedReport) {
    let Some(resolution) = found.resolution.as_ref().filter(|r| r.quality == Quality::Ambiguous) else {
        return;
    };
    for candidate in &resolution.candidates {
        if let Some(location) = candidate.chain.first() {
            let place = place(location, &report.source_roots);
            let _ = writeln!(out, "         {} {place}?", location.function);
        }
    }
}

fn place(location: &Location, source_roots: &[String]) -> String {
    match (location.file.as_str(), location.line) {
        ("", _) => "?".into(),
        (file, 0) => short_path(file, source_roots),
        (file, line) => format!("{}:{line}", short_path(file, source_roots)),
    }
}

/// A path for people: below the folder of the sources, without `./` and `dir/..`.
pub fn short_path(path: &str, source_roots: &[String]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !last.is_empty() && *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    let below = source_roots.iter().find_map(|root| path.strip_prefix(root.as_str()).map(str::to_string));
    below.unwrap_or(path)
}

fn describe(wanted: &Wanted) -> String {
    let mut text = match &wanted.module {
        Some(module) => format!("module {module}"),
        None => "vmlinux".to_string(),
    };
    if let Some(release) = &wanted.release {
        let _ = write!(text, " of {release}");
    }
    if let Some(build_id) = &wanted.build_id {
        let _ = write!(text, ", build-id {build_id}");
    }
    text
}

/// Breaks a text at spaces; a word that is too long stays whole.
fn lines_of(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while rest.chars().count() > width {
        let limit = rest.char_indices().nth(width + 1).map_or(rest.len(), |(at, _)| at);
        let cut = rest[..limit].rfind(' ').or_else(|| rest.find(' '));
        let Some(cut) = cut else { break };
        lines.push(rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_below_the_sources() {
        let roots = ["/build/linux-6.1/".to_string()];
        for (path, want) in [
            ("/build/linux-6.1/kernel/panic.c", "kernel/panic.c"),
            ("/build/linux-6.1/debian/build/../../kernel/./fork.c", "kernel/fork.c"),
            ("/other/a.c", "/other/a.c"),
            ("../a.c", "../a.c"),
        ] {
            assert_eq!(short_path(path, &roots), want);
        }
    }

    #[test]
    fn long_lines_break_at_spaces_and_long_words_stay_whole() {
        assert_eq!(lines_of("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(lines_of("aaaaaaaa bb", 5), ["aaaaaaaa", "bb"]);
        assert_eq!(lines_of("", 5), [""]);
    }
}
