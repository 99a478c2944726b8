//! Whether a dying kernel can write into a pstore, and what happens to what it wrote.

use std::fs;
use std::path::Path;

use super::kdump::of_kexec;
use super::{Finding, Patient, fail, pass, span, unknown};
use crate::mounts::{Mounts, is_volatile};
use crate::room::{self, Dumps};

/// A machine has looked through its pstore ten minutes after it booted.
const SETTLED_S: u64 = 600;

/// Directory entries looked at: an EFI store holds some hundred variables.
const ENTRIES: usize = 10_000;

pub(super) fn mounted(patient: &Patient<'_>) -> Finding {
    match Mounts::of_machine(patient.root) {
        None => unknown("the mounts cannot be read", "run it as root, where /proc is mounted"),
        Some(mounts) if mounts.has("pstore") => pass("a pstore is mounted"),
        Some(_) => fail("no pstore is mounted", "mount -t pstore pstore /sys/fs/pstore"),
    }
}

pub(super) fn backend(patient: &Patient<'_>) -> Finding {
    match patient.root.text("/sys/module/pstore/parameters/backend").as_deref() {
        None => fail("the kernel has no pstore", "boot a kernel with CONFIG_PSTORE"),
        Some("(null)") => {
            fail("no backend is registered", "modprobe efi_pstore, or ramoops with its memory reserved")
        }
        Some(backend) => pass(format!("backend {backend}")),
    }
}

pub(super) fn written(patient: &Patient<'_>) -> Finding {
    let loaded = of_kexec(patient.root, "kexec_crash_loaded");
    let notifiers = patient.root.text("/sys/module/kernel/parameters/crash_kexec_post_notifiers");
    match (loaded, notifiers.as_deref()) {
        (None, _) => {
            unknown("whether a crash kernel is loaded cannot be read", "run it where /sys is mounted")
        }
        (Some(0), _) => pass("no crash kernel is loaded, so the panic is dumped into pstore"),
        (Some(_), Some("Y" | "1")) => pass("a crash kernel is loaded, pstore is written before it"),
        (Some(_), Some(_)) if patient.is_proven() => pass(
            "kdump only: a crash kernel starts before anything is written into pstore, and a drill proved it",
        ),
        (Some(_), Some(_)) => fail(
            "a crash kernel is loaded and starts before anything is written into pstore",
            "boot with crash_kexec_post_notifiers=1, or rely on kdump and prove it by a drill",
        ),
        (Some(_), None) => unknown(
            "a crash kernel is loaded; whether pstore is written before it cannot be read",
            "cat /sys/module/kernel/parameters/crash_kexec_post_notifiers",
        ),
    }
}

pub(super) fn space(patient: &Patient<'_>) -> Finding {
    let backend = patient.root.text("/sys/module/pstore/parameters/backend").unwrap_or_default();
    if !backend.starts_with("efi") {
        return pass(format!("backend {backend:?} does not share its space with firmware"));
    }
    let Some(dumps) = Dumps::look(patient.root, room::total(patient.root)) else {
        return unknown(
            "the UEFI variables cannot be listed",
            "mount -t efivarfs efivarfs /sys/firmware/efi/efivars",
        );
    };
    let seen = format!("{} variables of dumps, {} bytes of {}", dumps.count, dumps.bytes, dumps.store);
    if dumps.crowd() {
        return fail(seen, "hand over and erase: lastwords-agent collect --forget");
    }
    pass(seen)
}

pub(super) fn leftovers(patient: &Patient<'_>) -> Finding {
    let Ok(entries) = fs::read_dir(patient.root.path("/sys/fs/pstore")) else {
        return unknown("the pstore cannot be listed", "run it as root");
    };
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let dumps: Vec<fs::DirEntry> =
        entries.take(ENTRIES).flatten().filter(|entry| name(entry).starts_with("dmesg-")).collect();
    if dumps.is_empty() {
        return pass("no dump is left in pstore");
    }
    let mut seen = format!("{} dumps are left in pstore", dumps.len());
    let coded = dumps.iter().filter(|entry| name(entry).ends_with(".enc.z")).count();
    if coded > 0 {
        seen.push_str(&format!(", {coded} of them .enc.z, which the kernel could not decompress"));
    }
    // The store's own time, where the backend keeps one; others say when the machine booted.
    let age = |entry: &fs::DirEntry| {
        let written = entry.metadata().ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        patient.now_us.checked_sub(i64::try_from(written.as_micros()).ok()?)
    };
    if let Some(oldest) = dumps.iter().filter_map(age).max() {
        seen.push_str(&format!(", the oldest of {} ago", span(oldest.max(0))));
    }
    if patient.since_boot.as_secs() < SETTLED_S {
        return pass(format!("{seen}, and the machine has just booted"));
    }
    fail(seen, "lastwords-agent collect --forget, or enable systemd-pstore.service")
}

pub(super) fn archive_durable(patient: &Patient<'_>) -> Finding {
    let archive = Path::new("/var/lib/systemd/pstore");
    let mounts = Mounts::of_machine(patient.root);
    match mounts.as_ref().and_then(|mounts| mounts.file_system(archive)) {
        None => unknown("the mounts cannot be read", "run it as root, where /proc is mounted"),
        Some(kind) if is_volatile(kind) => fail(
            format!("systemd moves records to {}, which is {kind}", archive.display()),
            "put /var on a disk, or mask systemd-pstore.service",
        ),
        Some(kind) => pass(format!("{} is on {kind}", archive.display())),
    }
}
