//! What the C compiler of this machine makes of `tests/data/sections.c`, in both versions of DWARF.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use symbolizer::Image;

use crate::shown;

#[test]
fn both_versions_of_dwarf_give_the_same_places() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sections.c");
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        for split in [&[][..], &["-ffunction-sections"]] {
            let object = folder.path().join("sections.o");
            let mut compile = Command::new("cc");
            compile.args(["-O2", "-c", version, "-o"]).arg(&object).args(split).arg(&source);
            let Ok(status) = compile.status() else {
                println!("no cc: DWARF versions are not tested");
                return;
            };
            assert!(status.success());
            let image = Image::open(&object).unwrap();
            let mut places = BTreeSet::new();
            for (_, start, size) in image.sections() {
                places.extend((start..start + size).map(|at| shown(&image.lookup(at).unwrap()).join(" < ")));
            }
            for want in [
                "read_twice sections.c:5 < running sections.c:10",
                "running sections.c:11",
                "read_twice sections.c:5 < starting sections.c:15",
            ] {
                assert!(places.contains(want), "{version} {split:?}: {want} is not in {places:?}");
            }
        }
    }
}
