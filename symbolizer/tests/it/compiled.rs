//! What the compilers of this machine make: DWARF versions, sections placed by a linker, functions of one name, Rust.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use report::{Piece, Profile};
use symbolizer::{Image, Library, Quality, resolve_report};

use crate::shown;

/// Runs a compiler or linker; false, with a line that says so, where there is none.
fn run(program: &str, args: &[&str]) -> bool {
    match Command::new(program).args(args).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program} {args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(_) => {
            println!("no {program}: what it makes is not tested");
            false
        }
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sections.c")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn both_versions_of_dwarf_give_the_same_places() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("sections.o");
    for version in ["-gdwarf-4", "-gdwarf-5"] {
        for split in ["-O2", "-ffunction-sections"] {
            if !run("cc", &["-O2", "-c", version, split, "-o", text(&object), text(&source())]) {
                return;
            }
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
                assert!(places.contains(want), "{version} {split}: {want} is not in {places:?}");
            }
        }
    }
}

#[test]
fn a_linker_relocates_as_we_do() {
    let folder = tempfile::tempdir().unwrap();
    let [object, script, linked] = ["sections.o", "script.ld", "linked"].map(|name| folder.path().join(name));
    let source = folder.path().join("calls.c");
    let code = "__attribute__((noipa)) static int slow(volatile int *p)\n{\n\treturn *p;\n}\n\
        static inline __attribute__((always_inline)) int twice(volatile int *p)\n{\n\treturn *p + slow(p);\n}\n\
        int running(volatile int *p)\n{\n\treturn twice(p) * 3;\n}\n\
        __attribute__((section(\".init.text\"))) int starting(volatile int *p)\n{\n\treturn twice(p) * 5;\n}\n";
    std::fs::write(&source, code).unwrap();
    for (triple, flags, calls) in [
        ("", &[][..], 2),
        ("aarch64-linux-gnu-", &[], 2),
        // As the kernel compiles modules. Calls are not read in the code of these.
        ("riscv64-linux-gnu-", &["-mno-relax", "-mcmodel=medany"], 0),
        ("powerpc64le-linux-gnu-", &["-mcmodel=large"], 0),
    ] {
        let compiler = if triple.is_empty() { "cc".into() } else { format!("{triple}gcc") };
        let (compiler, linker) = (compiler.as_str(), &format!("{triple}ld"));
        for version in ["-gdwarf-4", "-gdwarf-5"] {
            let args = ["-O2", "-c", version, "-ffunction-sections", "-o", text(&object), text(&source)];
            if !run(compiler, &[&args, flags].concat()) {
                continue;
            }
            let ours = Image::open(&object).unwrap();
            let placed = ours
                .sections()
                .into_iter()
                .map(|(name, at, _)| format!("{name} {at:#x} : {{ *({name}) }}\n"));
            std::fs::write(&script, format!("SECTIONS {{ {} }}", placed.collect::<String>())).unwrap();
            let args = [
                "-e",
                "0",
                "--unresolved-symbols=ignore-all",
                "-T",
                text(&script),
                "-o",
                text(&linked),
                text(&object),
            ];
            if !run(linker, &args) {
                continue;
            }
            let theirs = Image::open(&linked).unwrap();
            let (mut places, mut called) = (0, 0);
            for (name, start, size) in ours.sections() {
                for at in start..start + size {
                    let found = ours.lookup(at).unwrap();
                    assert_eq!(theirs.lookup(at).unwrap(), found, "{compiler} {version} {name} {at:#x}");
                    let callee = ours.callee(at).unwrap();
                    assert_eq!(
                        theirs.callee(at).unwrap().filter(|_| callee.is_some()),
                        callee,
                        "{compiler} {at:#x}"
                    );
                    places += found.len();
                    called += usize::from(callee.is_some());
                }
            }
            assert!(places > 40 && called == calls, "{compiler} {version}: {places} places, {called} calls");
        }
    }
}

