//! Who erases what the kernel left: one, or the store fills up; not two, or each may take what the other has not read.

use super::units::{can_be_seen, is_enabled};
use super::{Finding, Patient, fail, pass, unknown};

/// Those that unlink records of pstore whether or not somebody else has read them, by the unit that does it.
const OTHERS: [(&str, &str); 4] = [
    ("systemd-pstore.service", "systemd-pstore erases records after copying them"),
    ("abrt-pstoreoops.service", "abrt erases records after reading them"),
    ("pstore-probe.service", "telemetrics' pstoreprobe erases records, even those it cannot read"),
    ("pstore-clean.service", "telemetrics' pstoreclean erases records after copying them"),
];

pub(super) fn one_eraser(patient: &Patient<'_>) -> Finding {
    let root = patient.root;
    if !can_be_seen(root) {
        return unknown(
            "whether another program erases cannot be seen",
            "run it where /usr and /etc are seen",
        );
    }
    let settings = root.text("/etc/systemd/pstore.conf").unwrap_or_default();
    let systemd_keeps =
        settings.lines().any(|line| matches!(line.trim(), "Unlink=no" | "Unlink=false" | "Storage=none"));
    let mut erasers: Vec<&str> = OTHERS
        .into_iter()
        .filter(|(unit, _)| is_enabled(root, unit) == Some(true))
        .filter(|(unit, _)| !(systemd_keeps && *unit == "systemd-pstore.service"))
        .map(|(_, what)| what)
        .collect();
    if patient.forget {
        erasers.push("this agent erases, after a receipt");
    }
    let seen = erasers.join("; ");
    match erasers.len() {
        0 => fail("nobody erases records: the store fills up", "set forget = true in the agent's settings"),
        1 => pass(format!("only {seen}")),
        _ => fail(
            seen,
            "systemctl mask --now all units but one that do, or set forget = false in the agent's settings",
        ),
    }
}
