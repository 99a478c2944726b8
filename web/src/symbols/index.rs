//! Indexes of debug files: built one at a time, kept in files, evicted by size and built again when needed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use symbolizer::Image;
use tokio::sync::watch;

use super::Symbols;
use crate::app::App;
use crate::problem::{Chain, Error};

/// Folders of the store are named by two hex digits.
const FOLDERS: usize = 256;
/// Entries of one: a store at its limit of files has a thousand.
const ENTRIES: usize = 1 << 16;

/// Builds what is missing until told to stop. Nothing waits for it: without an index the units needed are read.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let Some((path, image)) = app.symbols.opened.next_unindexed() else {
            tokio::select! {
                () = app.symbols.opened.index_due.notified() => continue,
                _ = stopped.changed() => continue,
            }
        };
        let building = Arc::clone(&app);
        let built = tokio::task::spawn_blocking(move || building.symbols.build(&path, &image)).await;
        match built {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "an index was not kept"),
            Err(error) => tracing::error!(%error, "building an index ended badly"),
        }
    }
}

impl Symbols {
    /// Builds one index, writes it, and removes those that were not used for longest where there are too many.
    pub fn build(&self, path: &Path, image: &Arc<Image>) -> Result<(), Error> {
        let failed = |error: symbolizer::Error| {
            Error::disk("indexing", path)(std::io::Error::other(Chain(&error).to_string()))
        };
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder).map_err(Error::disk("making the folder", folder))?;
        image.index().and_then(|index| index.write(path)).map_err(failed)?;
        self.opened.reopen(image);
        self.evict(path)
    }

    /// Removes indexes until they fit; the one that was just built is the last to go.
    fn evict(&self, newest: &Path) -> Result<(), Error> {
        let mut indexes = self.indexes();
        let mut bytes: u64 = indexes.iter().map(|index| index.bytes).sum();
        indexes.sort_by_key(|index| (index.path == newest, index.used));
        for Indexed { path, bytes: freed, .. } in indexes {
            if bytes <= self.settings.most_index_bytes {
                break;
            }
            fs::remove_file(&path).map_err(Error::disk("removing", &path))?;
            bytes -= freed;
        }
        Ok(())
    }

    fn indexes(&self) -> Vec<Indexed> {
        let folders = fs::read_dir(self.folder()).into_iter().flatten().flatten().take(FOLDERS + 16);
        let entries =
            folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().take(ENTRIES));
        let indexes = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "lwsym"));
        let indexed = |entry: fs::DirEntry| {
            let meta = entry.metadata().ok()?;
            Some(Indexed { path: entry.path(), bytes: meta.len(), used: meta.modified().ok()? })
        };
        indexes.filter_map(indexed).collect()
    }
}

struct Indexed {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// Notes that an index was used, for as long as nobody knows better: it only decides which one goes first.
pub(super) fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}
