//! Dumps whose reading may end the agent: each attempt is noted before it begins, and the note goes when it is over.
//!
//! A dump may want more memory than the unit may have. Then the kernel ends the agent, and the timer starts it again,
//! and without a note so it would go on. A boot later it is tried anew: by then the machine, the agent or its limits may
//! be others, and a machine that died while a dump was read says nothing against the dump.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use handover::BootId;
use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::error::{Doing, Error};

/// Name of the file in the spool.
const FILE: &str = "reading.json";

/// Attempts in one boot: the first may have been ended by a person.
const ATTEMPTS: u32 = 2;

/// The most that is read of the file: a path and a number for each of the dumps at hand.
const LIMIT: u64 = 1 << 20;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    boot: Option<BootId>,
    /// By path, as it is shown.
    dumps: BTreeMap<String, u32>,
}

/// Reads a dump, unless its reading ended the agent before, in this boot and often enough: then `None`.
pub(super) fn attempt<T>(
    disk: &dyn Disk,
    spool: &Path,
    boot: BootId,
    dump: &Path,
    read: impl FnOnce() -> T,
) -> Result<Option<T>, Error> {
    let mut begun = load(disk, spool).filter(|begun| begun.boot == Some(boot)).unwrap_or_default();
    begun.boot = Some(boot);
    // Whoever names folders need not keep to UTF-8, and JSON does.
    let dump = dump.to_string_lossy().into_owned();
    let count = begun.dumps.entry(dump.clone()).or_default();
    if *count >= ATTEMPTS {
        return Ok(None);
    }
    *count += 1;
    save(disk, spool, &begun)?;
    let value = read();
    begun.dumps.remove(&dump);
    save(disk, spool, &begun)?;
    Ok(Some(value))
}

/// What an earlier run noted. A note that cannot be read is none.
fn load(disk: &dyn Disk, spool: &Path) -> Option<Begun> {
    let contents = disk.read(&spool.join(FILE), LIMIT).ok()?;
    serde_json::from_slice(&contents.bytes).ok()
}

fn save(disk: &dyn Disk, spool: &Path, begun: &Begun) -> Result<(), Error> {
    let path = spool.join(FILE);
    if begun.dumps.is_empty() {
        return match disk.unlink(&path).and_then(|()| disk.sync_folder(spool)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("removing", &path),
            _ => Ok(()),
        };
    }
    let bytes = serde_json::to_vec(begun).expect("a note is texts and numbers");
    disk::write_whole(disk, &spool.join("tmp").join("reading"), &path, &bytes).doing("writing", &path)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::disk::System;

    fn boot(digit: u8) -> BootId {
        format!("{digit:032x}").parse().unwrap()
    }

    #[test]
    fn a_dump_that_ends_the_agent_is_left_alone_until_the_next_boot() {
        let spool = tempfile::tempdir().unwrap();
        fs::create_dir(spool.path().join("tmp")).unwrap();
        let dump = Path::new(OsStr::from_bytes(b"/var/crash/\xff/dump"));
        let note = spool.path().join(FILE);
        let try_it = |number, dump: &Path, read: &dyn Fn()| {
            let attempt = || attempt(&System, spool.path(), boot(number), dump, read).unwrap().is_some();
            catch_unwind(AssertUnwindSafe(attempt)).ok()
        };
        let ends_us = || panic!("out of memory");
        for _ in 0..ATTEMPTS {
            assert_eq!(try_it(1, dump, &ends_us), None, "it ends us");
        }
        assert_eq!(try_it(1, dump, &ends_us), Some(false), "it is not read again");
        assert_eq!(try_it(1, Path::new("/var/crash/2/dump"), &|| assert!(note.exists())), Some(true));
        assert_eq!(try_it(1, dump, &ends_us), Some(false), "another one that is well changes nothing");
        assert_eq!(try_it(2, dump, &|| ()), Some(true), "in the next boot it is");
        assert!(!note.exists());
    }
}
