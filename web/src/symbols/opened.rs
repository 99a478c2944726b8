//! Debug files that stay open from one crash to the next, each with its index where there is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use symbolizer::{Image, Index, Library};
use tokio::sync::Notify;

use super::{KERNEL, Symbols};
use crate::problem::{Chain, Error};
use crate::store::image_file::{ImageFile, Origin};
use crate::store::{Store, image, image_file};

/// A crash asks for the kernel and a few modules; those of the last dozen crashes are open.
const OPEN: usize = 64;

/// The open files, and those that have no index yet.
#[derive(Debug, Default)]
pub struct Opened {
    /// Last used last.
    images: Mutex<Vec<(Key, Arc<Image>)>>,
    /// By where the index shall be.
    unindexed: Mutex<BTreeMap<PathBuf, Arc<Image>>>,
    /// Wakes the one who builds indexes.
    pub index_due: Notify,
}

/// A file that was replaced is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    path: PathBuf,
    changed_us: i64,
}

/// The library that has these builds and no others, each as far as a file with debug information is at hand.
pub async fn library(
    store: &Store,
    symbols: &Arc<Symbols>,
    images: impl IntoIterator<Item = &image::Image>,
) -> Result<Library, Error> {
    let mut found = Vec::new();
    for image in images {
        found.push((image.clone(), image_file::of_image(store.read(), image.id).await?));
    }
    let symbols = Arc::clone(symbols);
    let opening = tokio::task::spawn_blocking(move || {
        let mut library = Library::new();
        for (image, files) in &found {
            let open = files.iter().filter(|file| file.lines).find_map(|file| {
                let opened = symbols.open_file(image, file);
                opened
                    .inspect_err(|error| tracing::warn!(error = %Chain(error), "a debug file is not used"))
                    .ok()
            });
            open.into_iter().for_each(|open| library.add_image(open));
        }
        library
    });
    opening.await.map_err(|_| Error::Inside("opening debug files ended badly"))
}

impl Symbols {
    /// Opens a file of a build. One that is another build by now, as may be in a watched folder, is an error.
    pub fn open_file(&self, image: &image::Image, file: &ImageFile) -> Result<Arc<Image>, Error> {
        let key = Key { path: self.path(&file.path), changed_us: file.changed_us };
        if let Some(open) = self.opened.get(&key) {
            return Ok(open);
        }
        let opening = match file.origin {
            Origin::Put | Origin::Fetched => Image::open_alone(&key.path, &name(&image.kernel, &image.name)),
            // What distributions split off lies beside it.
            Origin::Watched => Image::open(&key.path),
        };
        let failed = |error: symbolizer::Error| {
            Error::disk("opening the debug file", &key.path)(std::io::Error::other(Chain(&error).to_string()))
        };
        let open = Arc::new(opening.map_err(failed)?);
        if open.build_id().is_none_or(|found| found.as_bytes() != image.build_id) {
            return Err(Error::Inside("a debug file is another build by now"));
        }
        self.index_of(image, &open);
        self.opened.put(key, Arc::clone(&open));
        Ok(open)
    }

    /// Gives an image its index, or notes that it has none.
    fn index_of(&self, image: &image::Image, open: &Arc<Image>) {
        let path = self.index_path(&image.build_id);
        let taken = Index::open(&path).and_then(|index| open.take_index(index));
        match taken {
            Ok(()) => super::index::touch(&path),
            Err(error) => {
                if path.exists() {
                    tracing::warn!(error = %Chain(&error), "an index is not used and built again");
                }
                self.opened.want_index(path, Arc::clone(open));
            }
        }
    }
}

impl Opened {
    fn get(&self, key: &Key) -> Option<Arc<Image>> {
        let mut images = self.images();
        let at = images.iter().position(|(open, _)| open == key)?;
        let found = images.remove(at);
        images.push(found.clone());
        Some(found.1)
    }

    fn put(&self, key: Key, image: Arc<Image>) {
        let mut images = self.images();
        if images.len() >= OPEN {
            images.remove(0);
        }
        images.push((key, image));
    }

    /// Notes an image without an index. When many wait already it gets one the next time that it is opened.
    fn want_index(&self, path: PathBuf, image: Arc<Image>) {
        let mut unindexed = self.unindexed();
        if unindexed.len() < OPEN {
            unindexed.insert(path, image);
        }
        self.index_due.notify_one();
    }

    /// The next image without an index, with the path that it shall have.
    pub fn next_unindexed(&self) -> Option<(PathBuf, Arc<Image>)> {
        self.unindexed().pop_first()
    }

    /// Opens an image anew when it is next asked for: with its index, which is then mapped and not in memory.
    pub fn reopen(&self, image: &Arc<Image>) {
        self.images().retain(|(_, open)| !Arc::ptr_eq(open, image));
    }

    fn images(&self) -> MutexGuard<'_, Vec<(Key, Arc<Image>)>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unindexed(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Image>>> {
        self.unindexed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path that a file has where packages install it, which says what it does not say itself.
pub(super) fn name(kernel: &str, name: &str) -> PathBuf {
    if name == KERNEL {
        return PathBuf::from(format!("vmlinux-{kernel}"));
    }
    Path::new("lib/modules").join(kernel).join(format!("{name}.ko"))
}