/// Kernels of other machines print frames in other forms; the lines are those of that machine's own addr2line.
#[test]
fn traces_of_other_machines_lead_to_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let [object, kernel] = ["sections.o", "vmlinux"].map(|name| folder.path().join(name));
    let source = source();
    type Frame = fn(u64, &str) -> String;
    let machines: [(&str, &[&str], &str, Frame); 3] = [
        ("aarch64-linux-gnu-", &[], "0xffff800080010000", |_, place| format!(" {place}")),
        ("riscv64-linux-gnu-", &["-mno-relax", "-mcmodel=medany"], "0xffffffff80002000", |at, place| {
            format!("[<{at:016x}>] {place}")
        }),
        ("powerpc64le-linux-gnu-", &[], "0xc000000000010000", |at, place| {
            format!("[c0000000026a3b30] [{at:016x}] {place}")
        }),
    ];
    for (triple, flags, base, frame) in machines {
        let args = ["-O2", "-g", "-ffreestanding", "-c", "-o", text(&object), text(&source)];
        let linked = ["-e", "0", "-Ttext", base, "-o", text(&kernel), text(&object)];
        if !run(&format!("{triple}gcc"), &[&args, flags].concat()) || !run(&format!("{triple}ld"), &linked) {
            continue;
        }
        let image = Image::open(&kernel).unwrap();
        let symbol = image.symbols().unwrap().symbols_named("running").next().unwrap();
        let (start, size) = (symbol.address, symbol.ksize);
        let places: Vec<u64> = (2..=symbol.elf_size).step_by(2).collect();
        let mut log = "[    1.000000] Kernel panic - not syncing: made up\n\
            [    1.000000] CPU: 1 PID: 115 Comm: insmod Not tainted 6.1.0 #1\n\
            [    1.000000] Call Trace:\n"
            .to_owned();
        for offset in &places {
            let frame = frame(start + offset, &format!("running+{offset:#x}/{size:#x}"));
            log.push_str(&format!("[    1.000000] {frame}\n"));
        }
        log.push_str("[    1.000000] ---[ end Kernel panic - not syncing: made up ]---\n");
        let parsed = report::read_with(&[Piece { name: "log", bytes: log.as_bytes() }], Profile::Production);
        let mut library = Library::new();
        library.add_file(&kernel).unwrap();
        let resolved = resolve_report(&parsed, &parsed.reports[0], &library);
        let frames = &resolved.traces[0].frames;
        assert_eq!(frames.len(), places.len(), "{triple}\n{log}");
        for (frame, offset) in frames.iter().zip(&places) {
            // What runs is the call before the address that a call returns to.
            let mut asked = Command::new(format!("{triple}addr2line"));
            let said = asked.args(["-i", "-e", text(&kernel)]).arg(format!("{:x}", start + offset - 1));
            let said = String::from_utf8(said.output().unwrap().stdout).unwrap();
            let file = |line: &str| line.rsplit('/').next().unwrap().split(' ').next().unwrap().to_owned();
            let theirs: Vec<String> = said.lines().map(file).collect();
            let ours = frame.chain().iter().map(|at| format!("{}:{}", file(&at.file), at.line));
            assert_eq!(ours.collect::<Vec<_>>(), theirs, "{triple} running+{offset:#x}");
        }
        assert!(places.len() > 3, "{triple}");
    }
}

/// Nothing is guessed of an object that we cannot read: it is refused with what it is.
#[test]
fn objects_of_another_width_or_order_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("sections.o");
    for (compiler, what) in [
        ("s390x-linux-gnu-gcc", "64-bit big-endian S390"),
        ("arm-linux-gnueabihf-gcc", "32-bit little-endian ARM"),
    ] {
        if run(compiler, &["-O2", "-g", "-ffreestanding", "-c", "-o", text(&object), text(&source())]) {
            let refused = symbolizer::chain(&Image::open(&object).unwrap_err());
            let want = format!("unsupported ELF: {what}; only 64-bit little-endian objects are read");
            assert!(refused.ends_with(&want), "{refused}");
        }
    }
}

