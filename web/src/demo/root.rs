//! The root of a machine of the demo: what its agent and doctor look at, and the records that it left there.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use handover::Sha256;

/// Sets up what the agent and its doctor look at: a guest that keeps records in RAM or in EFI variables, reboots when
/// it panics, has a watchdog and no crash kernel.
pub fn furnish(root: &Path, name: &str, kernel: &str, backend: &str) -> anyhow::Result<()> {
    let id = &Sha256::of(name.as_bytes()).to_string()[..32];
    let host = name.replace('/', "-");
    for (path, text) in [
        ("etc/machine-id", id),
        ("proc/sys/kernel/hostname", &host),
        ("proc/sys/kernel/osrelease", kernel),
        ("proc/sys/kernel/arch", "x86_64"),
        ("proc/sys/kernel/panic", "-1"),
        ("proc/sys/kernel/panic_on_oops", "1"),
        ("proc/sys/kernel/nmi_watchdog", "1"),
        ("proc/cmdline", "console=ttyS0 panic=-1"),
        ("proc/meminfo", "MemTotal:         498112 kB"),
        ("proc/self/mountinfo", MOUNTS),
        ("sys/module/pstore/parameters/backend", backend),
        ("sys/module/kernel/parameters/crash_kexec_post_notifiers", "N"),
        ("sys/kernel/kexec_crash_loaded", "0"),
        ("sys/kernel/kexec_crash_size", "0"),
        ("sys/class/watchdog/watchdog0/state", "active"),
        ("run/systemd/timesync/synchronized", ""),
        (&format!("boot/initrd.img-{kernel}"), "an initramfs"),
    ] {
        put(root, path, text)?;
    }
    for folder in ["sys/fs/pstore", "sys/firmware/efi/efivars", "var/crash"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
    }
    Ok(())
}

/// `/proc/self/mountinfo` of such a guest.
const MOUNTS: &str = "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:26 / /sys/fs/pstore rw,nosuid - pstore pstore rw
31 22 0:27 / /run rw - tmpfs tmpfs rw";

/// Writes a file below a root.
pub fn put(root: &Path, path: &str, text: &str) -> anyhow::Result<()> {
    let path = root.join(path);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    fs::write(&path, format!("{text}\n")).with_context(|| format!("writing {}", path.display()))
}

/// Leaves a record. A copy is writable and new; the record was written when the machine died.
pub fn leave(from: &Path, to: &Path, written: Duration) -> anyhow::Result<()> {
    let copy = || {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::copy(from, to)?;
        File::options().append(true).open(to)?.set_modified(UNIX_EPOCH + written)
    };
    copy().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// The name of an EFI record at another time: the first ten of its digits are seconds since 1970.
pub fn moved(name: &str, later: Duration) -> String {
    let Some((kind, digits)) = name.rsplit_once('-').filter(|(_, digits)| digits.len() > 10) else {
        return name.to_owned();
    };
    let (seconds, rest) = digits.split_at(10);
    match seconds.parse::<u64>() {
        Ok(seconds) => format!("{kind}-{}{rest}", seconds + later.as_secs()),
        Err(_) => name.to_owned(),
    }
}
