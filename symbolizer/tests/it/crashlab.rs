//! Every frame of the crash lab's module, by name and offset, against what its truth says.

use symbolizer::{Image, Kind, Quality, Query};

use crate::{RELEASES, cases, module_path, shown, true_frames};

fn query(symbol: &str, offset: u64, size: Option<u64>) -> Query<'_> {
    Query { symbol, offset, size, exact: false, reliable: true }
}

#[test]
fn a_module_says_what_it_is() {
    let build_ids = ["7b4d5f10e0f3ceeb5d92f3ad01064315e190d7a9", "12afb477dcf67188a95ed7e01da03dbd2b8b6c90"];
    for (release, build_id) in RELEASES.iter().zip(build_ids) {
        let image = Image::open(&module_path(release)).unwrap();
        assert_eq!(image.kind(), &Kind::Module("crashlab".into()));
        assert_eq!(image.release(), Some(*release));
        assert_eq!(image.build_id().unwrap().to_string(), build_id);
    }
}

#[test]
fn every_module_frame_of_every_case_has_its_true_lines() {
    let mut frames = 0;
    for (path, truth) in cases() {
        let image = Image::open(&module_path(truth["kernel_release"].as_str().unwrap())).unwrap();
        let rip = truth["rip"].as_str().unwrap_or_default().split('/').next().unwrap().to_string();
        for (symbol, lines) in true_frames(&truth) {
            let (name, offset) = symbol.rsplit_once("+0x").unwrap();
            let offset = u64::from_str_radix(offset, 16).unwrap();
            let exact = symbol == rip;
            let resolution = image.resolve(&Query { exact, ..query(name, offset, None) }).unwrap();
            assert_eq!(resolution.quality, Quality::Unsized, "{symbol}");
            assert_eq!(shown(resolution.chain()), lines, "{symbol} of {}", path.display());
            frames += 1;
        }
    }
    assert!(frames > 40, "only {frames} frames");
}

#[test]
fn sections_of_a_module_are_kept_apart() {
    let image = Image::open(&module_path(RELEASES[0])).unwrap();
    let at = |section: &str| image.sections().iter().find(|(name, ..)| name == section).unwrap().1;
    // Both are one byte into their section.
    let text = image.lookup(at(".text") + 1).unwrap();
    let init = image.lookup(at(".init.text") + 1).unwrap();
    assert_eq!(text[0].function, "read_rpm");
    assert_eq!(init[0].function, "crashlab_init");
    assert_eq!(image.lookup(at(".text") - 1).unwrap(), []);
}

#[test]
fn a_size_that_no_symbol_has_is_told() {
    let image = Image::open(&module_path(RELEASES[0])).unwrap();
    let quality = |query| image.resolve(&query).unwrap().quality;
    // Two functions end at the next function, the third at the next section but one.
    for (name, size) in [("crash_hung", 0x60), ("crash_warn", 0x20), ("crash_null_deref", 0x1b)] {
        let resolution = image.resolve(&query(name, 0x5, Some(size))).unwrap();
        assert_eq!((resolution.quality, resolution.candidates[0].size), (Quality::Sized, size), "{name}");
    }
    assert_eq!(quality(query("crash_hung", 0xc, Some(0x99))), Quality::SizeDiffers);
    assert_eq!(quality(query("crash_hung", 0x999, Some(0x60))), Quality::NotFound);
    assert_eq!(quality(query("no_such_function", 0, None)), Quality::NotFound);
    // The last of its section: the kernel counts to the end of the page.
    assert_eq!(quality(query("crashlab_init", 0x2b, Some(0x1000))), Quality::Sized);
    // As printed by a kernel that strips suffixes.
    assert_eq!(quality(query("start_engine", 0xa, Some(0x20))), Quality::Sized);
}

#[test]
fn a_stale_pointer_is_the_next_function_and_no_call() {
    let image = Image::open(&module_path(RELEASES[0])).unwrap();
    let pointer = Query { reliable: false, ..query("crash_bug", 0x10, Some(0x10)) };
    let resolution = image.resolve(&pointer).unwrap();
    assert_eq!(resolution.quality, Quality::FunctionPointer);
    let symbols: Vec<_> = resolution.candidates.iter().map(|candidate| candidate.symbol.as_str()).collect();
    assert_eq!(symbols, ["spark.constprop.0"]);
    assert_eq!(resolution.chain(), []);
    // A call that never returns may be the last instruction of a function.
    assert_eq!(image.resolve(&Query { reliable: true, ..pointer }).unwrap().quality, Quality::Sized);
}
