//! PCIe advanced error reporting: first the port tells, then the device.

use super::{Family, Finding};

/// `Uncorrected` until 6.7, `Uncorrectable` since.
const SEVERITIES: [&str; 6] = [
    "Uncorrected (Fatal)",
    "Uncorrectable (Fatal)",
    "Uncorrected (Non-Fatal)",
    "Uncorrectable (Non-Fatal)",
    "Corrected",
    "Correctable",
];

pub(super) fn begin(text: &str) -> Option<Finding> {
    port(text).or_else(|| device(text))
}

/// `pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error received: 0000:03:00.0`
fn port(text: &str) -> Option<Finding> {
    let (port, rest) = text.split_once(": AER: ")?;
    let rest = rest.strip_prefix("Multiple ").unwrap_or(rest);
    let severity = SEVERITIES.iter().find(|severity| rest.starts_with(**severity))?;
    let source = rest.rsplit(' ').next()?;
    let mut finding = Finding::new(Family::Pcie, source, format!("{severity} PCIe error of {source}"));
    finding.fatal = severity.ends_with("(Fatal)");
    finding.field("port", port.rsplit(' ').next()?);
    finding.field("device", source);
    finding.field("severity", severity);
    Some(finding)
}

/// `nvme 0000:03:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Requester ID)`, when the port's line
/// was lost.
fn device(text: &str) -> Option<Finding> {
    let (device, rest) = text.split_once(": PCIe Bus Error: ")?;
    let severity = rest.strip_prefix("severity=")?.split(',').next()?;
    let address = device.rsplit(' ').next()?;
    let mut finding = Finding::new(Family::Pcie, address, format!("{severity} PCIe error of {address}"));
    finding.fatal = severity.ends_with("(Fatal)");
    finding.field("device", address);
    finding.field("severity", severity);
    layer(&mut finding, rest);
    Some(finding)
}

fn layer(finding: &mut Finding, rest: &str) {
    if let Some((_, layer)) = rest.split_once("type=") {
        finding.field("layer", layer.split(',').next().unwrap_or(""));
    }
}

/// The device's own line about an error its port announced.
pub(super) fn more(finding: &mut Finding, text: &str) -> bool {
    let Some((device, rest)) = text.split_once(": PCIe Bus Error: ") else { return false };
    if finding.get("layer").is_some() || !device.ends_with(finding.key.as_str()) {
        return false;
    }
    layer(finding, rest);
    finding.field("driver", device.split(' ').next().unwrap_or(""));
    true
}

#[cfg(test)]
mod tests {
    use super::super::Family::Pcie;
    use super::super::tests::check;

    #[test]
    fn the_port_and_the_device_tell_of_one_error() {
        let found = check(
            "\
[    7.000001] pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error received: 0000:03:00.0
[    7.000002] nvme 0000:03:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Requester ID)
[    8.000001] pcieport 0000:00:1c.0: AER: Multiple Correctable error message received from 0000:04:00.0
[    9.000001] pcieport 0000:00:1c.0: AER: device recovery successful
",
            &[(Pcie, true, "0000:03:00.0"), (Pcie, false, "0000:04:00.0")],
        );
        assert_eq!(
            (found[0].get("driver"), found[0].get("layer")),
            (Some("nvme"), Some("Transaction Layer"))
        );
    }
}
