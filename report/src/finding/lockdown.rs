//! What the lockdown mode refused.

use super::{Family, Finding};

/// `Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7` (security/lockdown/lockdown.c).
pub(super) fn begin(text: &str) -> Option<Finding> {
    let (_, said) = text.split_once("Lockdown: ")?;
    let (who, rest) = said.split_once(": ")?;
    let (what, _) = rest.split_once(" is restricted")?;
    let mut finding = Finding::new(Family::Lockdown, what, format!("lockdown refused {who}: {what}"));
    finding.field("comm", who);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::Family::Lockdown;
    use super::super::tests::check;

    #[test]
    fn what_was_refused_is_the_key() {
        let found = check(
            "\
[    7.000001] Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7
[    7.000002] Lockdown: nothing was asked for
",
            &[(Lockdown, false, "unsigned module loading")],
        );
        assert_eq!(found[0].get("comm"), Some("insmod"));
    }
}
