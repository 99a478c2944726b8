//! A disk in memory that knows what is durable, and stops, fails or loses power at a chosen call.
//!
//! A file's bytes are durable once it was fsynced; a name once its folder was. The pstore is another file system:
//! its unlink is durable by itself and its folder cannot be fsynced, as on Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use collector::disk::{Contents, Disk, FileKind, Output, Stat};
use nix::errno::Errno;

pub const PSTORE: &str = "/pstore";

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, then the process is gone.
    StopAfter,
    /// If it writes, half of it is done; then the process is gone.
    StopHalfway,
    /// It fails once with this error; a write leaves half of its bytes.
    Fail(Errno),
    /// It and every later write or creation fails.
    FailOn(Errno),
}

/// What is left after the power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Everything: only the process died.
    Everything,
    /// What is durable.
    Durable,
    /// Names as they were, of files that were not fsynced the durable bytes only.
    Names,
    /// Bytes as they were, under the durable names only.
    Bytes,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Default)]
struct Tree {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, usize>,
}

#[derive(Default)]
struct State {
    now: Tree,
    durable: Tree,
    inodes: Vec<File>,
    calls: usize,
    log: Vec<String>,
    fault: Option<(usize, Fault)>,
    stopped: bool,
}

#[derive(Clone, Default)]
pub struct Model(Arc<Mutex<State>>);

/// What is done with a call that changes something.
enum Step {
    Do,
    DoThenStop,
    HalfThenStop,
    Fail(Errno),
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the process is gone")) } else { Ok(()) }
    }

    /// Counts a call that changes something and says what becomes of it.
    fn step(&mut self, call: String, is_write: bool) -> io::Result<Step> {
        self.alive()?;
        self.log.push(call);
        let number = self.calls;
        self.calls += 1;
        Ok(match self.fault {
            Some((at, Fault::StopAfter)) if at == number => Step::DoThenStop,
            Some((at, Fault::StopHalfway)) if at == number && is_write => Step::HalfThenStop,
            Some((at, Fault::StopHalfway)) if at == number => Step::DoThenStop,
            Some((at, Fault::Fail(errno))) if at == number => Step::Fail(errno),
            Some((at, Fault::FailOn(errno))) if number >= at && is_write => Step::Fail(errno),
            _ => Step::Do,
        })
    }

    fn change<T>(&mut self, call: String, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        match self.step(call, false)? {
            Step::Do => change(self),
            Step::DoThenStop => {
                let result = change(self);
                self.stopped = true;
                result.and(Err(io::Error::other("the process is gone")))
            }
            Step::HalfThenStop => unreachable!("only writes are halved"),
            Step::Fail(errno) => Err(errno.into()),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.now.files.get(path).copied().ok_or(io::ErrorKind::NotFound.into())
    }

    fn needs_folder(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().unwrap();
        if self.now.folders.contains(folder) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Model {
    pub fn new() -> Model {
        let model = Model::default();
        let mut state = model.state();
        for folder in ["/", PSTORE] {
            state.now.folders.insert(folder.into());
        }
        state.durable = state.now.clone();
        drop(state);
        model
    }

    /// A file that was there, durably, before the agent; and its folders.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        for folder in Path::new(path).ancestors().skip(1) {
            state.now.folders.insert(folder.to_owned());
            state.durable.folders.insert(folder.to_owned());
        }
        let number = state.inodes.len();
        state.inodes.push(File { bytes: bytes.to_vec(), durable: bytes.to_vec() });
        state.now.files.insert(path.into(), number);
        state.durable.files.insert(path.into(), number);
    }

    /// Counts calls from 0 again and fails at one of them.
    pub fn arm(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.state();
        (state.calls, state.fault, state.stopped) = (0, fault, false);
        state.log.clear();
    }

    /// The calls that changed something since the disk was armed.
    pub fn calls(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Starts the machine again with what is left.
    pub fn restart(&self, left: Left) {
        let mut state = self.state();
        if matches!(left, Left::Durable | Left::Bytes) {
            state.now = state.durable.clone();
        }
        for file in &mut state.inodes {
            if matches!(left, Left::Durable | Left::Names) {
                file.bytes = file.durable.clone();
            }
            file.durable = file.bytes.clone();
        }
        state.durable = state.now.clone();
        drop(state);
        self.arm(None);
    }

    /// Names below a folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        self.list(Path::new(folder)).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn output(&self, path: &Path, empty: bool) -> io::Result<Box<dyn Output>> {
        let name = path.display();
        let number = self.state().change(format!("open {name}"), |state| {
            state.needs_folder(path)?;
            let number = match state.inode(path) {
                Ok(number) => number,
                Err(_) => {
                    state.inodes.push(File::default());
                    let number = state.inodes.len() - 1;
                    state.now.files.insert(path.into(), number);
                    number
                }
            };
            if empty {
                state.inodes[number].bytes.clear();
            }
            Ok(number)
        })?;
        Ok(Box::new(Open { model: self.clone(), number, name: name.to_string() }))
    }
}