/// Two static functions of one name and size, each with a caller, in one object.
#[test]
fn the_caller_tells_which_of_two_functions_of_one_name_ran() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (unit, number) in [("one", 1), ("two", 2)] {
        let code = format!(
            "__attribute__((noipa)) static int work(int *p)\n{{\n{}\treturn *p + {number};\n}}\n\
            int call_{unit}(int *p)\n{{\n\treturn work(p) * 3;\n}}\n",
            "\n".repeat(number * 10)
        );
        std::fs::write(at(&format!("{unit}.c")), code).unwrap();
        let (source, object) = (at(&format!("{unit}.c")), at(&format!("{unit}.o")));
        if !run("cc", &["-O2", "-g", "-fcf-protection=none", "-c", "-o", text(&object), text(&source)]) {
            return;
        }
    }
    let module = at("pair.ko");
    if !run("ld", &["-r", "-o", text(&module), text(&at("one.o")), text(&at("two.o"))]) {
        return;
    }
    let index = at("pair.ko.lwsym");
    Image::open(&module).unwrap().index().unwrap().write(&index).unwrap();
    for file in [module, index] {
        let image = Image::open(&file).unwrap();
        let symbols = image.symbols().unwrap();
        let works: Vec<_> = symbols.symbols_named("work").collect();
        assert_eq!(works.len(), 2);
        for (unit, line) in [("one", 13), ("two", 23)] {
            let caller = symbols.symbols_named(&format!("call_{unit}")).next().unwrap();
            let back = (1..caller.elf_size)
                .find(|offset| {
                    let callee = image.callee(caller.address + offset).unwrap();
                    works.iter().any(|work| Some(work.address) == callee)
                })
                .unwrap();
            // Only the offset of the fault and the size: both are those of either function.
            let (size, last, of) = (works[0].ksize, works[1].ksize, caller.ksize);
            let size = if size == last { size } else { works[0].elf_size };
            let log = format!(
                "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
                [    1.0] Oops: 0000 [#1] PREEMPT SMP\n\
                [    1.0] CPU: 1 PID: 115 Comm: insmod Not tainted 6.1.0 #1\n\
                [    1.0] RIP: 0010:work+0x0/{size:#x} [pair]\n\
                [    1.0] Call Trace:\n\
                [    1.0]  <TASK>\n\
                [    1.0]  call_{unit}+{back:#x}/{of:#x} [pair]\n\
                [    1.0]  </TASK>\n"
            );
            let parsed =
                report::read_with(&[Piece { name: "log", bytes: log.as_bytes() }], Profile::Production);
            let mut library = Library::new();
            library.add_file(&file).unwrap();
            let resolved = resolve_report(&parsed, &parsed.reports[0], &library);
            let ip = resolved.ip.unwrap().resolution.unwrap();
            assert_eq!((ip.quality, ip.candidates.len()), (Quality::Sized, 1), "{unit}: {ip:?}");
            let place = &ip.chain()[0];
            assert!(place.file.ends_with(&format!("{unit}.c")), "{unit}: {place:?}");
            assert!((line - 11..=line).contains(&(place.line as usize)), "{unit}: {place:?}");
        }
    }
}

#[test]
fn rust_functions_have_the_names_that_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("engine.rs"), folder.path().join("engine.o"));
    let code = "#![no_std]\n\
        pub struct Engine(u32);\n\
        impl Engine {\n\
        #[inline(always)]\n\
        fn next<T: Into<u32>>(&self, by: T) -> u32 { self.0.wrapping_mul(by.into()) }\n\
        #[inline(never)]\n\
        pub fn start(&self, by: u16) -> u32 { self.next(by) }\n\
        }\n";
    std::fs::write(&source, code).unwrap();
    for mangling in ["legacy", "v0"] {
        let scheme = format!("-Csymbol-mangling-version={mangling}");
        let unstable = if mangling == "legacy" { "-Zunstable-options" } else { "-Cdebuginfo=2" };
        let args = [
            "--crate-type=lib",
            "--emit=obj",
            "-Cdebuginfo=2",
            "-Copt-level=2",
            "-Cpanic=abort",
            &scheme,
            unstable,
        ];
        let mut compile = Command::new("rustc");
        // Legacy names need the leave to use what is not stable.
        compile.env("RUSTC_BOOTSTRAP", "1").args(args).arg("-o").arg(&object).arg(&source);
        let Ok(output) = compile.output() else {
            println!("no rustc: Rust is not tested");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let image = Image::open(&object).unwrap();
        let all = image.sections().into_iter().flat_map(|(_, start, size)| start..start + size);
        let chains: BTreeSet<String> = all.map(|at| shown(&image.lookup(at).unwrap()).join(" < ")).collect();
        let ends = [
            "engine::Engine::next engine.rs:5 < engine::Engine::start engine.rs:7",
            "<engine::Engine>::next::<u16> engine.rs:5 < <engine::Engine>::start engine.rs:7",
        ];
        let found = chains.iter().any(|chain| ends.iter().any(|end| chain.ends_with(end)));
        assert!(found, "{mangling}: {chains:?}");
    }
}
