//! The `Code:` line as instructions, the one that faulted marked.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction as X86, OpKind};
use report::{Arch, Code};
use serde::Serialize;

/// The longest x86 instruction has 15 bytes, so one of the first eight cuts leads into step (syzkaller's way).
const CUTS: usize = 8;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instruction {
    /// Distance from the instruction that faulted, in bytes.
    pub offset: i64,
    /// Its bytes, in memory order.
    pub bytes: Vec<u8>,
    /// In AT&T syntax on x86, as the kernel's own tools print it.
    pub text: String,
    /// This one faulted.
    pub faulting: bool,
}

/// Disassembles the printed bytes. Empty for architectures we do not know, for a line without a mark, and for
/// deliberate traps (`ud2`, `brk`), where there is nothing to see.
pub fn listing(code: &Code, arch: Arch) -> Vec<Instruction> {
    let Some(mark) = code.mark else { return Vec::new() };
    match arch {
        Arch::X86_64 => x86(&code.bytes, mark, 64),
        Arch::I386 => x86(&code.bytes, mark, 32),
        Arch::Arm64 if code.unit == 4 => arm64(&code.bytes, mark),
        _ => Vec::new(),
    }
}

fn x86(bytes: &[u8], mark: usize, bits: u32) -> Vec<Instruction> {
    const UD2: [u8; 2] = [0x0f, 0x0b];
    if bytes.get(mark..).is_none_or(|rest| rest.starts_with(&UD2)) {
        return Vec::new();
    }
    // What lies before the mark may begin inside an instruction: take the first cut that meets the mark.
    let in_step = (0..CUTS.min(mark + 1)).find(|&cut| decode_x86(&bytes[..mark], cut, bits).is_some());
    let from = in_step.unwrap_or(mark);
    let before = decode_x86(&bytes[..mark], from, bits).unwrap_or_default();
    let mut decoder = Decoder::with_ip(bits, &bytes[mark..], mark as u64, DecoderOptions::NONE);
    let mut after = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        // The last one is often cut off.
        if instruction.is_invalid() {
            break;
        }
        after.push(instruction);
    }
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_uppercase_hex(false);
    before
        .into_iter()
        .chain(after)
        .map(|instruction| line(&mut formatter, &instruction, bytes, mark))
        .collect()
}

/// All of `bytes` from `from`, or nothing when an instruction is bad or runs over the end.
fn decode_x86(bytes: &[u8], from: usize, bits: u32) -> Option<Vec<X86>> {
    let mut decoder = Decoder::with_ip(bits, bytes.get(from..)?, from as u64, DecoderOptions::NONE);
    let mut instructions = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        instructions.push(instruction);
    }
    Some(instructions)
}

fn line(formatter: &mut GasFormatter, instruction: &X86, bytes: &[u8], mark: usize) -> Instruction {
    let at = instruction.ip() as usize;
    let offset = at as i64 - mark as i64;
    let mut text = String::new();
    if matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64) {
        // The addresses are not known, so targets are told from the instruction that faulted.
        let target = instruction.near_branch_target().wrapping_sub(mark as u64) as i64;
        let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
        let sign = if target < 0 { '-' } else { '+' };
        text = format!("{name} {sign}{:#x}", target.unsigned_abs());
    } else {
        formatter.format(instruction, &mut text);
    }
    let bytes = bytes.get(at..at + instruction.len()).unwrap_or_default().to_vec();
    Instruction { offset, bytes, text, faulting: offset == 0 }
}

/// Words as printed: the most significant byte first.
fn arm64(bytes: &[u8], mark: usize) -> Vec<Instruction> {
    let word = |bytes: &[u8]| bytes.first_chunk().map(|word| u32::from_be_bytes(*word));
    // `brk #imm16`: BUG, WARN and their like.
    if bytes.get(mark..).and_then(word).is_none_or(|word| word & 0xffe0_001f == 0xd420_0000) {
        return Vec::new();
    }
    let lines = bytes.as_chunks::<4>().0.iter().enumerate().map(|(i, bytes)| {
        let offset = (i * 4) as i64 - mark as i64;
        let word = u32::from_be_bytes(*bytes);
        let text = disarm64::decoder::decode(word)
            .map_or_else(|| format!(".word {word:#010x}"), |op| op.to_string());
        Instruction { offset, bytes: word.to_le_bytes().to_vec(), text, faulting: offset == 0 }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(bytes: &[u8], mark: usize, arch: Arch, unit: u8) -> Vec<(i64, String)> {
        let code = Code { bytes: bytes.to_vec(), unit, mark: Some(mark) };
        listing(&code, arch).into_iter().map(|line| (line.offset, line.text)).collect()
    }

    #[test]
    fn a_listing_meets_the_mark_even_when_it_begins_inside_an_instruction() {
        // The tail of a call, then `xor %edi,%edi`, then the fault: `mov (%rdi),%eax`, `ret`.
        let bytes = [0x12, 0x00, 0x00, 0x31, 0xff, 0x8b, 0x07, 0xc3];
        let lines = listed(&bytes, 5, Arch::X86_64, 1);
        assert!(lines.contains(&(0, "mov (%rdi),%eax".into())), "{lines:?}");
        assert!(lines.contains(&(-2, "xor %edi,%edi".into())), "{lines:?}");
        assert_eq!(lines.last().unwrap(), &(2, "ret".into()));
    }

    #[test]
    fn targets_of_calls_are_told_from_the_fault() {
        let lines = listed(&[0xe8, 0xfb, 0xff, 0xff, 0xff, 0xeb, 0x02], 0, Arch::X86_64, 1);
        assert_eq!(lines, [(0, "call +0x0".into()), (5, "jmp +0x9".into())]);
    }

    #[test]
    fn deliberate_traps_have_no_listing() {
        assert_eq!(listed(&[0x90, 0x0f, 0x0b, 0x90], 1, Arch::X86_64, 1), []);
        assert_eq!(listed(&[0xd4, 0x21, 0x00, 0x00], 0, Arch::Arm64, 4), []);
        assert_eq!(listed(&[0x90], 5, Arch::X86_64, 1), []);
    }

    #[test]
    fn arm64_words_are_read_as_printed() {
        // nop; str w0, [x1]
        let lines = listed(&[0xd5, 0x03, 0x20, 0x1f, 0xb9, 0x00, 0x00, 0x20], 4, Arch::Arm64, 4);
        assert_eq!(lines[0], (-4, "nop".into()));
        assert_eq!(lines[1].0, 0);
        assert!(lines[1].1.starts_with("str"), "{lines:?}");
    }
}
