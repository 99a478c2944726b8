//! Errors that firmware reports: GHES while running, BERT for the boot before. `{1}[Hardware Error]: …`.

use super::{Family, Finding};

/// `{N}` numbers the event; lines with the same N belong together.
fn marked(text: &str) -> Option<(&str, &str)> {
    let (number, rest) = text.strip_prefix('{')?.split_once('}')?;
    let rest = rest.strip_prefix("[Hardware Error]:")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some((number, rest.trim()))
}

pub(super) fn begin(text: &str) -> Option<Finding> {
    if let Some(reason) = text.split_once("Previous system reset reason").map(|(_, reason)| reason) {
        let mut finding = Finding::new(
            Family::Firmware,
            "reset-reason",
            format!("the system was reset: {}", reason.trim_start_matches(' ')),
        );
        finding.previous_boot = true;
        return Some(finding);
    }
    // BERT's records come without a number, and tell of the boot before.
    let (number, rest, previous) = match marked(text) {
        Some((number, rest)) => (number, rest, false),
        None => (
            "",
            text.strip_prefix("[Hardware Error]:")
                .or_else(|| text.strip_prefix("BERT: [Hardware Error]:"))?
                .trim(),
            true,
        ),
    };
    let begins = rest.starts_with("Hardware error from APEI") || rest.contains("event severity:");
    begins.then_some(())?;
    let mut finding = Finding::new(Family::Firmware, "unknown", "a hardware error reported by firmware");
    finding.previous_boot = previous;
    finding.field("event", number);
    note(&mut finding, rest);
    Some(finding)
}

pub(super) fn more(finding: &mut Finding, text: &str) -> bool {
    let rest = match marked(text) {
        Some((number, rest)) if finding.get("event") == Some(number) => rest,
        None if finding.previous_boot => match text.strip_prefix("[Hardware Error]:") {
            Some(rest) => rest.trim(),
            None => return false,
        },
        _ => return false,
    };
    note(finding, rest);
    true
}

fn note(finding: &mut Finding, rest: &str) {
    let Some((name, value)) = rest.split_once(": ") else { return };
    let value = value.trim();
    match name.trim() {
        "event severity" => {
            finding.fatal = value == "fatal";
            finding.text = format!("a {value} hardware error reported by firmware");
        }
        "section_type" => {
            finding.key = value.to_owned();
            finding.text = format!("{}: {value}", finding.text);
        }
        _ => {}
    }
    finding.field(name.trim(), value);
}

#[cfg(test)]
mod tests {
    use super::super::Family::Firmware;
    use super::super::tests::check;

    #[test]
    fn lines_of_one_event_are_one_finding() {
        let found = check(
            "\
[    5.000001] {1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0
[    5.000002] {1}[Hardware Error]: event severity: fatal
[    5.000003] {1}[Hardware Error]:  Error 0, type: fatal
[    5.000004] {1}[Hardware Error]:   section_type: PCIe error
[    6.000001] {2}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 1
[    6.000002] {2}[Hardware Error]: event severity: corrected
[    6.000003] {2}[Hardware Error]:   section_type: memory error
",
            &[(Firmware, true, "PCIe error"), (Firmware, false, "memory error")],
        );
        assert!(found.iter().all(|finding| !finding.previous_boot));
    }

    #[test]
    fn what_the_next_boot_prints_is_of_the_boot_before() {
        let found = check(
            "\
[    0.500001] BERT: Error records from previous boot:
[    0.500002] [Hardware Error]: event severity: fatal
[    0.500003] [Hardware Error]:  Error 0, type: fatal
[    0.500004] [Hardware Error]:   section_type: memory error
",
            &[(Firmware, true, "memory error")],
        );
        assert!(found[0].previous_boot);
    }
}
