//! A guess where in the kernel a report belongs.

use std::sync::LazyLock;

use crate::report::Function;

/// A row of `rules/subsystems.txt`.
struct Row {
    kind: &'static str,
    pattern: &'static str,
    subsystem: &'static str,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    include_str!("../rules/subsystems.txt")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_ascii_whitespace();
            let mut word = || words.next().expect("a row of subsystems.txt has three words");
            Row { kind: word(), pattern: word(), subsystem: word() }
        })
        .collect()
});

/// From the source file of the header, else the guilty function's module, else its name. Out-of-tree modules that are
/// not in the table are a place of their own.
pub(crate) fn guess(source: Option<&str>, guilty: Option<&Function>, out_of_tree: bool) -> Option<String> {
    let by_path = source.and_then(by_path);
    let module = guilty.and_then(|guilty| guilty.module.as_deref());
    let by_module = || module.and_then(|module| longest("module", module));
    let foreign = || module.filter(|_| out_of_tree).map(|module| format!("out-of-tree/{module}"));
    let by_name = || guilty.and_then(|guilty| longest("name", guilty.name.trim_start_matches('_')));
    by_path
        .or_else(|| by_module().map(str::to_owned))
        .or_else(foreign)
        .or_else(|| by_name().map(str::to_owned))
        .or_else(|| module.map(|module| format!("module/{module}")))
}

/// The subsystem of a source file. In one that ends in `*` the star stands for the folder below the pattern.
fn by_path(source: &str) -> Option<String> {
    let row = row("path", source)?;
    let Some(parent) = row.subsystem.strip_suffix("/*") else { return Some(row.subsystem.to_owned()) };
    let (folder, file) = source[row.pattern.len()..].split_once('/').unwrap_or(("", source));
    Some(if folder.is_empty() || file.is_empty() { parent.to_owned() } else { format!("{parent}/{folder}") })
}

fn longest(kind: &str, text: &str) -> Option<&'static str> {
    row(kind, text).map(|row| row.subsystem)
}

fn row(kind: &str, text: &str) -> Option<&'static Row> {
    let matches = |row: &&Row| match (row.kind, row.pattern.strip_suffix('*')) {
        ("module", None) => text == row.pattern,
        ("module", Some(prefix)) => text.starts_with(prefix),
        _ => text.starts_with(row.pattern),
    };
    ROWS.iter().filter(|row| row.kind == kind).filter(matches).max_by_key(|row| row.pattern.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_goes_before_the_module_and_the_module_before_the_name() {
        let function = |name: &str, module: Option<&str>| Function {
            name: name.into(),
            module: module.map(str::to_owned),
        };
        let guess = |source, guilty: &Function, foreign| guess(source, Some(guilty), foreign);
        assert_eq!(
            guess(Some("net/ipv4/tcp.c:12"), &function("ext4_x", Some("xfs")), false).as_deref(),
            Some("net/ipv4")
        );
        assert_eq!(guess(None, &function("ext4_x", Some("kvm_intel")), false).as_deref(), Some("virt/kvm"));
        assert_eq!(guess(None, &function("__tcp_x", None), false).as_deref(), Some("net/ipv4"));
        assert_eq!(guess(None, &function("spin", Some("mine")), true).as_deref(), Some("out-of-tree/mine"));
        assert_eq!(guess(None, &function("spin", Some("mine")), false).as_deref(), Some("module/mine"));
        assert_eq!(guess(None, &function("spin", None), false), None);
        let placed = |source| guess(Some(source), &function("spin", None), false);
        assert_eq!(placed("drivers/gizmo/core/main.c:7").as_deref(), Some("drivers/gizmo"));
        assert_eq!(placed("fs/inode.c:7").as_deref(), Some("fs"));
        assert_eq!(placed("arch/gizmo/mm/fault.c:7").as_deref(), Some("arch/gizmo"));
    }
}
