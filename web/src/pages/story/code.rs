//! The `Code:` line: its bytes, and the instructions of the function that faulted.

use report::{Code, Parsed, Report};
use serde::Serialize;
use symbolizer::Instruction;

/// Bytes of instructions: what lies before, at and behind the marked one, each as printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bytes {
    /// In front of it.
    pub before: String,
    /// The group that was marked.
    pub at: String,
    /// Behind it.
    pub after: String,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// `crash_gpf+0x13`, or the distance from the faulting one when no function is known.
    pub at: String,
    /// In memory order.
    pub bytes: String,
    /// As the kernel's own tools write it.
    pub text: String,
    /// It faulted.
    pub faulting: bool,
}

/// The instructions as far as they belong to the function that faulted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Listing {
    /// In the order of addresses.
    pub rows: Vec<Row>,
    /// Instructions in front of the function and behind it, which are left out.
    pub left_out: usize,
}

/// The bytes in the groups that the kernel printed.
pub(super) fn bytes(code: &Code) -> Bytes {
    let unit = usize::from(code.unit.max(1));
    let groups: Vec<String> = code.bytes.chunks(unit).map(hex::encode).collect();
    let mark = code.mark.map(|byte| byte / unit).filter(|mark| *mark < groups.len());
    let (before, rest) = groups.split_at(mark.unwrap_or(groups.len()));
    let (at, after) = rest.split_at(rest.len().min(1));
    Bytes { before: before.join(" "), at: at.join(" "), after: after.join(" ") }
}

/// The instructions of the `Code:` line; none where the architecture is not known or the line has no mark.
pub(super) fn listing(parsed: &Parsed, report: &Report) -> Listing {
    let Some(code) = &report.code else { return Listing::default() };
    let ip = report
        .ip
        .as_ref()
        .and_then(|ip| Some((ip.symbol.as_deref()?, i64::try_from(ip.offset).ok()?, ip.size)));
    let inside = |instruction: &Instruction| match ip {
        None => true,
        Some((_, offset, size)) => {
            let at = offset + instruction.offset;
            at >= 0 && size.is_none_or(|size| at.unsigned_abs() < size)
        }
    };
    let all = symbolizer::listing(code, parsed.kernel.arch);
    let count = all.len();
    let row = |instruction: Instruction| Row {
        at: match ip {
            Some((symbol, offset, _)) => format!("{symbol}+{:#x}", offset + instruction.offset),
            None if instruction.offset < 0 => format!("-{:#x}", -instruction.offset),
            None => format!("+{:#x}", instruction.offset),
        },
        bytes: instruction.bytes.chunks(1).map(hex::encode).collect::<Vec<_>>().join(" "),
        text: instruction.text,
        faulting: instruction.faulting,
    };
    let rows: Vec<Row> = all.into_iter().filter(inside).map(row).collect();
    Listing { left_out: count - rows.len(), rows }
}

impl Listing {
    /// The registers that the address of the faulting instruction is made of, as the kernel writes their names:
    /// what stands in the parentheses of AT&T syntax, or in the brackets of arm64's.
    pub fn address_registers(&self) -> Vec<String> {
        let Some(row) = self.rows.iter().find(|row| row.faulting) else { return Vec::new() };
        let inside =
            |open, close| row.text.split_once(open).and_then(|(_, rest)| Some(rest.split_once(close)?.0));
        let Some(operand) = inside('(', ')').or_else(|| inside('[', ']')) else { return Vec::new() };
        operand.split(',').map(|part| kernel_name(part.trim().trim_start_matches('%'))).collect()
    }
}

/// `rax` is `RAX` in a dump, and `r8` is `R08`; arm64 has the same names in both.
fn kernel_name(register: &str) -> String {
    match register.strip_prefix('r').and_then(|number| number.parse::<u8>().ok()) {
        Some(number) => format!("R{number:02}"),
        None if register.starts_with(['x', 'w']) || register == "sp" => register.to_owned(),
        None => register.to_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, registers: &[&str]) {
        let row = Row { at: String::new(), bytes: String::new(), text: text.into(), faulting: true };
        assert_eq!(Listing { rows: vec![row], left_out: 0 }.address_registers(), registers, "{text}");
    }

    #[test]
    fn an_address_is_made_of_the_registers_in_its_operand() {
        check("movl $1,(%rax)", &["RAX"]);
        check("mov 0x18(%r8,%rbx,8),%eax", &["R08", "RBX", "8"]);
        check("ldr x0, [x1, #16]", &["x1", "#16"]);
        check("div %ecx", &[]);
    }
}
