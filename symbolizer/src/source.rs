//! The lines around a place, where the sources are at hand.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::resolve::Location;

/// faddr2line's `--list` shows as many on each side.
const AROUND: u32 = 5;
/// The largest source files of the kernel are generated headers of some 15 MB.
pub(crate) const MAX_FILE: u64 = 32 << 20;

/// The number and the text of the lines around a location, from the folder that holds the sources. `None` when there
/// is no such file in it, or it is shorter.
pub fn context(location: &Location, folder: &Path) -> Option<Vec<(u32, String)>> {
    around(&find(&location.file, folder)?, location.line)
}

/// The number and the text of the lines around a line of a file, numbered from 1; `None` where it has no such line.
pub fn around(file: &Path, line: u32) -> Option<Vec<(u32, String)>> {
    let wanted = line.checked_sub(1)?;
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(wanted as usize)?;
    let from = wanted.saturating_sub(AROUND);
    let shown = lines.iter().zip(1..).skip(from as usize).take((wanted - from + 1 + AROUND) as usize);
    Some(shown.map(|(line, number)| (number, (*line).to_string())).collect())
}

/// The file whose path below the folder has most in common with the compiler's. Debug information may be hostile, so
/// that nothing above the folder is ever opened.
pub fn find(path: &str, folder: &Path) -> Option<PathBuf> {
    let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let root = folder.canonicalize().ok()?;
    (0..parts.len()).find_map(|from| {
        let file = root.join(parts[from..].iter().collect::<PathBuf>()).canonicalize().ok()?;
        (file.starts_with(&root) && file.is_file()).then_some(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: u32) -> Location {
        Location { function: "f".into(), file: file.into(), line, column: 0, inlined: false }
    }

    #[test]
    fn lines_come_from_the_longest_path_that_is_there_and_never_from_above() {
        let folder = tempfile::tempdir().unwrap();
        let sources = folder.path().join("linux");
        std::fs::create_dir_all(sources.join("kernel")).unwrap();
        let lines = |name: &str| (1..=20).map(|n| format!("{name} {n}\n")).collect::<String>();
        std::fs::write(sources.join("kernel/fork.c"), lines("deep")).unwrap();
        std::fs::write(sources.join("fork.c"), lines("flat")).unwrap();
        std::fs::write(folder.path().join("secret.c"), lines("secret")).unwrap();
        let first = |file: &str, line| context(&at(file, line), &sources).map(|lines| lines[0].clone());
        assert_eq!(first("/build/x/./kernel/fork.c", 10), Some((5, "deep 5".into())));
        assert_eq!(first("/elsewhere/fork.c", 2), Some((1, "flat 1".into())));
        assert_eq!(context(&at("fork.c", 20), &sources).unwrap().len(), 6);
        assert_eq!(first("kernel/fork.c", 21), None);
        assert_eq!(first("../secret.c", 3), None);
    }
}
