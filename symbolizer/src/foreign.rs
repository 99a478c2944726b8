//! Names of functions that stand in another unit: link-time optimisation and dwz make such references.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use gimli::{Dwarf, Unit, UnitHeader, UnitOffset, constants as dw};

use crate::dwarf;
use crate::unit::{MAX_HOPS, Reference, Slice, demangled, reference};

/// All units of an object, and of the file that dwz shares between objects; listed when first asked for.
pub(crate) struct Units<'d, 'a> {
    dwarf: &'d Dwarf<Slice<'a>>,
    own: OnceLock<Vec<UnitHeader<Slice<'a>>>>,
    shared: OnceLock<Vec<UnitHeader<Slice<'a>>>>,
}

impl<'d, 'a> Units<'d, 'a> {
    pub fn new(dwarf: &'d Dwarf<Slice<'a>>) -> Units<'d, 'a> {
        Units { dwarf, own: OnceLock::new(), shared: OnceLock::new() }
    }

    /// The unit that holds an offset of `.debug_info`, of this object or of the shared file.
    fn holding(&self, shared: bool, offset: usize) -> Option<(&'d Dwarf<Slice<'a>>, UnitHeader<Slice<'a>>)> {
        let (file, list) = if shared { (self.dwarf.sup()?, &self.shared) } else { (self.dwarf, &self.own) };
        let list = list.get_or_init(|| dwarf::units(file).unwrap_or_default());
        let after = list.partition_point(|header| dwarf::start_of(header) <= offset as u64);
        let header = list[after.checked_sub(1)?];
        Some((file, header))
    }
}

/// One unit's view of the others: what it has looked up so far.
pub(crate) struct Foreign<'d, 'a> {
    units: &'d Units<'d, 'a>,
    /// By whether it is shared, and its offset.
    opened: HashMap<(bool, u64), Option<Unit<Slice<'a>>>>,
    names: HashMap<Reference, Option<Cow<'a, str>>>,
}

impl<'d, 'a> Foreign<'d, 'a> {
    pub fn new(units: &'d Units<'d, 'a>) -> Foreign<'d, 'a> {
        Foreign { units, opened: HashMap::new(), names: HashMap::new() }
    }

    /// The name of the entry that is referred to.
    pub fn name(&mut self, origin: Reference, rust: bool) -> Option<Cow<'a, str>> {
        if let Some(known) = self.names.get(&origin) {
            return known.clone();
        }
        let name = self.find(origin, rust);
        self.names.insert(origin, name.clone());
        name
    }

    fn find(&mut self, mut origin: Reference, rust: bool) -> Option<Cow<'a, str>> {
        let mut shared = false;
        for _ in 0..MAX_HOPS {
            let offset = match origin {
                Reference::Info(offset) => offset,
                Reference::Supplementary(offset) => {
                    shared = true;
                    offset
                }
                Reference::Unit(_) => return None,
            };
            let (file, header) = self.units.holding(shared, offset)?;
            let start = dwarf::start_of(&header);
            let open = || file.unit(header).ok();
            let unit = self.opened.entry((shared, start)).or_insert_with(open).as_ref()?;
            let mut entries = unit.entries_raw(Some(UnitOffset(offset - start as usize))).ok()?;
            let abbreviation = entries.read_abbreviation().ok()??;
            let (mut name, mut linkage, mut next) = (None, None, None);
            for spec in abbreviation.attributes() {
                let attribute = entries.read_attribute(*spec).ok()?;
                match attribute.name() {
                    dw::DW_AT_name => name = file.attr_string(unit, attribute.value()).ok(),
                    dw::DW_AT_linkage_name => linkage = file.attr_string(unit, attribute.value()).ok(),
                    dw::DW_AT_abstract_origin | dw::DW_AT_specification => {
                        next = reference(&attribute.value());
                    }
                    _ => {}
                }
            }
            if rust && let Some(linkage) = linkage {
                return Some(demangled(linkage));
            }
            if let Some(name) = name {
                return Some(name.to_string_lossy());
            }
            origin = match next? {
                Reference::Unit(inner) => Reference::Info(inner + start as usize),
                other => other,
            };
        }
        None
    }
}
