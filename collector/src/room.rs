//! How much room the kernel's store for records has left: a full one takes no next crash, and crowds out the firmware's
//! own variables.

use std::fs;

use crate::host::Root;

/// UEFI variables on most machines have 64 KiB, where the file system does not say how much.
const EFI_STORE: u64 = 64 * 1024;

/// Directory entries looked at: an EFI store holds some hundred variables.
const ENTRIES: usize = 10_000;

/// The dumps among the UEFI variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumps {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the whole store.
    pub store: u64,
}

impl Dumps {
    /// Looks; `None` where the variables cannot be listed. `total` is what statfs(2) says of efivarfs, from Linux 6.7 on.
    pub fn look(root: &Root, total: Option<u64>) -> Option<Dumps> {
        let entries = fs::read_dir(root.path(EFIVARS)).ok()?;
        let dumps = entries
            .take(ENTRIES)
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("dump-type"));
        let none = Dumps { count: 0, bytes: 0, store: total.filter(|&total| total > 0).unwrap_or(EFI_STORE) };
        Some(dumps.filter_map(|entry| entry.metadata().ok()).fold(none, |sum, metadata| Dumps {
            count: sum.count + 1,
            bytes: sum.bytes + metadata.len(),
            ..sum
        }))
    }

    /// Whether dumps fill more than half of the store.
    pub fn crowd(&self) -> bool {
        self.bytes > self.store / 2
    }
}

/// Where UEFI variables are.
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";

/// Whether the store of this machine is one that fills up and is more than half full of dumps. ramoops and pstore_blk
/// write over their oldest; of ERST nobody can tell.
pub fn is_short(root: &Root) -> bool {
    let backend = root.text("/sys/module/pstore/parameters/backend").unwrap_or_default();
    backend.starts_with("efi") && Dumps::look(root, total(root)).is_some_and(|dumps| dumps.crowd())
}

/// The size of the store by its own file system.
pub fn total(root: &Root) -> Option<u64> {
    let path = root.path(EFIVARS);
    let stat = nix::sys::statfs::statfs(&path).ok()?;
    // Magic of efivarfs, `include/uapi/linux/magic.h`.
    (stat.filesystem_type().0 == 0xde5e_81e4).then(|| stat.blocks().saturating_mul(stat.block_size() as u64))
}
