//! One frame of a trace against one image: `name+0xoff/0xsize` to function, file and line.
//!
//! A name alone does not say where a frame is: static functions of one name are common (`kthread` is one). The size
//! that the kernel prints beside it tells them apart, and tells a wrong build from the right one. Where it does not,
//! all candidates are given: better no lines than wrong lines.

use serde::Serialize;

use crate::error::Error;
use crate::image::Image;
use crate::index::{Index, Step, SymbolAt};
use crate::symtab::{is_prefix_symbol, stem};

/// Same-named statics come in dozens (`init`, `probe`); more are not worth anybody's time.
const MAX_CANDIDATES: usize = 64;

/// Behind the last symbol of a section may come others without symbols, and the rest of a page: two pages at most.
const TAIL: u64 = 0x2000;

/// A frame as the kernel printed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'q> {
    /// The name, suffixes kept.
    pub symbol: &'q str,
    /// `+0xOFF`
    pub offset: u64,
    /// `/0xSIZE`
    pub size: Option<u64>,
    /// An instruction pointer, looked up as it is; otherwise a return address, which points behind its call and is
    /// looked up at −1.
    pub exact: bool,
    /// Printed without `?`.
    pub reliable: bool,
}

/// How well a frame was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quality {
    /// Name and size agree, and only one place has both.
    Sized,
    /// The name is unique; no size was printed.
    Unsized,
    /// Several places fit; the candidates are all of them.
    Ambiguous,
    /// The name is there, but no symbol of that name has the printed size: probably another build.
    SizeDiffers,
    /// Not a call: a pointer to a function that lay on the stack. The candidate is that function.
    FunctionPointer,
    /// The symbol was found; no debug information covers it.
    SymbolOnly,
    /// No symbol of that name, or the offset is beyond its end.
    NotFound,
}

impl Quality {
    /// Whether the lines may be shown as the answer.
    pub fn is_certain(self) -> bool {
        matches!(self, Quality::Sized | Quality::Unsized)
    }
}

/// One place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Location {
    /// The function's name in the source: without the suffixes that compilers add to symbols.
    pub function: String,
    /// The path as the compiler knew it; empty when unknown.
    pub file: String,
    /// 0 when unknown.
    pub line: u32,
    /// 0 when unknown.
    pub column: u32,
    /// Inlined into the next location of the chain.
    pub inlined: bool,
}

impl Location {
    pub(crate) fn of(step: Step<'_>) -> Location {
        Location {
            function: step.function.to_string(),
            file: step.file.to_string(),
            line: step.line,
            column: step.column,
            inlined: step.inlined,
        }
    }
}

/// A place that a frame may stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The symbol, suffixes kept.
    pub symbol: String,
    /// The link address of the frame: symbol plus offset. In a module it is of our own making.
    pub address: u64,
    /// The size of the symbol as the kernel prints it.
    pub size: u64,
    /// The calls that run there, innermost first; empty without debug information.
    pub chain: Vec<Location>,
}

/// The answer for one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolution {
    /// How sure it is.
    pub quality: Quality,
    /// The places; one, unless [`Quality::Ambiguous`] or [`Quality::SizeDiffers`].
    pub candidates: Vec<Candidate>,
}

impl Resolution {
    /// The chain to show: of the only candidate, when its quality allows.
    pub fn chain(&self) -> &[Location] {
        match self.candidates.as_slice() {
            [only] if self.quality.is_certain() => &only.chain,
            _ => &[],
        }
    }

    /// It is this one of several candidates.
    pub(crate) fn settle(&mut self, only: usize) {
        if self.quality == Quality::Ambiguous && only < self.candidates.len() {
            self.candidates.swap(0, only);
            self.candidates.truncate(1);
            let lines = self.candidates.iter().any(|at| !at.chain.is_empty());
            self.quality = if lines { Quality::Sized } else { Quality::SymbolOnly };
        }
    }

    fn not_found() -> Resolution {
        Resolution { quality: Quality::NotFound, candidates: Vec::new() }
    }
}

/// How well a symbol fits the printed size, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// What kallsyms would print.
    Kallsyms,
    /// What the compiler said.
    Elf,
    /// The distance to a later symbol: a kernel whose kallsyms left out more than ours.
    Later,
    /// No size was printed.
    Unknown,
    /// None of these.
    Differs,
}

