//! Debug files: the folder of our own, how a file comes into it, and what bounds it.
//!
//! A file comes in by four ways, each of which ends in [`enter::enter`]: put in over the network, added on the command
//! line, seen in a folder that is [watched](watch), or [fetched](fetch) from a debuginfod server.

pub mod enter;
pub mod fetch;
pub mod index;
pub mod opened;
pub mod package;
pub mod prune;
pub mod sources;
pub mod walk;
pub mod watch;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use symbolizer::debuginfod::Client;
use symbolizer::{Holds, Image, Kind};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::blobs::sync_folder;
use crate::problem::{Chain, Error, unprocessable};
use crate::random;
use crate::store::image::Identity;

/// A vmlinux with everything switched on (allyesconfig) has 5 GB; the next step up is a mistake.
pub const LARGEST: u64 = 8 << 30;
/// Files of our own: thirty distribution kernels with every module.
const MOST_FILES: i64 = 1 << 17;
/// Reports that are looked up at once; each keeps a processor busy.
const LOOK_UPS: usize = 2;
/// Files that are put in at once: a compressed one is decompressed and each is synced, which is the disk's work.
const UPLOADS: usize = 4;

/// What the kernel proper is called among debug files.
pub const KERNEL: &str = "vmlinux";

/// What the service does about debug files, as its command line says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most bytes of our own files.
    pub most_bytes: u64,
    /// The most bytes of indexes; those that were not used for longest go, and are built again when needed.
    pub most_index_bytes: u64,
    /// Folders that are looked through for debug files.
    pub watched: Vec<PathBuf>,
    /// How often.
    pub watch: watch::Pace,
    /// A folder of sources, with a folder for each release.
    pub sources: Option<PathBuf>,
    /// debuginfod servers, in the order in which they are asked; none: nobody is asked.
    pub servers: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            // Some 400 kernels of a distribution.
            most_bytes: 256 << 30,
            // Some 200 of them, at 40 MB each.
            most_index_bytes: 8 << 30,
            watched: Vec::new(),
            watch: watch::Pace::default(),
            sources: None,
            servers: Vec::new(),
        }
    }
}

/// The folder: `symbols/ab/cdef….debug` has the debug information, `symbols/ab/cdef…` is the code without it, as
/// `.build-id` trees name them; `symbols/ab/cdef….lwsym` is an index.
#[derive(Debug)]
pub struct Symbols {
    folder: PathBuf,
    /// What bounds it, and where else to look.
    pub settings: Settings,
    /// Files that stay open.
    pub opened: opened::Opened,
    /// The servers that are asked for what is missing.
    pub client: Option<Arc<Client>>,
    /// Free places for look-ups.
    look_ups: Semaphore,
    /// Free places for files that are put in.
    pub uploads: Semaphore,
    /// Wakes the one who asks servers.
    pub wanted_due: Notify,
}

/// A file that is being written into the folder. It goes unless it was given its place; held by a lock, so that
/// what a killed program left is known by nobody holding it.
#[derive(Debug)]
pub struct Part {
    /// To write to.
    pub file: File,
    /// Its name for now.
    pub path: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it is in its place the temporary name is gone.
        let _ = fs::remove_file(&self.path);
    }
}

/// A debug file that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Who it is.
    pub identity: Identity,
    /// What it has.
    pub holds: Holds,
}

impl Symbols {
    /// Opens the folder, which is made if need be.
    pub fn open(data: &Path, settings: Settings) -> Result<Symbols, Error> {
        let folder = data.join("symbols");
        let parts = folder.join("tmp");
        fs::create_dir_all(&parts).map_err(Error::disk("making the folder", &parts))?;
        let client = fetch::client(&settings.servers, &folder)?;
        Ok(Symbols {
            folder,
            client: client.map(Arc::new),
            settings,
            opened: opened::Opened::default(),
            look_ups: Semaphore::new(LOOK_UPS),
            uploads: Semaphore::new(UPLOADS),
            wanted_due: Notify::new(),
        })
    }

