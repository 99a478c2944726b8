//! The images at hand: single files, and folders as Debian, Fedora and `gdb` lay them out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use report::BuildId;
use serde::Serialize;

#[cfg(feature = "debuginfod")]
use crate::debuginfod::{Client, What};
use crate::error::Error;
use crate::image::{Image, Kind};

/// A distribution's debug package has some 4,000 modules; a folder of many kernels has many times that.
const MAX_FILES: usize = 1 << 20;
/// `usr/lib/debug/lib/modules/RELEASE/kernel/drivers/net/ethernet/intel/ice` is 12 deep.
const MAX_DEPTH: usize = 24;

/// What a log needs in order to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Wanted {
    /// The build-id that the log printed.
    pub build_id: Option<BuildId>,
    /// A module; `None` for the kernel proper.
    pub module: Option<String>,
    /// The kernel release.
    pub release: Option<String>,
}

/// Where images are looked for. They are opened on first use and stay open.
#[derive(Debug, Default)]
pub struct Library {
    folders: Vec<Folder>,
    files: Vec<Arc<Image>>,
    opened: Mutex<HashMap<PathBuf, Result<Arc<Image>, String>>>,
    #[cfg(feature = "debuginfod")]
    servers: Option<Client>,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// Files by the name of their module, or [`KERNEL`]; listed on first use.
    by_name: OnceLock<HashMap<String, Vec<PathBuf>>>,
}

/// No module can have an empty name.
const KERNEL: &str = "";

impl Library {
    /// A library with nothing in it.
    pub fn new() -> Library {
        Library::default()
    }

    /// Adds one file. It answers for its build, and for a log that names no build at all.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        self.files.push(Arc::new(Image::open(path)?));
        Ok(())
    }

    /// Adds an image that is open already. It answers as a file does.
    pub fn add_image(&mut self, image: Arc<Image>) {
        self.files.push(image);
    }

    /// Adds a folder and all below it; also a `.build-id` tree.
    pub fn add_folder(&mut self, root: &Path) -> Result<(), Error> {
        std::fs::read_dir(root).map_err(Error::io("list")).map_err(|e| e.at(root))?;
        self.folders.push(Folder { root: root.to_path_buf(), by_name: OnceLock::new() });
        Ok(())
    }

    /// Asks these servers for what is nowhere else, where its build-id is known.
    #[cfg(feature = "debuginfod")]
    pub fn ask_servers(&mut self, client: Client) {
        self.servers = Some(client);
    }

    /// The image of exactly this build; by release and name only where the log or the image has no build-id. An image
    /// with debug information is preferred to one without.
    pub fn find(&self, wanted: &Wanted) -> Option<Arc<Image>> {
        let mut second = None;
        for image in self.candidates(wanted) {
            if image.has_lines() {
                return Some(image);
            }
            second = second.or(Some(image));
        }
        let build_id = wanted.build_id.as_ref().or(second.as_ref().and_then(|image| image.build_id()));
        build_id.and_then(|build_id| self.fetched(build_id)).or(second)
    }

    /// A source file of a build from a server, by the path that the compiler had.
    pub(crate) fn source(&self, build_id: &BuildId, path: &str) -> Option<PathBuf> {
        #[cfg(feature = "debuginfod")]
        if let (Some(client), Some(source)) = (&self.servers, What::source(path)) {
            return client
                .find(build_id, source)
                .map_err(|error| client.say(&crate::error::chain(&error)))
                .ok()?;
        }
        let _ = (build_id, path);
        None
    }

    #[cfg(feature = "debuginfod")]
    fn fetched(&self, build_id: &BuildId) -> Option<Arc<Image>> {
        let client = self.servers.as_ref()?;
        match client.find(build_id, What::Debuginfo) {
            Ok(path) => self.open(path?),
            Err(error) => {
                client.say(&crate::error::chain(&error));
                None
            }
        }
    }

    #[cfg(not(feature = "debuginfod"))]
    fn fetched(&self, _: &BuildId) -> Option<Arc<Image>> {
        None
    }

    /// Files that looked right and could not be opened, with the reason.
    pub fn failures(&self) -> Vec<(PathBuf, String)> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let failed =
            opened.iter().filter_map(|(path, image)| Some((path.clone(), image.as_ref().err()?.clone())));
        let mut failed: Vec<_> = failed.collect();
        failed.sort();
        failed
    }

    fn candidates<'l>(&'l self, wanted: &'l Wanted) -> impl Iterator<Item = Arc<Image>> + 'l {
        let given = self.files.iter().filter(|image| suits(image, wanted, true)).cloned();
        let by_id = self.folders.iter().flat_map(|folder| folder.by_build_id(wanted.build_id.as_ref()));
        let by_name = self.folders.iter().flat_map(|folder| folder.by_name(wanted.module.as_deref()));
        let found = by_id.chain(by_name).filter_map(|path| self.open(path));
        given.chain(found.filter(|image| suits(image, wanted, false)))
    }

    fn open(&self, path: PathBuf) -> Option<Arc<Image>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let image = opened.entry(path).or_insert_with_key(|path| {
            // The whole chain of reasons: it is shown to people, once.
            Image::open(path).map(Arc::new).map_err(|e| crate::error::chain(&e))
        });
        image.as_ref().ok().cloned()
    }
}

