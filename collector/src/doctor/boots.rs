//! What the boots before this one say: did they end well, and was a crash ever seen to arrive?

use handover::boot::Ending;

use super::{Finding, Patient, fail, pass, unknown};
use crate::custody;

pub(super) fn marked(patient: &Patient<'_>) -> Finding {
    let fix = "systemctl enable --now lastwords-boot.service";
    match patient.ledger.map(|ledger| ledger.current()) {
        None => unknown("the ledger cannot be read", "run it as root or as the agent"),
        Some(Some(boot)) if boot.marks => {
            pass(format!("boot {} is marked when it ends in order", boot.ordinal))
        }
        Some(_) => fail("nothing marks this boot when it ends in order, so a silent reboot is not seen", fix),
    }
}

pub(super) fn previous(patient: &Patient<'_>) -> Finding {
    let entries = custody::read_entries(patient.disk, patient.spool).unwrap_or_default();
    let ending = patient.ledger.and_then(|ledger| ledger.ending(entries.values()));
    match ending {
        None => unknown("no earlier boot is known", "wait for the next boot"),
        Some((Ending::Clean, ..)) => pass("the boot before ended in order"),
        Some((Ending::Silent, ..)) => fail(
            "the boot before ended without a marker and without an artifact",
            "lastwords-agent drill --really-panic-this-machine, to see where the way breaks",
        ),
        Some((Ending::Unknown, basis, _)) => unknown(
            format!("nothing tells how it ended: {}", basis.join(", ")),
            "enable lastwords-boot.service",
        ),
        Some((ending, _, evidence)) => {
            let pieces = match evidence.len() {
                0 => "no evidence".to_owned(),
                1 => "one piece of evidence".to_owned(),
                many => format!("{many} pieces of evidence"),
            };
            pass(format!("how the boot before ended: {ending}, {pieces}"))
        }
    }
}

pub(super) fn proven(patient: &Patient<'_>) -> Finding {
    let fix = "lastwords-agent drill --really-panic-this-machine";
    let Some(drill) = patient.drill else { return unknown("no drill was held", fix) };
    let proven = drill.proven(patient.root);
    match (proven.result.as_str(), proven.still) {
        ("proven", true) => pass(format!("proven on {}", proven.kernel)),
        ("proven", false) => {
            let why = match drill.initramfs_sha256 {
                Some(_) => "kernel or initramfs changed since",
                None => "whether its initramfs changed cannot be seen: there is none below /boot",
            };
            unknown(format!("armed, not proven: proven on {}, {why}", proven.kernel), fix)
        }
        ("pending", _) => unknown("a drill is under way", "lastwords-agent collect"),
        ("handed-over", _) => unknown("a synthetic drill proved the handing over, not the capture", fix),
        (result, _) => fail(format!("the last drill: {result}"), fix),
    }
}
