//! Which kernel spoke: release, version, build id, architecture, KASLR offset.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use serde::{Serialize, Serializer};

use crate::assemble::KernelFacts;
use crate::cause::Draft;
use crate::log::Log;

/// What a log says about the kernel that printed it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Kernel {
    /// `uname -r`, from `Linux version` or from the `CPU: … Comm: …` line of a report.
    pub release: Option<String>,
    /// What stands behind the release: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)`.
    pub version: Option<String>,
    /// The build id of vmlinux, printed with CONFIG_STACKTRACE_BUILD_ID.
    pub build_id: Option<BuildId>,
    /// Told from the register names and the trace heading.
    pub arch: Arch,
    /// How far the text was moved (`Kernel Offset:`, panics only); 0 when KASLR was off.
    pub kaslr: Option<u64>,
}

/// The architecture, as far as a log shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// Nothing in the log tells.
    #[default]
    Unknown,
    /// `RIP: 0010:…`, `RAX: …`
    X86_64,
    /// `EIP: …`, `EAX: …`
    I386,
    /// `pc : …`, `x29: …`, `Call trace:`
    Arm64,
    /// `PC is at …`, `r10: …  fp : …`
    Arm,
    /// `epc : … ra : …`
    Riscv64,
    /// `NIP: … LR: … CTR: …`
    Ppc64,
    /// `Krnl PSW : …`
    S390x,
    /// `pc … ra … tp … sp …`, `ERA: …`
    Loongarch64,
    /// `epc   : … $ 0   : …`
    Mips,
}

impl Arch {
    /// The name that `uname -m` prints for it; empty when unknown.
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Unknown => "",
            Arch::X86_64 => "x86_64",
            Arch::I386 => "i386",
            Arch::Arm64 => "aarch64",
            Arch::Arm => "arm",
            Arch::Riscv64 => "riscv64",
            Arch::Ppc64 => "ppc64",
            Arch::S390x => "s390x",
            Arch::Loongarch64 => "loongarch64",
            Arch::Mips => "mips",
        }
    }
}

/// A GNU build id: 4 to 64 bytes (a SHA-1, so 20, in every kernel so far).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(Vec<u8>);

/// Why a text or a note was not taken for a build id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildIdError {
    /// Fewer than 4 bytes or more than 64.
    #[error("a build id has 4 to 64 bytes, not {0}")]
    Length(usize),
    /// Something else than pairs of hex digits.
    #[error("a build id is written in pairs of hex digits")]
    Hex,
}

impl BuildId {
    /// Takes the bytes of an `NT_GNU_BUILD_ID` note.
    pub fn new(bytes: &[u8]) -> Result<BuildId, BuildIdError> {
        if !(4..=64).contains(&bytes.len()) {
            return Err(BuildIdError::Length(bytes.len()));
        }
        Ok(BuildId(bytes.to_vec()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for BuildId {
    type Err = BuildIdError;

    fn from_str(text: &str) -> Result<BuildId, BuildIdError> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err(BuildIdError::Hex);
        }
        let nibble =
            |digit: u8| (digit as char).to_digit(16).map(|value| value as u8).ok_or(BuildIdError::Hex);
        let bytes: Result<Vec<u8>, _> =
            digits.chunks_exact(2).map(|pair| Ok(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect();
        BuildId::new(&bytes?)
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

impl Serialize for BuildId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for BuildId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<BuildId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

static WORDS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(["Linux version ", "Kernel Offset: ", "BIOS-e820", "Booting Linux on physical CPU"])
        .expect("four short words")
});

/// Collects what the log says of its kernel; of several boots the one of the cause, else the last.
pub(crate) fn read(log: &Log, drafts: &[Draft], facts: &KernelFacts) -> Kernel {
    let until = drafts
        .iter()
        .rfind(|draft| draft.report.fatal)
        .or(drafts.last())
        .map_or(usize::MAX, |draft| draft.line);
    let mut kernel = Kernel {
        release: facts.release.clone(),
        version: None,
        build_id: facts.build_id.clone(),
        arch: facts.arch,
        kaslr: None,
    };
    for found in WORDS.find_iter(log.text()) {
        let line = log.line_at(found.start());
        let message = log.message_text(line);
        match found.pattern().as_usize() {
            0 if line <= until || kernel.version.is_none() => {
                let Some(rest) = message.strip_prefix("Linux version ") else { continue };
                kernel.release = rest.split_ascii_whitespace().next().map(str::to_owned);
                kernel.version = rest.find(" #").map(|at| rest[at + 1..].trim_end().to_owned());
            }
            1 => kernel.kaslr = offset(&message).or(kernel.kaslr),
            2 if kernel.arch == Arch::Unknown => kernel.arch = Arch::X86_64,
            3 if kernel.arch == Arch::Unknown && message.contains("0x00000") => kernel.arch = Arch::Arm64,
            _ => {}
        }
    }
    kernel
}

/// `Kernel Offset: 0x34c00000 from 0xffffffff81000000 (relocation range: …)`, or `disabled`.
fn offset(message: &str) -> Option<u64> {
    let rest = message.strip_prefix("Kernel Offset: ")?;
    if rest.starts_with("disabled") {
        return Some(0);
    }
    let word = rest.split_ascii_whitespace().next()?.strip_prefix("0x")?;
    u64::from_str_radix(word, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_reads_back_what_it_prints() {
        let text = "00112233445566778899aabbccddeeff00112233";
        assert_eq!(text.parse::<BuildId>().unwrap().to_string(), text);
        assert_eq!("abc".parse::<BuildId>(), Err(BuildIdError::Hex));
        assert_eq!("abcd".parse::<BuildId>(), Err(BuildIdError::Length(2)));
        assert_eq!("zzzzzzzz".parse::<BuildId>(), Err(BuildIdError::Hex));
    }
}
