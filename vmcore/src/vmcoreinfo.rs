//! VMCOREINFO: what the kernel tells dump readers about itself (`kernel/vmcore_info.c`).

use crate::dump::Physical;
use crate::progress::{Progress, Step};
use std::collections::HashMap;

/// The kernel's buffer is one page; more lines than this, and longer ones, are not its own.
const MAX_LINES: usize = 4096;
const MAX_LINE: usize = 4096;

/// Pages that are searched for it: 16 GiB of memory. The kernel allocates it early, so it lies low.
const MAX_SEARCHED: u64 = 4 << 20;

/// Looks for the page that holds VMCOREINFO, in a dump whose container does not give it: QEMU's without its
/// `vmcoreinfo` device, a hypervisor's.
pub(crate) fn search(memory: &Physical, progress: &Progress) -> Option<Vec<u8>> {
    progress.begin(Step::Searching, memory.end().min(MAX_SEARCHED));
    let is_it = |page: &[u8]| {
        page.starts_with(b"OSRELEASE=") && page.windows(9).take(256).any(|window| window == b"PAGESIZE=")
    };
    memory.find(MAX_SEARCHED, is_it, progress)
}

/// The lines of the VMCOREINFO note.
#[derive(Debug, Clone, Default)]
pub(crate) struct VmcoreInfo(HashMap<String, String>);

impl VmcoreInfo {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split(['\n', '\0']).take(MAX_LINES).filter(|line| line.len() <= MAX_LINE);
        let lines = lines.filter_map(|line| line.split_once('='));
        Self(lines.map(|(key, value)| (key.to_owned(), value.trim_end().to_owned())).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line as it stands, `OSRELEASE` for one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// `SYMBOL(name)`: an address of the running kernel.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.hex(&format!("SYMBOL({name})"))
    }

    /// A hexadecimal line without `0x`: `KERNELOFFSET`.
    pub fn hex(&self, key: &str) -> Option<u64> {
        let value = self.text(key)?;
        u64::from_str_radix(value.trim_start_matches("0x"), 16).ok()
    }

    /// `OFFSET(struct.member)` in bytes.
    pub fn offset(&self, name: &str) -> Option<u64> {
        self.text(&format!("OFFSET({name})"))?.parse().ok()
    }

    /// `SIZE(struct)` in bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.text(&format!("SIZE({name})"))?.parse().ok()
    }

    /// `NUMBER(name)`: signed decimal, or hexadecimal with `0x`. Negative numbers come as their bit pattern.
    pub fn number(&self, name: &str) -> Option<u64> {
        let value = self.text(&format!("NUMBER({name})"))?;
        match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => value.parse::<i128>().ok().map(|number| number as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::VmcoreInfo;

    #[test]
    fn numbers_are_decimal_or_hex_and_may_be_negative() {
        let info = VmcoreInfo::parse(b"NUMBER(a)=-4096\nNUMBER(b)=0xffff800080000000\nNUMBER(c)=7");
        assert_eq!(info.number("a"), Some(0xffff_ffff_ffff_f000));
        assert_eq!(info.number("b"), Some(0xffff_8000_8000_0000));
        assert_eq!(info.number("c"), Some(7));
        assert_eq!(info.number("d"), None);
    }
}
