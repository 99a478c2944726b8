//! Files below a folder that may be debug files, by their names: as Debian, Fedora and `.build-id` trees lay them out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::enter::changed_us;

/// A distribution's debug package has some 4,000 modules; a folder of many kernels has many times that.
const MAX_ENTRIES: usize = 1 << 20;
/// `usr/lib/debug/lib/modules/RELEASE/kernel/drivers/net/ethernet/intel/ice` is 12 deep.
const MAX_DEPTH: usize = 24;

/// What lies below a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order of their paths.
    pub files: Vec<Seen>,
    /// Folders that could not be listed, with the reason; that there was too much is one.
    pub unread: Vec<String>,
}

/// A file that may be a debug file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub path: PathBuf,
    /// When it was last changed, µs since 1970 UTC.
    pub changed_us: i64,
    /// Its size.
    pub bytes: u64,
}

/// Lists a folder and all below it. Links to folders are not followed; links to files are, where they lead elsewhere.
pub fn below(root: &Path) -> Listing {
    let mut listing = Listing::default();
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let mut folders = vec![(root.to_path_buf(), 0)];
    let mut entries = 0;
    while let Some((folder, depth)) = folders.pop() {
        let listed = match fs::read_dir(&folder) {
            Ok(listed) => listed,
            // It went while we were looking.
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != root => continue,
            Err(error) => {
                listing.unread.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for entry in listed.flatten() {
            entries += 1;
            if entries > MAX_ENTRIES {
                listing.unread.push(format!("{}: more than {MAX_ENTRIES} entries", root.display()));
                folders.clear();
                break;
            }
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if is_candidate(&path) && !(kind.is_symlink() && leads_below(&path, &real)) {
                let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file);
                listing.files.extend(meta.map(|meta| Seen {
                    changed_us: changed_us(&meta),
                    bytes: meta.len(),
                    path,
                }));
            }
        }
    }
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    listing
}

/// The file is seen under its own name.
fn leads_below(link: &Path, root: &Path) -> bool {
    fs::canonicalize(link).map_or(true, |path| path.starts_with(root))
}

/// `vmlinux`, `vmlinux-6.1.0`, `dm-mod.ko`, `dm-mod.ko.debug`, `dm-mod.ko.xz`, `.build-id/ab/cdef.debug`.
fn is_candidate(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let plain = [".xz", ".zst", ".gz"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let debug = plain.strip_suffix(".debug");
    let base = debug.unwrap_or(plain);
    let of_build_id = |name: &str| name.len() >= 6 && name.bytes().all(|b| b.is_ascii_hexdigit());
    base.starts_with("vmlinux") || base.ends_with(".ko") || debug.is_some_and(of_build_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_files_are_known_by_their_names() {
        for (name, expected) in [
            ("vmlinux", true),
            ("vmlinux-6.1.0-56-cloud-amd64", true),
            ("vmlinux.debug", true),
            ("dm-mod.ko", true),
            ("dm-mod.ko.debug", true),
            ("dm-mod.ko.debug.zst", true),
            ("dm-mod.ko.xz", true),
            ("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567.debug", true),
            ("1b2c3d4e5f60718293a4b5c6d7e8f901234567.debug", true),
            ("libc.so.6.debug", false),
            ("vmlinuz-6.1.0", false),
            ("System.map-6.1.0", false),
            ("modules.dep", false),
            ("dm-mod.o", false),
        ] {
            assert_eq!(is_candidate(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_linked_from_its_own_tree_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, elsewhere) = (folder.path().join("tree"), folder.path().join("elsewhere"));
        let by_id = tree.join(".build-id/ab");
        fs::create_dir_all(&by_id).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        for path in [tree.join("a.ko"), elsewhere.join("b.ko")] {
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("../../a.ko", by_id.join("cdef0123.debug")).unwrap();
        std::os::unix::fs::symlink(elsewhere.join("b.ko"), by_id.join("cdef4567.debug")).unwrap();
        std::os::unix::fs::symlink("nowhere", by_id.join("cdef89ab.debug")).unwrap();
        std::os::unix::fs::symlink(&tree, tree.join("loop")).unwrap();
        let seen: Vec<PathBuf> = below(&tree).files.into_iter().map(|seen| seen.path).collect();
        assert_eq!(seen, [by_id.join("cdef4567.debug"), tree.join("a.ko")]);
        assert_eq!(below(&tree.join("none")).unread.len(), 1);
    }
}