/// Whether an image is what was asked for. `given`: the user named this very file.
fn suits(image: &Image, wanted: &Wanted, given: bool) -> bool {
    let kind = match (&wanted.module, image.kind()) {
        (None, Kind::Kernel) => true,
        (Some(module), Kind::Module(name)) => module.replace('-', "_") == *name,
        _ => false,
    };
    kind && match (&wanted.build_id, image.build_id()) {
        (Some(wanted), Some(found)) => wanted == found,
        // Nothing to compare: the release decides, and the sizes of the symbols will show a mistake.
        _ => match (&wanted.release, image.release()) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => given || wanted.release.is_none(),
        },
    }
}

impl Folder {
    /// `.build-id/ab/cdef….debug`, in the folder itself or as packages install it.
    fn by_build_id(&self, build_id: Option<&BuildId>) -> Vec<PathBuf> {
        let Some(hex) = build_id.map(ToString::to_string) else { return Vec::new() };
        let (first, rest) = hex.split_at(2);
        let mut paths = Vec::new();
        for tree in [".build-id", "usr/lib/debug/.build-id", "lib/debug/.build-id", ""] {
            for ending in [".debug", ""] {
                let path = self.root.join(tree).join(first).join(format!("{rest}{ending}"));
                if path.is_file() {
                    paths.push(path);
                }
            }
        }
        paths
    }

    fn by_name(&self, module: Option<&str>) -> Vec<PathBuf> {
        let by_name = self.by_name.get_or_init(|| list(&self.root));
        let key = module.map_or(KERNEL.to_string(), |module| module.replace('-', "_"));
        by_name.get(&key).cloned().unwrap_or_default()
    }
}

/// All files below a folder that look like a kernel or a module. Symbolic links to folders are not followed.
fn list(root: &Path) -> HashMap<String, Vec<PathBuf>> {
    let mut by_name: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let mut folders = vec![(root.to_path_buf(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut entries: Vec<_> = entries.flatten().map(|entry| (entry.path(), entry.file_type())).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, kind) in entries {
            seen += 1;
            if seen > MAX_FILES {
                return by_name;
            }
            if kind.is_ok_and(|kind| kind.is_dir()) {
                if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if let Some(key) = path.file_name().and_then(|name| key_of(name.to_str()?)) {
                by_name.entry(key).or_default().push(path);
            }
        }
    }
    by_name
}

/// `vmlinux`, `vmlinux-6.1.0`, `vmlinux.debug`, `vmlinuz-6.1.0`, `System.map-6.1.0` → the kernel; `dm-mod.ko.debug`, `dm-mod.ko.xz` → `dm_mod`.
fn key_of(file: &str) -> Option<String> {
    if ["vmlinux", "vmlinuz", "System.map"].iter().any(|prefix| file.starts_with(prefix)) {
        return Some(KERNEL.to_string());
    }
    let (name, ending) = file.split_once(".ko")?;
    let known = ["", ".debug", ".gz", ".xz", ".zst", ".lwsym", ".debug.lwsym"];
    known.contains(&ending).then(|| name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_modules_are_known_by_their_file_names() {
        for (file, want) in [
            ("vmlinux", Some("")),
            ("vmlinux-6.1.0-56-cloud-amd64", Some("")),
            ("dm-mod.ko", Some("dm_mod")),
            ("xfs.ko.debug", Some("xfs")),
            ("xfs.ko.zst", Some("xfs")),
            ("xfs.kov", None),
            ("vmlinuz-6.1.0", Some("")),
            ("System.map-6.1.0", Some("")),
            ("config-6.1.0", None),
        ] {
            assert_eq!(key_of(file).as_deref(), want, "{file}");
        }
    }
}
