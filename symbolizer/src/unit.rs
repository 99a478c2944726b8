//! One compile unit of DWARF: who runs at each address, on which line, inlined into whom.
//!
//! A unit says it three times over: nested functions with address ranges, inlined calls within them, and a line
//! program. Here they are read; `flatten` makes one list of disjoint ranges of them.

use std::borrow::Cow;

use gimli::{
    Attribute, AttributeValue, Dwarf, EndianSlice, EntriesRaw, LittleEndian, Range, Unit, UnitOffset,
    constants as dw,
};

use crate::budget::{Budget, Work};
use crate::error::Error;
use crate::flatten::{Interval, Row, Sequence, flatten, merge};
use crate::foreign::{Foreign, Units};
use crate::index::stream::Packer;

/// Bytes of a debug section.
pub(crate) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Inlining deeper than this is attributed to the caller at this depth; the deepest seen in a kernel is some 20.
pub(crate) const MAX_INLINE_DEPTH: usize = 256;
/// Hops of `DW_AT_abstract_origin` and `DW_AT_specification`; honest chains have two.
pub(crate) const MAX_HOPS: usize = 16;

/// A function or an inlined call. Numbered from 1 within its unit; 0 means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    /// Into [`UnitTable::names`].
    pub name: u32,
    /// The node that this one was inlined into, always of a lower number; 0 for a function of its own.
    pub parent: u32,
    /// Where it was called: file (of the unit's list), line, column. Zero for a function of its own.
    pub call: (u32, u32, u32),
}

/// What one unit adds to the index. Files and names are numbered within the unit, files from 1.
#[derive(Debug, Default)]
pub(crate) struct UnitTable<'a> {
    pub names: Vec<Cow<'a, str>>,
    pub files: Vec<String>,
    pub nodes: Vec<Node>,
    pub packed: Packer,
}

/// Reads one unit. `base` is the address that the index counts from; what lies more than 4 GiB above is left out.
pub(crate) fn read<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    others: &Units<'_, 'a>,
    base: u64,
    budget: &Budget,
) -> Result<UnitTable<'a>, Error> {
    let at = unit.header.debug_info_offset().map_or(0, |offset| offset.0 as u64);
    let fail = |e: gimli::Error| Error::Dwarf { unit: at, reason: dwarf.format_error(e) };
    let mut reader = Reader {
        dwarf,
        unit,
        base,
        work: budget.worker(),
        foreign: Foreign::new(others),
        rust: false,
        c: false,
        subprograms: Vec::new(),
        nodes: Vec::new(),
        origins: Vec::new(),
        intervals: Vec::new(),
        files: Files { of_index: Vec::new(), used: Vec::new() },
    };
    reader.walk().map_err(|e| e.in_unit(fail))?;
    let (rows, sequences) = reader.lines().map_err(|e| e.in_unit(fail))?;
    let segments = flatten(std::mem::take(&mut reader.intervals));
    let packed = merge(&rows, sequences, &segments);
    let names = reader.name_nodes();
    Ok(UnitTable { names, files: reader.paths(), nodes: reader.nodes, packed })
}

/// A failure inside a unit: gimli's, or a limit of ours.
enum Failure {
    Dwarf(gimli::Error),
    Limit(Error),
}

impl From<gimli::Error> for Failure {
    fn from(e: gimli::Error) -> Failure {
        Failure::Dwarf(e)
    }
}

impl Failure {
    fn in_unit(self, dwarf: impl FnOnce(gimli::Error) -> Error) -> Error {
        match self {
            Failure::Dwarf(e) => dwarf(e),
            Failure::Limit(e) => e,
        }
    }
}

/// A subprogram entry, abstract or concrete: where names come from. In order of their offsets.
struct Subprogram<'a> {
    offset: usize,
    name: Option<AttributeValue<Slice<'a>>>,
    linkage: Option<AttributeValue<Slice<'a>>>,
    origin: Option<Reference>,
    /// Number in [`UnitTable::names`] plus one, once it was asked for.
    named: u32,
}

/// A reference to another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Unit(usize),
    Info(usize),
    Supplementary(usize),
}

pub(crate) fn reference(value: &AttributeValue<Slice<'_>>) -> Option<Reference> {
    match value {
        AttributeValue::UnitRef(offset) => Some(Reference::Unit(offset.0)),
        AttributeValue::DebugInfoRef(offset) => Some(Reference::Info(offset.0)),
        AttributeValue::DebugInfoRefSup(offset) => Some(Reference::Supplementary(offset.0)),
        _ => None,
    }
}

/// Entries whose children are of no interest, and many: members, enumerators, parameters of types and of calls.
fn holds_no_code(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        dw::DW_TAG_structure_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_subroutine_type
            | dw::DW_TAG_call_site
            | dw::DW_TAG_GNU_call_site
    )
}

