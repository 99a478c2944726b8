//! Whom a call leads to: the instruction before a return address tells which of several functions of one name ran.

use goblin::elf::header::{EM_AARCH64, EM_X86_64};

use crate::error::Error;
use crate::image::Image;

/// Functions may begin with `endbr64` (4 bytes) or the check of kCFI, which direct calls of some kernels step over.
const PREAMBLE: u64 = 16;

impl Image {
    /// The link address that the call before this return address leads to. `None` where it is no direct call, or there
    /// is no text.
    pub fn callee(&self, return_address: u64) -> Result<Option<u64>, Error> {
        let length = match self.machine() {
            EM_X86_64 => 5,
            EM_AARCH64 => 4,
            _ => return Ok(None),
        };
        let text = self.text(return_address.wrapping_sub(length), length as usize)?;
        Ok(text.and_then(|code| match (self.machine(), &*code) {
            // call rel32, from the end of the instruction
            (EM_X86_64, [0xe8, rest @ ..]) => {
                let distance = i32::from_le_bytes(*rest.first_chunk()?);
                Some(return_address.wrapping_add_signed(distance.into()))
            }
            // bl: six bits of opcode, 26 of words from the instruction
            (EM_AARCH64, word) => {
                let word = u32::from_le_bytes(*word.first_chunk()?);
                let words = i64::from((word << 6) as i32 >> 6);
                (word >> 26 == 0b10_0101)
                    .then(|| return_address.wrapping_sub(4).wrapping_add_signed(words * 4))
            }
            _ => None,
        }))
    }

    /// Of functions that begin at `starts`, the only one that the call before this return address leads to.
    pub(crate) fn called(&self, return_address: u64, starts: &[u64]) -> Option<usize> {
        let callee = self.callee(return_address).ok()??;
        let is_it = |start: &u64| (*start..start.saturating_add(PREAMBLE)).contains(&callee);
        let mut found = starts.iter().enumerate().filter(|(_, start)| is_it(start)).map(|(at, _)| at);
        found.next().filter(|_| found.next().is_none())
    }
}
