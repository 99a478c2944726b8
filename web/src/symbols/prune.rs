//! Makes room: removes files of our own that nobody uses. What was found with them stays.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Symbols;
use crate::problem::Error;
use crate::store::Store;
use crate::store::image_file::{self, Own};

/// A file that no table knows may be one that is just coming in.
const STRAY: Duration = Duration::from_secs(3600);

/// What goes. Of those that may go, the ones that were not used for longest go first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Those not used since this time, µs since 1970 UTC.
    pub before_us: Option<i64>,
    /// As many as it takes until no more bytes than this are left.
    pub down_to: Option<u64>,
    /// Also those that crashes were located with: they keep their lines, but a new frame of that build finds none.
    pub used_too: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Files of builds.
    pub files: Vec<Own>,
    /// Files that no build has: left by a killed program, or of a table that was lost.
    pub strays: Vec<PathBuf>,
    /// Files that the rules name and that stay because crashes use them.
    pub in_use: usize,
    /// Bytes that are left.
    pub left: u64,
}

/// Removes what the rules name. Beside a running service too: a file that it has open stays readable for it.
pub async fn prune(store: &Store, symbols: &Symbols, rules: &Rules) -> Result<Pruned, Error> {
    let own = image_file::own(store.read()).await?;
    let strays = strays(symbols, &own)?;
    let mut pruned = Pruned { strays, left: bytes(&own), ..Pruned::default() };
    for file in own {
        let old = rules.before_us.is_none_or(|before| file.last_us < before);
        let over = rules.down_to.is_none_or(|most| pruned.left > most);
        if !old || !over {
            continue;
        }
        if file.crashes > 0 && !rules.used_too {
            pruned.in_use += 1;
            continue;
        }
        pruned.left -= file.bytes.unsigned_abs();
        pruned.files.push(file);
    }
    if !rules.dry_run {
        for file in &pruned.files {
            // The row first: a row without its file would be believed.
            let mut transaction = store.write().await?;
            image_file::forget(&mut transaction, &file.path).await?;
            let left = image_file::of_image(&mut *transaction, file.image_id).await?;
            transaction.commit().await?;
            remove(&symbols.path(&file.path))?;
            if !left.iter().any(|file| file.lines) {
                remove(&symbols.index_path(&file.build_id))?;
            }
        }
        pruned.strays.iter().try_for_each(|path| remove(path))?;
    }
    Ok(pruned)
}

fn bytes(own: &[Own]) -> u64 {
    own.iter().map(|file| file.bytes.unsigned_abs()).sum()
}

/// Files of the folder that no row names; indexes go by their own rule.
fn strays(symbols: &Symbols, own: &[Own]) -> Result<Vec<PathBuf>, Error> {
    let known: HashSet<PathBuf> = own.iter().map(|file| symbols.path(&file.path)).collect();
    let mut strays = Vec::new();
    let list = |folder: &Path| -> Result<Vec<fs::DirEntry>, Error> {
        fs::read_dir(folder).and_then(Iterator::collect).map_err(Error::disk("listing", folder))
    };
    let is_build = |name: &str| name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let folders = list(symbols.folder())?.into_iter().filter(|entry| entry.path().is_dir());
    for folder in folders.filter(|entry| entry.file_name().to_str().is_some_and(is_build)) {
        for entry in list(&folder.path())? {
            let (path, meta) = (entry.path(), entry.metadata().ok());
            let old = meta
                .and_then(|meta| SystemTime::now().duration_since(meta.modified().ok()?).ok())
                .is_some_and(|age| age > STRAY);
            let index = path.extension().is_some_and(|ending| ending == "lwsym");
            if old && !index && !known.contains(&path) {
                strays.push(path);
            }
        }
    }
    Ok(strays)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::disk("removing", path)(error)),
        _ => Ok(()),
    }
}