/// Reads the attributes of an entry for the only one of interest: where its next sibling is. GCC writes it, clang does
/// not.
fn sibling<'a>(
    entries: &mut EntriesRaw<'_, Slice<'a>>,
    abbreviation: &gimli::Abbreviation,
) -> Result<Option<UnitOffset>, Failure> {
    let specs = abbreviation.attributes();
    let Some(at) = specs.iter().position(|spec| spec.name() == dw::DW_AT_sibling) else {
        entries.skip_attributes(specs)?;
        return Ok(None);
    };
    entries.skip_attributes(&specs[..at])?;
    let sibling = unit_offset(&entries.read_attribute_inline(specs[at])?);
    entries.skip_attributes(&specs[at + 1..])?;
    Ok(sibling)
}

fn unit_offset(attribute: &Attribute<Slice<'_>>) -> Option<UnitOffset> {
    match attribute.raw_value() {
        AttributeValue::UnitRef(offset) => Some(offset),
        _ => None,
    }
}

struct Reader<'r, 'a> {
    dwarf: &'r Dwarf<Slice<'a>>,
    unit: &'r Unit<Slice<'a>>,
    base: u64,
    work: Work<'r>,
    foreign: Foreign<'r, 'a>,
    rust: bool,
    c: bool,
    subprograms: Vec<Subprogram<'a>>,
    nodes: Vec<Node>,
    /// The subprogram that each node is a copy of.
    origins: Vec<Reference>,
    intervals: Vec<Interval>,
    files: Files,
}

/// The attributes of one entry that matter here.
#[derive(Default)]
struct Entry<'a> {
    low: Option<u64>,
    high: Option<u64>,
    size: Option<u64>,
    ranges: Option<gimli::RangeListsOffset>,
    name: Option<AttributeValue<Slice<'a>>>,
    linkage: Option<AttributeValue<Slice<'a>>>,
    origin: Option<Reference>,
    sibling: Option<UnitOffset>,
    call: (u64, u64, u64),
}

