//! What the ACPI interpreter could not do with the BIOS it was given.

use super::{Family, Finding};

const MARKS: [&str; 4] = ["ACPI BIOS Error (bug): ", "ACPI BIOS Error: ", "ACPI Error: ", "ACPI Exception: "];

/// `ACPI BIOS Error (bug): Could not resolve symbol [\_SB.PCI0], AE_NOT_FOUND (20220331/psargs-330)`
/// (drivers/acpi/acpica/utxferror.c).
pub(super) fn begin(text: &str) -> Option<Finding> {
    let said = MARKS.iter().find_map(|mark| text.strip_prefix(mark))?;
    // The interpreter's source line stands at the end.
    let said = said.rsplit_once(" (20").map_or(said, |(said, _)| said);
    let key = said.split([',', '[']).next().unwrap_or(said).trim();
    let mut finding = Finding::new(Family::Acpi, key, format!("ACPI: {said}"));
    let status = said.split([',', ' ']).find(|word| word.starts_with("AE_"));
    finding.field("status", status.unwrap_or(""));
    let object = said.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    finding.field("object", object.map_or("", |(object, _)| object));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::Family::Acpi;
    use super::super::tests::check;

    #[test]
    fn the_complaint_is_the_key_and_the_object_a_field() {
        let found = check(
            "\
[    7.000001] ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND (20220331/psargs-330)
[    7.000002] ACPI Error: Aborting method \\_SB.PCI0._PRT due to previous error (AE_NOT_FOUND) (20220331/psparse-529)
",
            &[
                (Acpi, false, "Could not resolve symbol"),
                (Acpi, false, "Aborting method \\_SB.PCI0._PRT due to previous error (AE_NOT_FOUND)"),
            ],
        );
        assert_eq!(
            (found[0].get("status"), found[0].get("object")),
            (Some("AE_NOT_FOUND"), Some("\\_SB.PCI0"))
        );
    }
}
