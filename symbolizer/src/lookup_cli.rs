//! `lastwords-decode symbols lookup`: link addresses in, one a line; a line of JSON out for each.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use symbolizer::{Chain, Error, Image, Index};

use crate::cli::Failure;

/// A line of input is one address; what is longer is no address.
const MAX_LINE: u64 = 4096;
/// Some 800 addresses are answered at once; their answers fit in the processor's cache.
const BUFFER: usize = 1 << 14;

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Lookup {
    /// An index built before.
    #[arg(long, value_name = "INDEX")]
    index: Option<PathBuf>,
    /// An object; only the units needed are read.
    #[arg(long, value_name = "OBJECT")]
    vmlinux: Option<PathBuf>,
}

pub fn run(lookup: &Lookup, out: &mut impl Write) -> Result<(), Failure> {
    if let Some(path) = &lookup.index {
        let index = Index::open(path)?;
        let mut answers = Answers::default();
        return answer(out, &index.meta().sections, |addresses, out| {
            answers.0.clear();
            index.lookup_many(addresses, |address, chain| answers.of_index(&index, address, chain));
            Ok(out.write_all(&answers.0)?)
        });
    }
    let image = Image::open(lookup.vmlinux.as_deref().unwrap_or(Path::new("")))?;
    answer(out, &image.sections(), |addresses, out| {
        let mut answers = Answers::default();
        image.prepare(addresses)?;
        addresses.iter().try_for_each(|&address| answers.of_image(&image, address))?;
        Ok(out.write_all(&answers.0)?)
    })
}

/// The lines of output, built without values in between.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Answers {
    fn of_index(&mut self, index: &Index, address: u64, chain: Option<Chain<'_>>) {
        self.begin(address);
        let label = || index.symbol_at(address).map_or("", |symbol| symbol.name);
        let mut none = true;
        for step in chain.into_iter().flatten() {
            let function = if step.function.is_empty() { label() } else { step.function };
            self.frame(function, step.file, step.line, none);
            none = false;
        }
        if none && let Some(symbol) = index.symbol_at(address) {
            self.frame(symbol.name, "", 0, true);
        }
        self.end();
    }

    fn of_image(&mut self, image: &Image, address: u64) -> Result<(), Error> {
        self.begin(address);
        let found = image.lookup(address)?;
        for (number, at) in found.iter().enumerate() {
            self.frame(&at.function, &at.file, at.line, number == 0);
        }
        // Thunks, trampolines and static calls have no debug information, only a name.
        if found.is_empty()
            && let Some(name) = image.symbol_name(address)?
        {
            self.frame(&name, "", 0, true);
        }
        self.end();
        Ok(())
    }

    fn begin(&mut self, address: u64) {
        self.put(b"{\"addr\": \"0x");
        self.digits::<16>(address);
        self.put(b"\", \"frames\": [");
    }

    fn frame(&mut self, function: &str, file: &str, line: u32, first: bool) {
        self.put(if first { b"{\"function\": " } else { b", {\"function\": " });
        self.string(function);
        self.put(b", \"file\": ");
        self.string(file);
        self.put(b", \"line\": ");
        self.digits::<10>(line.into());
        self.put(b"}");
    }

    fn end(&mut self) {
        self.put(b"]}\n");
    }

    fn put(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    /// A number without `core::fmt`, which took a tenth of the time of a lookup.
    fn digits<const RADIX: u64>(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b"0123456789abcdef"[(number % RADIX) as usize];
            number /= RADIX;
            if number == 0 {
                return self.put(&digits[at..]);
            }
        }
    }

    /// A JSON string. Nearly all are plain, and are looked through without a branch for each byte.
    fn string(&mut self, text: &str) {
        let special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
        self.put(b"\"");
        if text.bytes().fold(false, |any, byte| any | special(byte)) {
            for byte in text.bytes() {
                match byte {
                    b'"' | b'\\' => self.put(&[b'\\', byte]),
                    byte if special(byte) => self.put(format!("\\u{byte:04x}").as_bytes()),
                    byte => self.put(&[byte]),
                }
            }
        } else {
            self.put(text.as_bytes());
        }
        self.put(b"\"");
    }
}

/// Answers as many lines at once as are there: all of a file, and each at once to somebody who waits for it.
fn answer<W: Write>(
    out: &mut W,
    sections: &[(String, u64, u64)],
    mut find: impl FnMut(&[u64], &mut W) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let (mut line, mut number) = (Vec::new(), 0u64);
    let mut addresses = Vec::new();
    loop {
        line.clear();
        let read =
            io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line).map_err(Failure::Stdin)?;
        number += 1;
        let text = std::str::from_utf8(&line).unwrap_or("?").trim();
        if !text.is_empty() {
            let address = parse(text, sections);
            addresses.push(address.ok_or_else(|| Failure::NotAnAddress(number, text.to_string()))?);
        }
        if read == 0 || !input.buffer().contains(&b'\n') {
            find(&addresses, out)?;
            out.flush()?;
            addresses.clear();
        }
        if read == 0 {
            return Ok(());
        }
    }
}

/// `ffffffff81000000`, `0xffffffff81000000`, `.init.text+0x10`.
fn parse(text: &str, sections: &[(String, u64, u64)]) -> Option<u64> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    match text.rsplit_once('+') {
        Some((name, offset)) => {
            let (_, base, _) = sections.iter().find(|(section, ..)| section == name)?;
            base.checked_add(hex(offset)?)
        }
        None => hex(text),
    }
}
