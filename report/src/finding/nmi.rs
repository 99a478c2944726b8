//! Non-maskable interrupts that nobody asked for, or that an operator sent.

use super::{Family, Finding, word_after};

pub(super) fn begin(text: &str) -> Option<Finding> {
    let (key, said) = if text.contains("NMI: PCI system error (SERR)") {
        ("serr", "a PCI system error (SERR)")
    } else if text.contains("NMI: IOCK error") {
        ("iock", "an I/O check error (IOCK)")
    } else if text.contains("NMI received for unknown reason") {
        // A BMC's or a cloud console's `send NMI` arrives like this: the machine hung before.
        ("unknown", "an NMI of unknown reason, perhaps sent by an operator because the machine hung")
    } else {
        return None;
    };
    let mut finding = Finding::new(Family::Nmi, key, said);
    finding.field("reason", word_after(text, "reason").unwrap_or(""));
    finding.field("cpu", word_after(text, "CPU").unwrap_or("").trim_end_matches('.'));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::Family::Nmi;
    use super::super::tests::check;

    #[test]
    fn each_kind_is_told() {
        let found = check(
            "\
[    7.000001] NMI: PCI system error (SERR) for reason b1 on CPU 0.
[    7.000002] NMI: IOCK error (debug interrupt?) for reason 60 on CPU 0.
[    7.000003] Uhhuh. NMI received for unknown reason 2c on CPU 5.
[    7.000004] Dazed and confused, but trying to continue
",
            &[(Nmi, false, "serr"), (Nmi, false, "iock"), (Nmi, false, "unknown")],
        );
        assert_eq!((found[2].get("reason"), found[2].get("cpu")), (Some("2c"), Some("5")));
    }
}
