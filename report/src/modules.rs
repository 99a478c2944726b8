//! The `Modules linked in:` line.

use serde::Serialize;

use crate::kernel::BuildId;

/// One loaded module as the log names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// As in `/proc/modules`: with underscores.
    pub name: String,
    /// Taint letters and state signs in the parentheses: `OE`, `+` loading, `-` unloading.
    pub flags: String,
    /// Printed behind the frames of the module with CONFIG_STACKTRACE_BUILD_ID.
    pub build_id: Option<BuildId>,
    /// It had been unloaded when the report was printed (`[last unloaded: …]`).
    pub unloaded: bool,
}

/// A kernel has a few hundred; a log that lists more is damaged.
const MODULES_MAX: usize = 4096;

/// Reads what stands behind `Modules linked in:`.
pub(crate) fn read(text: &str) -> Vec<Module> {
    let (loaded, unloaded) = text.split_once("[last unloaded:").unwrap_or((text, ""));
    let loaded = loaded.split_ascii_whitespace().map(|word| (word, false));
    let unloaded =
        unloaded.trim_end().trim_end_matches(']').split_ascii_whitespace().map(|word| (word, true));
    loaded.chain(unloaded).take(MODULES_MAX).filter_map(|(word, unloaded)| one(word, unloaded)).collect()
}

fn one(word: &str, unloaded: bool) -> Option<Module> {
    let (name, flags) = word.split_once('(').unwrap_or((word, ""));
    // Newer kernels print `name:version(flags)` for modules that have one.
    let name = name.split(':').next().unwrap_or(name);
    let valid = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    valid.then(|| Module {
        name: name.to_owned(),
        flags: flags.trim_end_matches(')').to_owned(),
        build_id: None,
        unloaded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_what_was_unloaded_are_told_apart() {
        let list = read(" crashlab(OE+) virtio_blk [last unloaded: old:1.0(P)]");
        let found: Vec<_> = list.iter().map(|m| (m.name.as_str(), m.flags.as_str(), m.unloaded)).collect();
        assert_eq!(found, [("crashlab", "OE+", false), ("virtio_blk", "", false), ("old", "P", true)]);
        assert!(read("").is_empty());
    }
}
