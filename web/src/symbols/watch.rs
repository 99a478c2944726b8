//! Folders of others that are looked through for debug files. The files stay where they are and are used from there.
//!
//! They are mapped, so that whoever rewrites one in place, instead of replacing it as package managers do, can stop the
//! service. A file is therefore left alone until it has stood still for a while, and a build tree is better added.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::enter::{self, Found};
use super::walk::{self, Seen};
use crate::app::App;
use crate::clock::now_us;
use crate::problem::{Chain, Error};
use crate::store::image_file::{self, ImageFile, Origin};

/// How often, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks. Listing a tree of 4,000 modules takes some 20 ms.
    pub every: Duration,
    /// A file that was changed less than this ago may still be written.
    pub settled: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { every: Duration::from_secs(60), settled: Duration::from_secs(60) }
    }
}

/// Looks through the folders until told to stop.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let settings = &app.symbols.settings;
    let mut unread = HashSet::new();
    while !settings.watched.is_empty() && !*stopped.borrow() {
        for folder in &settings.watched {
            tokio::select! {
                looked = look(&app, folder, &mut unread) => if let Err(error) = looked {
                    tracing::error!(folder = %folder.display(), error = %Chain(&error), "looking for debug files");
                },
                _ = stopped.changed() => return,
            }
        }
        tokio::select! {
            () = tokio::time::sleep(settings.watch.every) => {}
            _ = stopped.changed() => {}
        }
    }
}

/// Looks once through a folder. What is said there of unreadable folders is said once.
async fn look(app: &Arc<App>, folder: &Path, said: &mut HashSet<String>) -> Result<(), Error> {
    let root = folder.to_path_buf();
    let listing = blocking(move || walk::below(&root)).await?;
    for why in listing.unread.iter().filter(|why| !said.contains(*why)) {
        tracing::warn!(why, "a watched folder is not looked through whole");
    }
    // Of what was not listed nobody knows whether it is gone.
    let whole = listing.unread.is_empty();
    said.clear();
    said.extend(listing.unread);
    let name = folder.to_string_lossy();
    let known = image_file::below(app.store.read(), &name).await?;
    let mut known: HashMap<String, ImageFile> =
        known.into_iter().map(|file| (file.path.clone(), file)).collect();
    let now = now_us();
    let settled = i64::try_from(app.symbols.settings.watch.settled.as_micros()).unwrap_or(i64::MAX);
    for seen in listing.files {
        let before = seen.path.to_str().and_then(|path| known.remove(path));
        let same =
            |file: ImageFile| (file.changed_us, file.bytes.unsigned_abs()) == (seen.changed_us, seen.bytes);
        if before.is_some_and(same) || now.saturating_sub(seen.changed_us) < settled {
            continue;
        }
        take(app, seen).await?;
    }
    if whole {
        for path in known.into_keys() {
            let mut transaction = app.store.write().await?;
            image_file::forget(&mut transaction, &path).await?;
            transaction.commit().await?;
        }
    }
    Ok(())
}

async fn take(app: &Arc<App>, seen: Seen) -> Result<(), Error> {
    let Some(name) = seen.path.to_str().map(str::to_owned) else {
        // It could not be kept in a table; kernels and their modules have plain names.
        return Ok(());
    };
    let path = seen.path.clone();
    let read = blocking(move || super::read(&path, &path)).await?;
    let entered = match read {
        Ok(read) => enter::enter(&app.store, &app.symbols, read, Found::Watched(seen.path)).await?,
        Err(error) => {
            tracing::debug!(path = name, error = %Chain(&error), "no debug file");
            return pass_over(app, name, seen.changed_us, seen.bytes).await;
        }
    };
    if entered.crashes > 0 {
        app.jobs_due.notify_one();
    }
    Ok(())
}

/// Notes a file that is none of ours, so that it is read again only when it has changed.
async fn pass_over(app: &App, path: String, changed_us: i64, bytes: u64) -> Result<(), Error> {
    let file = ImageFile {
        path,
        image_id: None,
        lines: false,
        text: false,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        changed_us,
        stored_us: now_us(),
        origin: Origin::Watched,
    };
    let mut transaction = app.store.write().await?;
    image_file::put(&mut transaction, &file).await?;
    Ok(transaction.commit().await?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Inside("looking for debug files ended badly"))
}
