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
    port(text).or_else(|| device(text)).or_else(|| contained(text))
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

/// `pcieport 0000:00:1c.0: DPC: containment event, status:0x1f01 source:0x0300`: the port cut the link off.
fn contained(text: &str) -> Option<Finding> {
    let (port, rest) = text.split_once(": DPC: containment event, ")?;
    let port = port.rsplit(' ').next()?;
    let said = format!("{port} cut off what is behind it after a PCIe error");
    let mut finding = Finding::new(Family::Pcie, format!("{port} containment"), said);
    finding.field("port", port);
    for (name, value) in rest.split([' ', ',']).filter_map(|word| word.split_once(':')) {
        finding.field(name, value);
    }
    Some(finding)
}

/// What the device's own lines say of an error its port announced.
pub(super) fn more(finding: &mut Finding, text: &str) -> bool {
    let own = |device: &str| finding.get("device").is_some_and(|known| device.ends_with(known));
    // `nvme 0000:03:00.0:   device [8086:0a54] error status/mask=00100000/00000000`
    if let Some((device, rest)) = text.split_once(":   device [") {
        let Some((id, rest)) = rest.split_once("] error status/mask=").filter(|_| own(device)) else {
            return false;
        };
        finding.field("id", id);
        finding.field("status", rest.split('/').next().unwrap_or(""));
        return true;
    }
    // `nvme 0000:03:00.0:    [20] UnsupReq               (First)`: the error that began it.
    if let Some((device, rest)) = text.split_once(":    [") {
        let Some((_, error)) = rest.split_once(']').filter(|_| own(device)) else { return false };
        finding.field("first", error.trim_end_matches("(First)").trim());
        return true;
    }
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
[    7.000003] nvme 0000:03:00.0:   device [8086:0a54] error status/mask=00100000/00000000
[    7.000004] nvme 0000:03:00.0:    [20] UnsupReq               (First)
[    7.000005] nvme 0000:03:00.0: AER:   TLP Header: 40000001 0000000f b7edffe8 00000000
[    8.000001] pcieport 0000:00:1c.0: AER: Multiple Correctable error message received from 0000:04:00.0
[    9.000001] pcieport 0000:00:1c.0: AER: device recovery successful
[   10.000001] pcieport 0000:00:1d.0: DPC: containment event, status:0x1f01 source:0x0000
",
            &[
                (Pcie, true, "0000:03:00.0"),
                (Pcie, false, "0000:04:00.0"),
                (Pcie, false, "0000:00:1d.0 containment"),
            ],
        );
        let fields = ["id", "status", "first"].map(|name| found[0].get(name).unwrap_or(""));
        assert_eq!(fields, ["8086:0a54", "00100000", "UnsupReq"]);
        assert_eq!(
            (found[0].get("driver"), found[0].get("layer")),
            (Some("nvme"), Some("Transaction Layer"))
        );
    }
}
