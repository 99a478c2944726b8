//! The register dump of a report.

use serde::Serialize;

use crate::frame::hex;

/// One register as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// The kernel's name for it, in its case: `RAX`, `x29`, `a0`, `CR2`.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// More than any architecture has.
const REGISTERS_MAX: usize = 96;

/// Takes the registers of one line into `list`, if it is a line of a register dump. A name that is already there
/// begins a second dump, which is not wanted: then nothing is taken.
pub(crate) fn read(text: &str, list: &mut Vec<Register>) -> bool {
    let text = text.trim_ascii_start();
    if powerpc(text, list) || mips(text, list) || loongarch(text, list) || s390(text, list) {
        return true;
    }
    // Most lines of a log end here.
    let name = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    text[name..].trim_ascii_start().starts_with(':') && is_register(&text[..name]) && pairs(text, list)
}

fn take(name: &str, value: u64, list: &mut Vec<Register>) {
    if list.len() < REGISTERS_MAX && list.iter().all(|known| known.name != name) {
        list.push(Register { name: name.to_owned(), value });
    }
}

/// `NAME: value NAME: value`, with a segment before the value (`RSP: 0018:ffff…`), one behind it (`GS:ffff…(0000)`),
/// or brackets around it (`pc : [<c0100000>]`). False when there is none.
fn pairs(text: &str, list: &mut Vec<Register>) -> bool {
    let mut rest = text;
    for count in 0..REGISTERS_MAX {
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, behind) = rest.split_at(length);
        let Some(behind) = behind.trim_ascii_start().strip_prefix(':').filter(|_| length > 0) else {
            return count > 0;
        };
        let behind = trim_start(behind.trim_ascii_start(), b"[<");
        let Some((value, behind)) = value(behind) else { return count > 0 };
        take(name, value, list);
        let behind = trim_start(behind, b">]");
        rest = match behind.strip_prefix('(') {
            Some(inner) => inner.split_once(')').map_or("", |(_, rest)| rest),
            None => behind,
        }
        .trim_ascii_start();
    }
    true
}

fn trim_start<'a>(text: &'a str, bytes: &[u8]) -> &'a str {
    &text[text.bytes().take_while(|byte| bytes.contains(byte)).count()..]
}

fn value(text: &str) -> Option<(u64, &str)> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let (value, rest) = hex(text)?;
    // A selector: the value follows behind the colon.
    match rest.strip_prefix(':') {
        Some(behind) if text.len() - rest.len() == 4 => hex(behind),
        _ => Some((value, rest)),
    }
}

