//! ELF notes: `u32 namesz, descsz, type`, then name and description, each padded to four bytes.

use report::BuildId;

const NT_GNU_BUILD_ID: u32 = 3;

/// One note; in a crash dump `CORE` (registers of a CPU), `VMCOREINFO`, `QEMU`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElfNote {
    pub name: Vec<u8>,
    pub kind: u32,
    pub desc: Vec<u8>,
}

/// All notes of a PT_NOTE segment. The kernel pads between the CPUs' notes with zeros, which are skipped;
/// sizes are clamped to what is there.
pub(crate) fn parse(bytes: &[u8]) -> Vec<ElfNote> {
    let mut notes = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 12) {
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (namesz, descsz, kind) = (word(0) as usize, word(4) as usize, word(8));
        // Every note of a dump has a name, so a zero is padding.
        if namesz == 0 {
            at += 4;
            continue;
        }
        let name_at = at + 12;
        let Some(desc_at) = name_at.checked_add(namesz.next_multiple_of(4)).filter(|&at| at <= bytes.len())
        else {
            break;
        };
        let desc_end = desc_at.saturating_add(descsz).min(bytes.len());
        let name = bytes[name_at..name_at + namesz].split(|&byte| byte == 0).next().unwrap_or_default();
        notes.push(ElfNote { name: name.to_vec(), kind, desc: bytes[desc_at..desc_end].to_vec() });
        at = desc_at.saturating_add(descsz.next_multiple_of(4));
    }
    notes
}

/// The GNU build id among the notes of a section.
pub(crate) fn gnu_build_id(bytes: &[u8]) -> Option<BuildId> {
    let mut found =
        parse(bytes).into_iter().filter(|note| note.name == b"GNU" && note.kind == NT_GNU_BUILD_ID);
    found.find_map(|note| BuildId::new(&note.desc).ok())
}

/// Writes one note.
pub(crate) fn elf_note(note: &ElfNote) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + note.name.len() + note.desc.len());
    out.extend((note.name.len() as u32 + 1).to_le_bytes());
    out.extend((note.desc.len() as u32).to_le_bytes());
    out.extend(note.kind.to_le_bytes());
    out.extend(&note.name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(&note.desc);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(desc: &[u8]) -> ElfNote {
        ElfNote { name: b"CORE".to_vec(), kind: 1, desc: desc.to_vec() }
    }

    #[test]
    fn zeros_between_notes_are_skipped() {
        let mut bytes = elf_note(&core(b"one"));
        bytes.extend([0; 20]);
        bytes.extend(elf_note(&core(b"two2")));
        assert_eq!(parse(&bytes), [core(b"one"), core(b"two2")]);
    }

    #[test]
    fn sizes_beyond_the_end_are_clamped() {
        let mut bytes = elf_note(&core(b"abcd"));
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&bytes), [core(b"abcd")]);
        bytes[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&bytes), []);
    }
}
