//! BTF, the kernel's type information, read for the offsets of members (`Documentation/bpf/btf.rst`).

use std::cell::RefCell;
use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
/// A kernel has some 100 000 types.
const MAX_TYPES: usize = 4 << 20;
/// Typedefs, qualifiers and anonymous members inside one another; the kernel's own limit is 32
/// (`MAX_RESOLVE_DEPTH`).
const MAX_DEPTH: u32 = 32;

/// Members looked at for one path: `task_struct` has some 300, and structures can be nested to blow that up.
const MAX_STEPS: u32 = 1 << 20;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// A member found by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    /// Bytes from the start of the outer structure.
    pub offset: u64,
    /// Bytes of the member's type.
    pub size: u64,
}

pub(crate) struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// Where each type begins in `types`; id 1 is at index 0.
    starts: Vec<u32>,
    found: RefCell<HashMap<String, Option<Member>>>,
}

struct Type {
    name: u32,
    kind: u32,
    kflag: bool,
    vlen: u32,
    size_or_type: u32,
    /// Where its own fields begin.
    tail: usize,
}

impl Btf {
    /// Parses the section that lies between `__start_BTF` and `__stop_BTF`.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self, String> {
        let word =
            |at: usize| bytes.get(at..at + 4).map_or(0, |word| word.try_into().map_or(0, u32::from_le_bytes));
        if word(0) as u16 != MAGIC {
            return Err(format!(
                "the type information begins with {:#06x}, not with {MAGIC:#06x}",
                word(0) as u16
            ));
        }
        let part = |offset: u32, length: u32| {
            let start = (word(4) as usize).saturating_add(offset as usize).min(bytes.len());
            start..start.saturating_add(length as usize).min(bytes.len())
        };
        let (types, strings) = (part(word(8), word(12)), part(word(16), word(20)));
        let strings = bytes[strings].to_vec();
        bytes.truncate(types.end);
        bytes.drain(..types.start);
        let mut btf = Self { types: bytes, strings, starts: Vec::new(), found: RefCell::default() };
        let mut at = 0;
        while let Some(this) = btf.at(at).filter(|_| btf.starts.len() < MAX_TYPES) {
            let vlen = this.vlen as usize;
            let tail = match this.kind {
                INT | VAR | DECL_TAG => 4,
                ARRAY => 12,
                STRUCT | UNION | DATASEC | ENUM64 => 12 * vlen,
                ENUM | FUNC_PROTO => 8 * vlen,
                0 | 20.. => return Err(format!("type {} has kind {}", btf.starts.len() + 1, this.kind)),
                _ => 0,
            };
            btf.starts.push(at as u32);
            at = this.tail + tail;
        }
        Ok(btf)
    }

    /// `("task_struct", "thread.sp")`; members of anonymous structures count as the outer one's.
    pub fn member(&self, structure: &str, path: &str) -> Option<Member> {
        let key = format!("{structure}.{path}");
        if let Some(known) = self.found.borrow().get(&key) {
            return *known;
        }
        // Two files may each have a structure of one name: the first that has the member.
        let found = self.named(structure).find_map(|id| self.follow(id, path));
        self.found.borrow_mut().insert(key, found);
        found
    }

    /// The size of a structure or union.
    pub fn size_of(&self, structure: &str) -> Option<u64> {
        if let Some(known) = self.found.borrow().get(structure) {
            return known.map(|member| member.size);
        }
        let size = self.named(structure).find_map(|id| self.size(id, 0));
        self.found.borrow_mut().insert(structure.to_owned(), size.map(|size| Member { offset: 0, size }));
        size
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        (1..=self.starts.len() as u32).filter(move |&id| {
            self.get(id)
                .is_some_and(|this| matches!(this.kind, STRUCT | UNION) && self.is_named(this.name, name))
        })
    }

    fn follow(&self, mut id: u32, path: &str) -> Option<Member> {
        let mut offset = 0_u64;
        let mut steps = MAX_STEPS;
        for name in path.split('.') {
            let (member, inner) = self.find(self.bare(id)?, name, 0, &mut steps)?;
            offset += member;
            id = inner;
        }
        Some(Member { offset, size: self.size(id, 0)? })
    }

    /// The member's offset in bytes and its type.
    fn find(&self, id: u32, name: &str, depth: u32, steps: &mut u32) -> Option<(u64, u32)> {
        let this = self.get(id).filter(|this| matches!(this.kind, STRUCT | UNION) && depth < MAX_DEPTH)?;
        (0..this.vlen as usize).find_map(|i| {
            *steps = steps.checked_sub(1)?;
            let at = this.tail + 12 * i;
            let (member, kind, bits) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let offset = u64::from(if this.kflag { bits & 0x00ff_ffff } else { bits } / 8);
            if self.string(member).is_empty() {
                let (inner, found) = self.find(self.bare(kind)?, name, depth + 1, steps)?;
                return Some((offset + inner, found));
            }
            self.is_named(member, name).then_some((offset, kind))
        })
    }

    /// Without typedefs and qualifiers.
    fn bare(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let this = self.get(id)?;
            match this.kind {
                8..=11 | 18 => id = this.size_or_type,
                _ => return Some(id),
            }
        }
        None
    }

    fn size(&self, id: u32, depth: u32) -> Option<u64> {
        if depth > MAX_DEPTH {
            return None;
        }
        let this = self.get(self.bare(id)?)?;
        match this.kind {
            PTR => Some(8),
            ARRAY => {
                let element = self.size(self.word(this.tail)?, depth + 1)?;
                element.checked_mul(u64::from(self.word(this.tail + 8)?))
            }
            INT | STRUCT | UNION | ENUM | ENUM64 | 16 => Some(u64::from(this.size_or_type)),
            _ => None,
        }
    }

    fn get(&self, id: u32) -> Option<Type> {
        self.at(*self.starts.get(id.checked_sub(1)? as usize)? as usize)
    }

    fn at(&self, at: usize) -> Option<Type> {
        let info = self.word(at + 4)?;
        Some(Type {
            name: self.word(at)?,
            kind: info >> 24 & 0x1f,
            kflag: info >> 31 == 1,
            vlen: info & 0xffff,
            size_or_type: self.word(at + 8)?,
            tail: at + 12,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.types.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0)
    }
}
