//! LZO1X decompression into a buffer, with every copy checked (format: the kernel's `Documentation/staging/lzo.rst`).
//! What it reads comes from media that a crash left behind. (The crates at hand index out of bounds on damaged input.)

/// Fills `out` as far as the data goes: how many bytes were written, and whether the end mark was reached.
pub fn decompress(data: &[u8], out: &mut [u8]) -> (usize, bool) {
    let mut output = Output { out, at: 0 };
    let complete = run(data, &mut output).is_some();
    (output.at, complete)
}

/// None at the first thing that does not fit; what was written stays.
fn run(data: &[u8], output: &mut Output<'_>) -> Option<()> {
    let mut input = Input { data, at: 0 };
    // How many literals the last instruction copied, 4 for four or more: it changes the meaning of 0..=15.
    let mut literals = 0;
    let first = *data.first()?;
    if first >= 18 {
        input.at = 1;
        literals = usize::from(first - 17);
        output.literals(&mut input, literals)?;
        literals = literals.min(4);
    }
    loop {
        let code = usize::from(input.byte()?);
        let (length, distance, tail);
        match code {
            64.. => {
                distance = (usize::from(input.byte()?) << 3) + ((code >> 2) & 7) + 1;
                (length, tail) = ((code >> 5) + 1, code & 3);
            }
            32.. => {
                length = 2 + input.length(code & 31, 31)?;
                let word = input.word()?;
                (distance, tail) = ((word >> 2) + 1, word & 3);
            }
            16.. => {
                length = 2 + input.length(code & 7, 7)?;
                let word = input.word()?;
                let far = ((code & 8) << 11) + (word >> 2);
                if far == 0 {
                    return Some(());
                }
                (distance, tail) = (far + 0x4000, word & 3);
            }
            _ if literals == 0 => {
                let run = 3 + input.length(code, 15)?;
                output.literals(&mut input, run)?;
                literals = 4;
                continue;
            }
            _ => {
                let near = (usize::from(input.byte()?) << 2) + (code >> 2) + 1;
                (length, distance) = if literals == 4 { (3, near + 0x800) } else { (2, near) };
                tail = code & 3;
            }
        }
        output.copy(distance, length)?;
        output.literals(&mut input, tail)?;
        literals = tail;
    }
}

struct Input<'a> {
    data: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.data.get(self.at - 1).copied()
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | (usize::from(self.byte()?) << 8))
    }

    /// A length that is zero in the instruction goes on in the bytes behind it: 255 for each zero byte.
    fn length(&mut self, bits: usize, base: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut length = base;
        loop {
            match self.byte()? {
                0 => length += 255,
                last => return Some(length + usize::from(last)),
            }
        }
    }
}

struct Output<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    fn literals(&mut self, input: &mut Input<'_>, count: usize) -> Option<()> {
        let from = input.data.get(input.at..input.at.checked_add(count)?)?;
        self.out.get_mut(self.at..self.at + count)?.copy_from_slice(from);
        input.at += count;
        self.at += count;
        Some(())
    }

    fn copy(&mut self, distance: usize, length: usize) -> Option<()> {
        let from = self.at.checked_sub(distance)?;
        let end = self.at.checked_add(length).filter(|&end| end <= self.out.len())?;
        if distance >= length {
            self.out.copy_within(from..from + length, self.at);
        } else {
            // The copy reads what it has just written: a short pattern repeated.
            for at in self.at..end {
                self.out[at] = self.out[at - distance];
            }
        }
        self.at = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plain: &[u8]) {
        let packed = lzokay_native::compress(plain).unwrap();
        let mut out = vec![0; plain.len() + 1];
        assert_eq!(decompress(&packed, &mut out), (plain.len(), true));
        assert_eq!(&out[..plain.len()], plain);
        // Every cut gives what came before, never a panic.
        for end in 0..packed.len() {
            let (length, complete) = decompress(&packed[..end], &mut out);
            assert!(!complete && plain.starts_with(&out[..length]));
        }
        let short = plain.len() - 1;
        assert!(!decompress(&packed, &mut out[..short]).1);
    }

    #[test]
    fn what_the_packer_made_comes_back() {
        check(&[7; 4096]);
        check(b"abcabcabcabdabcabcabcabcabdx");
        let mixed: Vec<u8> = (0_u32..4096).map(|i| (i.wrapping_mul(i) >> 5) as u8 & 0x1f).collect();
        check(&mixed);
        let noise: Vec<u8> = (0_u32..4096).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        check(&noise);
    }

    #[test]
    fn flipped_bytes_never_write_outside() {
        let plain: Vec<u8> = (0_u32..4096).map(|i| (i / 7) as u8).collect();
        let packed = lzokay_native::compress(&plain).unwrap();
        let mut out = vec![0; plain.len()];
        for at in 0..packed.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut bad = packed.clone();
                bad[at] ^= flip;
                let _ = decompress(&bad, &mut out);
            }
        }
    }
}
