//! A debug file comes in: it gets its place, a row, and what waited for it is due again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use handover::problem::Problem;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{MOST_FILES, Part, Read, Symbols, place};
use crate::blobs::durable;
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
    let Read { identity, holds } = read;
    let now = now_us();
    let mut transaction = store.write().await?;
    let known = image::by_build_id(&mut *transaction, &identity.build_id).await?;
    let had_lines = known.is_some_and(|known| known.lines);
    let image_id = image::enter(&mut transaction, &identity, now).await?;
    let ending = if holds.lines { ".debug" } else { "" };
    let own = place(&identity.build_id, ending);
    let files = image_file::of_image(&mut *transaction, image_id).await?;
    let file = |path: String, origin, (changed_us, bytes): (i64, u64)| ImageFile {
        path,
        image_id: Some(image_id),
        lines: holds.lines,
        text: holds.text,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        changed_us,
        stored_us: now,
        origin,
    };
    let new = match found {
        Found::Part(part, origin) => {
            let is_held = |held: &ImageFile| {
                let all = held.lines >= holds.lines && held.text >= holds.text;
                all && held.origin != Origin::Watched && symbols.path(&held.path).is_file()
            };
            let new = !files.iter().any(is_held);
            if new {
                let size = stat(&part.path)?;
                room(&mut *transaction, symbols, size.1).await?;
                let to = symbols.path(&own);
                // Within the transaction, so that of two that come at once the one with less does not replace the other.
                tokio::task::block_in_place(|| durable(&part.file, &part.path, &to))?;
                image_file::put(&mut transaction, &file(own, origin, size)).await?;
            }
            new
        }
        Found::Watched(path) => {
            let size = stat(&path)?;
            let name = path.to_str().ok_or(Error::Inside("a watched file has a name that is not UTF-8"))?;
            let known = files.iter().any(|held| held.path == name);
            image_file::put(&mut transaction, &file(name.to_owned(), Origin::Watched, size)).await?;
            !known
        }
        Found::Fetched(path) => {
            let size = stat(&symbols.path(&path))?;
            let known = files.iter().any(|held| held.path == path);
            image_file::put(&mut transaction, &file(path, Origin::Fetched, size)).await?;
            !known
        }
    };
    // The code alone gives no line; and who waits although lines are at hand, waits for those of another build.
    let crashes =
        if holds.lines && (new || !had_lines) { wake(&mut transaction, &identity, now).await? } else { 0 };
    transaction.commit().await?;
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
pub(super) fn changed_us(meta: &fs::Metadata) -> i64 {
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other);
    let since = meta.modified().and_then(since).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
