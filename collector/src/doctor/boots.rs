//! What the boots before this one say: did they end well, and was a crash ever seen to arrive?

use handover::boot::Ending;

use super::{Finding, Patient, fail, pass, unknown};
use crate::custody;
use crate::drill::Standing;

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
    let number = patient.ledger.and_then(|ledger| ledger.current()).map_or(0, |boot| boot.ordinal);
    let before = patient.ledger.and_then(|ledger| ledger.previous()).map_or(0, |boot| boot.ordinal);
    if number > before + 1 {
        // It mends itself with the next boot; what lost the file does not.
        return unknown(
            format!("this is boot {number}, and what was noted of boot {} is gone", number - 1),
            "ls -l boots/ in the spool; if it happens again, look at the disk",
        );
    }
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
    let then = format!("proven on {} with {}", day(drill.at_us), drill.kernel);
    let running = patient.ledger.and_then(|ledger| ledger.current()).map(|boot| boot.id);
    match drill.result {
        Standing::Proven => match drill.changed(patient.root) {
            None => {
                let initramfs = drill.initramfs_sha256.map(|digest| digest.to_string()).unwrap_or_default();
                pass(format!("{then}, initramfs {}", &initramfs[..initramfs.len().min(12)]))
            }
            Some(why) => unknown(format!("armed, not proven: {then}, {why}"), fix),
        },
        Standing::Pending if running == Some(drill.boot) => unknown("this machine is to panic now", fix),
        Standing::Pending => unknown(
            "a drill is under way: its crash was not handed over yet",
            "systemctl start lastwords-collect lastwords-deliver",
        ),
        Standing::HandedOver => unknown("a synthetic drill proved the handing over, not the capture", fix),
        Standing::NotHeld => unknown("the last drill was not held: its boot ended in order", fix),
        Standing::NotCaptured => fail("the last drill left nothing that could be found", fix),
    }
}

/// The day of a time in UTC (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": `civil_from_days`).
pub(super) fn day(at_us: i64) -> String {
    // Days since 0000-03-01, in eras of 400 years, which all have as many days.
    let days = at_us.div_euclid(86_400_000_000) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + i64::from(month <= 2))
}

/// Days from 1970-01-01 to a day of the calendar (the same: `days_from_civil`).
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let march = if month > 2 { month - 3 } else { month + 9 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::{day, days};

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_795_414_245, "2026-11-23"),
            (4_102_444_799, "2099-12-31"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(day(seconds * 1_000_000), expected, "{seconds}");
            let [year, month, day] = [0..4, 5..7, 8..10].map(|part| expected[part].parse().unwrap());
            assert_eq!(days(year, month, day), i64::div_euclid(seconds, 86_400), "{seconds}");
        }
    }
}
