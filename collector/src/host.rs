//! Who and what this machine is: ids, kernel, command line, clock. Everything is read below a given root.

use std::fs;
use std::path::{Path, PathBuf};

use handover::manifest::{Clock, Host as Machine};
use handover::{BootId, Incarnation, NodeId, Sha256};

/// The most that is read of any file here: `/sys/kernel/notes` is some hundred bytes, a command line 2 KiB.
const FILE: u64 = 64 * 1024;

/// ELF note type of a build id (`include/linux/elf.h`, `NT_GNU_BUILD_ID`).
const NT_GNU_BUILD_ID: u32 = 3;

/// A root below which `/proc`, `/sys`, `/etc` and `/run` are looked for.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// `/` on a node; a made-up tree in tests; `/host` in a container.
    pub fn new(path: impl Into<PathBuf>) -> Root {
        Root(path.into())
    }

    /// A path below it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.0.join(below.trim_start_matches('/'))
    }

    /// A path as the machine itself calls it.
    pub fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0).map_or_else(|_| path.to_owned(), |below| Path::new("/").join(below))
    }

    /// The bytes of a file; `None` if it cannot be read.
    pub fn bytes(&self, below: &str) -> Option<Vec<u8>> {
        self.first_bytes(below, FILE)
    }

    /// So many bytes of a file; `None` if it cannot be read.
    pub fn first_bytes(&self, below: &str, limit: u64) -> Option<Vec<u8>> {
        use std::io::Read;
        let mut bytes = Vec::new();
        fs::File::open(self.path(below)).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The text of a file without white space at its ends; `None` if it cannot be read or is empty.
    pub fn text(&self, below: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes(below)?).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Whether there is something under this name.
    pub fn exists(&self, below: &str) -> bool {
        self.path(below).exists()
    }

    /// The root itself.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// The machine as it is in this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// From the machine-id, or from the agent's own state when the machine has none.
    pub node: NodeId,
    /// Whether the machine has a machine-id.
    pub has_machine_id: bool,
    /// This boot; zeros if `/proc` does not tell.
    pub boot: BootId,
    /// Kernel, build id, architecture, command line, and the host name if it may be told.
    pub machine: Machine,
    /// Whether the wall clock is synchronised.
    pub clock: Clock,
}

impl Host {
    /// Looks at the machine below `root`. `state` stands in where there is no machine-id (containers, golden
    /// images): it is as stable as the agent's state folder.
    pub fn look(root: &Root, site: &str, state: &Incarnation, tell_name: bool) -> Host {
        let machine_id = machine_id(root);
        let name = if tell_name { root.text("/proc/sys/kernel/hostname") } else { None };
        Host {
            node: NodeId::of(machine_id.as_ref().unwrap_or(state.as_bytes()), site),
            has_machine_id: machine_id.is_some(),
            boot: boot_id(root).unwrap_or(BootId::ZERO),
            machine: Machine {
                name: name.unwrap_or_default(),
                kernel: root.text("/proc/sys/kernel/osrelease").unwrap_or_default(),
                build_id: build_id(root).unwrap_or_default(),
                // Since Linux 6.1; before that the agent's own architecture is the kernel's.
                arch: root.text("/proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
                cmdline_sha256: cmdline_sha256(root).unwrap_or_default(),
            },
            clock: clock(root),
        }
    }
}

impl Host {
    /// The same, with what the kernel says of its clock. It is the one who knows; a file says that the clock was set.
    #[must_use]
    pub fn with_clock(self, is_synced: Option<bool>) -> Host {
        match is_synced {
            Some(synced) => Host { clock: Clock { synced, basis: "adjtimex".to_owned() }, ..self },
            None => self,
        }
    }
}

/// The 16 bytes of `/etc/machine-id`; `None` when it is missing, empty or says `uninitialized`.
fn machine_id(root: &Root) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    hex::decode_to_slice(root.text("/etc/machine-id")?, &mut id).ok()?;
    (id != [0; 16]).then_some(id)
}

