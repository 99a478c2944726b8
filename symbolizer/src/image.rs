//! One vmlinux or module with its symbols and debug information, opened and checked: the door to the disk.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gimli::Dwarf;
use goblin::elf::header::{EM_AARCH64, EM_X86_64};
use goblin::elf::section_header::SHT_NOBITS;
use report::{BuildId, Code};
use serde::{Deserialize, Serialize};

use crate::bytes::{Bytes, decompressed};
use crate::code::Text;
use crate::debuglink::{self, Alternative};
use crate::dwarf::{self, Sections};
use crate::elf::{Elf, string_at};
use crate::error::Error;
use crate::index::{Index, Meta, build};
use crate::lazy::Lazy;
use crate::resolve::Location;
use crate::symtab::{self, Symbol, Symbols};
use crate::system_map;
use crate::text::{self, CodeMatch};
use crate::unit::Slice;
use crate::vmlinuz;

/// `struct module` has the name 24 bytes in (include/linux/module.h: state, list, name), on 64-bit machines.
const NAME_IN_THIS_MODULE: usize = 24;

/// `nop` of arm64 in memory. ftrace and alternatives begin as such, and where they lie vmlinux does not always tell: of
/// some builds (Debian's 6.12) `__mcount_loc` and its relocations are zeros.
const ARM64_NOP: [u8; 4] = 0xd503_201f_u32.to_le_bytes();

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The kernel proper, `vmlinux`.
    Kernel,
    /// A module, by the name that the kernel gives it (`_`, never `-`).
    Module(String),
}

/// What one file has of a build: a whole `vmlinux` has all, a stripped module no lines, its `.debug` file no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holds {
    /// It is an ELF object, and no index or list of symbols.
    pub object: bool,
    /// Debug information.
    pub lines: bool,
    /// The code itself.
    pub text: bool,
}

/// One vmlinux or module. Opening reads headers only; symbols and lines are read when they are asked for.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    build_id: Option<BuildId>,
    kind: Kind,
    release: OnceLock<Option<String>>,
    source: Source,
    /// Answers in place of a stripped object.
    debug: Option<Box<Image>>,
}

#[derive(Debug)]
enum Source {
    Object(Box<Object>),
    Index(Box<Index>),
}

/// An ELF file and what was made of it so far.
#[derive(Debug)]
pub(crate) struct Object {
    pub bytes: Bytes,
    pub elf: Elf,
    /// What dwz moved into a file shared by several objects.
    pub alt: Option<Alternative>,
    text: OnceLock<Text>,
    /// Everything, once it was built.
    whole: OnceLock<Index>,
    lazy: Lazy,
}

impl Image {
    /// Opens an object (`vmlinux`, `.ko`, `.ko.debug`, `.ko.gz`, `.ko.xz`, `.ko.zst`), a kernel packed for booting
    /// (`vmlinuz`, `Image.gz`; it has names only), a `System.map`, or an index.
    pub fn open(path: &Path) -> Result<Image, Error> {
        Image::read(path).map_err(|e| e.at(path))
    }

    /// Opens this file and no other: what it names elsewhere is not looked for, as is right for a stranger's file.
    /// `named` is the path it had where it came from, which says its release and name where the file does not.
    pub fn open_alone(path: &Path, named: &Path) -> Result<Image, Error> {
        Bytes::map(path).and_then(|bytes| Image::of(bytes, named)).map_err(|e| e.at(path))
    }

    fn read(path: &Path) -> Result<Image, Error> {
        let mut image = Image::of(Bytes::map(path)?, path)?;
        if let Source::Object(object) = &mut image.source {
            object.alt = debuglink::alternative(&object.elf, &object.bytes, path)?;
        }
        image.debug = image.separate_debug()?.map(Box::new);
        Ok(image)
    }

