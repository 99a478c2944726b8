//! Whether a crash kernel would start and has a place to write to.

use std::path::Path;

use super::{Finding, Patient, fail, number, pass, unknown};

/// A dump without free, cache and user pages is rarely above a tenth of the memory.
const SHARE: u64 = 10;

fn is_armed(patient: &Patient<'_>) -> Option<bool> {
    number(patient.root, "/sys/kernel/kexec_crash_loaded").map(|loaded| loaded != 0)
}

fn wants_one(patient: &Patient<'_>) -> bool {
    patient
        .root
        .text("/proc/cmdline")
        .is_some_and(|line| line.split(' ').any(|w| w.starts_with("crashkernel=")))
}

pub(super) fn armed(patient: &Patient<'_>) -> Finding {
    match (is_armed(patient), wants_one(patient)) {
        (None, _) => {
            unknown("whether a crash kernel is loaded cannot be read", "run it where /sys is mounted")
        }
        (Some(true), _) => pass("a crash kernel is loaded"),
        (Some(false), true) if number(patient.root, "/proc/sys/kernel/kexec_load_disabled") == Some(1) => {
            fail(
                "memory is asked for a crash kernel, and loading one is forbidden until the next boot",
                "load it before kernel.kexec_load_disabled is set, and reboot",
            )
        }
        (Some(false), true) => fail(
            "memory is asked for a crash kernel, and none is loaded",
            "kdump-config load; kdumpctl start",
        ),
        (Some(false), false) => pass("no crash kernel is asked for; pstore is the way"),
    }
}

pub(super) fn reservation(patient: &Patient<'_>) -> Finding {
    match (number(patient.root, "/sys/kernel/kexec_crash_size"), wants_one(patient)) {
        (None, _) => unknown("the reserved memory cannot be read", "run it where /sys is mounted"),
        (Some(0), true) => fail(
            "crashkernel= is on the command line, and nothing is reserved",
            "raise crashkernel= and reboot",
        ),
        (Some(0), false) => pass("none is asked for"),
        (Some(bytes), _) => pass(format!("{bytes} bytes are reserved")),
    }
}

pub(super) fn target(patient: &Patient<'_>) -> Finding {
    if is_armed(patient) != Some(true) {
        return pass("no crash kernel that would write");
    }
    let Some(memory) = memory(patient) else {
        return unknown("the size of the memory cannot be read", "cat /proc/meminfo");
    };
    match patient.disk.free(&patient.root.path("/var/crash")) {
        Err(error) => unknown(format!("/var/crash cannot be looked at: {error}"), "mkdir -p /var/crash"),
        Ok(free) if free < memory / SHARE => fail(
            format!("{free} bytes are free for a dump of {memory} bytes of memory"),
            "make room in /var/crash",
        ),
        Ok(free) => pass(format!("{free} bytes are free in {}", Path::new("/var/crash").display())),
    }
}

/// `MemTotal` in bytes.
fn memory(patient: &Patient<'_>) -> Option<u64> {
    let text = patient.root.text("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}
