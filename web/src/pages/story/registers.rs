//! Registers with a word on each value: what can be said from the number alone, and never more.

use report::Report;
use serde::Serialize;

use super::{Listing, Said};

/// A register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Register {
    /// The kernel's name for it.
    pub name: String,
    /// Its value, in 16 hex digits.
    pub value: String,
    /// What the number tells; empty when nothing.
    pub says: String,
    /// It explains the fault: the faulting instruction's address is made of it, or it alone holds the address that
    /// could not be reached.
    pub key: bool,
    /// Its value is 0.
    pub zero: bool,
}

/// Patterns that the kernel writes on purpose (include/linux/poison.h, 64-bit), value and meaning.
const POISON: [(u64, &str); 6] = [
    (0xdead_0000_0000_0100, "list entry that was deleted (LIST_POISON1)"),
    (0xdead_0000_0000_0122, "list entry that was deleted (LIST_POISON2)"),
    (0x6b6b_6b6b_6b6b_6b6b, "freed slab memory (POISON_FREE)"),
    (0x5a5a_5a5a_5a5a_5a5a, "slab memory never written (POISON_INUSE)"),
    (0xcccc_cccc_cccc_cccc, "freed init memory (POISON_FREE_INITMEM)"),
    (0xaaaa_aaaa_aaaa_aaaa, "freed page (PAGE_POISON)"),
];

/// The register dump of a report, explained.
pub(super) fn explain(report: &Report, fault: Option<&Said>, listing: &Listing) -> Vec<Register> {
    let fault = fault.and_then(|fault| u64::from_str_radix(&fault.words, 16).ok());
    // CR2 holds what the last page fault was about, so that it always matches and explains nothing.
    let holds = |register: &report::Register| fault == Some(register.value) && register.name != "CR2";
    let alone = report.registers.iter().filter(|register| holds(register)).count() == 1;
    let in_address = listing.address_registers();
    let stack =
        report.registers.iter().find(|register| matches!(register.name.as_str(), "RSP" | "sp" | "ESP"));
    let mut seen: Vec<&report::Register> = Vec::new();
    let mut explained = Vec::with_capacity(report.registers.len());
    for register in &report.registers {
        let addressing = in_address.contains(&register.name);
        let key = addressing || alone && holds(register);
        let says = match seen.iter().find(|other| other.value == register.value && register.value > 0xffff) {
            _ if key && holds(register) => "the address that could not be reached".to_owned(),
            _ if addressing && register.value == 0 => "part of the address: NULL".to_owned(),
            _ if addressing => "part of the address".to_owned(),
            _ if is_state(&register.name) => String::new(),
            Some(other) => format!("same as {}", other.name),
            None => number(register, stack, is_64(report)),
        };
        explained.push(Register {
            name: register.name.clone(),
            value: format!("{:016x}", register.value),
            says,
            key,
            zero: register.value == 0,
        });
        seen.push(register);
    }
    explained
}

/// Control, flags and segment registers: their numbers are not addresses of data.
fn is_state(name: &str) -> bool {
    matches!(
        name,
        "EFLAGS" | "FLAGS" | "pstate" | "PKRU" | "ORIG_RAX" | "CS" | "DS" | "ES" | "CR0" | "CR3" | "CR4"
    ) || name.starts_with("DR")
}

fn is_64(report: &Report) -> bool {
    // Only these print their user and kernel halves the way `number` tells them apart.
    let wide = |register: &report::Register| register.value > u64::from(u32::MAX);
    report.registers.iter().any(wide)
        && report.registers.iter().any(|register| register.name.starts_with(['R', 'x']))
}

fn number(register: &report::Register, stack: Option<&report::Register>, wide: bool) -> String {
    let value = register.value;
    if let Some((_, says)) = POISON.iter().find(|(poison, _)| *poison == value) {
        return (*says).to_owned();
    }
    if value == 0 {
        return String::new();
    }
    if value < 0x10000 {
        return value.to_string();
    }
    if let Some(stack) = stack.filter(|stack| stack.name != register.name)
        && let Some(above) = value.checked_sub(stack.value).filter(|above| *above < 0x4000)
    {
        return format!("stack, {} + {above:#x}", stack.name);
    }
    if let Some(text) = text(value) {
        return format!("text: “{text}”");
    }
    if !wide {
        return String::new();
    }
    // Four-level paging splits at bit 47; with five levels the kernel's half reaches down to 0xff….
    match value >> 47 {
        0 => "user space".to_owned(),
        0x1_ffff => {
            if stack.is_some_and(|stack| stack.name == register.name) { "stack" } else { "kernel space" }
                .to_owned()
        }
        _ if value.cast_signed() < 0 && value >> 56 == 0xff => "kernel space".to_owned(),
        _ => "not a canonical address".to_owned(),
    }
}

/// The bytes as letters, if each is one (the last may be NUL).
fn text(value: u64) -> Option<String> {
    let bytes = value.to_le_bytes();
    let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    let letters = bytes[..end].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    (end >= 7 && letters).then(|| bytes[..end].iter().map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: u64, says: &str) {
        let stack = report::Register { name: "RSP".into(), value: 0xffff_cc00_003c_3c00 };
        let register = report::Register { name: "RAX".into(), value };
        assert_eq!(number(&register, Some(&stack), true), says, "{value:#x}");
    }

    #[test]
    fn a_number_says_what_it_can_and_no_more() {
        check(0, "");
        check(0x10, "16");
        check(0xdead_0000_0000_0100, "list entry that was deleted (LIST_POISON1)");
        check(0xdead_4ead_0000_0000, "not a canonical address");
        check(0x0064_692d_646c_6975, "text: “uild-id”");
        check(0xffff_cc00_003c_3c28, "stack, RSP + 0x28");
        check(0xffff_88a0_829b_fd70, "kernel space");
        check(0xff41_53b4_5ff0_2990, "kernel space");
        check(0x0000_7ffd_5151_d648, "user space");
    }
}
