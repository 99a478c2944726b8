//! A whole report against a library: every frame with its place, and what is missing to place the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use report::{Arch, BuildId, Code, Frame, GuiltyFile, Parsed, Place, Report, guilty_file};
use serde::Serialize;

use crate::decode::short_path;
use crate::disassemble::{Instruction, listing};
use crate::error::chain;
use crate::image::Image;
use crate::resolve::{Location, Quality, Query, Resolution};
use crate::store::{Library, Wanted};
use crate::text::CodeMatch;

/// A frame beside what was found out about it. The frame itself stays in the report, at the same position.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedFrame {
    /// `None`: there is no image for it, or it is not in an image (generated code, bare addresses).
    pub resolution: Option<Resolution>,
}

impl ResolvedFrame {
    /// The calls to show, innermost first; empty when nothing is certain.
    pub fn chain(&self) -> &[Location] {
        self.resolution.as_ref().map_or(&[], Resolution::chain)
    }
}

/// The frames of one trace, in the order of [`report::Trace::frames`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedTrace {
    /// As many as the trace has.
    pub frames: Vec<ResolvedFrame>,
}

/// What debug information says about a report. It never changes the report's title.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResolvedReport {
    /// For [`Report::ip`], where that is.
    pub ip: Option<ResolvedFrame>,
    /// The build that it was resolved with.
    pub ip_build_id: Option<BuildId>,
    /// How the printed instruction bytes compare with those of the image at [`Report::ip`].
    pub code: Option<CodeMatch>,
    /// The instructions around it: from the printed bytes alone, or from the image where the log has none.
    pub listing: Vec<Instruction>,
    /// The instructions are the image's: what the kernel patches while it boots is not as it ran.
    pub listing_of_image: bool,
    /// In the order of [`Report::traces`].
    pub traces: Vec<ResolvedTrace>,
    /// Images that would resolve more, each once.
    pub missing: Vec<Wanted>,
    /// Images whose symbols contradict the log (two frames or more with sizes that no symbol has): another build. None
    /// of their lines are given.
    pub mismatched: Vec<Wanted>,
    /// Images that could not be read, with the reason.
    pub failures: Vec<String>,
    /// The folders of the sources, to be taken off paths that people read.
    pub source_roots: Vec<String>,
}

impl ResolvedReport {
    /// The file to blame, by what was resolved; see [`report::guilty_file`].
    pub fn guilty_file(&self, report: &Report) -> Option<GuiltyFile> {
        let frames = self.ip.iter().chain(self.traces.iter().flat_map(|trace| &trace.frames));
        let header =
            report.source.as_deref().map(|source| source.rsplit_once(':').map_or(source, |(file, _)| file));
        let mut places: Vec<(&str, String)> = header.map(|file| ("", file.to_owned())).into_iter().collect();
        places.extend(
            frames
                .flat_map(ResolvedFrame::chain)
                .map(|location| (location.function.as_str(), short_path(&location.file, &self.source_roots))),
        );
        let places: Vec<Place<'_>> = places.iter().map(|(function, file)| Place { function, file }).collect();
        guilty_file(&report.title, &places)
    }
}

/// Bytes on each side of the instruction pointer: x86 prints 42 before it and 21 after.
const AROUND: usize = 42;
/// The largest functions of a kernel have some 100 KB.
const MAX_FUNCTION: usize = 1 << 18;

/// Resolves all frames of a report.
pub fn resolve_report(parsed: &Parsed, report: &Report, library: &Library) -> ResolvedReport {
    let mut work = Work {
        parsed,
        library,
        images: BTreeMap::new(),
        missing: BTreeSet::new(),
        failures: BTreeSet::new(),
    };
    let mut ip = report.ip.as_ref().map(|frame| work.frame(frame));
    let code =
        report.ip.as_ref().zip(ip.as_mut()).and_then(|(frame, resolved)| work.code(report, frame, resolved));
    let mut traces: Vec<ResolvedTrace> = report
        .traces
        .iter()
        .map(|trace| ResolvedTrace { frames: trace.frames.iter().map(|frame| work.frame(frame)).collect() })
        .collect();
    work.callers(report, ip.as_mut(), &mut traces);
    let mismatched = work.mismatched(report, &ip, &traces);
    let all = report.ip.iter().zip(ip.iter_mut()).chain(
        report
            .traces
            .iter()
            .zip(&mut traces)
            .flat_map(|(trace, resolved)| trace.frames.iter().zip(&mut resolved.frames)),
    );
    for (frame, resolved) in all {
        if mismatched.contains(&work.wanted(frame)) {
            resolved.resolution = None;
        }
    }
    let printed = report.code.as_ref().map(|code| listing(code, parsed.kernel.arch));
    let of_image = || work.listing(report.ip.as_ref()?, ip.as_ref()?).filter(|lines| !lines.is_empty());
    let of_image = if printed.is_none() { of_image() } else { None };
    let roots: BTreeSet<String> =
        work.images.values().flatten().flat_map(|image| image.source_roots()).collect();
    let of_ip = report.ip.as_ref().and_then(|frame| work.images.get(&work.wanted(frame))?.as_ref());
    let ip_build_id = of_ip.and_then(|image| image.build_id().cloned());
    ResolvedReport {
        ip,
        ip_build_id,
        code,
        listing_of_image: of_image.is_some(),
        listing: printed.or(of_image).unwrap_or_default(),
        traces,
        missing: work.missing.into_iter().collect(),
        mismatched: mismatched.into_iter().collect(),
        failures: work.failures.into_iter().collect(),
        source_roots: roots.into_iter().collect(),
    }
}

