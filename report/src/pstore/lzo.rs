//! LZO1X decoding, with every copy checked: the payload comes from a medium that a crash left behind.
//!
//! The stream is a row of instructions as `Documentation/staging/lzo.rst` of the kernel describes them. (The crates
//! at hand index out of bounds on damaged input.)

/// Decodes `raw`, up to `limit` bytes. The second value tells whether the end mark was reached.
pub(super) fn decode(raw: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let mut stream = Stream { raw, at: 0, out: Vec::new(), limit };
    let complete = stream.run().is_some();
    (stream.out, complete)
}

struct Stream<'a> {
    raw: &'a [u8],
    at: usize,
    out: Vec<u8>,
    limit: usize,
}

impl Stream<'_> {
    /// None at the first thing that does not fit; what was decoded stays.
    fn run(&mut self) -> Option<()> {
        // How many literals the last instruction copied: 0 none, 1 to 3 behind a match, 4 a literal run.
        let mut state = 0;
        if let Some(first) = self.raw.first().filter(|first| **first > 17) {
            let count = usize::from(*first) - 17;
            self.at = 1;
            self.literals(count)?;
            state = count.min(4);
        }
        loop {
            let code = usize::from(self.byte()?);
            let (distance, length, tail) = match code {
                0..=15 if state == 0 => {
                    let length = self.length(code, 15)? + 3;
                    self.literals(length)?;
                    state = 4;
                    continue;
                }
                0..=15 => {
                    let distance = (usize::from(self.byte()?) << 2) + (code >> 2);
                    if state == 4 { (distance + 2049, 3, code & 3) } else { (distance + 1, 2, code & 3) }
                }
                16..=31 => {
                    let length = self.length(code & 7, 7)? + 2;
                    let word = self.word()?;
                    let distance = ((code & 8) << 11) + (word >> 2);
                    if distance == 0 {
                        return Some(());
                    }
                    (distance + 16384, length, word & 3)
                }
                32..=63 => {
                    let length = self.length(code & 31, 31)? + 2;
                    let word = self.word()?;
                    ((word >> 2) + 1, length, word & 3)
                }
                _ => {
                    let length = if code < 128 { 3 + (code >> 5 & 1) } else { 5 + (code >> 5 & 3) };
                    ((usize::from(self.byte()?) << 3) + (code >> 2 & 7) + 1, length, code & 3)
                }
            };
            self.copy(distance, length)?;
            self.literals(tail)?;
            state = tail;
        }
    }

    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.raw.get(self.at - 1).copied()
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    /// A length that did not fit its field goes on in bytes: each 0 is 255 more, the first other one ends it.
    fn length(&mut self, field: usize, full: usize) -> Option<usize> {
        if field != 0 {
            return Some(field);
        }
        let mut length = full;
        loop {
            match self.byte()? {
                0 => length = (length + 255 <= self.limit).then_some(length + 255)?,
                last => return Some(length + usize::from(last)),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Option<()> {
        let bytes = self.raw.get(self.at..self.at.checked_add(count)?)?;
        (self.out.len() + count <= self.limit).then(|| self.out.extend_from_slice(bytes))?;
        self.at += count;
        Some(())
    }

    fn copy(&mut self, distance: usize, length: usize) -> Option<()> {
        let start = self.out.len().checked_sub(distance)?;
        if self.out.len() + length > self.limit {
            return None;
        }
        // Byte by byte: source and target may overlap, which is how a run is written.
        for at in start..start + length {
            self.out.push(self.out[at]);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_encoder_wrote_is_read_back() {
        let mut text = Vec::new();
        for line in 0u32..3000 {
            text.extend_from_slice(
                format!("[{line:5}.000000] {:x}\n", line.wrapping_mul(2_654_435_761)).as_bytes(),
            );
        }
        text.extend_from_slice(&[b'x'; 5000]);
        for size in [1, 2, 3, 4, 17, 238, 239, 1000, text.len()] {
            let raw = lzokay_native::compress(&text[..size]).unwrap();
            assert_eq!(decode(&raw, 1 << 20), (text[..size].to_vec(), true), "{size}");
        }
    }

    #[test]
    fn damage_ends_the_text_and_nothing_else() {
        let raw = lzokay_native::compress(b"a line, a line, a line, a line, and one more line\n").unwrap();
        for at in 0..raw.len() {
            for bit in 0..8 {
                let mut damaged = raw.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged, 4096).0.len() <= 4096);
            }
            assert!(!decode(&raw[..at], 4096).1);
        }
    }
}