/// Could this be the first register of a line?
fn is_register(name: &str) -> bool {
    let named = matches!(
        name,
        "RSP"
            | "RAX"
            | "RBX"
            | "RCX"
            | "RDX"
            | "RSI"
            | "RDI"
            | "RBP"
            | "FS"
            | "GS"
            | "CS"
            | "DS"
            | "ES"
            | "CR0"
            | "CR2"
            | "CR3"
            | "CR4"
            | "DR0"
            | "DR1"
            | "DR2"
            | "DR3"
            | "DR6"
            | "PKRU"
            | "EAX"
            | "EBX"
            | "ECX"
            | "EDX"
            | "ESI"
            | "EDI"
            | "EBP"
            | "ESP"
            | "EFLAGS"
            | "RFLAGS"
            | "SS"
            | "pc"
            | "lr"
            | "sp"
            | "fp"
            | "ip"
            | "pstate"
            | "psr"
            | "pmr"
            | "epc"
            | "ra"
            | "gp"
            | "tp"
            | "status"
            | "badaddr"
            | "cause"
            | "NIP"
            | "REGS"
            | "MSR"
            | "CFAR"
            | "LR"
            | "CTR"
            | "XER"
            | "CR"
            | "DAR"
            | "ERA"
            | "ESTAT"
    );
    named || {
        let digits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let letters = name.len() - digits.len();
        letters == 1 && (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// `GPR04: c000… c000… c000… c000…`
fn powerpc(text: &str, list: &mut Vec<Register>) -> bool {
    let Some((number, values)) = text.strip_prefix("GPR").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let Ok(first) = number.parse() else { return false };
    numbered("GPR", first, values, list);
    true
}

/// `$ 4   : 00000001 80123456 00000000 80a40000`; of the two that belong to the kernel blanks are printed.
fn mips(text: &str, list: &mut Vec<Register>) -> bool {
    let Some((number, values)) = text.strip_prefix('$').and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let Ok(first) = number.trim_ascii().parse() else { return false };
    numbered("$", first, values, list);
    true
}

/// `pc 9000… ra 9000… tp 9000… sp 9000…`: names and values without a colon.
fn loongarch(text: &str, list: &mut Vec<Register>) -> bool {
    const FIRST: [&str; 9] = ["pc", "a0", "a4", "t0", "t4", "t8", "s1", "s5", "u0"];
    if !text.get(..2).is_some_and(|name| FIRST.contains(&name)) {
        return false;
    }
    let mut words = text.split_ascii_whitespace();
    let mut row = [("", 0); 4];
    let mut count = 0;
    while let Some(name) = words.next().filter(|_| count < row.len()) {
        let value = words.next().filter(|value| value.len() == 16);
        let Some((value, "")) = value.and_then(hex) else { return false };
        row[count] = (name, value);
        count += 1;
    }
    row[..count].iter().for_each(|(name, value)| take(name, *value, list));
    count > 0
}

/// `Krnl GPRS: 0000… 0000… 0000… 0000…`, and lines of four values below it.
fn s390(text: &str, list: &mut Vec<Register>) -> bool {
    if let Some(values) = text.strip_prefix("Krnl GPRS:") {
        numbered("R", 0, values, list);
        return true;
    }
    if list.first().is_none_or(|first| first.name != "R0") {
        return false;
    }
    let known = list.iter().filter(|register| register.name.starts_with('R')).count();
    let is_value = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let continues = matches!(known, 4 | 8 | 12)
        && text.split_ascii_whitespace().take(5).count() == 4
        && text.split_ascii_whitespace().all(is_value);
    if continues {
        numbered("R", known, text, list);
    }
    continues
}

fn numbered(prefix: &str, first: usize, values: &str, list: &mut Vec<Register>) {
    let values = values.split_ascii_whitespace().map_while(|value| u64::from_str_radix(value, 16).ok());
    for (index, value) in values.take(8).enumerate() {
        take(&format!("{prefix}{}", first.saturating_add(index)), value, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[(&str, u64)]) {
        let mut list = Vec::new();
        for line in lines {
            assert!(read(line, &mut list), "{line}");
        }
        let found: Vec<(&str, u64)> =
            list.iter().map(|register| (register.name.as_str(), register.value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn x86_has_segments_before_and_behind() {
        check(
            &[
                "RSP: 0018:ffffc90000000000 EFLAGS: 00010246",
                "FS:  0000000037(0000) GS:ffff8d(0000) knlGS:0000000000000000",
            ],
            &[("RSP", 0xffffc90000000000), ("EFLAGS", 0x10246), ("FS", 0x37), ("GS", 0xffff8d), ("knlGS", 0)],
        );
        check(
            &["CR2: ffff000012345678 CR3: 01 CR4: 02"],
            &[("CR2", 0xffff000012345678), ("CR3", 1), ("CR4", 2)],
        );
    }

    #[test]
    fn other_architectures_have_other_names() {
        check(&["x29: ffff800010000000 x28: 0000000000000001"], &[("x29", 0xffff800010000000), ("x28", 1)]);
        check(
            &["pc : [<c0100000>]    lr : [<c0200000>]    psr: 60000013"],
            &[("pc", 0xc0100000), ("lr", 0xc0200000), ("psr", 0x60000013)],
        );
        check(
            &[" gp : ffffffff81 tp : ffffffd6 t0 : 01"],
            &[("gp", 0xffffffff81), ("tp", 0xffffffd6), ("t0", 1)],
        );
        check(&["$ 4   : 00000001 80123456"], &[("$4", 1), ("$5", 0x80123456)]);
        check(
            &["pc 9000000000a40120 ra 9000000000a40210"],
            &[("pc", 0x9000000000a40120), ("ra", 0x9000000000a40210)],
        );
        check(&["GPR04: 01 02 03 04"], &[("GPR4", 1), ("GPR5", 2), ("GPR6", 3), ("GPR7", 4)]);
        check(
            &[
                "Krnl GPRS: 0000000000000001 02 03 04",
                "           0000000000000005 0000000000000006 0000000000000007 0000000000000008",
            ],
            &[("R0", 1), ("R1", 2), ("R2", 3), ("R3", 4), ("R4", 5), ("R5", 6), ("R6", 7), ("R7", 8)],
        );
    }

    #[test]
    fn other_lines_are_no_registers() {
        for line in ["", "Code: 0f 0b", "Modules linked in: a", "Call Trace:", "Comm: 12", "BUG: 12"] {
            assert!(!read(line, &mut Vec::new()), "{line}");
        }
    }
}