impl<'a> Reader<'_, 'a> {
    /// Visits every entry once; acts on subprograms and inlined calls, steps over the rest.
    fn walk(&mut self) -> Result<(), Failure> {
        let mut entries = self.unit.entries_raw(None)?;
        // The depth at which `entries` was opened.
        let mut lift = 0;
        // The nodes that enclose the entry at hand, with the depth of their entries.
        let mut open: Vec<(isize, u32)> = Vec::new();
        let mut first = true;
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset(), entries.next_depth() + lift);
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            while open.last().is_some_and(|&(above, _)| above >= depth) {
                open.pop();
            }
            let tag = abbreviation.tag();
            if tag != dw::DW_TAG_subprogram && tag != dw::DW_TAG_inlined_subroutine {
                if first {
                    self.language(&mut entries, abbreviation)?;
                    first = false;
                } else if abbreviation.has_children() && holds_no_code(tag) {
                    if let Some(sibling) =
                        sibling(&mut entries, abbreviation)?.filter(|at| *at > entries.next_offset())
                    {
                        (entries, lift) = (self.unit.entries_raw(Some(sibling))?, depth);
                    }
                } else {
                    entries.skip_attributes(abbreviation.attributes())?;
                }
                continue;
            }
            let entry = self.entry(&mut entries, abbreviation)?;
            let inlined = tag == dw::DW_TAG_inlined_subroutine;
            let origin = if inlined {
                match entry.origin {
                    Some(origin) => origin,
                    None => continue,
                }
            } else {
                self.subprograms.push(Subprogram {
                    offset: offset.0,
                    name: entry.name,
                    linkage: entry.linkage,
                    origin: entry.origin,
                    named: 0,
                });
                Reference::Unit(offset.0)
            };
            let node = u32::try_from(self.nodes.len() + 1).unwrap_or(u32::MAX);
            let before = self.intervals.len();
            self.ranges(&entry, node)?;
            if self.intervals.len() == before {
                // In C nothing inside an abstract function is concrete.
                if let Some(sibling) = entry.sibling.filter(|at| self.c && *at > entries.next_offset()) {
                    (entries, lift) = (self.unit.entries_raw(Some(sibling))?, depth);
                }
                continue;
            }
            if open.len() >= MAX_INLINE_DEPTH {
                self.intervals.truncate(before);
                continue;
            }
            let parent = if inlined { open.last().map_or(0, |&(_, node)| node) } else { 0 };
            let call = match parent {
                0 => (0, 0, 0),
                _ => (self.files.number(entry.call.0), clamp(entry.call.1), clamp(entry.call.2)),
            };
            self.nodes.push(Node { name: 0, parent, call });
            self.origins.push(origin);
            open.push((depth, node));
        }
        Ok(())
    }

    fn language(
        &mut self,
        entries: &mut EntriesRaw<'_, Slice<'a>>,
        abbreviation: &gimli::Abbreviation,
    ) -> Result<(), Failure> {
        for spec in abbreviation.attributes() {
            if let AttributeValue::Language(language) = entries.read_attribute(*spec)?.value() {
                self.rust = language == dw::DW_LANG_Rust;
                self.c = matches!(
                    language,
                    dw::DW_LANG_C | dw::DW_LANG_C89 | dw::DW_LANG_C99 | dw::DW_LANG_C11 | dw::DW_LANG_C17
                );
            }
        }
        Ok(())
    }

    fn entry(
        &self,
        entries: &mut EntriesRaw<'_, Slice<'a>>,
        abbreviation: &gimli::Abbreviation,
    ) -> Result<Entry<'a>, Failure> {
        let mut entry = Entry::default();
        for spec in abbreviation.attributes() {
            let attribute: Attribute<Slice<'a>> = entries.read_attribute_inline(*spec)?;
            match attribute.name() {
                dw::DW_AT_low_pc => entry.low = self.dwarf.attr_address(self.unit, attribute.value())?,
                dw::DW_AT_high_pc => match attribute.value() {
                    AttributeValue::Udata(size) => entry.size = Some(size),
                    value => entry.high = self.dwarf.attr_address(self.unit, value)?,
                },
                dw::DW_AT_ranges => {
                    entry.ranges = self.dwarf.attr_ranges_offset(self.unit, attribute.value())?;
                }
                dw::DW_AT_name => entry.name = Some(attribute.value()),
                dw::DW_AT_linkage_name | dw::DW_AT_MIPS_linkage_name => {
                    entry.linkage = Some(attribute.value());
                }
                dw::DW_AT_abstract_origin | dw::DW_AT_specification => {
                    entry.origin = reference(&attribute.value()).or(entry.origin);
                }
                dw::DW_AT_call_file => {
                    entry.call.0 = match attribute.value() {
                        AttributeValue::FileIndex(index) => index,
                        value => value.udata_value().unwrap_or(0),
                    }
                }
                dw::DW_AT_sibling => entry.sibling = unit_offset(&attribute),
                dw::DW_AT_call_line => entry.call.1 = attribute.udata_value().unwrap_or(0),
                dw::DW_AT_call_column => entry.call.2 = attribute.udata_value().unwrap_or(0),
                _ => {}
            }
        }
        Ok(entry)
    }

    fn ranges(&mut self, entry: &Entry<'a>, node: u32) -> Result<(), Failure> {
        if let Some(offset) = entry.ranges {
            let mut list = self.dwarf.ranges(self.unit, offset)?;
            while let Some(range) = list.next()? {
                self.work.spend().map_err(Failure::Limit)?;
                self.interval(range, node);
            }
        } else if let Some(low) = entry.low {
            let end = entry.high.or_else(|| low.checked_add(entry.size?));
            let dropped = self.unit.header.is_tombstone_address(low);
            if let Some(end) = end.filter(|_| !dropped) {
                self.interval(Range { begin: low, end }, node);
            }
        }
        Ok(())
    }

    fn interval(&mut self, range: Range, node: u32) {
        if let (Some(start), Some(end)) = (self.relative(range.begin), self.relative(range.end))
            && start < end
        {
            self.intervals.push(Interval { start, end, node });
        }
    }

    /// An address as the index counts it. Nothing at 0 is text: that is where linkers drop what they discard.
    fn relative(&self, address: u64) -> Option<u32> {
        u32::try_from(address.checked_sub(self.base)?).ok()
    }

    /// Runs the line program: all rows, and the sequences that they form.
    fn lines(&mut self) -> Result<(Vec<Row>, Vec<Sequence>), Failure> {
        let (mut rows, mut sequences) = (Vec::new(), Vec::new());
        let Some(program) = self.unit.line_program.clone() else { return Ok((rows, sequences)) };
        let mut begin = 0;
        let mut sorted = true;
        let mut run = program.rows();
        while let Some((_, row)) = run.next_row()? {
            self.work.spend().map_err(Failure::Limit)?;
            let Some(address) = self.relative(row.address()) else {
                // A sequence outside the text: forget what it said so far.
                rows.truncate(begin);
                continue;
            };
            if row.end_sequence() {
                if rows.len() > begin {
                    if !sorted {
                        rows[begin..].sort_by_key(|row: &Row| row.address);
                    }
                    sequences.push(Sequence {
                        start: rows[begin].address,
                        // A table that ends before its last row has no sense, but must not confuse the order.
                        end: address.max(rows[rows.len() - 1].address),
                        rows: begin..rows.len(),
                    });
                }
                (begin, sorted) = (rows.len(), true);
                continue;
            }
            let column = match row.column() {
                gimli::ColumnType::LeftEdge => 0,
                gimli::ColumnType::Column(column) => clamp(column.get()),
            };
            let line = row.line().map_or(0, |line| clamp(line.get()));
            let file = self.files.number(row.file_index());
            match rows[begin..].last_mut() {
                // Of several rows for one address the last one counts.
                Some(last) if last.address == address => *last = Row { address, file, line, column },
                last => {
                    sorted &= last.is_none_or(|last| last.address < address);
                    rows.push(Row { address, file, line, column });
                }
            }
        }
        rows.truncate(begin);
        sequences.sort_by_key(|sequence| sequence.start);
        Ok((rows, sequences))
    }

    /// Gives every node the name of the function that it is a copy of.
    fn name_nodes(&mut self) -> Vec<Cow<'a, str>> {
        let mut names = Vec::new();
        for (node, origin) in self.nodes.iter_mut().zip(&self.origins) {
            let own = match origin {
                Reference::Unit(offset) => self.subprograms.binary_search_by_key(offset, |s| s.offset).ok(),
                _ => None,
            };
            if let Some(at) = own
                && self.subprograms[at].named != 0
            {
                node.name = self.subprograms[at].named - 1;
                continue;
            }
            let name =
                name_of(self.dwarf, self.unit, &self.subprograms, &mut self.foreign, *origin, self.rust);
            node.name = names.len() as u32;
            names.push(name.unwrap_or(Cow::Borrowed("")));
            if let Some(at) = own {
                self.subprograms[at].named = node.name + 1;
            }
        }
        names
    }

    fn paths(&self) -> Vec<String> {
        let header = self.unit.line_program.as_ref().map(gimli::IncompleteLineProgram::header);
        let text = |value| self.dwarf.attr_string(self.unit, value).ok().map(|s| s.to_string_lossy());
        let path = |index: &u64| -> Option<String> {
            let header = header?;
            let file = header.file(*index)?;
            let name = text(file.path_name())?;
            let directory = file.directory(header).and_then(text).unwrap_or_default();
            let root = self.unit.comp_dir.map(|dir| dir.to_string_lossy()).unwrap_or_default();
            Some(join(&root, &directory, &name))
        };
        self.files.used.iter().map(|index| path(index).unwrap_or_default()).collect()
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The path as DWARF means it: the name in its directory in the unit's directory, nothing resolved.
fn join(root: &str, directory: &str, name: &str) -> String {
    let mut path = String::new();
    for part in [root, directory, name] {
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') && !part.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    path
}

/// The line program's file numbers that are really used, renumbered from 1.
struct Files {
    of_index: Vec<u32>,
    used: Vec<u64>,
}

/// A header lists each include once; a unit of the kernel has some 1,500 of them.
const MAX_FILES: u64 = 1 << 20;

impl Files {
    fn number(&mut self, index: u64) -> u32 {
        if index >= MAX_FILES {
            return 0;
        }
        let at = index as usize;
        if at >= self.of_index.len() {
            self.of_index.resize(at + 1, 0);
        }
        if self.of_index[at] == 0 {
            self.used.push(index);
            self.of_index[at] = self.used.len() as u32;
        }
        self.of_index[at]
    }
}

/// Follows origins to a name, through other units and the supplementary (dwz) file too.
fn name_of<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    known: &[Subprogram<'a>],
    foreign: &mut Foreign<'_, 'a>,
    mut origin: Reference,
    rust: bool,
) -> Option<Cow<'a, str>> {
    let (mut plain, mut hops) = (None, 0);
    while let Reference::Unit(offset) = origin {
        let entry = &known[known.binary_search_by_key(&offset, |s| s.offset).ok()?];
        let text = |value: &AttributeValue<Slice<'a>>| dwarf.attr_string(unit, *value).ok();
        if rust && let Some(linkage) = entry.linkage.as_ref().and_then(text) {
            return Some(demangled(linkage));
        }
        plain = plain.or_else(|| entry.name.as_ref().and_then(text));
        hops += 1;
        match entry.origin {
            Some(next) if hops < MAX_HOPS && (plain.is_none() || rust) => origin = next,
            _ => return plain.map(|name| name.to_string_lossy()),
        }
    }
    foreign.name(origin, rust).or_else(|| plain.map(|name| name.to_string_lossy()))
}

pub(crate) fn demangled(name: Slice<'_>) -> Cow<'_, str> {
    let text = name.to_string_lossy();
    match rustc_demangle::try_demangle(&text) {
        Ok(demangled) => Cow::Owned(format!("{demangled:#}")),
        Err(_) => text,
    }
}
