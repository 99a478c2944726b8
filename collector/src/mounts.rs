//! What is mounted where: for the whole machine, or for this program (proc(5), mountinfo).

use std::path::Path;

use crate::host::Root;

/// The most that is read of a list. A line is some 150 bytes, that of a container's overlay 2 KiB; a node of
/// Kubernetes has some ten for each of at most 250 pods.
const LIST: u64 = 8 << 20;

/// A list of mounts.
#[derive(Clone, Debug)]
pub struct Mounts(String);

impl Mounts {
    /// Those that the machine's first process sees. In a container, or in a unit with mounts of its own, they are not
    /// those that we see ourselves.
    pub fn of_machine(root: &Root) -> Option<Mounts> {
        Mounts::read(root, "/proc/1/mountinfo")
    }

    /// Those that this program sees, by the names under which it sees them.
    pub fn own(root: &Root) -> Option<Mounts> {
        Mounts::read(root, "/proc/self/mountinfo")
    }

    fn read(root: &Root, list: &str) -> Option<Mounts> {
        let bytes = root.first_bytes(list, LIST).filter(|bytes| !bytes.is_empty())?;
        Some(Mounts(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether there is a file system of this type.
    pub fn has(&self, kind: &str) -> bool {
        self.0.lines().filter_map(parse).any(|mount| mount.kind == kind)
    }

    /// The type of the file system under a path, by the longest mount point that leads to it.
    pub fn file_system(&self, path: &Path) -> Option<&str> {
        self.mount(path).map(|mount| mount.kind)
    }

    /// The device of the file system under a path, `8:1`.
    pub fn device(&self, path: &Path) -> Option<&str> {
        self.mount(path).map(|mount| mount.device)
    }

    fn mount(&self, path: &Path) -> Option<Mount<'_>> {
        let under = self.0.lines().filter_map(parse).filter(|mount| path.starts_with(&mount.point));
        // The last one mounted on a point covers those before it.
        under.max_by_key(|mount| mount.point.len())
    }
}

/// Whether a file system of this type forgets everything at a reboot, or with its container.
pub fn is_volatile(kind: &str) -> bool {
    matches!(kind, "tmpfs" | "ramfs" | "overlay" | "rootfs")
}

/// Whether the mounts tell that a folder of ours is on a file system that does not forget.
pub fn outlives_a_reboot(root: &Root, folder: &Path) -> bool {
    Mounts::own(root).and_then(|mounts| mounts.file_system(folder).map(is_volatile)) == Some(false)
}

/// One line.
struct Mount<'a> {
    device: &'a str,
    point: String,
    kind: &'a str,
}

/// A line, `36 35 98:0 /below /point rw,noatime shared:1 - ext3 /dev/root rw`.
fn parse(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let device = left.next()?;
    // A blank in a name is written as in C; others that are, a tab and a line's end, nobody mounts on.
    let point = left.nth(1)?.replace("\\040", " ");
    Some(Mount { device, point, kind: right.split(' ').next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_the_longest_point_is_the_one() {
        let lines = [
            "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw",
            "23 22 0:20 / /var/my\\040spool rw - tmpfs tmpfs rw",
            "24 22 8:17 / /var/my\\040spool rw - xfs /dev/sdb1 rw",
            "25 22 0:22 / /variant rw - tmpfs tmpfs rw",
            "26 22 0:23 / /cut rw - ",
        ];
        let mounts = Mounts(lines.join("\n"));
        for (path, kind) in [("/var/my spool/ready", "xfs"), ("/var", "ext4"), ("/variant/x", "tmpfs")] {
            assert_eq!(mounts.file_system(Path::new(path)), Some(kind), "{path}");
        }
        assert_eq!(mounts.device(Path::new("/var/my spool/ready")), Some("8:17"));
        assert!(mounts.has("xfs") && !mounts.has("pstore"));
    }
}
