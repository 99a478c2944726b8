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
    let mark = code.mark? as i64;
    let printed = in_memory_order(code);
    let mut counts = vec![true; printed.len()];
    // Addresses in instructions, whose table of relocations did not come with the image.
    for from in -3..printed.len() as i64 {
        let known = |at: i64| usize::try_from(at).ok().and_then(|at| printed.get(at)).copied();
        if let Some(kernel) = kernel
            && moved(|at| known(from + at), |at| text(from + at - mark), kernel)
        {
            let to = usize::try_from(from + 4).unwrap_or(0).min(counts.len());
            counts[usize::try_from(from).unwrap_or(0)..to].fill(false);
        }
    }
    let mut found = CodeMatch { compared: 0, equal: 0 };
    for (at, (byte, _)) in printed.iter().zip(counts).enumerate().filter(|(_, (_, counts))| *counts) {
        if let Some(own) = text(at as i64 - mark) {
            found.compared += 1;
            found.equal += usize::from(own == *byte);
        }
    }
    Some(found)
}

/// Whether ours are the four bytes of an address in the kernel's image, and what was printed (at the ends of the line
/// only a part) is that address moved by KASLR.
fn moved(printed: impl Fn(i64) -> Option<u8>, ours: impl Fn(i64) -> Option<u8>, kernel: u64) -> bool {
    let own = [ours(0), ours(1), ours(2), ours(3)];
    let [Some(a), Some(b), Some(c), Some(d)] = own else { return false };
    let own = u32::from_le_bytes([a, b, c, d]);
    let is = |address: u32| {
        address
            .to_le_bytes()
            .iter()
            .zip(0..)
            .all(|(byte, at)| printed(at).is_none_or(|printed| printed == *byte))
    };
    (kernel as u32..(kernel as u32).saturating_add(KASLR_RANGE)).contains(&own)
        && !is(own)
        && (KASLR_STEP..KASLR_RANGE).step_by(KASLR_STEP as usize).any(|by| is(own.wrapping_add(by)))
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
        assert_eq!(compared(&with(0x9e74_5678)[..6], &ours, &[true; 8]), (3, 3), "cut off");
        assert_eq!(compared(&with(0x9e74_5678)[5..], &ours[5..], &[true; 3]), (3, 1), "not ours to see");
        assert_eq!(compared(&with(0x9e34_5679), &ours, &[true; 8]), (8, 6));
    }

    #[test]
    fn words_are_printed_most_significant_byte_first() {
        let code = Code { bytes: vec![0xd5, 0x03, 0x20, 0x1f], unit: 4, mark: Some(0) };
        assert_eq!(in_memory_order(&code), [0x1f, 0x20, 0x03, 0xd5]);
    }
}