    /// Takes the bytes of an object or an index. The path says its release and name where the bytes do not, and
    /// stands in errors; nothing is read from there, so that separate debug files are not found.
    pub fn parse(bytes: Vec<u8>, path: &Path) -> Result<Image, Error> {
        Image::of(Bytes::Owned(bytes), path).map_err(|e| e.at(path))
    }

    fn of(bytes: Bytes, path: &Path) -> Result<Image, Error> {
        let bytes = decompressed(bytes)?;
        let indexed = |index: Index| Image {
            path: path.into(),
            build_id: index.meta().build_id.clone(),
            kind: index.meta().kind.clone(),
            release: OnceLock::from(index.meta().release.clone()),
            source: Source::Index(Box::new(index)),
            debug: None,
        };
        if bytes.starts_with(b"lwsymidx") {
            return Index::of(bytes).map(indexed);
        }
        if let Some(symbols) = system_map::read(&bytes) {
            return system_map::index(&symbols?, release_of_path(path)).map(indexed);
        }
        if let Some(kernel) = vmlinuz::unpacked(&bytes)? {
            return vmlinuz::index(&kernel, release_of_path(path)).map(indexed);
        }
        let elf = Elf::parse(&bytes)?;
        let (build_id, kind) = (elf.build_id(&bytes), kind(&elf, &bytes, path));
        let object = Object {
            bytes,
            elf,
            alt: None,
            text: OnceLock::new(),
            whole: OnceLock::new(),
            lazy: Lazy::default(),
        };
        let source = Source::Object(Box::new(object));
        Ok(Image { path: path.into(), build_id, kind, release: OnceLock::new(), source, debug: None })
    }

    /// The separate debug file that a stripped object names (`.gnu_debuglink`), where it lies in one of the usual
    /// places and its checksum is right.
    fn separate_debug(&self) -> Result<Option<Image>, Error> {
        match &self.source {
            Source::Object(object) if !self.has_lines() => {
                debuglink::find(&object.elf, &object.bytes, &self.path)?
                    .map(|path| Image::open(&path))
                    .transpose()
            }
            _ => Ok(None),
        }
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The GNU build-id; `None` in a kernel that was linked without.
    pub fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    /// A kernel or a module.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What is in this very file; other files that it names do not count.
    pub fn holds(&self) -> Holds {
        match &self.source {
            Source::Index(index) => {
                Holds { object: false, lines: index.meta().lines, text: index.has_text() }
            }
            Source::Object(object) => Holds {
                object: true,
                lines: object.elf.has_debug_info(),
                text: object.elf.sections.iter().any(|s| s.executable() && s.kind != SHT_NOBITS),
            },
        }
    }

    /// A section as it lies in the file, compressed if it is; `None` where the file has none of that name, or not its
    /// bytes (`SHT_NOBITS`: the text of a separate debug file).
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        let Source::Object(object) = &self.source else { return None };
        let section = object.elf.section(name).filter(|section| section.kind != SHT_NOBITS)?;
        object.elf.raw(&object.bytes, section).ok()
    }

    /// Takes an index that was built of this object before, so that none is built again.
    pub fn take_index(&self, index: Index) -> Result<(), Error> {
        if let Some(debug) = &self.debug {
            return debug.take_index(index);
        }
        match (&self.build_id, index.meta().build_id.clone()) {
            (Some(expected), Some(found)) if *expected != found => {
                return Err(Error::BuildIdMismatch { expected: expected.clone(), found }.at(&self.path));
            }
            (Some(_), Some(_)) => {}
            _ => {
                return Err(Error::Index("without a build-id nobody knows whose it is".into()).at(&self.path));
            }
        }
        if let Source::Object(object) = &self.source {
            // One that was built meanwhile is the same.
            let _ = object.whole.set(index);
        }
        Ok(())
    }

    /// The kernel release (`uname -r`): from the banner of a kernel, the `vermagic` of a module, or the path.
    pub fn release(&self) -> Option<&str> {
        let find = || match &self.source {
            Source::Object(object) => object.release().or_else(|| release_of_path(&self.path)),
            Source::Index(_) => None,
        };
        self.release.get_or_init(find).as_deref()
    }