struct Open {
    model: Model,
    number: usize,
    name: String,
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.model.state();
        let step = state.step(format!("write {} bytes to {}", bytes.len(), self.name), true)?;
        let file = &mut state.inodes[self.number];
        let half = &bytes[..bytes.len() / 2];
        match step {
            Step::Do => file.bytes.extend_from_slice(bytes),
            Step::DoThenStop => {
                file.bytes.extend_from_slice(bytes);
                state.stopped = true;
            }
            Step::HalfThenStop => {
                file.bytes.extend_from_slice(half);
                state.stopped = true;
            }
            Step::Fail(errno) => {
                file.bytes.extend_from_slice(half);
                return Err(errno.into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Open {
    fn sync(&mut self) -> io::Result<()> {
        let number = self.number;
        self.model.state().change(format!("fsync {}", self.name), |state| {
            state.inodes[number].durable = state.inodes[number].bytes.clone();
            Ok(())
        })
    }
}

impl Disk for Model {
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        if !state.now.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |path: &&PathBuf| path.parent() == Some(folder);
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(state.now.files.keys().chain(&state.now.folders).filter(inside).map(name).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.state();
        state.alive()?;
        let stat =
            |kind, size| Stat { kind, size, mtime_us: 1_795_376_475_000_000, device: 1, inode: 1, owner: 0 };
        if state.now.folders.contains(path) {
            return Ok(stat(FileKind::Folder, 0));
        }
        Ok(stat(FileKind::File, state.inodes[state.inode(path)?].bytes.len() as u64))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Contents> {
        let stat = self.stat(path)?;
        let state = self.state();
        let mut bytes = state.inodes[state.inode(path)?].bytes.clone();
        let cut = bytes.len() as u64 > limit;
        bytes.truncate(limit as usize);
        Ok(Contents { bytes, cut, stat })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.read(path, u64::MAX)?.bytes)))
    }

    fn open_dump(&self, path: &Path) -> Result<vmcore::Dump, vmcore::Error> {
        let missing = |source| vmcore::Error::Read { path: path.to_owned(), source };
        vmcore::from_bytes(self.read(path, u64::MAX).map_err(missing)?.bytes)
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(())))
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.state().change(format!("mkdir {}", path.display()), |state| {
            state.needs_folder(path)?;
            state.now.folders.insert(path.into());
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        self.output(path, true)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        self.output(path, false)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.state().change(format!("truncate {}", path.display()), |state| {
            let number = state.inode(path)?;
            state.inodes[number].bytes.truncate(length as usize);
            state.inodes[number].durable = state.inodes[number].bytes.clone();
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().change(format!("rename {} to {}", from.display(), to.display()), |state| {
            state.needs_folder(to)?;
            let number = state.now.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.now.files.insert(to.into(), number);
            Ok(())
        })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.state().change(format!("unlink {}", path.display()), |state| {
            state.now.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
            if path.starts_with(PSTORE) {
                state.durable.files.remove(path);
            }
            Ok(())
        })
    }

    fn sync_together(&self, folder: &Path) -> io::Result<bool> {
        self.state().change(format!("syncfs of {}", folder.display()), |state| {
            state.inodes.iter_mut().for_each(|file| file.durable = file.bytes.clone());
            Ok(true)
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.state().change(format!("fsync {}", folder.display()), |state| {
            if folder == Path::new(PSTORE) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let inside = |path: &PathBuf| path.parent() == Some(folder);
            let State { now, durable, .. } = state;
            durable.files.retain(|path, _| !inside(path));
            durable
                .files
                .extend(now.files.iter().filter(|(path, _)| inside(path)).map(|(p, n)| (p.clone(), *n)));
            durable.folders.retain(|path| !inside(path));
            durable.folders.extend(now.folders.iter().filter(|path| inside(path)).cloned());
            Ok(())
        })
    }
}
