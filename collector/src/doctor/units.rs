//! Which of systemd's units are there and enabled, as the files say it: nobody is asked, since a container has no bus.

use std::fs;

use crate::host::Root;

/// Where units are (systemd.unit(5)); those of `/run` are gone with the boot.
const PLACES: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Folders of a place looked at: a machine has some twenty `*.wants`.
const FOLDERS: usize = 4096;

/// Whether the machine's units can be seen at all.
pub(super) fn can_be_seen(root: &Root) -> bool {
    ["/usr/lib", "/lib"].iter().any(|place| root.exists(place))
}

/// Whether a unit is wanted or required by another and is not masked. `None`, where there is no such unit.
pub(super) fn is_enabled(root: &Root, unit: &str) -> Option<bool> {
    // A link leads to where it leads on the machine, which may not be below this root: it is not followed.
    let entry = |path: &str| fs::symlink_metadata(root.path(path)).is_ok();
    let masked = |place: &str| {
        fs::read_link(root.path(&format!("{place}/{unit}")))
            .is_ok_and(|target| target.as_os_str() == "/dev/null")
    };
    if PLACES.iter().any(|place| masked(place)) {
        return Some(false);
    }
    PLACES.iter().any(|place| entry(&format!("{place}/{unit}"))).then(|| {
        PLACES.iter().any(|place| {
            let folders = fs::read_dir(root.path(place)).into_iter().flatten().take(FOLDERS).flatten();
            folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).any(|name| {
                (name.ends_with(".wants") || name.ends_with(".requires"))
                    && entry(&format!("{place}/{name}/{unit}"))
            })
        })
    })
}

/// Whether a unit is active: systemd keeps the id of its invocation in a link of `/run/systemd/units`, and removes it when
/// the unit stops or fails. `None`, where systemd keeps none.
pub(super) fn is_active(root: &Root, unit: &str) -> Option<bool> {
    let folder = "/run/systemd/units";
    let link = root.path(&format!("{folder}/invocation:{unit}"));
    root.exists(folder).then(|| fs::symlink_metadata(link).is_ok())
}