    /// The index of the whole object; built on the first call, by all processors.
    pub fn index(&self) -> Result<&Index, Error> {
        self.index_with(None)
    }

    /// With the code of another file of the same build: a separate debug file has none.
    fn index_with(&self, code: Option<(&Text, &[u8])>) -> Result<&Index, Error> {
        let object = match &self.source {
            Source::Index(index) => return Ok(index),
            Source::Object(object) => object,
        };
        let code = match code {
            Some(code) => code,
            None => (object.text().map_err(|e| e.at(&self.path))?, &object.bytes[..]),
        };
        if let Some(debug) = &self.debug {
            return debug.index_with(Some(code));
        }
        if let Some(index) = object.whole.get() {
            return Ok(index);
        }
        let built = object.build(self.meta(&object.elf), code).map_err(|e| e.at(&self.path))?;
        // Another thread may have been as fast; both made the same.
        Ok(object.whole.get_or_init(|| built))
    }

    /// The calls that run at a link address, innermost first. Empty where no debug information covers it.
    ///
    /// Reads no more than the units needed, unless the index is there already.
    pub fn lookup(&self, address: u64) -> Result<Vec<Location>, Error> {
        if let Some(debug) = &self.debug {
            return debug.lookup(address);
        }
        let chain =
            |index: &Index| index.lookup(address).map(|chain| chain.map(Location::of).collect::<Vec<_>>());
        let found = match &self.source {
            Source::Index(index) => chain(index),
            Source::Object(object) => match object.whole.get() {
                Some(index) => chain(index),
                None if object.elf.relocatable => chain(self.index()?),
                None => {
                    let unit = object.lazy.unit_at(object, self.base(&object.elf), address);
                    unit.map_err(|e| e.at(&self.path))?.as_deref().and_then(chain)
                }
            },
        };
        let mut locations = found.unwrap_or_default();
        // Assembly has lines but often no functions; labels are better than nothing.
        if let Some(outermost) = locations.last_mut()
            && outermost.function.is_empty()
            && let Some(label) = self.symbol_name(address)?
        {
            outermost.function = label.into_owned();
        }
        Ok(locations)
    }

    /// Reads, in parallel, what [`Image::lookup`] will need for these addresses.
    pub fn prepare(&self, addresses: &[u64]) -> Result<(), Error> {
        if let Some(debug) = &self.debug {
            return debug.prepare(addresses);
        }
        match &self.source {
            Source::Object(object) if object.whole.get().is_none() && !object.elf.relocatable => {
                let few = object.lazy.prepare(object, self.base(&object.elf), addresses);
                if few.map_err(|e| e.at(&self.path))? { Ok(()) } else { self.index().map(|_| ()) }
            }
            _ => Ok(()),
        }
    }

