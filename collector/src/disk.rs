//! The door to the file system: every call the agent makes on it, one method a system call.
//!
//! It is a trait so that the tests can stop the agent after each call that changes something, cut writes
//! short, fill the disk, fail an fsync and drop what was not yet durable (`tests/it/crash_points.rs`). "Durable"
//! means fsynced, and for a new or renamed name its folder fsynced as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// What a directory holds under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, a device, a pipe, a socket: never opened.
    Other,
}

/// What lstat(2) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Regular file, folder or neither.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Last change in µs since 1970, as the file system tells it.
    pub mtime_us: i64,
    /// The device of the file system.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// The user it belongs to.
    pub owner: u32,
}

/// The bytes of a file and what fstat(2) said of the same open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// At most as many bytes as were asked for.
    pub bytes: Vec<u8>,
    /// Whether the file had more.
    pub cut: bool,
    /// Of the open file, so that it belongs to these bytes.
    pub stat: Stat,
}

/// An open file that is being written.
pub trait Output: Write {
    /// fsync(2): returns when the bytes are durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system calls of the agent.
pub trait Disk: Send + Sync {
    /// The names in a folder, sorted bytewise. At most [`NAMES`] are returned.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// lstat(2).
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Reads a regular file in one go, following no symbolic link, at most `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Contents>;
    /// Opens a regular file for reading piece by piece.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Opens a dump of memory; its pages are read as they are asked for.
    fn open_dump(&self, path: &Path) -> Result<vmcore::Dump, vmcore::Error>;
    /// Takes the advisory lock of a file, which is created if it is missing; `None` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>>;
    /// Bytes free for us on the file system of a folder.
    fn free(&self, folder: &Path) -> io::Result<u64>;

    /// mkdir(2), mode 0700. A folder that is already there is no error.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Creates a file, mode 0600, emptying one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// Opens a file for writing behind its end, mode 0600, created if missing.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// Cuts a file off at a length and makes that durable.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// unlink(2).
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// fsync(2) of a folder.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// syncfs(2): the bytes of every file on the file system of a folder. `false` where the kernel does not tell of
    /// errors, so that it is as good as not done.
    fn sync_together(&self, folder: &Path) -> io::Result<bool>;
}

/// Names read from one folder. A pstore holds tens, a crash loop in systemd's archive thousands; what is beyond
/// is seen on the next run, after these were handed over.
pub const NAMES: usize = 100_000;

/// Files of a lot above which all are synced with one call: each fsync waits for the disk.
const FEW: usize = 8;

/// What a dump that was packed as a whole (`vmcore.zst`) may take of the temporary folder: a filtered dump of a machine
/// with some hundred GB.
const UNPACKED: u64 = 8 << 30;

/// The running system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Disk for System {
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)?.take(NAMES) {
            // A name that is not UTF-8 is none that a kernel or a dump tool writes.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        fs::symlink_metadata(path).map(|m| stat_of(&m))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Contents> {
        let file = open_regular(path)?;
        let stat = stat_of(&file.metadata()?);
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size.min(limit) + 1).unwrap_or(0));
        (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        let cut = bytes.len() as u64 > limit;
        if cut {
            bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Ok(Contents { bytes, cut, stat })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(open_regular(path)?))
    }

    fn open_dump(&self, path: &Path) -> Result<vmcore::Dump, vmcore::Error> {
        vmcore::open_within(path, UNPACKED)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        give(&file, path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(folder)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => give(&File::open(path)?, path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        give(&file, path)?;
        Ok(Box::new(Synced(file)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        give(&file, path)?;
        Ok(Box::new(Synced(file)))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_together(&self, folder: &Path) -> io::Result<bool> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if !syncfs_tells(&release) {
            return Ok(false);
        }
        nix::unistd::syncfs(File::open(folder)?)?;
        Ok(true)
    }
}

struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Synced {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Whether syncfs(2) of this kernel returns what went wrong with a file: since Linux 5.8 (commit 735e4ae5ba28).
fn syncfs_tells(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|word| word.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

/// Gives a file to the owner of its folder. The half of the agent that runs as root writes into a spool that belongs
/// to the half that hands over.
fn give(file: &File, path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let (own, wanted) = (file.metadata()?, fs::metadata(folder)?);
    // Only root can give, and only root writes into somebody else's folder.
    if own.uid() == 0 && wanted.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}

/// Opens a file without following a link, and without hanging on a pipe that somebody laid in the way.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn stat_of(metadata: &fs::Metadata) -> Stat {
    let kind = metadata.file_type();
    let kind = if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Folder
    } else {
        debug_assert!(
            kind.is_symlink()
                || kind.is_fifo()
                || kind.is_socket()
                || kind.is_char_device()
                || kind.is_block_device()
        );
        FileKind::Other
    };
    Stat {
        kind,
        size: metadata.len(),
        mtime_us: metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1000),
        device: metadata.dev(),
        inode: metadata.ino(),
        owner: metadata.uid(),
    }
}

/// Files that become durable under their names together, each whole or not at all: written into a folder for what is
/// unfinished, fsynced, renamed, and then every folder fsynced once (the unfinished one too, lest an old name come
/// back). A lot that is dropped leaves nothing but unfinished files.
pub struct Lot<'d> {
    disk: &'d dyn Disk,
    files: Vec<Unfinished>,
}

struct Unfinished {
    file: Box<dyn Output>,
    tmp: PathBuf,
    target: PathBuf,
}

impl<'d> Lot<'d> {
    /// With nothing in it.
    pub fn new(disk: &'d dyn Disk) -> Lot<'d> {
        Lot { disk, files: Vec::new() }
    }

    /// Adds a file; `tmp` is its name until the lot is made durable. Written again, it takes the place of the first.
    pub fn write(&mut self, tmp: PathBuf, target: PathBuf, bytes: &[u8]) -> io::Result<()> {
        self.files.retain(|unfinished| unfinished.tmp != tmp);
        let mut file = self.disk.create(&tmp)?;
        file.write_all(bytes)?;
        self.files.push(Unfinished { file, tmp, target });
        Ok(())
    }

    /// Adds a file that was written elsewhere.
    pub fn add(&mut self, file: Box<dyn Output>, tmp: PathBuf, target: PathBuf) {
        self.files.push(Unfinished { file, tmp, target });
    }

    /// Makes everything durable; the lot is empty afterwards, whether that succeeded or not.
    pub fn commit(&mut self) -> io::Result<()> {
        let mut files = std::mem::take(&mut self.files);
        let folder = files.first().and_then(|unfinished| unfinished.tmp.parent());
        let together = match folder.filter(|_| files.len() > FEW) {
            Some(folder) => self.disk.sync_together(folder)?,
            None => false,
        };
        if !together {
            files.iter_mut().try_for_each(|unfinished| unfinished.file.sync())?;
        }
        move_files(self.disk, files.iter().map(|f| (f.tmp.as_path(), f.target.as_path())))
    }
}

/// Writes a whole file so that it is durable under its name or not there at all.
pub fn write_whole(disk: &dyn Disk, tmp: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut lot = Lot::new(disk);
    lot.write(tmp.to_owned(), target.to_owned(), bytes)?;
    lot.commit()
}

/// Renames a file and makes the new name durable.
pub fn move_file(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    move_files(disk, [(from, to)].into_iter())
}

/// Renames files in this order and makes the new names durable, first those of the folders they went to. One that is
/// not there is an error, after those before it were moved.
pub fn move_files<'a>(disk: &dyn Disk, moves: impl Iterator<Item = (&'a Path, &'a Path)>) -> io::Result<()> {
    let (mut into, mut out_of) = (Vec::new(), Vec::new());
    let moved = moves.into_iter().try_for_each(|(from, to)| {
        disk.rename(from, to)?;
        for (folder, folders) in [(to.parent(), &mut into), (from.parent(), &mut out_of)] {
            if let Some(folder) = folder.filter(|folder| !folders.contains(folder)) {
                folders.push(folder);
            }
        }
        Ok(())
    });
    out_of.retain(|folder| !into.contains(folder));
    into.iter().chain(&out_of).try_for_each(|folder| disk.sync_folder(folder))?;
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("pipe"));
        fs::write(&file, b"text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();

        assert_eq!(System.read(&file, 10).unwrap().bytes, b"text");
        assert!(System.read(&link, 10).is_err());
        assert!(System.read(&pipe, 10).is_err());
        assert_eq!(System.stat(&link).unwrap().kind, FileKind::Other);
    }

    #[test]
    fn reading_stops_at_the_limit_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"0123456789").unwrap();
        let whole = System.read(&file, 10).unwrap();
        assert_eq!((whole.bytes.len(), whole.cut), (10, false));
        let part = System.read(&file, 9).unwrap();
        assert_eq!((part.bytes.len(), part.cut, part.stat.size), (9, true, 10));
    }

    #[test]
    fn one_sync_for_all_is_trusted_where_it_tells_of_errors() {
        for (release, tells) in [
            ("6.12.117+deb12-cloud-amd64", true),
            ("5.8.0", true),
            ("5.7.19", false),
            ("4.18.0-553.el8", false),
            ("10.0-rc1", true),
            ("", false),
            ("odd", false),
        ] {
            assert_eq!(syncfs_tells(release), tells, "{release:?}");
        }
    }

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        if fs::metadata(dir.path()).unwrap().uid() != 0 {
            println!("skipped: only root can give a file away");
            return;
        }
        let folder = dir.path().join("spool");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).unwrap();
        System.make_folder(&folder.join("ready")).unwrap();
        System.create(&folder.join("ready/file")).unwrap();
        System.append(&folder.join("log")).unwrap();
        System.lock(&folder.join("lock")).unwrap();
        for name in ["ready", "ready/file", "log", "lock"] {
            assert_eq!(fs::metadata(folder.join(name)).unwrap().uid(), 65534, "{name}");
        }
    }

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = System.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(System.lock(&path).unwrap().is_none());
        drop(held);
        assert!(System.lock(&path).unwrap().is_some());
    }
}
