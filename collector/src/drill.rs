//! The drill: a crash that was asked for, to prove the way from the panic to the receipt.
//!
//! `drill.json` says in which boot the machine was made to panic, with which kernel and initramfs. In a later boot one
//! run finds the crash and spools it as a drill, and one, perhaps of another process without privileges, hands it over.
//! Either notes what the drill came to, by what the spool has of that boot: *proven* once the receipt is there. A
//! synthetic drill begins at the spool and proves the handing over only.

use std::io::{self, Read};
use std::path::Path;

use handover::digest::Hasher;
use handover::readiness::Proven;
use handover::{BootId, Sha256};
use serde::{Deserialize, Serialize};

use crate::custody::State;
use crate::disk::{self, Disk};
use crate::error::{Doing, Error};
use crate::host::{Host, Root};

/// Name of the file in the spool.
const FILE: &str = "drill.json";

/// An initramfs above this is not hashed: 1 GiB; the largest seen are some 200 MB.
const INITRAMFS: u64 = 1 << 30;

/// How a drill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The machine was made to panic, and has not come back yet.
    Pending,
    /// The crash arrived, and its receipt is here.
    Proven,
    /// A synthetic record arrived, and its receipt is here.
    HandedOver,
    /// The machine came back, and there was no crash to find. One that is found later still proves the way.
    NotCaptured,
    /// The boot that was to panic ended in order.
    NotHeld,
}

/// The last drill of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// When it was begun, or proven, µs since 1970 UTC.
    pub at_us: i64,
    /// The boot that was made to panic.
    pub boot: BootId,
    /// Its kernel release.
    pub kernel: String,
    /// Digest of its initramfs, where one was found.
    pub initramfs_sha256: Option<Sha256>,
    /// How it stands.
    pub result: Standing,
}

impl Drill {
    /// The drill that is noted in a spool. One that cannot be read is none.
    pub fn load(disk: &dyn Disk, spool: &Path) -> Option<Drill> {
        let contents = disk.read(&spool.join(FILE), 4096).ok()?;
        serde_json::from_slice(&contents.bytes).ok()
    }

    /// A drill that begins now, on the machine as it is.
    pub fn begin(root: &Root, host: &Host, now_us: i64) -> Drill {
        Drill {
            at_us: now_us,
            boot: host.boot,
            kernel: host.machine.kernel.clone(),
            initramfs_sha256: initramfs(root, &host.machine.kernel).ok().flatten(),
            result: Standing::Pending,
        }
    }

    /// Notes it durably.
    pub fn save(&self, disk: &dyn Disk, spool: &Path) -> Result<(), Error> {
        let path = spool.join(FILE);
        let mut bytes = serde_json::to_vec_pretty(self).expect("a drill is texts and numbers");
        bytes.push(b'\n');
        disk::write_whole(disk, &spool.join("tmp").join("drill"), &path, &bytes).doing("writing", &path)
    }

    /// Notes durably what was noted before a drill that did not happen.
    pub fn put_back(before: Option<&Drill>, disk: &dyn Disk, spool: &Path) -> Result<(), Error> {
        if let Some(before) = before {
            return before.save(disk, spool);
        }
        let path = spool.join(FILE);
        disk.unlink(&path).and_then(|()| disk.sync_folder(spool)).doing("removing", &path)
    }

    /// Whether a crash of its boot is one that was asked for.
    pub fn is_open(&self) -> bool {
        matches!(self.result, Standing::Pending | Standing::NotCaptured)
    }

    /// What it came to, seen from a later boot: `arrived` is how far the spool's evidence of the boot got that was made
    /// to panic. A run that looked nowhere says nothing about evidence that is not there.
    pub fn judge(&self, arrived: Option<State>, looked: bool, ended_in_order: bool) -> Standing {
        match arrived {
            Some(state) if state >= State::Acked => Standing::Proven,
            Some(_) => Standing::Pending,
            None if !looked => self.result,
            None if ended_in_order => Standing::NotHeld,
            None => Standing::NotCaptured,
        }
    }

    /// What is no longer as it was in the drill, or cannot be seen; `None` where all is the same.
    pub fn changed(&self, root: &Root) -> Option<String> {
        let kernel = root.text("/proc/sys/kernel/osrelease").unwrap_or_default();
        if kernel != self.kernel {
            return Some(format!("the kernel is {kernel} now"));
        }
        match (self.initramfs_sha256, initramfs(root, &kernel)) {
            (Some(then), Ok(Some(now))) if then == now => None,
            (Some(_), Ok(Some(_))) => Some("the initramfs changed since".to_owned()),
            // One that is not seen may have changed.
            (_, Ok(None)) => Some("its initramfs cannot be seen: there is none below /boot".to_owned()),
            (_, Err(error)) => Some(format!("its initramfs cannot be read: {error}")),
            (None, Ok(Some(_))) => Some("its initramfs was not seen then".to_owned()),
        }
    }

    /// As the readiness document tells it.
    pub fn proven(&self, root: &Root) -> Proven {
        let result = serde_json::to_value(self.result).unwrap_or_default();
        Proven {
            at_us: self.at_us,
            kernel: self.kernel.clone(),
            initramfs_sha256: self.initramfs_sha256.map(|digest| digest.to_string()).unwrap_or_default(),
            result: result.as_str().unwrap_or_default().to_owned(),
            still: self.changed(root).is_none(),
        }
    }
}

/// Makes the kernel panic, as sysrq c does. Returns only if it did not.
pub fn panic(root: &Root) -> Result<(), Error> {
    let path = root.path("/proc/sysrq-trigger");
    std::fs::write(&path, b"c").doing("writing to", &path)
}

/// The text of a made-up record, which a reader names as a panic of this name.
pub fn synthetic(random: &[u8; 8]) -> String {
    let number = hex::encode(random);
    format!(
        "Panic#1 Part1\n<6>[    1.000000] lastwords: synthetic drill {number}\n\
         <0>[    1.000001] Kernel panic - not syncing: lastwords drill\n\
         <0>[    1.000002] ---[ end Kernel panic - not syncing: lastwords drill ]---\n"
    )
}

/// The initramfs of a kernel, under the names of Debian, of Fedora and of SUSE; `None` if it has none.
fn initramfs(root: &Root, kernel: &str) -> io::Result<Option<Sha256>> {
    let names = [
        format!("/boot/initrd.img-{kernel}"),
        format!("/boot/initramfs-{kernel}.img"),
        format!("/boot/initrd-{kernel}"),
    ];
    for name in names {
        match digest(&root.path(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            seen => return seen.map(Some),
        }
    }
    Ok(None)
}

fn digest(path: &Path) -> io::Result<Sha256> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() > INITRAMFS {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