    /// Removes what killed programs left half written.
    pub fn sweep(&self) -> Result<(), Error> {
        let parts = self.folder.join("tmp");
        for entry in fs::read_dir(&parts).map_err(Error::disk("listing", &parts))?.flatten() {
            let path = entry.path();
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                fs::remove_file(&path).map_err(Error::disk("removing", &path))?;
            }
        }
        Ok(())
    }

    /// A new file to write to.
    pub fn begin(&self) -> Result<Part, Error> {
        let path = self.folder.join("tmp").join(random::hex::<16>());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::disk("creating", &path))?;
        let part = Part { file, path };
        part.file.lock().map_err(Error::disk("locking", &part.path))?;
        // Files of another owner in this folder would stop the service one day.
        let owner = |meta: io::Result<fs::Metadata>| meta.map(|meta| meta.uid()).ok();
        if owner(part.file.metadata()) != owner(fs::metadata(&self.folder)) {
            return Err(Error::Inside("the data folder belongs to another user: run this as that one"));
        }
        Ok(part)
    }

    /// A part as it is kept: decompressed, synced.
    pub fn whole(&self, part: Part) -> Result<Part, Error> {
        let mut plain = self.begin()?;
        let part = match symbolizer::decompress(&part.path, &mut plain.file, LARGEST) {
            Ok(Some(_)) => plain,
            Ok(None) => part,
            Err(error) => return Err(no_debug_file(&error)),
        };
        part.file.sync_all().map_err(Error::disk("syncing", &part.path))?;
        Ok(part)
    }

    /// Makes written parts durable, together: the file system commits its journal once, and not once for each.
    pub fn sync<'p>(&self, parts: impl IntoIterator<Item = &'p Part>) -> Result<(), Error> {
        self.sync_all()?;
        // That a write failed `syncfs` tells only since Linux 5.8; the file itself tells it always.
        let synced = |part: &Part| part.file.sync_all().map_err(Error::disk("syncing", &part.path));
        parts.into_iter().try_for_each(synced)
    }

    /// Makes the names in folders durable.
    fn sync_folders(&self, folders: &BTreeSet<PathBuf>) -> Result<(), Error> {
        match folders.len() {
            0..=2 => folders.iter().try_for_each(|folder| sync_folder(folder)),
            _ => self.sync_all(),
        }
    }

    fn sync_all(&self) -> Result<(), Error> {
        let folder = File::open(&self.folder).map_err(Error::disk("opening", &self.folder))?;
        let synced = nix::unistd::syncfs(&folder).map_err(io::Error::from);
        synced.map_err(Error::disk("syncing the file system of", &self.folder))
    }

    /// Waits for a free place to look a report up; it is given back when dropped.
    pub async fn look_up(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.look_ups.acquire().await.map_err(|_| Error::Inside("the places for look-ups are closed"))
    }

    /// The folder of our own files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file is, by what the table says.
    pub fn path(&self, path: &str) -> PathBuf {
        // An absolute path replaces what it is joined to: watched files stay where they are.
        self.folder.join(path)
    }

    /// Where the index of a build is, or would be.
    pub fn index_path(&self, build_id: &[u8]) -> PathBuf {
        self.folder.join(place(build_id, ".lwsym"))
    }
}

/// Where our own file of a build lies, below the folder.
pub fn place(build_id: &[u8], ending: &str) -> String {
    let name = hex::encode(build_id);
    // `BuildId` has at least four bytes.
    let (first, rest) = name.split_at(name.len().min(2));
    format!("{first}/{rest}{ending}")
}

/// Reads who a file is: what it says of itself counts; what it does not say, as a module's separate debug file does
/// not say its name, is taken from the path that it had where it came from.
pub fn read(path: &Path, named: &Path) -> Result<Read, Error> {
    let image = Image::open_alone(path, named).map_err(|error| no_debug_file(&error))?;
    let holds = image.holds();
    if !holds.object {
        return Err(unprocessable(
            "not-a-debug-file",
            "This is no debug file",
            "it is made of one: put in the object itself",
        ));
    }
    let build_id = image.build_id().ok_or_else(|| {
        unprocessable(
            "no-build-id",
            "The debug file has no build-id",
            "it could not be told from another build",
        )
    })?;
    let name = match image.kind() {
        Kind::Kernel => KERNEL.to_owned(),
        Kind::Module(name) => name.clone(),
    };
    let kernel = image.release().unwrap_or_default().to_owned();
    Ok(Read { identity: Identity { build_id: build_id.as_bytes().to_vec(), name, kernel }, holds })
}

fn no_debug_file(error: &symbolizer::Error) -> Error {
    // The path is ours and would tell the sender nothing.
    let why =
        std::error::Error::source(error).map_or_else(|| error.to_string(), |why| Chain(why).to_string());
    unprocessable("not-a-debug-file", "This is no debug file", why)
}
