//! Memory errors: EDAC's lines, and pages that were taken out of use.

use super::{Family, Finding, word_after};

pub(super) fn begin(text: &str) -> Option<Finding> {
    edac(text).or_else(|| page(text)).or_else(|| user_access(text))
}

/// `EDAC MC0: 1 CE memory read error on CPU_SrcID#0_…_DIMM#0 (channel:1 slot:0 page:0x… …)`
fn edac(text: &str) -> Option<Finding> {
    let (controller, rest) = text.strip_prefix("EDAC ")?.split_once(": ")?;
    controller.starts_with("MC").then_some(())?;
    let mut words = rest.splitn(3, ' ');
    let (count, kind, rest) = (words.next()?, words.next()?, words.next()?);
    let word = match kind {
        "CE" => "corrected",
        "UE" => "uncorrected",
        _ => return None,
    };
    let label = word_after(rest, "on").unwrap_or("any memory");
    let mut finding = Finding::new(
        Family::MemoryController,
        format!("{controller} {label}"),
        format!("{count} {word} memory error(s) on {label}"),
    );
    finding.field("controller", controller);
    finding.field("count", count);
    finding.field("kind", kind);
    finding.field("dimm", label);
    let details = rest.split_once('(').map_or("", |(_, details)| details).trim_end_matches(')');
    for (name, value) in details.split_ascii_whitespace().filter_map(|word| word.split_once(':')) {
        finding.field(name, value);
    }
    Some(finding)
}

/// `Memory failure: 0x12345: recovery action for dirty LRU page: Recovered`
fn page(text: &str) -> Option<Finding> {
    let (frame, rest) = text.strip_prefix("Memory failure: ")?.split_once(": ")?;
    let (action, result) = rest.strip_prefix("recovery action for ")?.rsplit_once(": ")?;
    let mut finding =
        Finding::new(Family::MemoryController, "page", format!("page {frame} failed ({action}): {result}"));
    finding.field("page", frame);
    finding.field("action", action);
    finding.field("result", result);
    Some(finding)
}

fn user_access(text: &str) -> Option<Finding> {
    let address = text.strip_prefix("mce: Uncorrected hardware memory error in user-access at ")?;
    let mut finding = Finding::new(
        Family::MemoryController,
        "user-access",
        format!("uncorrected memory error at {address}, met by a user program"),
    );
    finding.field("address", address);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::super::Family::MemoryController;
    use super::super::tests::check;

    #[test]
    fn the_dimm_is_the_part() {
        let found = check(
            "\
[    9.000001] EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x12 offset:0x3 grain:32 syndrome:0x0)
[    9.000002] EDAC MC1: 2 UE memory scrubbing error on DIMM_B2 (page:0x99)
[    9.000003] EDAC amd64: MCT channel count: 2
[    9.000004] Memory failure: 0x12345: recovery action for dirty LRU page: Recovered
",
            &[
                (MemoryController, false, "MC0 CPU_SrcID#0_MC#0_Chan#1_DIMM#0"),
                (MemoryController, false, "MC1 DIMM_B2"),
                (MemoryController, false, "page"),
            ],
        );
        assert_eq!(found[0].get("slot"), Some("0"));
        assert!(found[1].text.contains("uncorrected"));
        assert_eq!(found[2].get("result"), Some("Recovered"));
    }
}