struct Work<'r> {
    parsed: &'r Parsed,
    library: &'r Library,
    images: BTreeMap<Wanted, Option<Arc<Image>>>,
    missing: BTreeSet<Wanted>,
    failures: BTreeSet<String>,
}

impl Work<'_> {
    fn wanted(&self, frame: &Frame) -> Wanted {
        let release = self.parsed.kernel.release.clone();
        match &frame.module {
            None => Wanted { build_id: self.parsed.kernel.build_id.clone(), module: None, release },
            Some(module) => {
                let listed = self.parsed.modules.iter().find(|listed| listed.name == *module);
                let build_id = frame.build_id.clone().or_else(|| listed?.build_id.clone());
                Wanted { build_id, module: Some(module.clone()), release }
            }
        }
    }

    fn frame(&mut self, frame: &Frame) -> ResolvedFrame {
        let nothing = ResolvedFrame { resolution: None };
        // Code generated at run time is in no image, whatever its name says; of a decoded log the offsets are gone.
        if frame.bpf.is_some() || frame.is_decoded() {
            return nothing;
        }
        let Some(symbol) = frame.symbol.as_deref() else {
            return ResolvedFrame { resolution: self.address(frame) };
        };
        let wanted = self.wanted(frame);
        let library = self.library;
        let image = self.images.entry(wanted.clone()).or_insert_with(|| library.find(&wanted));
        let Some(image) = image else {
            self.missing.insert(wanted);
            return nothing;
        };
        let query = Query {
            symbol,
            offset: frame.offset,
            size: frame.size,
            exact: frame.exact,
            reliable: frame.reliable,
        };
        match image.resolve(&query) {
            Ok(resolution) => {
                if resolution.quality == Quality::SymbolOnly && !image.has_lines() {
                    self.missing.insert(wanted);
                }
                ResolvedFrame { resolution: Some(resolution) }
            }
            Err(e) => {
                self.failures.insert(chain(&e));
                nothing
            }
        }
    }

    /// A bare address: of the kernel proper, when the log tells how far KASLR moved it.
    fn address(&mut self, frame: &Frame) -> Option<Resolution> {
        let wanted = self.wanted(frame);
        let library = self.library;
        let image = self.images.entry(wanted.clone()).or_insert_with(|| library.find(&wanted)).clone()?;
        let moved = self.parsed.kernel.kaslr.or_else(|| moved(self.parsed, &image))?;
        let address = frame.address?.checked_sub(moved)?;
        let resolution = image.resolve_address(address, frame.exact).ok()?;
        (resolution.quality != Quality::NotFound).then_some(resolution)
    }

    /// Compares the printed bytes with each candidate; where only one of several has them, it is that one.
    fn code(&mut self, report: &Report, frame: &Frame, resolved: &mut ResolvedFrame) -> Option<CodeMatch> {
        let code = report.code.as_ref()?;
        let image = self.images.get(&self.wanted(frame))?.as_ref()?;
        let resolution = resolved.resolution.as_mut()?;
        let compared =
            resolution.candidates.iter().map(|at| image.compare_code(at.address, code).ok().flatten());
        let compared: Vec<Option<CodeMatch>> = compared.collect();
        let mut proven =
            compared.iter().enumerate().filter(|(_, found)| found.is_some_and(CodeMatch::is_proof));
        if let (Some((only, found)), None) = (proven.next(), proven.next()) {
            resolution.settle(only);
            return *found;
        }
        match compared.as_slice() {
            [only] => *only,
            _ => None,
        }
    }

    /// The instructions around an instruction pointer whose place is certain, by the image's own code.
    fn listing(&self, frame: &Frame, resolved: &ResolvedFrame) -> Option<Vec<Instruction>> {
        let resolution = resolved.resolution.as_ref().filter(|_| frame.exact)?;
        let [only] = resolution.candidates.as_slice() else { return None };
        if !(resolution.quality.is_certain() || resolution.quality == Quality::SymbolOnly) {
            return None;
        }
        let image = self.images.get(&self.wanted(frame))?.as_ref()?;
        // From the start of the function, or the instructions would not be in step.
        let mark = usize::try_from(frame.offset).ok().filter(|&mark| mark <= MAX_FUNCTION)?;
        let text = image.text(only.address.checked_sub(frame.offset)?, mark + AROUND).ok()??;
        let (unit, bytes) = match self.parsed.kernel.arch {
            // Printed words have their most significant byte first.
            Arch::Arm64 => {
                (4, text.as_chunks::<4>().0.iter().flat_map(|word| word.iter().rev()).copied().collect())
            }
            _ => (1, text.into_owned()),
        };
        let mut lines = listing(&Code { bytes, unit, mark: Some(mark) }, self.parsed.kernel.arch);
        lines.retain(|line| line.offset.unsigned_abs() <= AROUND as u64);
        for line in lines.iter_mut().filter(|line| unit == 1 && line.bytes.ends_with(&[0; 4])) {
            let end = only.address.wrapping_add_signed(line.offset).wrapping_add(line.bytes.len() as u64);
            if image.may_differ(end - 1).unwrap_or(false) {
                line.text.push_str("  # filled in by the loader");
            }
        }
        Some(lines)
    }

    /// Settles frames of several candidates by their callers: the next frame's call leads to one of them.
    fn callers(&self, report: &Report, ip: Option<&mut ResolvedFrame>, traces: &mut [ResolvedTrace]) {
        let mut ip = report.ip.as_ref().zip(ip);
        for (trace, resolved) in report.traces.iter().zip(traces) {
            let of_trace = trace.frames.iter().zip(&mut resolved.frames);
            // The kernel's guesses (`?`) are no callers of anybody.
            let mut frames: Vec<(&Frame, &mut ResolvedFrame)> =
                ip.take().into_iter().chain(of_trace).filter(|(frame, _)| frame.reliable).collect();
            for at in 1..frames.len() {
                let (callees, callers) = frames.split_at_mut(at);
                if let (Some((callee, found)), Some((caller, known))) = (callees.last_mut(), callers.first())
                {
                    self.called(callee, found, caller, known);
                }
            }
        }
    }

    fn called(&self, callee: &Frame, found: &mut ResolvedFrame, caller: &Frame, known: &ResolvedFrame) {
        let Some(resolution) = found.resolution.as_mut().filter(|r| r.quality == Quality::Ambiguous) else {
            return;
        };
        let wanted = self.wanted(caller);
        let image =
            self.images.get(&wanted).and_then(Option::as_ref).filter(|_| wanted == self.wanted(callee));
        let (Some(image), Some([from])) = (image, known.resolution.as_ref().map(|r| r.candidates.as_slice()))
        else {
            return;
        };
        let starts: Vec<u64> =
            resolution.candidates.iter().map(|at| at.address.wrapping_sub(callee.offset)).collect();
        if !caller.exact
            && let Some(only) = image.called(from.address, &starts)
        {
            resolution.settle(only);
        }
    }

    /// The images for which at least two sizes disagree, and more than agree.
    fn mismatched(
        &self,
        report: &Report,
        ip: &Option<ResolvedFrame>,
        traces: &[ResolvedTrace],
    ) -> BTreeSet<Wanted> {
        let traced = report
            .traces
            .iter()
            .zip(traces)
            .flat_map(|(trace, resolved)| trace.frames.iter().zip(&resolved.frames));
        let mut votes: BTreeMap<Wanted, (usize, usize)> = BTreeMap::new();
        for (frame, resolved) in report.ip.iter().zip(ip).chain(traced) {
            let (agree, differ) = votes.entry(self.wanted(frame)).or_default();
            match resolved.resolution.as_ref().map(|resolution| resolution.quality) {
                Some(Quality::SizeDiffers) => *differ += 1,
                Some(Quality::Sized | Quality::Ambiguous | Quality::FunctionPointer) => *agree += 1,
                _ => {}
            }
        }
        votes
            .into_iter()
            .filter(|(_, (agree, differ))| *differ >= 2 && differ > agree)
            .map(|(wanted, _)| wanted)
            .collect()
    }
}

/// How far KASLR moved the kernel, from a frame that has both a name and an address. Only a panic prints the offset.
fn moved(parsed: &Parsed, image: &Image) -> Option<u64> {
    let frames = parsed.reports.iter().flat_map(|report| {
        report
            .ip
            .iter()
            .chain(report.traces.iter().flat_map(|trace| &trace.frames))
            .filter(|f| f.module.is_none())
    });
    let mut both = frames.filter_map(|frame| Some((frame.symbol.as_deref()?, frame.address?, frame)));
    both.find_map(|(symbol, address, frame)| {
        let query = Query { symbol, offset: frame.offset, size: frame.size, exact: true, reliable: true };
        let resolution = image.resolve(&query).ok().filter(|found| found.quality == Quality::Sized)?;
        address.checked_sub(resolution.candidates.first()?.address)
    })
}
