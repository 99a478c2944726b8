//! Faults inside EFI runtime services. The kernel stops calling them and goes on.

use super::{Family, Finding};

/// arch/x86/platform/efi/quirks.c, arch/arm64/kernel/efi.c, drivers/firmware/efi/runtime-wrappers.c.
pub(super) fn begin(text: &str) -> Option<Finding> {
    if let Some((_, rest)) = text.split_once("Page fault caused by firmware at PA: ") {
        let mut finding =
            Finding::new(Family::Efi, "page-fault", "firmware faulted inside an EFI runtime service");
        finding.field("address", rest.trim());
        return Some(finding);
    }
    if let Some((_, service)) = text.split_once("exception occurred in EFI runtime service ") {
        let service = service.trim_end_matches("()");
        let said = format!("firmware faulted inside the EFI runtime service {service}");
        let mut finding = Finding::new(Family::Efi, "exception", said);
        finding.field("service", service);
        return Some(finding);
    }
    text.contains("disabled EFI Runtime Services").then(|| {
        Finding::new(Family::Efi, "disabled", "EFI runtime services were switched off after a fault in them")
    })
}

#[cfg(test)]
mod tests {
    use super::super::Family::Efi;
    use super::super::tests::check;

    #[test]
    fn each_architecture_has_its_words() {
        let found = check(
            "\
[    7.000001] [Firmware Bug]: Page fault caused by firmware at PA: 0xffffffff
[    7.000002] efi: Froze efi_rts_wq and disabled EFI Runtime Services
[    8.000001] [Firmware Bug]: Synchronous exception occurred in EFI runtime service get_time()
",
            &[(Efi, false, "page-fault"), (Efi, false, "disabled"), (Efi, false, "exception")],
        );
        assert_eq!(
            (found[0].get("address"), found[2].get("service")),
            (Some("0xffffffff"), Some("get_time"))
        );
    }
}
