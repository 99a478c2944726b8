//! x86 machine checks: `mce: [Hardware Error]: CPU 3: Machine Check Exception: f Bank 1: bd80000000100134`.

use super::{Family, Finding, word_after};

/// What stands behind the mark; kernels before 3.x print no `mce: ` before it, firmware reports begin with `{N}`.
fn marked(text: &str) -> Option<&str> {
    text.strip_prefix("mce: ").unwrap_or(text).strip_prefix("[Hardware Error]: ")
}

pub(super) fn begin(text: &str) -> Option<Finding> {
    let rest = marked(text)?;
    if rest.contains("Machine check events logged") {
        return Some(Finding::new(
            Family::MachineCheck,
            "logged",
            "machine check events were logged elsewhere",
        ));
    }
    if let Some(finding) = amd(rest) {
        return Some(finding);
    }
    let (cpu, rest) = rest.strip_prefix("CPU ")?.split_once(": ")?;
    let (status, fatal) = match rest.strip_prefix("Machine Check Exception: ") {
        Some(status) => (status, true),
        None => (rest.strip_prefix("Machine Check: ")?, false),
    };
    let bank = word_after(status, "Bank").map(|bank| bank.trim_end_matches(':')).unwrap_or("?");
    let value = status.rsplit(' ').next().filter(|value| value.len() == 16).unwrap_or("");
    let code = value.get(12..).unwrap_or("?");
    let word = if fatal { "uncorrected" } else { "logged" };
    let key = format!("bank {bank} code {code}");
    let mut finding = Finding::new(
        Family::MachineCheck,
        key,
        format!("{word} machine check on CPU {cpu}, bank {bank}, code {code}"),
    );
    finding.fatal = fatal;
    finding.field("cpu", cpu);
    finding.field("mcgstatus", status.split(' ').next().unwrap_or("").trim_end_matches(':'));
    finding.field("bank", bank);
    finding.field("status", value);
    if let Ok(status) = u64::from_str_radix(value, 16) {
        // MCi_STATUS of the processor manuals.
        for (bit, name) in [(63, "valid"), (61, "uncorrected"), (57, "context-corrupt")] {
            finding.field(name, if status >> bit & 1 == 1 { "yes" } else { "no" });
        }
    }
    Some(finding)
}

/// The decoder of AMD's machines (drivers/edac/mce_amd.c) prints the status with its flags:
/// `CPU:0 (17:31:0) MC16_STATUS[Over|CE|MiscV|-|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000000011b`.
fn amd(rest: &str) -> Option<Finding> {
    let (cpu, rest) = rest.strip_prefix("CPU:")?.split_once(' ')?;
    let (_, rest) = rest.split_once(" MC")?;
    let (bank, rest) = rest.split_once("_STATUS[")?;
    let (flags, value) = rest.split_once("]: 0x")?;
    let flagged = |flag: &str| flags.split('|').any(|known| known == flag);
    let code = value.get(12..16)?;
    let word = if flagged("UE") || flagged("UC") { "uncorrected" } else { "logged" };
    let mut finding = Finding::new(
        Family::MachineCheck,
        format!("bank {bank} code {code}"),
        format!("{word} machine check on CPU {cpu}, bank {bank}, code {code}"),
    );
    finding.fatal = flagged("PCC");
    for (name, value) in [("cpu", cpu), ("bank", bank), ("flags", flags), ("status", value)] {
        finding.field(name, value);
    }
    Some(finding)
}

/// The lines below: `RIP …`, `TSC … ADDR …`, `PROCESSOR … SOCKET …`, the reason.
pub(super) fn more(finding: &mut Finding, text: &str) -> bool {
    let Some(rest) = marked(text) else { return false };
    if rest.starts_with("CPU ") && rest.contains("Machine Check") {
        return false;
    }
    if let Some(reason) = rest.strip_prefix("Machine check: ") {
        finding.field("reason", reason);
        finding.text = format!("{}: {reason}", finding.text);
        return true;
    }
    if let Some(place) = rest.split_once('{').and_then(|(_, place)| place.split_once('}')) {
        finding.field("victim", place.0);
    }
    for name in
        ["TSC", "ADDR", "MISC", "PPIN", "SYND", "IPID", "PROCESSOR", "TIME", "SOCKET", "APIC", "microcode"]
    {
        if let Some(value) = word_after(rest, name) {
            finding.field(name, value);
            if name == "SOCKET" {
                finding.key = format!("socket {value} {}", finding.key);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::Family::MachineCheck;
    use super::super::tests::check;

    #[test]
    fn socket_bank_and_code_tell_the_part() {
        let found = check(
            "\
[    5.000001] mce: [Hardware Error]: CPU 12: Machine Check Exception: f Bank 1: bd80000000100134
[    5.000002] mce: [Hardware Error]: RIP 10:<ffffffff821b9776> {copy_it+0x6/0x20}
[    5.000003] mce: [Hardware Error]: TSC 411a93533ed ADDR 346a8730040 MISC 86
[    5.000004] mce: [Hardware Error]: PROCESSOR 0:a06d0 TIME 1706000767 SOCKET 1 APIC 211 microcode 80001490
[    5.000005] mce: [Hardware Error]: Machine check: Data load in unrecoverable area of kernel
",
            &[(MachineCheck, true, "socket 1 bank 1 code 0134")],
        );
        let finding = &found[0];
        assert_eq!(finding.get("addr"), Some("346a8730040"));
        assert_eq!(finding.get("victim"), Some("copy_it+0x6/0x20"));
        assert_eq!(finding.get("context-corrupt"), Some("no"));
        assert!(finding.text.ends_with("Data load in unrecoverable area of kernel"));
    }

    #[test]
    fn the_decoder_of_amd_has_words_of_its_own() {
        let found = check(
            "\
[    5.000001] [Hardware Error]: System Fatal error.
[    5.000002] [Hardware Error]: CPU:8 (19:1:1) MC17_STATUS[-|UE|MiscV|AddrV|PCC|-|SyndV|UECC|-|-|-]: 0xbe2000000000011b
[    5.000003] [Hardware Error]: Error Addr: 0x0000000123456780
[    5.000004] [Hardware Error]: Unified Memory Controller Ext. Error Code: 0
",
            &[(MachineCheck, true, "bank 17 code 011b")],
        );
        assert_eq!(found[0].get("cpu"), Some("8"));
    }

    #[test]
    fn a_logged_one_is_not_fatal() {
        check(
            "[Hardware Error]: CPU 0: Machine Check: 0 Bank 5: 8c00004000010090\n",
            &[(MachineCheck, false, "bank 5 code 0090")],
        );
    }
}
