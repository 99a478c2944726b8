//! The sources that crashes are shown with: a folder of the owner's, in which each release has a folder of its name.
//!
//! Those of another release would show other lines, so that nothing is guessed. The release is a log's word and the path
//! a debug file's or a client's: neither leads out of the folder.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use symbolizer::source;

use crate::locate::Step;

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number.
    pub number: u32,
    /// What it says.
    pub text: String,
    /// It is the one that was asked for.
    pub here: bool,
}

/// The file of a release by the path that the compiler had, or by one below its root.
pub fn file(sources: Option<&Path>, release: &str, path: &str) -> Option<PathBuf> {
    let mut parts = Path::new(release).components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else { return None };
    source::find(path, &sources?.join(name))
}

/// The lines around a place; none where its source is not at hand.
pub fn around(sources: Option<&Path>, release: &str, place: &Step) -> Vec<Line> {
    let lines = file(sources, release, &place.file).and_then(|file| source::around(&file, place.line));
    let line = |(number, text)| Line { number, text, here: number == place.line };
    lines.unwrap_or_default().into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_release_and_nothing_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let sources = folder.path().join("sources");
        std::fs::create_dir_all(sources.join("6.1.0-1/kernel")).unwrap();
        std::fs::write(sources.join("6.1.0-1/kernel/fork.c"), "one\ntwo\n").unwrap();
        std::fs::write(folder.path().join("secret.c"), "secret\n").unwrap();
        std::fs::write(sources.join("secret.c"), "secret\n").unwrap();
        std::os::unix::fs::symlink("../secret.c", sources.join("6.1.0-1/link.c")).unwrap();
        let texts = |release: &str, file: &str| -> Vec<(String, bool)> {
            let place = Step { function: "f".into(), file: file.into(), line: 2, inlined: false };
            let lines = around(Some(&sources), release, &place);
            lines.into_iter().map(|line| (line.text, line.here)).collect()
        };
        let both = [("one".to_owned(), false), ("two".to_owned(), true)];
        assert_eq!(texts("6.1.0-1", "kernel/fork.c"), both);
        assert_eq!(texts("6.1.0-1", "/build/linux/./kernel/fork.c"), both);
        for release in ["6.1.0-2", "", "..", "../sources/6.1.0-1", "/", "6.1.0-1/kernel"] {
            assert_eq!(texts(release, "kernel/fork.c"), [], "{release}");
        }
        for path in ["../secret.c", "link.c", "../../secret.c", "/../secret.c"] {
            assert_eq!(file(Some(&sources), "6.1.0-1", path), None, "{path}");
        }
        assert_eq!(file(None, "6.1.0-1", "kernel/fork.c"), None);
    }
}
