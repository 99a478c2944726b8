//! A made-up node in a temporary folder: a root, a pstore, a spool, a clock that only moves when somebody waits.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use collector::agent::{self, Config, Ground, Summary};
use collector::clock::Clock;
use collector::disk::{self, Disk};

use crate::service::{Service, TOKEN};

/// When the made-up crashes happened, seconds since 1970.
pub const DIED: u64 = 1_795_376_475;

pub struct Node {
    pub dir: tempfile::TempDir,
}

/// Time passes only in `sleep`.
#[derive(Default)]
pub struct Still(Mutex<Duration>);

impl Clock for Still {
    fn wall_us(&self) -> i64 {
        (DIED as i64 + 60) * 1_000_000 + self.since_boot().as_micros() as i64
    }

    fn since_boot(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

/// The same bytes in every run, no two draws alike.
pub fn random(buffer: &mut [u8]) -> io::Result<()> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    buffer.fill_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    Ok(())
}

impl Node {
    pub fn new() -> Node {
        let node = Node { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(node.pstore()).unwrap();
        for (path, text) in [
            ("etc/machine-id", "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n"),
            ("proc/sys/kernel/random/boot_id", "550e8400-e29b-41d4-a716-446655440000\n"),
            ("proc/sys/kernel/osrelease", "6.12.117+deb12-cloud-amd64\n"),
            ("proc/cmdline", "root=/dev/vda1 ro quiet\n"),
        ] {
            node.file(path, text);
        }
        fs::write(node.path("token"), TOKEN).unwrap();
        node
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn pstore(&self) -> PathBuf {
        self.path("pstore")
    }

    pub fn spool(&self) -> PathBuf {
        self.path("spool")
    }

    /// A file below the node's root.
    pub fn file(&self, below: &str, text: &str) {
        let path = self.path("root").join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A record in the pstore, written at the given second.
    pub fn record(&self, name: &str, seconds: u64, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.pstore().join(name);
        fs::write(&path, bytes).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    }

    /// An oops and the panic that it led to.
    pub fn crash(&self) {
        self.record("dmesg-ramoops-0", DIED, OOPS);
        self.record("dmesg-ramoops-1", DIED, PANIC);
    }

    pub fn config(&self, service: Option<&Service>) -> Config {
        Config {
            root: self.path("root"),
            pstore: vec![self.pstore()],
            servers: service.map(Service::url).into_iter().collect(),
            token_file: Some(self.path("token")),
            ..Config::new(self.spool())
        }
    }

    pub fn run(&self, config: &Config) -> Summary {
        run_on(config, &disk::System).unwrap()
    }

    /// Names in a folder of the spool.
    pub fn spooled(&self, folder: &str) -> Vec<String> {
        names(&self.spool().join(folder))
    }
}

pub fn run_on(config: &Config, disk: &dyn Disk) -> Result<Summary, collector::Error> {
    let clock = Still::default();
    agent::collect_on(config, &Ground { disk, clock: &clock, random: &random })
}

pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub const OOPS: &str =
    "Oops#1 Part1\n<4>[   27.100776] BUG: kernel NULL pointer dereference, address: 0000000000000008\n";
pub const PANIC: &str = "Panic#2 Part1\n<0>[   27.101902] Kernel panic - not syncing: Fatal exception\n";
