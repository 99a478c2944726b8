//! Debug files: a folder of them by build-id, and the library that opens them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use symbolizer::{Image, Kind, Library};

use crate::blobs::durable;
use crate::problem::{Chain, Error, unprocessable};
use crate::random;

/// Debug files that stay open, with what was built of each for look-ups, until a new library is begun. A crash
/// asks for the kernel and a few modules.
const OPEN: usize = 64;

/// The folder: `symbols/ab/cdef….debug`, as `.build-id` trees name them.
#[derive(Debug)]
pub struct Symbols {
    folder: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    library: Arc<Library>,
    builds: HashSet<Vec<u8>>,
}

/// What a debug file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its raw build-id.
    pub build_id: Vec<u8>,
    /// `vmlinux` or the module's name.
    pub name: String,
    /// The release that it was built for; empty if it does not say.
    pub kernel: String,
}

/// What the kernel proper is called among debug files.
pub const KERNEL: &str = "vmlinux";

impl Symbols {
    /// Opens the folder, which is made if need be; what a killed upload left in it goes.
    pub fn open(data: &Path) -> Result<Symbols, Error> {
        let folder = data.join("symbols");
        let unfinished = folder.join("tmp");
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::disk("clearing", &unfinished)(error));
            }
            _ => fs::create_dir_all(&unfinished).map_err(Error::disk("making the folder", &unfinished))?,
        }
        let open = Mutex::new(Open { library: library(&folder)?, builds: HashSet::new() });
        Ok(Symbols { folder, open })
    }

    /// A new file to write an upload to.
    pub fn begin(&self) -> Result<(File, PathBuf), Error> {
        let path = self.folder.join("tmp").join(random::hex::<16>());
        let file = File::create_new(&path).map_err(Error::disk("creating", &path))?;
        Ok((file, path))
    }

    /// Reads who an uploaded file is and puts it in its place, durably. What it says of itself counts, never what
    /// the sender says.
    pub fn keep(&self, file: &File, path: &Path) -> Result<Identity, Error> {
        let image = Image::open(path).map_err(|error| {
            // The path is ours and would tell the sender nothing.
            let why = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), |why| Chain(why).to_string());
            unprocessable("not-a-debug-file", "This is no debug file", why)
        })?;
        let identity = identity(&image)?;
        drop(image);
        durable(file, path, &self.path(&identity.build_id))?;
        Ok(identity)
    }

    /// Where the file of a build-id is, or would be.
    pub fn path(&self, build_id: &[u8]) -> PathBuf {
        let name = hex::encode(build_id);
        self.folder.join(&name[..2]).join(format!("{}.debug", &name[2..]))
    }

    /// The library that finds these builds. Files stay open from one crash to the next, as far as [`OPEN`] goes.
    pub fn library(&self, builds: impl IntoIterator<Item = Vec<u8>>) -> Result<Arc<Library>, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.builds.len() > OPEN {
            *open = Open { library: library(&self.folder)?, builds: HashSet::new() };
        }
        open.builds.extend(builds);
        Ok(Arc::clone(&open.library))
    }
}

fn library(folder: &Path) -> Result<Arc<Library>, Error> {
    let mut library = Library::new();
    let unreadable = |error| Error::disk("listing", folder)(io::Error::other(error));
    library.add_folder(folder).map_err(unreadable)?;
    Ok(Arc::new(library))
}

fn identity(image: &Image) -> Result<Identity, Error> {
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
    Ok(Identity { build_id: build_id.as_bytes().to_vec(), name, kernel })
}