/// The id of the running boot.
pub fn boot_id(root: &Root) -> Option<BootId> {
    root.text("/proc/sys/kernel/random/boot_id")?.replace('-', "").parse().ok()
}

/// The running kernel's build id in hex, from the ELF notes in `/sys/kernel/notes`.
fn build_id(root: &Root) -> Option<String> {
    let bytes = root.bytes("/sys/kernel/notes")?;
    let mut rest = bytes.as_slice();
    loop {
        // Three words in the kernel's byte order (struct elf_note), then name and descriptor, padded to 4.
        let (head, body) = rest.split_first_chunk::<12>()?;
        let word = |n: usize| u32::from_ne_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
        let (name_size, size, kind) = (word(0) as usize, word(4) as usize, word(8));
        let name = body.get(..name_size)?;
        let start = name_size.checked_next_multiple_of(4)?;
        let end = start.checked_add(size)?;
        let descriptor = body.get(start..end)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(hex::encode(descriptor));
        }
        rest = body.get(end.checked_next_multiple_of(4)?..)?;
    }
}

fn cmdline_sha256(root: &Root) -> Option<String> {
    let line = root.text("/proc/cmdline")?;
    Some(Sha256::of(line.as_bytes()).to_string())
}

/// `systemd-timesyncd` and chrony's `wait-sync` touch this file once the clock is set; nobody removes it in a boot.
fn clock(root: &Root) -> Clock {
    match root.exists("/run/systemd/timesync/synchronized") {
        true => Clock { synced: true, basis: "timesync".to_owned() },
        false => Clock { synced: false, basis: "none".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let root = Root::new(dir.path());
        (dir, root)
    }

    fn note(kind: u32, name: &[u8], descriptor: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [name.len() as u32, descriptor.len() as u32, kind] {
            note.extend_from_slice(&word.to_ne_bytes());
        }
        for part in [name, descriptor] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_node_id_comes_from_the_machine_id() {
        let (_dir, root) = root(&[
            ("etc/machine-id", b"0f1e2d3c4b5a69788796a5b4c3d2e1f0\n"),
            ("proc/sys/kernel/random/boot_id", b"550e8400-e29b-41d4-a716-446655440000\n"),
            ("proc/sys/kernel/osrelease", b"6.12.117+deb12-cloud-amd64\n"),
        ]);
        let host = Host::look(&root, "", &Incarnation::ZERO, false);
        // Chapter 17 of the protocol.
        assert_eq!(host.node.to_string(), "3724a5f041c56542683118ce1949a77e");
        assert_eq!(host.boot.to_string(), "550e8400e29b41d4a716446655440000");
        assert_eq!(host.machine.kernel, "6.12.117+deb12-cloud-amd64");
        assert_eq!(host.machine.name, "");
        assert!(host.has_machine_id && !host.clock.synced);
    }

    #[test]
    fn a_machine_without_an_id_is_known_by_the_agents_state() {
        let (_dir, root) = root(&[("etc/machine-id", b"uninitialized\n")]);
        let one = Host::look(&root, "", &Incarnation::new([1; 16]), false);
        let other = Host::look(&root, "", &Incarnation::new([2; 16]), false);
        assert!(!one.has_machine_id);
        assert_ne!(one.node, other.node);
        assert_eq!(one.boot, BootId::ZERO);
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = note(1, b"Linux\0", b"\x02\0\0\0");
        notes.extend(note(NT_GNU_BUILD_ID, b"GNU\0", &[0xab; 20]));
        let (_dir, root) = root(&[("sys/kernel/notes", &notes)]);
        assert_eq!(build_id(&root).unwrap(), "ab".repeat(20));
    }

    #[test]
    fn cut_notes_have_no_build_id() {
        let whole = note(NT_GNU_BUILD_ID, b"GNU\0", &[0xab; 20]);
        for length in 0..whole.len() {
            let (_dir, root) = root(&[("sys/kernel/notes", &whole[..length])]);
            assert_eq!(build_id(&root), None, "{length}");
        }
    }
}
