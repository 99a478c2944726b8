//! Debug information that lies in another file.

use std::path::Path;
use std::process::Command;

use report::{Piece, Profile};
use symbolizer::{Image, Library, Quality, Wanted, chain, resolve_report};

use crate::{RELEASES, module_path};

/// Runs objcopy; false, with a line that says so, where there is none.
fn objcopy(args: &[&str]) -> bool {
    match Command::new("objcopy").args(args).status() {
        Ok(status) => {
            assert!(status.success(), "objcopy {args:?}");
            true
        }
        Err(_) => {
            println!("no objcopy: separate debug files are not tested");
            false
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_stripped_module_finds_its_debug_file_by_name_and_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let (stripped, debug) = (folder.path().join("crashlab.ko"), folder.path().join("crashlab.ko.debug"));
    let whole = module_path(RELEASES[1]);
    let link = format!("--add-gnu-debuglink={}", text(&debug));
    if !objcopy(&["--only-keep-debug", text(&whole), text(&debug)])
        || !objcopy(&["--strip-debug", &link, text(&whole), text(&stripped)])
    {
        return;
    }
    let expected = Image::open(&whole).unwrap();
    let address = expected.sections()[0].1 + 0x15;
    let chain = expected.lookup(address).unwrap();
    assert_eq!(chain[0].function, "read_rpm");
    assert_eq!(Image::open(&stripped).unwrap().lookup(address).unwrap(), chain);
    // The debug file alone will do: it has no text, but all else.
    let alone = Image::open(&debug).unwrap();
    assert_eq!(alone.lookup(address).unwrap(), chain);
    assert_eq!(alone.build_id(), expected.build_id());

    // A debug file of another build has another checksum.
    objcopy(&["--only-keep-debug", text(&module_path(RELEASES[0])), text(&debug)]);
    assert_eq!(Image::open(&stripped).unwrap().lookup(address).unwrap(), []);
}

/// `tests/data/dwz` was made with GCC 12 of `first.c` and its like, `ld -e 0 -Ttext=0x200000 --build-id=sha1`, and `dwz -m
/// shared.debug first.elf second.elf`: the inlined function stands in the shared file.
#[test]
fn what_dwz_moved_to_a_shared_file_is_found_there_or_missed_by_name() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dwz");
    let folder = tempfile::tempdir().unwrap();
    let (first, shared) = (folder.path().join("first.elf"), folder.path().join("shared.debug"));
    std::fs::copy(data.join("first.elf"), &first).unwrap();
    let error = chain(&Image::open(&first).unwrap_err());
    assert!(error.contains("first.elf: the file shared.debug with build-id "), "{error}");

    std::fs::copy(data.join("shared.debug"), &shared).unwrap();
    let image = Image::open(&first).unwrap();
    let symbols = image.symbols().unwrap();
    let start = symbols.symbols_named("start_first").next().unwrap();
    let want = "rounds_of_the_engine engine.h:8 < start_first first.c:4";
    // First by the unit alone, then by the whole index.
    for _ in 0..2 {
        let places: Vec<String> = (start.address..start.address + start.elf_size)
            .map(|at| crate::shown(&image.lookup(at).unwrap()).join(" < "))
            .collect();
        assert!(places.iter().any(|place| place == want), "{places:?}");
        image.index().unwrap();
    }

    // Another file of that name is not the one.
    std::fs::copy(&first, &shared).unwrap();
    let error = chain(&Image::open(&first).unwrap_err());
    assert!(error.contains("build-id is "), "{error}");
}

#[test]
fn packages_of_debian_and_fedora_are_searched_as_they_install() {
    let release = RELEASES[1];
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dwz");
    let id = Image::open(&module_path(release)).unwrap().build_id().unwrap().to_string();
    let by_id = format!("usr/lib/debug/.build-id/{}/{}.debug", &id[..2], &id[2..]);
    let modules = [
        format!("usr/lib/debug/lib/modules/{release}/kernel/drivers/misc/crashlab.ko"),
        format!("usr/lib/debug/usr/lib/modules/{release}/kernel/drivers/misc/crashlab.ko.debug"),
        format!("lib/modules/{release}/updates/dkms/crashlab.ko"),
        by_id,
    ];
    let kernels = [
        format!("usr/lib/debug/boot/vmlinux-{release}"),
        format!("usr/lib/debug/lib/modules/{release}/vmlinux"),
        format!("lib/modules/{release}/build/vmlinux"),
    ];
    let given = modules.iter().map(|path| (path, Some("crashlab"), module_path(release)));
    for (path, module, from) in given.chain(kernels.iter().map(|path| (path, None, kernel.join("first.elf"))))
    {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(from, &place).unwrap();
        std::fs::copy(kernel.join("shared.debug"), place.with_file_name("shared.debug")).unwrap();
        let mut library = Library::new();
        library.add_folder(folder.path()).unwrap();
        let wanted = |release: &str| Wanted {
            build_id: module.filter(|_| path.contains(".build-id")).map(|_| id.parse().unwrap()),
            module: module.map(str::to_string),
            release: Some(release.to_string()),
        };
        assert!(library.find(&wanted(release)).is_some(), "{path}: {:?}", library.failures());
        if !path.contains(".build-id") {
            assert!(library.find(&wanted("5.10.0")).is_none(), "{path} for another release");
        }
    }
}

#[test]
fn kallsyms_of_a_running_kernel_gives_names_without_its_modules() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kallsyms");
    let lines = "ffffffff9a000000 T _text\nffffffff9a000040 t helper\nffffffff9a000090 T last\n\
        ffffffffc0000000 t helper\t[engine]\nffffffffc0000100 t bpf_prog_6deef7357e7b4530\t[bpf]\n";
    std::fs::write(&path, lines).unwrap();
    let image = Image::open(&path).unwrap();
    assert_eq!(image.symbol_name(0xffff_ffff_9a00_0044).unwrap().unwrap(), "helper");
    assert_eq!(image.symbols().unwrap().symbols_named("helper").count(), 1);
    assert_eq!(image.symbol_name(0xffff_ffff_c000_0004).unwrap(), None);
    std::fs::write(&path, lines.replace("ffffffff", "00000000")).unwrap();
    assert!(chain(&Image::open(&path).unwrap_err()).contains("no symbols"), "hidden by kptr_restrict");
}

