//! What the machine does when its kernel dies, and whether its clock can be believed.

use super::{Finding, Patient, fail, number, pass, unknown};

/// 2026-01-01: a clock before this agent was written is wrong.
const WRITTEN_US: i64 = 1_767_225_600_000_000;

pub(super) fn panic_policy(patient: &Patient<'_>) -> Finding {
    let setting = |name: &str| {
        let value = patient.root.text(&format!("/proc/sys/kernel/{name}"));
        format!("{name}={}", value.as_deref().unwrap_or("?"))
    };
    let rest = [
        "panic_on_oops",
        "softlockup_panic",
        "hardlockup_panic",
        "hung_task_panic",
        "panic_on_rcu_stall",
        "panic_on_warn",
        "oops_limit",
        "warn_limit",
    ];
    let seen = |panic: i64| format!("panic={panic} {}", rest.map(setting).join(" "));
    match number(patient.root, "/proc/sys/kernel/panic") {
        None => unknown("the settings cannot be read", "run it where /proc is mounted"),
        Some(0) => fail(
            format!("{}: after a panic the machine stands still for ever", seen(0)),
            "sysctl -w kernel.panic=10, and in /etc/sysctl.d",
        ),
        Some(panic) => pass(seen(panic)),
    }
}

pub(super) fn watchdog(patient: &Patient<'_>) -> Finding {
    let state = patient.root.text("/sys/class/watchdog/watchdog0/state");
    let nmi = number(patient.root, "/proc/sys/kernel/nmi_watchdog");
    match (state.as_deref(), nmi) {
        (Some("active"), _) => pass("a watchdog device is active"),
        (_, Some(1)) => pass("the kernel looks for hard lockups itself"),
        (None, None) => {
            unknown("neither a watchdog device nor nmi_watchdog can be read", "run it on the machine")
        }
        (state, _) => fail(
            format!("watchdog device: {}, nmi_watchdog: off", state.unwrap_or("none")),
            "RuntimeWatchdogSec=30 in /etc/systemd/system.conf, or sysctl -w kernel.nmi_watchdog=1",
        ),
    }
}

pub(super) fn clock(patient: &Patient<'_>) -> Finding {
    if patient.now_us < WRITTEN_US {
        return fail("the clock is set before this program was written", "timedatectl set-ntp true");
    }
    match patient.clock_is_synced {
        Some(true) => pass("the kernel says that it is synchronised"),
        Some(false) => unknown("the kernel says that it is not synchronised", "timedatectl set-ntp true"),
        None if patient.root.exists("/run/systemd/timesync/synchronized") => {
            pass("synchronised in this boot")
        }
        None => unknown("nothing says that the clock is synchronised", "timedatectl set-ntp true"),
    }
}
