//! Disks that fail.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use collector::disk::{Contents, Disk, Output, Stat, System};

/// The system's disk, on which one file cannot be read.
pub struct Unreadable(pub PathBuf);

impl Disk for Unreadable {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Contents> {
        if path == self.0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        System.read(path, limit)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        System.list(folder)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        System.stat(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        System.open(path)
    }

    fn sync_together(&self, folder: &Path) -> io::Result<bool> {
        System.sync_together(folder)
    }

    fn open_dump(&self, path: &Path) -> Result<vmcore::Dump, vmcore::Error> {
        System.open_dump(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>> {
        System.lock(path)
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        System.free(folder)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        System.make_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        System.create(path)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        System.append(path)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        System.truncate(path, length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        System.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        System.unlink(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        System.sync_folder(path)
    }
}
