//! The `Code:` line: the bytes around the instruction that faulted.

use serde::Serialize;

/// Instruction bytes around the program counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The bytes in memory order for byte-wise dumps (x86, s390x); for word-wise dumps (arm, arm64, ppc, riscv) the
    /// words as printed, most significant byte first.
    pub bytes: Vec<u8>,
    /// Bytes in one printed group: 1, 2 (thumb, riscv) or 4.
    pub unit: u8,
    /// Index into `bytes` of the marked group, at which the program counter stood.
    pub mark: Option<usize>,
}

/// x86 printed up to 8192 bytes on old kernels (`code_bytes=`).
const BYTES_MAX: usize = 8192;

impl Code {
    /// Reads what stands behind `Code: `. None when the kernel could not read the bytes (`Bad RIP value`, `Unable to
    /// access opcode bytes`).
    pub(crate) fn read(text: &str) -> Option<Code> {
        let mut code = Code { bytes: Vec::new(), unit: 0, mark: None };
        for word in text.split_ascii_whitespace() {
            let digits = word.trim_matches(['<', '>', '(', ')']);
            if digits.is_empty()
                || !digits.len().is_multiple_of(2)
                || digits.len() > 8
                || code.bytes.len() >= BYTES_MAX
            {
                break;
            }
            let Ok(value) = u32::from_str_radix(digits, 16) else { break };
            let unit = digits.len() / 2;
            code.unit = code.unit.max(unit as u8);
            if digits.len() != word.len() {
                code.mark = Some(code.bytes.len());
            }
            code.bytes.extend_from_slice(&value.to_be_bytes()[4 - unit..]);
        }
        (!code.bytes.is_empty()).then_some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_group_is_where_the_counter_stood() {
        let x86 = Code::read("00 c3 <f3> 90").unwrap();
        assert_eq!((x86.bytes.as_slice(), x86.unit, x86.mark), (&[0, 0xc3, 0xf3, 0x90][..], 1, Some(2)));
        let arm64 = Code::read("f9400001 d65f03c0 (b9000020)").unwrap();
        assert_eq!((arm64.bytes.len(), arm64.unit, arm64.mark), (12, 4, Some(8)));
        let ppc = Code::read("60000000 <e9230000> 7c0802a6").unwrap();
        assert_eq!((ppc.unit, ppc.mark), (4, Some(4)));
    }

    #[test]
    fn bytes_the_kernel_could_not_read_are_none() {
        assert_eq!(Code::read("Unable to access opcode bytes at 0xffffffffc0481fdb."), None);
        assert_eq!(Code::read("Bad RIP value."), None);
    }
}