    /// The name of the symbol that this link address belongs to.
    pub fn symbol_name(&self, address: u64) -> Result<Option<Cow<'_, str>>, Error> {
        if let Some(debug) = &self.debug {
            return debug.symbol_name(address);
        }
        let named = |index: &'_ Index| index.symbol_at(address).map(|symbol| symbol.name.to_string().into());
        match &self.source {
            Source::Index(index) => Ok(named(index)),
            Source::Object(object) => match object.whole.get() {
                Some(index) => Ok(named(index)),
                None => object.lazy.symbol_name(object, address).map_err(|e| e.at(&self.path)),
            },
        }
    }

    /// Compares the bytes of a `Code:` line with the text around a link address, outside of what a running kernel
    /// patches. `None` where there is no text: in a separate debug file, in an index of one, in a list of symbols.
    pub fn compare_code(&self, address: u64, code: &Code) -> Result<Option<CodeMatch>, Error> {
        let start = address.wrapping_sub(code.mark.unwrap_or_default() as u64);
        let kernel =
            Some(self.first_address()).filter(|_| self.kind == Kind::Kernel && self.machine() == EM_X86_64);
        let Some((_, from, _)) = self
            .sections()
            .into_iter()
            .find(|(_, at, size)| (*at..at.saturating_add(*size)).contains(&address))
        else {
            return Ok(None);
        };
        // Addresses that the ends of the line cut off are seen whole.
        let from = from.max(start.saturating_sub(3));
        let Some(text) = self.text(from, code.bytes.len() + 6)? else { return Ok(None) };
        let nops = self.machine() == EM_AARCH64;
        let byte = |distance: i64| {
            let at = address.wrapping_add_signed(distance);
            let place = usize::try_from(at.checked_sub(from)?).ok()?;
            let byte = text.get(place)?;
            let word = || text.get(place.checked_sub((at & 3) as usize)?..)?.first_chunk();
            let patched = self.may_differ(at).ok()? || nops && word() == Some(&ARM64_NOP);
            (!patched).then_some(*byte)
        };
        Ok(text::compare(code, byte, kernel))
    }

    /// Whether a running kernel may have another byte at this link address than the file.
    pub(crate) fn may_differ(&self, address: u64) -> Result<bool, Error> {
        match &self.source {
            Source::Index(index) => Ok(index.may_differ(address)),
            Source::Object(object) => {
                object.text().map(|text| text.sites.hold(address)).map_err(|e| e.at(&self.path))
            }
        }
    }

    /// The code from a link address on: at most `length` bytes, and not beyond its section. In a module calls within
    /// it are filled in. `None` where there is no text.
    pub fn text(&self, address: u64, length: usize) -> Result<Option<Cow<'_, [u8]>>, Error> {
        Ok(match &self.source {
            Source::Index(index) => index.text(address, length).map(Cow::Owned),
            Source::Object(object) => {
                let text = object.text().map_err(|e| e.at(&self.path))?;
                text.at(&object.bytes, address).map(|rest| Cow::Borrowed(&rest[..rest.len().min(length)]))
            }
        })
    }

    fn first_address(&self) -> u64 {
        match &self.source {
            Source::Index(index) => index.meta().base,
            Source::Object(object) => self.base(&object.elf),
        }
    }

    /// `e_machine`, as in <elf.h>; 0 where nothing says it.
    pub(crate) fn machine(&self) -> u16 {
        match &self.source {
            Source::Index(index) => index.meta().machine,
            Source::Object(object) => object.elf.machine,
        }
    }

    /// The executable sections: name, address, size. Those of a module lie where we put them.
    pub fn sections(&self) -> Vec<(String, u64, u64)> {
        if let Some(debug) = &self.debug {
            return debug.sections();
        }
        match &self.source {
            Source::Index(index) => index.meta().sections.clone(),
            Source::Object(object) => self.meta(&object.elf).sections,
        }
    }

    /// An index that has the symbols, and perhaps nothing else.
    pub fn symbols(&self) -> Result<&Index, Error> {
        if let Some(debug) = &self.debug {
            return debug.symbols();
        }
        match &self.source {
            Source::Index(index) => Ok(index),
            Source::Object(object) => match object.whole.get() {
                Some(index) => Ok(index),
                None if object.elf.relocatable => self.index(),
                None => {
                    object.lazy.index_of_symbols(object, self.base(&object.elf)).map_err(|e| e.at(&self.path))
                }
            },
        }
    }

    /// Whether there is debug information; told without reading any of it.
    pub(crate) fn has_lines(&self) -> bool {
        match &self.source {
            Source::Index(index) => index.meta().lines,
            Source::Object(object) => object.elf.has_debug_info() || self.debug.is_some(),
        }
    }

    /// The folders of the sources, each with its slash; to be taken off paths that people read.
    pub fn source_roots(&self) -> Vec<String> {
        if let Some(debug) = &self.debug {
            return debug.source_roots();
        }
        let whole = match &self.source {
            Source::Index(index) => Some(&**index),
            Source::Object(object) => object.whole.get(),
        };
        if let Some(index) = whole {
            return index.meta().source_roots.clone();
        }
        // faddr2line's way: where a function is that every kernel has.
        let symbols = self.symbols().ok().filter(|_| self.kind == Kind::Kernel);
        let place = |name: &&str| {
            let at = symbols?.symbols_named(name).next()?.address;
            Some(self.lookup(at).ok()?.pop()?.file)
        };
        let files: Vec<String> = LANDMARKS.iter().filter_map(|(symbol, _)| place(symbol)).collect();
        source_roots(files.iter().map(String::as_str))
    }

    /// Addresses are counted from the lowest executable one. Nothing at 0 is text: old kernels have their per-CPU
    /// data there.
    fn base(&self, elf: &Elf) -> u64 {
        let executable = elf.sections.iter().filter(|s| s.executable());
        executable.map(|s| s.address).filter(|&address| address != 0).min().unwrap_or(0)
    }

    /// What an index of this object says about it; `source_roots` and `lines` are found while building.
    pub(crate) fn meta(&self, elf: &Elf) -> Meta {
        Meta {
            tool: concat!("lastwords ", env!("CARGO_PKG_VERSION")).into(),
            kind: self.kind.clone(),
            machine: elf.machine,
            build_id: self.build_id.clone(),
            release: self.release().map(str::to_string),
            base: self.base(elf),
            sections: sections(elf),
            source_roots: Vec::new(),
            lines: false,
        }
    }
}

