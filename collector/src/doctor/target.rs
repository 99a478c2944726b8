//! Where a crash kernel would write to, and whether there is room: what is here is looked at, what is elsewhere is
//! unknown.

use std::path::{Path, PathBuf};

use super::kdump::is_armed;
use super::units::can_be_seen;
use super::{Finding, Patient, fail, memory, pass, unknown};
use crate::host::Root;
use crate::mounts::Mounts;

/// A dump without free, cache and user pages is rarely above a tenth of the memory.
const SHARE: u64 = 10;

/// Devices below one another, as a volume on an encrypted partition on a RAID.
const LAYERS: usize = 8;

/// Where dumps go.
enum Target {
    /// Into a folder of the root's mounts.
    Folder(PathBuf),
    /// Somewhere that cannot be looked at from here, by the word of the settings for the way there. Its address stays
    /// here: what the doctor says goes to the service.
    Elsewhere(String),
}

pub(super) fn target(patient: &Patient<'_>) -> Finding {
    let fix = "lastwords-agent drill --really-panic-this-machine, which proves it";
    let root = patient.root;
    if is_armed(patient) != Some(true) {
        return pass("no crash kernel that would write");
    }
    let (settings, target) = settings(root);
    let folder = match target {
        Target::Elsewhere(place) => {
            return unknown(
                format!("dumps go elsewhere, by {place} of {settings}, which cannot be tested from here"),
                fix,
            );
        }
        Target::Folder(_) if !can_be_seen(root) => {
            return unknown("where dumps go cannot be seen", "run it where /usr and /etc are seen");
        }
        Target::Folder(folder) => folder,
    };
    let place = format!("{} ({settings})", folder.display());
    let Some(memory) = memory(root) else {
        return unknown("the size of the memory cannot be read", "cat /proc/meminfo");
    };
    let need = memory / SHARE;
    let free = match patient.disk.free(&root.path(&folder.to_string_lossy())) {
        Err(error) => {
            return unknown(format!("{place} cannot be looked at: {error}"), "mkdir -p that folder");
        }
        Ok(free) => free,
    };
    let seen = format!(
        "{} MiB are free in {place}, a dump is taken to need {} MiB, a tenth of the memory{}",
        free >> 20,
        need >> 20,
        purge(root)
    );
    if free < need {
        return fail(seen, "make room there, or send dumps elsewhere");
    }
    if is_encrypted(root, &folder) {
        return unknown(format!("{seen}; it is encrypted, and the crash kernel must open it"), fix);
    }
    pass(seen)
}

/// The settings that say it, and what they say: RHEL's, Debian's, SUSE's; else the folder that all of them begin with.
fn settings(root: &Root) -> (&'static str, Target) {
    let folder = |path: Option<String>| Target::Folder(path.unwrap_or("/var/crash".to_owned()).into());
    if let Some(text) = root.text("/etc/kdump.conf") {
        return ("/etc/kdump.conf", red_hat(&text));
    }
    if let Some(text) = root.text("/etc/default/kdump-tools") {
        let mut ways = ["NFS", "SSH", "FTP"].into_iter().filter(|name| variable(&text, name).is_some());
        let away = ways.next().map(|way| Target::Elsewhere(way.to_owned()));
        return (
            "/etc/default/kdump-tools",
            away.unwrap_or_else(|| folder(variable(&text, "KDUMP_COREDIR"))),
        );
    }
    if let Some(text) = root.text("/etc/sysconfig/kdump") {
        let place = variable(&text, "KDUMP_SAVEDIR");
        let target = match place.as_deref().and_then(|place| place.split_once("://")) {
            Some(("file", path)) => folder(Some(path.to_owned())),
            Some((way, _)) => Target::Elsewhere(way.to_owned()),
            None => folder(place),
        };
        return ("/etc/sysconfig/kdump", target);
    }
    ("nothing says otherwise", folder(None))
}

/// kdump.conf(5): a word and its value on each line; `path` is below what the others name.
fn red_hat(text: &str) -> Target {
    let mut path = "/var/crash";
    for line in text.lines() {
        let Some((word, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        let value = value.split('#').next().unwrap_or_default().trim();
        match word {
            "nfs" | "ssh" | "raw" | "virtiofs" | "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "minix" => {
                return Target::Elsewhere(word.to_owned());
            }
            "dracut_args" if value.contains("--mount") => {
                return Target::Elsewhere("dracut_args --mount".to_owned());
            }
            "path" => path = value,
            _ => {}
        }
    }
    Target::Folder(path.into())
}

/// A variable of a file that a shell reads, without its quotes; the last one holds. `None`, if it is empty.
fn variable(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
    let value = values.next_back()?.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// What other programs do to dumps: they may be gone before they are read.
fn purge(root: &Root) -> String {
    let kept = root
        .text("/etc/default/kdump-tools")
        .and_then(|text| variable(&text, "KDUMP_NUM_DUMPS"))
        .filter(|number| number != "0");
    kept.map_or_else(String::new, |number| {
        format!("; kdump-tools keeps the newest {number} and removes the others")
    })
}

/// Whether the folder's device, or one below it, is encrypted (dm-crypt's uuid begins so).
fn is_encrypted(root: &Root, folder: &Path) -> bool {
    let mounts = Mounts::of_machine(root);
    let Some(device) = mounts.as_ref().and_then(|mounts| mounts.device(folder)) else { return false };
    let mut layer = vec![root.path(&format!("/sys/dev/block/{device}"))];
    for _ in 0..LAYERS {
        if layer.iter().any(|device| {
            std::fs::read_to_string(device.join("dm/uuid")).is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
        }) {
            return true;
        }
        let below = layer.iter().filter_map(|device| std::fs::read_dir(device.join("slaves")).ok());
        layer = below.flatten().flatten().map(|entry| entry.path()).collect();
    }
    false
}
