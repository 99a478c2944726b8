//! Hardware watchdogs: about to reset the machine, or left running by their daemon.

use super::{Family, Finding};

/// `watchdog: watchdog0: pretimeout event`, `watchdog: watchdog0: watchdog did not stop!` (drivers/watchdog/).
pub(super) fn begin(text: &str) -> Option<Finding> {
    let told = |event: &str, said: &str| {
        let device = text.strip_suffix(event)?.trim_end_matches([':', ' ']).rsplit([':', ' ']).next()?;
        let mut finding = Finding::new(Family::Watchdog, device, format!("{device} {said}"));
        finding.field("device", device);
        Some(finding)
    };
    told("pretimeout event", "was about to reset the machine")
        .or_else(|| told("watchdog did not stop!", "was closed while it ran: it will reset the machine"))
}

#[cfg(test)]
mod tests {
    use super::super::Family::Watchdog;
    use super::super::tests::check;

    #[test]
    fn the_device_is_told() {
        let found = check(
            "\
[    7.000001] watchdog: watchdog0: pretimeout event
[    8.000001] watchdog: watchdog1: watchdog did not stop!
[    9.000001] watchdog: watchdog1: nothing to see
",
            &[(Watchdog, false, "watchdog0"), (Watchdog, false, "watchdog1")],
        );
        assert!(found[0].text.contains("about to reset"));
    }
}