impl Object {
    fn text(&self) -> Result<&Text, Error> {
        match self.text.get() {
            Some(text) => Ok(text),
            None => Text::read(&self.elf, &self.bytes).map(|text| self.text.get_or_init(|| text)),
        }
    }

    fn build(&self, meta: Meta, code: (&Text, &[u8])) -> Result<Index, Error> {
        let (symbols, sections) = rayon::join(
            || symtab::text_symbols(&self.elf, &self.bytes),
            || Sections::load(&self.elf, &self.bytes),
        );
        let (symbols, sections) = (symbols?, sections?);
        let symbols = self.named(&symbols)?;
        let mut dwarf = self.dwarf(&sections);
        // Linkers that optimise, and dwz, let thousands of units share one table.
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        let units = dwarf::units(&dwarf)?;
        if symbols.is_empty() && units.is_empty() {
            return Err(Error::NoSymbols);
        }
        build::build(meta, &symbols, &dwarf, &units, Some(code))
    }

    /// The debug sections as gimli wants them, with what dwz took out of them.
    pub fn dwarf<'o>(&'o self, sections: &'o Sections) -> Dwarf<Slice<'o>> {
        let mut dwarf = sections.dwarf(&self.bytes);
        if let Some(alt) = &self.alt {
            dwarf.set_sup(alt.dwarf());
        }
        dwarf
    }

    /// The symbols with their names.
    pub fn named<'o>(&'o self, symbols: &'o Symbols) -> Result<Vec<(Cow<'o, str>, &'o Symbol)>, Error> {
        let strings = self.elf.symbols(&self.bytes)?.map_or(&[][..], |(_, strings)| strings);
        Ok(symbols.0.iter().map(|symbol| (symbol.name(strings), symbol)).collect())
    }

    fn release(&self) -> Option<String> {
        let contents = |name: &str| self.elf.section(name).and_then(|s| self.elf.raw(&self.bytes, s).ok());
        if let Some(vermagic) = contents(".modinfo").and_then(|info| modinfo(info, b"vermagic=")) {
            return vermagic.split_ascii_whitespace().next().map(str::to_string);
        }
        release_of_banner(contents(".rodata")?)
    }
}

/// The release in the banner of a kernel: `Linux version 6.1.0-56-amd64 (…`.
pub(crate) fn release_of_banner(rodata: &[u8]) -> Option<String> {
    memchr::memmem::find_iter(rodata, b"Linux version ").find_map(|at| {
        // The banner itself, not the format string of a message: the release begins with a digit.
        let text = string_at(rodata, at + b"Linux version ".len());
        let release =
            text.split(|&b| b == b' ').next().filter(|r| r.first().is_some_and(u8::is_ascii_digit))?;
        String::from_utf8(release.to_vec()).ok()
    })
}

