//! Whether a crash kernel would start: it is loaded, or the firmware knows what to keep; and it has memory to live in.

use super::units::{can_be_seen, is_active, is_enabled};
use super::{Finding, Patient, fail, memory, number, pass, unknown};
use crate::host::Root;

/// What distributions reserve by default: from so many MiB of memory on, so many MiB. Of RHEL 9 and 10, the lower
/// (`kdump_get_arch_recommend_crashkernel` in `kdump-lib.sh` of kexec-tools and of kdump-utils).
const RED_HAT: [(&str, &[(u64, u64)]); 4] = [
    ("x86_64", &[(1024, 192), (4096, 256), (65_536, 512)]),
    ("s390x", &[(1024, 192), (4096, 256), (65_536, 512)]),
    ("aarch64", &[(2048, 256), (4096, 320), (65_536, 576)]),
    ("ppc64le", &[(2048, 384), (4096, 512), (16_384, 1024), (65_536, 2048), (131_072, 4096)]),
];

/// Of RHEL for dumps assisted by firmware, which POWER has: the same place.
const FADUMP: &[(u64, u64)] = &[
    (4096, 768),
    (16_384, 1024),
    (65_536, 2048),
    (131_072, 4096),
    (1_048_576, 6144),
    (2_097_152, 12_288),
    (4_194_304, 20_480),
    (8_388_608, 36_864),
    (16_777_216, 65_536),
    (33_554_432, 131_072),
    (67_108_864, 184_320),
];

/// Of Debian: `/etc/default/grub.d/kdump-tools.cfg` of kdump-tools 1.8.1, `crashkernel=384M-:128M`.
const DEBIAN: &[(u64, u64)] = &[(384, 128)];

/// Dumps assisted by firmware on POWER (`Documentation/arch/powerpc/firmware-assisted-dump.rst`): where they are enabled,
/// whether what to keep is registered. Both files were in `/sys/kernel` before Linux 5.7.
fn fadump(root: &Root) -> Option<bool> {
    let flag = |name: &str| {
        let (new, old) = (format!("/sys/kernel/fadump/{name}"), format!("/sys/kernel/fadump_{name}"));
        number(root, &new).or_else(|| number(root, &old)).map(|value| value == 1)
    };
    (flag("enabled") == Some(true)).then(|| flag("registered") == Some(true))
}

/// Whether a dump would be made: by a crash kernel, or by firmware.
pub(super) fn is_armed(patient: &Patient<'_>) -> Option<bool> {
    match fadump(patient.root) {
        registered @ Some(_) => registered,
        None => of_kexec(patient.root, "kexec_crash_loaded").map(|loaded| loaded != 0),
    }
}

/// What the kernel says of the crash kernel; 0 of one that was built without kexec, where `/sys` can be seen at all.
pub(super) fn of_kexec(root: &Root, name: &str) -> Option<i64> {
    let path = format!("/sys/kernel/{name}");
    let has_none = root.exists("/sys/kernel/mm") && !root.exists(&path);
    if has_none { Some(0) } else { number(root, &path) }
}

fn wants_one(patient: &Patient<'_>) -> bool {
    patient
        .root
        .text("/proc/cmdline")
        .is_some_and(|line| line.split(' ').any(|w| w.starts_with("crashkernel=")))
}

pub(super) fn armed(patient: &Patient<'_>) -> Finding {
    let root = patient.root;
    if let Some(registered) = fadump(root) {
        return firmware_assisted(root, registered);
    }
    match (is_armed(patient), wants_one(patient)) {
        (None, _) => {
            unknown("whether a crash kernel is loaded cannot be read", "run it where /sys is mounted")
        }
        (Some(true), _) => pass("a crash kernel is loaded"),
        (Some(false), true) if number(root, "/proc/sys/kernel/kexec_load_disabled") == Some(1) => fail(
            "memory is asked for a crash kernel, and loading one is forbidden until the next boot (kexec_load_disabled)",
            "load it before kernel.kexec_load_disabled is set, and reboot",
        ),
        (Some(false), true) => fail(
            format!("memory is asked for a crash kernel, and none is loaded{}", what_forbids(root)),
            "kdump-config load (Debian), kdumpctl start (RHEL), systemctl restart kdump (SUSE)",
        ),
        (Some(false), false) => pass("no crash kernel is asked for; pstore is the way"),
    }
}

