//! Watchdogs about to fire, faults inside firmware, what lockdown refused.

use super::{Family, Finding};

pub(super) fn begin(text: &str) -> Option<Finding> {
    // `watchdog: watchdog0: pretimeout event`
    if let Some(before) = text.strip_suffix("pretimeout event") {
        let device = before.trim_end_matches([':', ' ']).rsplit([':', ' ']).next().unwrap_or("");
        return Some(Finding::new(
            Family::Watchdog,
            device,
            format!("{device} was about to reset the machine"),
        ));
    }
    if text.contains("Page fault caused by firmware") {
        let mut finding =
            Finding::new(Family::Efi, "page-fault", "firmware faulted inside an EFI runtime service");
        finding.field("address", text.rsplit(' ').next().unwrap_or(""));
        return Some(finding);
    }
    for mark in ["ACPI BIOS Error (bug): ", "ACPI BIOS Error: ", "ACPI Error: "] {
        if let Some(said) = text.strip_prefix(mark) {
            // The interpreter's source line stands at the end: `(20220331/psargs-330)`.
            let said = said.rsplit_once(" (20").map_or(said, |(said, _)| said);
            let key = said.split([',', '[']).next().unwrap_or(said).trim();
            return Some(Finding::new(Family::Acpi, key, format!("ACPI: {said}")));
        }
    }
    let (_, said) = text.split_once("Lockdown: ")?;
    let (who, rest) = said.split_once(": ")?;
    let mut finding = Finding::new(
        Family::Lockdown,
        rest.split(" is restricted").next()?,
        format!("lockdown refused {who}: {rest}"),
    );
    finding.field("comm", who);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::Family::{Acpi, Efi, Lockdown, Watchdog};
    use super::super::tests::check;

    #[test]
    fn each_kind_is_told() {
        check(
            "\
[    7.000001] watchdog: watchdog0: pretimeout event
[    7.000002] [Firmware Bug]: Page fault caused by firmware at PA: 0xffffffff
[    7.000003] ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND (20220331/psargs-330)
[    7.000004] Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7
",
            &[
                (Watchdog, false, "watchdog0"),
                (Efi, false, "page-fault"),
                (Acpi, false, "Could not resolve symbol"),
                (Lockdown, false, "unsigned module loading"),
            ],
        );
    }
}
