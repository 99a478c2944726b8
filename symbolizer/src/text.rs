//! The instruction bytes of an image against those that a dying kernel printed.
//!
//! Equal bytes prove that the image is of the build that crashed, and tell functions of one name apart. Some bytes
//! may differ in a sound kernel, and are left out: those that the kernel patches while it boots, and fields that
//! KASLR or the module loader fills.

use report::Code;
use serde::Serialize;

/// How many bytes could be compared, and how many were equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CodeMatch {
    /// Bytes outside of what may be patched.
    pub compared: usize,
    /// Those that were the same.
    pub equal: usize,
}

/// Fewer bytes prove nothing.
const MIN_COMPARED: usize = 8;
/// KASLR moves the kernel by a multiple of `CONFIG_PHYSICAL_ALIGN`, which is 2 MiB or more on x86-64,
const KASLR_STEP: u32 = 0x20_0000;
/// and by less than `KERNEL_IMAGE_SIZE` (arch/x86/include/asm/page_64_types.h).
const KASLR_RANGE: u32 = 0x4000_0000;

impl CodeMatch {
    /// Nothing differs, and enough was compared to mean something.
    pub fn is_proof(self) -> bool {
        self.compared >= MIN_COMPARED && self.equal == self.compared
    }

    /// More than a patched instruction or two differs.
    pub fn contradicts(self) -> bool {
        self.compared >= MIN_COMPARED && self.equal * 4 < self.compared * 3
    }
}

/// The printed bytes in the order of memory: word-wise dumps print the most significant byte first.
pub(crate) fn in_memory_order(code: &Code) -> Vec<u8> {
    code.bytes.chunks(code.unit.max(1).into()).flat_map(|word| word.iter().rev()).copied().collect()
}

/// Compares printed bytes with those of the image. `text` gives the byte at a distance from the marked one, or `None`
/// where it proves nothing. `kernel` is the address where the kernel's image begins, of a linked x86-64 kernel.
pub(crate) fn compare(
    code: &Code,
    text: impl Fn(i64) -> Option<u8>,
    kernel: Option<u64>,
) -> Option<CodeMatch> {
    let mark = code.mark?;
    let printed = in_memory_order(code);
    let ours: Vec<Option<u8>> = (0..printed.len()).map(|i| text(i as i64 - mark as i64)).collect();
    let (mut compared, mut equal, mut at) = (0, 0, 0);
    while let (Some(printed_here), Some(ours_here)) = (printed.get(at..), ours.get(at..)) {
        let (Some(byte), Some(own)) = (printed_here.first(), ours_here.first()) else { break };
        // An address in an instruction, whose table of relocations did not come with the image.
        if kernel.is_some_and(|kernel| moved(printed_here, ours_here, kernel)) {
            at += 4;
            continue;
        }
        if let Some(own) = own {
            compared += 1;
            equal += usize::from(own == byte);
        }
        at += 1;
    }
    Some(CodeMatch { compared, equal })
}

/// Whether the two begin with one 32-bit address of the kernel's image, moved by KASLR in the printed bytes.
fn moved(printed: &[u8], ours: &[Option<u8>], kernel: u64) -> bool {
    let (Some(printed), Some(ours)) = (printed.first_chunk::<4>(), ours.first_chunk::<4>()) else {
        return false;
    };
    let [Some(a), Some(b), Some(c), Some(d)] = *ours else { return false };
    let (printed, ours) = (u32::from_le_bytes(*printed), u32::from_le_bytes([a, b, c, d]));
    let by = printed.wrapping_sub(ours);
    by != 0
        && by.is_multiple_of(KASLR_STEP)
        && by < KASLR_RANGE
        && (kernel as u32..(kernel as u32).saturating_add(KASLR_RANGE)).contains(&ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(printed: &[u8], ours: &[u8], open: &[bool]) -> (usize, usize) {
        let code = Code { bytes: printed.to_vec(), unit: 1, mark: Some(2) };
        let text = |at: i64| {
            let at = usize::try_from(at + 2).ok()?;
            ours.get(at).filter(|_| open[at]).copied()
        };
        let found = compare(&code, text, Some(0xffff_ffff_8100_0000)).unwrap();
        (found.compared, found.equal)
    }

    #[test]
    fn bytes_that_may_differ_are_left_out() {
        let open = [true, true, false, false, true, true, true, true, true];
        assert_eq!(compared(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1, 2, 9, 9, 5, 6, 7, 8, 9], &open), (7, 7));
        assert_eq!(compared(&[1, 2, 3, 4, 5, 0, 7, 8, 9], &[1, 2, 9, 9, 5, 6, 7, 8, 9], &open), (7, 6));
    }

    #[test]
    fn an_address_that_kaslr_moved_is_no_difference() {
        // mov $0xffffffff82345678,%rdi; the kernel was moved by 0x1c000000, or by what is no move.
        let ours = [0x48, 0xc7, 0xc7, 0x78, 0x56, 0x34, 0x82, 0xc3];
        let with = |address: u32| [&[0x48, 0xc7, 0xc7][..], &address.to_le_bytes(), &[0xc3]].concat();
        assert_eq!(compared(&with(0x9e34_5678), &ours, &[true; 8]), (4, 4));
        assert_eq!(compared(&with(0x9e34_5679), &ours, &[true; 8]), (8, 6));
    }

    #[test]
    fn words_are_printed_most_significant_byte_first() {
        let code = Code { bytes: vec![0xd5, 0x03, 0x20, 0x1f], unit: 4, mark: Some(0) };
        assert_eq!(in_memory_order(&code), [0x1f, 0x20, 0x03, 0xd5]);
    }
}