/// Registered is not enough: the service makes the initramfs that writes the dump, and may have failed.
fn firmware_assisted(root: &Root, registered: bool) -> Finding {
    let unit = "kdump.service";
    if !registered {
        return fail(
            "a dump assisted by firmware is enabled (fadump), and nothing is registered with the firmware",
            "kdumpctl restart, or echo 1 > /sys/kernel/fadump/registered",
        );
    }
    match (is_enabled(root, unit), is_active(root, unit)) {
        (Some(true), Some(false)) => fail(
            "a dump assisted by firmware is registered (fadump), and kdump.service failed or was stopped",
            "systemctl restart kdump.service, and journalctl --unit kdump.service",
        ),
        (Some(true), None) => unknown(
            "a dump assisted by firmware is registered (fadump); whether kdump.service failed cannot be seen",
            "systemctl status kdump.service",
        ),
        _ => pass("a dump assisted by firmware is registered (fadump)"),
    }
}

/// What keeps the kernel from loading one that is not signed.
fn what_forbids(root: &Root) -> String {
    let mut seen = String::new();
    // `none [integrity] confidentiality`: the one in force.
    let lockdown = root.text("/sys/kernel/security/lockdown").unwrap_or_default();
    let in_force = lockdown.split(['[', ']']).nth(1).filter(|mode| *mode != "none");
    if let Some(mode) = in_force {
        seen.push_str(&format!("; lockdown is {mode}: only a signed kernel is loaded (kexec -s)"));
    }
    // Four bytes of attributes, then the value (UEFI 2.10, 3.3: global variables).
    let secure = root.bytes("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    if secure.is_some_and(|bytes| bytes.get(4) == Some(&1)) {
        seen.push_str("; Secure Boot is on");
    }
    seen
}

pub(super) fn reservation(patient: &Patient<'_>) -> Finding {
    let fix = "raise crashkernel= and reboot";
    let bytes = match fadump(patient.root) {
        Some(_) => number(patient.root, "/sys/kernel/fadump/mem_reserved"),
        None => of_kexec(patient.root, "kexec_crash_size"),
    };
    match (bytes, wants_one(patient)) {
        (None, _) => unknown("how much is reserved cannot be read", "run it as root, where /sys is mounted"),
        (Some(0), true) => fail("crashkernel= is on the command line, and nothing is reserved", fix),
        (Some(0), false) => pass("none is asked for"),
        (Some(bytes), _) => compare(patient, bytes.unsigned_abs(), fix),
    }
}

/// Holds the reservation against what the distribution reserves on such a machine. `MemTotal` is somewhat less than what
/// the machine has, so that one on the edge of a range is held against the smaller reservation.
fn compare(patient: &Patient<'_>, bytes: u64, fix: &'static str) -> Finding {
    let seen = format!("{} MiB are reserved", bytes >> 20);
    let Some((source, table)) = table(patient.root) else {
        if !can_be_seen(patient.root) {
            return unknown(
                format!("{seen}; whether the distribution reserves more cannot be seen"),
                "run it where /usr and /etc are seen",
            );
        }
        return pass(format!("{seen}; there is no table of this distribution to hold it against"));
    };
    let Some(memory) = memory(patient.root) else {
        return unknown(format!("{seen}; the size of the memory cannot be read"), "cat /proc/meminfo");
    };
    let usual = table.iter().rev().find(|(from, _)| memory >> 20 >= *from);
    match usual {
        Some((_, usual)) if bytes >> 20 < *usual => {
            fail(format!("{seen}; {source} reserves {usual} MiB on such a machine"), fix)
        }
        Some((_, usual)) => pass(format!("{seen}; {source} reserves {usual} MiB on such a machine")),
        None => pass(format!("{seen}; {source} reserves none on so small a machine")),
    }
}

fn table(root: &Root) -> Option<(&'static str, &'static [(u64, u64)])> {
    if root.exists("/etc/default/kdump-tools") {
        return Some(("Debian's kdump-tools", DEBIAN));
    }
    // Since Linux 6.1; before that the agent's own architecture is the kernel's.
    let arch = root.text("/proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let (_, kdump) = RED_HAT.into_iter().find(|(name, _)| *name == arch)?;
    let table = if fadump(root).is_some() { FADUMP } else { kdump };
    root.exists("/etc/kdump.conf").then_some(("RHEL's kdump", table))
}