#[test]
fn compressed_debug_sections_give_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let whole = module_path(RELEASES[0]);
    let expected = Image::open(&whole).unwrap();
    for form in ["zlib", "zlib-gnu", "zstd"] {
        let packed = folder.path().join("crashlab.ko");
        if !objcopy(&[&format!("--compress-debug-sections={form}"), text(&whole), text(&packed)]) {
            return;
        }
        let image = Image::open(&packed).unwrap();
        for (_, start, size) in expected.sections() {
            for address in (start..start + size).step_by(3) {
                assert_eq!(image.lookup(address).unwrap(), expected.lookup(address).unwrap(), "{form}");
            }
        }
    }
}

#[test]
fn a_build_id_tree_is_searched_by_build_id() {
    let folder = tempfile::tempdir().unwrap();
    let id = Image::open(&module_path(RELEASES[0])).unwrap().build_id().unwrap().to_string();
    let place = folder.path().join(".build-id").join(&id[..2]);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(module_path(RELEASES[0]), place.join(format!("{}.debug", &id[2..]))).unwrap();
    let mut library = Library::new();
    library.add_folder(folder.path()).unwrap();
    let log = format!(
        "\
[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    1.000000] Oops: 0000 [#1] PREEMPT SMP
[    1.000000] CPU: 1 PID: 115 Comm: insmod Not tainted 6.1.0 #1
[    1.000000] RIP: 0010:read_rpm+0x5/0x10 [crashlab {id}]
[    1.000000] Call Trace:
[    1.000000]  <TASK>
[    1.000000]  crash_null_deref+0xc/0x1b [crashlab {id}]
[    1.000000]  </TASK>
"
    );
    let parsed = report::read_with(&[Piece { name: "log", bytes: log.as_bytes() }], Profile::Production);
    let resolved = resolve_report(&parsed, &parsed.reports[0], &library);
    let ip = resolved.ip.unwrap().resolution.unwrap();
    assert_eq!((ip.quality, ip.chain()[0].line), (Quality::Sized, 40));
    assert_eq!(resolved.traces[0].frames[0].chain()[0].line, 57);
}

#[test]
fn a_system_map_names_and_sizes_and_says_that_lines_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let map = "ffffffff81000000 T _text\nffffffff81000040 t do_one_initcall\nffffffff81000260 T other\nffffffff81000300 T end\n";
    std::fs::write(folder.path().join("System.map-6.1.0"), map).unwrap();
    let mut library = Library::new();
    library.add_folder(folder.path()).unwrap();
    let log = "\
[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    1.000000] Oops: 0000 [#1] PREEMPT SMP
[    1.000000] CPU: 1 PID: 115 Comm: insmod Not tainted 6.1.0 #1
[    1.000000] RIP: 0010:do_one_initcall+0x59/0x220
[    1.000000] Call Trace:
[    1.000000]  <TASK>
[    1.000000]  [<ffffffff82000270>] ? 0xffffffff82000270
[    1.000000]  other+0x10/0xa0
[    1.000000]  </TASK>
[    1.000000] Kernel Offset: 0x1000000 from 0xffffffff81000000
";
    let parsed = report::read_with(&[Piece { name: "log", bytes: log.as_bytes() }], Profile::Production);
    let resolved = resolve_report(&parsed, &parsed.reports[0], &library);
    let ip = resolved.ip.unwrap().resolution.unwrap();
    assert_eq!((ip.quality, ip.candidates[0].address), (Quality::SymbolOnly, 0xffff_ffff_8100_0099));
    let raw = resolved.traces[0].frames[0].resolution.as_ref().unwrap();
    assert_eq!(raw.candidates[0].symbol, "other", "the bare address, moved back by the KASLR offset");
    assert!(resolved.missing.iter().any(|wanted| wanted.module.is_none()), "lines are still wanted");
}