/// The executable sections: name, address, size.
pub(crate) fn sections(elf: &Elf) -> Vec<(String, u64, u64)> {
    let executable = elf.sections.iter().filter(|s| s.executable());
    executable.map(|s| (s.name.clone(), s.address, s.size)).collect()
}

/// Functions that every kernel (of an architecture) has, and their files.
const LANDMARKS: [(&str, &str); 4] = [
    ("start_kernel", "init/main.c"),
    ("entry_SYSCALL_64", "arch/x86/entry/entry_64.S"),
    ("cpu_switch_to", "arch/arm64/kernel/entry.S"),
    ("handle_exception", "arch/riscv/kernel/entry.S"),
];

/// What stands before the landmarks among these paths: each folder once, in the order of [`LANDMARKS`].
pub(crate) fn source_roots<'p>(paths: impl Iterator<Item = &'p str>) -> Vec<String> {
    let mut roots = [const { None }; LANDMARKS.len()];
    for path in paths {
        for (root, (_, file)) in roots.iter_mut().zip(LANDMARKS) {
            if root.is_none() {
                *root = path.strip_suffix(file).filter(|root| root.ends_with('/'));
            }
        }
    }
    let mut found: Vec<String> = roots.into_iter().flatten().map(str::to_string).collect();
    let mut seen = std::collections::HashSet::new();
    found.retain(|root| seen.insert(root.clone()));
    found
}

fn kind(elf: &Elf, bytes: &[u8], path: &Path) -> Kind {
    if !elf.relocatable {
        return Kind::Kernel;
    }
    let contents = |name: &str| elf.section(name).and_then(|s| elf.raw(bytes, s).ok());
    let from_info = contents(".modinfo").and_then(|info| modinfo(info, b"name="));
    let from_struct = || {
        let name = string_at(contents(".gnu.linkonce.this_module")?, NAME_IN_THIS_MODULE);
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    };
    let from_path = || {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.split('.').next().unwrap_or_default().to_string()
    };
    let name = from_info.or_else(from_struct).map_or_else(from_path, str::to_string);
    Kind::Module(name.replace('-', "_"))
}

/// `.modinfo`: `key=value` strings, each ended by a NUL.
fn modinfo<'a>(info: &'a [u8], key: &[u8]) -> Option<&'a str> {
    let value = info.split(|&b| b == 0).find_map(|entry| entry.strip_prefix(key))?;
    std::str::from_utf8(value).ok().filter(|value| !value.is_empty())
}

/// `…/vmlinux-RELEASE`, `…/lib/modules/RELEASE/…`: separate debug files often have no text to ask.
fn release_of_path(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let prefixes = ["vmlinux-", "vmlinuz-", "System.map-"];
    if let Some(release) = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        return Some(release.strip_suffix(".debug").unwrap_or(release).to_string());
    }
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    parts.find(|part| part == "modules")?;
    parts.next().filter(|part| part.starts_with(|c: char| c.is_ascii_digit())).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_and_assembly_may_have_roots_of_their_own() {
        let paths = [
            "debian/build/build_amd64_none_cloud-amd64/kernel/fork.c",
            "debian/build/build_amd64_none_cloud-amd64/init/main.c",
            "/build/reproducible-path/linux-6.1.192/arch/x86/entry/entry_64.S",
            "/elsewhere/init/main.c",
            "init/main.c",
        ];
        let want = ["debian/build/build_amd64_none_cloud-amd64/", "/build/reproducible-path/linux-6.1.192/"];
        assert_eq!(source_roots(paths.into_iter()), want);
        assert_eq!(
            source_roots(["/src/init/main.c", "/src/arch/arm64/kernel/entry.S"].into_iter()),
            ["/src/"]
        );
    }
}