impl Image {
    /// Finds a frame by its name, offset and size. An error is about the image, not about the frame.
    pub fn resolve(&self, query: &Query<'_>) -> Result<Resolution, Error> {
        let symbols = self.symbols()?;
        let named: Vec<SymbolAt<'_>> = symbols.symbols_named(query.symbol).take(MAX_CANDIDATES).collect();
        let exact: Vec<SymbolAt<'_>> =
            named.iter().copied().filter(|symbol| symbol.name == query.symbol).collect();
        // A suffix that differs is as good as nothing only when the name as printed is nowhere.
        let found = if exact.is_empty() { named } else { exact };
        if found.is_empty() {
            return Ok(Resolution::not_found());
        }
        let within =
            |symbol: &&SymbolAt<'_>| query.offset <= query.size.unwrap_or(symbol.ksize).max(symbol.ksize);
        let fitting: Vec<(Fit, SymbolAt<'_>)> =
            found.iter().filter(within).map(|symbol| (fit(symbols, symbol, query.size), *symbol)).collect();
        let Some(best) = fitting.iter().map(|(fit, _)| *fit).min() else {
            return Ok(Resolution::not_found());
        };
        let chosen = fitting.into_iter().filter(|(fit, _)| *fit == best).map(|(_, symbol)| symbol);
        if best < Fit::Unknown
            && let [only] = chosen.clone().collect::<Vec<_>>().as_slice()
            && is_function_pointer(query, only)
        {
            return self.pointed_at(symbols, only);
        }
        let mut candidates = Vec::new();
        for symbol in chosen {
            let candidate = self.candidate(&symbol, query)?;
            // The same source compiled twice is one answer.
            let seen = |known: &Candidate| known.chain == candidate.chain && !candidate.chain.is_empty();
            if !candidates.iter().any(seen) {
                candidates.push(candidate);
            }
        }
        let quality = match (best, candidates.as_slice()) {
            (Fit::Differs, _) => Quality::SizeDiffers,
            (_, [only]) if only.chain.is_empty() => Quality::SymbolOnly,
            (Fit::Unknown, [_]) => Quality::Unsized,
            (_, [_]) => Quality::Sized,
            _ => Quality::Ambiguous,
        };
        Ok(Resolution { quality, candidates })
    }

    /// Finds a raw address, given as a link address: less the KASLR offset, in the kernel proper.
    pub fn resolve_address(&self, address: u64, exact: bool) -> Result<Resolution, Error> {
        let inside = if exact { address } else { address.saturating_sub(1) };
        let Some(symbol) = self.symbols()?.symbol_at(inside) else { return Ok(Resolution::not_found()) };
        let offset = address - symbol.address;
        let query = Query { symbol: symbol.name, offset, size: None, exact, reliable: true };
        let candidate = self.candidate(&symbol, &query)?;
        let quality = if candidate.chain.is_empty() { Quality::SymbolOnly } else { Quality::Unsized };
        Ok(Resolution { quality, candidates: vec![candidate] })
    }

    fn candidate(&self, symbol: &SymbolAt<'_>, query: &Query<'_>) -> Result<Candidate, Error> {
        let address = symbol.address.saturating_add(query.offset);
        let mut chain = self.lookup(if query.exact { address } else { address.saturating_sub(1) })?;
        if let Some(outermost) = chain.last_mut()
            && outermost.function.is_empty()
        {
            outermost.function = stem(symbol.name).to_string();
        }
        Ok(Candidate { symbol: symbol.name.to_string(), address, size: symbol.ksize, chain })
    }

    /// The function behind the symbol that a stale pointer seems to end.
    fn pointed_at(&self, symbols: &Index, before: &SymbolAt<'_>) -> Result<Resolution, Error> {
        let mut next = symbols.symbol_after(before.address);
        while let Some(symbol) = next.filter(|symbol| is_prefix_symbol(symbol.name)) {
            next = symbols.symbol_after(symbol.address);
        }
        let Some(next) = next else { return Ok(Resolution::not_found()) };
        let query = Query { symbol: next.name, offset: 0, size: None, exact: true, reliable: false };
        Ok(Resolution { quality: Quality::FunctionPointer, candidates: vec![self.candidate(&next, &query)?] })
    }
}

fn fit(symbols: &Index, symbol: &SymbolAt<'_>, printed: Option<u64>) -> Fit {
    let Some(printed) = printed else { return Fit::Unknown };
    let at_the_end = symbol.last && (symbol.elf_size..symbol.elf_size + TAIL).contains(&printed);
    if printed == symbol.ksize || at_the_end {
        Fit::Kallsyms
    } else if printed == symbol.elf_size {
        Fit::Elf
    } else if printed > symbol.ksize
        && symbols
            .symbol_at(symbol.address.saturating_add(printed))
            .is_some_and(|later| later.address == symbol.address.saturating_add(printed))
    {
        Fit::Later
    } else {
        Fit::Differs
    }
}

/// x86 prints `%pB`, which looks up the byte before: a pointer to a function shows as the end of what lies before it.
fn is_function_pointer(query: &Query<'_>, symbol: &SymbolAt<'_>) -> bool {
    let at_end = query.size == Some(query.offset);
    !query.exact && (is_prefix_symbol(symbol.name) || (!query.reliable && at_end))
}
