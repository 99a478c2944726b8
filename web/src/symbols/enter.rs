//! A debug file comes in: it gets its place, a row, and what waited for it is due again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use handover::problem::Problem;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{MOST_FILES, Part, Read, Symbols, place};
use crate::blobs::moved;
use crate::clock::now_us;
use crate::problem::Error;
use crate::store::image::{self, Identity};
use crate::store::image_file::{self, ImageFile, Origin};
use crate::store::{Store, job, wanted};

/// Where a file lies that is to be entered.
#[derive(Debug)]
pub enum Found {
    /// Written by us; it is moved to its place.
    Part(Part, Origin),
    /// In a watched folder, where it stays.
    Watched(PathBuf),
    /// In a folder of ours already, below `symbols`.
    Fetched(String),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Who it is.
    pub identity: Identity,
    /// False: nothing was in it that was not at hand before.
    pub new: bool,
    /// Crashes that are located again with it.
    pub crashes: usize,
}

/// Refuses what the folder has no room for, before it is received where its size is announced.
pub async fn room(db: impl SqliteExecutor<'_>, symbols: &Symbols, more: u64) -> Result<(), Error> {
    let (files, bytes) = image_file::own_size(db).await?;
    let most = symbols.settings.most_bytes;
    let over = if files >= MOST_FILES {
        format!("{files} debug files are at hand, and at most {MOST_FILES} are kept")
    } else if bytes.unsigned_abs().saturating_add(more) > most {
        format!(
            "{bytes} bytes of debug files are at hand, {more} more would be over the {most} that are kept"
        )
    } else {
        return Ok(());
    };
    let advice = format!("{over}; `lastwords symbols prune` makes room");
    Err(Problem::new(507, "symbols-full", "There is no room for more debug files").detail(advice).into())
}

/// Enters a file that was [read](super::read).
pub async fn enter(store: &Store, symbols: &Symbols, read: Read, found: Found) -> Result<Entered, Error> {
    let mut entered = enter_all(store, symbols, vec![(read, found)]).await?;
    entered.pop().unwrap_or(Err(Error::Inside("a debug file was not entered")))
}

/// Enters files in one transaction, and answers for each in their order. One that is refused holds up no other. Parts
/// are [synced](Symbols::sync) before.
pub async fn enter_all(
    store: &Store,
    symbols: &Symbols,
    files: Vec<(Read, Found)>,
) -> Result<Vec<Result<Entered, Error>>, Error> {
    let mut transaction = store.write().await?;
    let mut folders = BTreeSet::new();
    let mut entered = Vec::with_capacity(files.len());
    for (read, found) in files {
        match one(&mut transaction, symbols, read, found, &mut folders).await {
            Err(Error::Problem(problem)) => entered.push(Err(Error::Problem(problem))),
            done => entered.push(Ok(done?)),
        }
    }
    // No row without its file.
    tokio::task::block_in_place(|| symbols.sync_folders(&folders))?;
    transaction.commit().await?;
    Ok(entered)
}

/// Enters one, and notes the folders that have to be synced for it.
async fn one(
    db: &mut SqliteConnection,
    symbols: &Symbols,
    read: Read,
    found: Found,
    folders: &mut BTreeSet<PathBuf>,
) -> Result<Entered, Error> {
    let Read { identity, holds } = read;
    let now = now_us();
    let known = image::by_build_id(&mut *db, &identity.build_id).await?;
    let had_lines = known.as_ref().is_some_and(|known| known.lines);
    let files = match &known {
        Some(known) => image_file::of_image(&mut *db, known.id).await?,
        None => Vec::new(),
    };
    let is_known = |path: &str| files.iter().any(|held| held.path == path);
    let (row, new) = match found {
        Found::Part(part, origin) => {
            let is_held = |held: &ImageFile| {
                let all = held.lines >= holds.lines && held.text >= holds.text;
                all && held.origin != Origin::Watched && symbols.path(&held.path).is_file()
            };
            let new = !files.iter().any(is_held);
            let mut row = None;
            if new {
                let size = stat(&part.path)?;
                room(&mut *db, symbols, size.1).await?;
                let own = place(&identity.build_id, if holds.lines { ".debug" } else { "" });
                // Within the transaction, so that of two that come at once the one with less does not replace the other.
                folders.extend(moved(&part.path, &symbols.path(&own))?);
                row = Some((own, origin, size));
            }
            (row, new)
        }
        Found::Watched(path) => {
            let size = stat(&path)?;
            let name = path.to_str().ok_or(Error::Inside("a watched file has a name that is not UTF-8"))?;
            (Some((name.to_owned(), Origin::Watched, size)), !is_known(name))
        }
        Found::Fetched(path) => {
            let size = stat(&symbols.path(&path))?;
            let new = !is_known(&path);
            (Some((path, Origin::Fetched, size)), new)
        }
    };
    let image_id = image::enter(&mut *db, &identity, now).await?;
    if let Some((path, origin, (changed_us, bytes))) = row {
        let file = ImageFile {
            path,
            image_id: Some(image_id),
            lines: holds.lines,
            text: holds.text,
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            changed_us,
            stored_us: now,
            origin,
        };
        image_file::put(&mut *db, &file).await?;
    }
    // The code alone gives no line; and who waits although lines are at hand, waits for those of another build.
    let crashes = if holds.lines && (new || !had_lines) { wake(db, &identity, now).await? } else { 0 };
    Ok(Entered { identity, new, crashes })
}

async fn wake(db: &mut SqliteConnection, identity: &Identity, now_us: i64) -> Result<usize, Error> {
    let waiting = wanted::waiting(db, identity).await?;
    for &crash in &waiting {
        job::ask(db, job::LOCATE, crash, now_us).await?;
    }
    Ok(waiting.len())
}

/// When a file was last changed, µs since 1970 UTC, and its size.
pub(super) fn stat(path: &Path) -> Result<(i64, u64), Error> {
    let meta = fs::metadata(path).map_err(Error::disk("looking at", path))?;
    Ok((changed_us(&meta), meta.len()))
}

/// When a file was last changed, µs since 1970 UTC.
pub(crate) fn changed_us(meta: &fs::Metadata) -> i64 {
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other);
    let since = meta.modified().and_then(since).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
