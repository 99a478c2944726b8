//! Whole logs, from the records to lines.

use symbolizer::decode::{Style, annotate};
use symbolizer::{Library, input, resolve_report};

use crate::{cases, fixtures, shown, true_frames};

fn modules() -> Library {
    let mut library = Library::new();
    library.add_folder(&fixtures().join("modules")).unwrap();
    library
}

#[test]
fn every_true_frame_is_found_in_the_log_with_its_lines() {
    let library = modules();
    let (mut found, mut proofs) = (0, 0);
    for (path, truth) in cases() {
        let crashes = input::path(&path).unwrap();
        assert_eq!(crashes.len(), 1, "{}", path.display());
        let parsed = crashes[0].parse(report::Profile::Production);
        let mut lines = Vec::new();
        for report in &parsed.reports {
            let resolved = resolve_report(&parsed, report, &library);
            assert_eq!((&resolved.mismatched[..], &resolved.failures[..]), (&[][..], &[][..]));
            // The printed bytes prove the build, wherever there are any.
            if let Some(code) =
                resolved.code.filter(|_| report.code.as_ref().is_some_and(|code| code.mark.is_some()))
            {
                assert!(code.is_proof(), "{}: {code:?}", path.display());
                proofs += 1;
            }
            let ip = report.ip.iter().zip(&resolved.ip);
            let traces = report.traces.iter().zip(&resolved.traces);
            let frames = traces.flat_map(|(trace, resolved)| trace.frames.iter().zip(&resolved.frames));
            for (frame, resolved) in ip.chain(frames).filter(|(frame, _)| frame.module.is_some()) {
                let symbol = frame.symbol.as_deref().unwrap_or_default();
                lines.push((format!("{symbol}+{:#x}", frame.offset), shown(resolved.chain())));
            }
        }
        for (symbol, want) in true_frames(&truth) {
            let of_symbol: Vec<_> = lines.iter().filter(|(found, _)| *found == symbol).collect();
            assert!(
                of_symbol.iter().any(|(_, got)| *got == want),
                "{}: {symbol}: {of_symbol:?}",
                path.display()
            );
            found += 1;
        }
    }
    // What the fixtures alone hold.
    assert!(found >= 42 && proofs >= 10, "only {found} frames, {proofs} proofs");
}

#[test]
fn instructions_come_from_the_index_where_the_log_has_none() {
    let case = input::path(&fixtures().join("pstore/6.1.0-56-cloud-amd64-null_deref")).unwrap().remove(0);
    let parsed = case.parse(report::Profile::Production);
    let report = &parsed.reports[0];
    assert!(report.code.is_none() && report.ip.is_some(), "this log has no Code: line");
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("crashlab.lwsym");
    let module = fixtures().join("modules/6.1.0-56-cloud-amd64/crashlab.ko");
    symbolizer::Image::open(&module).unwrap().index().unwrap().write(&index).unwrap();
    let mut library = Library::new();
    library.add_file(&index).unwrap();
    let resolved = resolve_report(&parsed, report, &library);
    assert!(resolved.listing_of_image);
    let lines: Vec<_> = resolved.listing.iter().map(|line| (line.offset, line.text.as_str())).collect();
    // `__fentry__` first, then the load through the pointer that was NULL.
    assert_eq!(lines[0].0, -5, "{lines:?}");
    assert!(
        lines[0].1.starts_with("call ") && lines[0].1.ends_with("# filled in by the loader"),
        "{lines:?}"
    );
    assert_eq!(lines[1], (0, "mov (%rdi),%eax"), "{lines:?}");
}

#[test]
fn what_is_missing_is_named_once() {
    let case = input::path(&fixtures().join("pstore/6.1.0-56-cloud-amd64-null_deref")).unwrap().remove(0);
    let parsed = case.parse(report::Profile::Production);
    let resolved = resolve_report(&parsed, &parsed.reports[0], &Library::new());
    let missing: Vec<_> = resolved.missing.iter().map(|wanted| wanted.module.as_deref()).collect();
    assert_eq!(missing, [None, Some("crashlab")]);
    assert!(resolved.missing.iter().all(|w| w.release.as_deref() == Some("6.1.0-56-cloud-amd64")));
}

#[test]
fn a_library_of_another_kernel_resolves_nothing() {
    let mut library = Library::new();
    library.add_folder(&fixtures().join("modules/6.12.117+deb12-cloud-amd64")).unwrap();
    let case = input::path(&fixtures().join("pstore/6.1.0-56-cloud-amd64-null_deref")).unwrap().remove(0);
    let parsed = case.parse(report::Profile::Production);
    let resolved = resolve_report(&parsed, &parsed.reports[0], &library);
    assert!(resolved.missing.iter().any(|wanted| wanted.module.as_deref() == Some("crashlab")));
    assert!(resolved.traces.iter().flat_map(|trace| &trace.frames).all(|frame| frame.chain().is_empty()));
}

#[test]
fn the_terminal_sees_lines_and_inlined_callers_within_80_columns() {
    let case = input::path(&fixtures().join("pstore/6.1.0-56-cloud-amd64-null_deref")).unwrap().remove(0);
    let text = annotate(&case.parse(report::Profile::Production), &modules(), Style::default());
    for want in [
        "BUG: unable to handle kernel NULL pointer dereference in read_rpm\n",
        "  most likely about /usr/src/crashlab/crashlab.c\n",
        "     read_rpm+0x5/0x10 [crashlab]  /usr/src/crashlab/crashlab.c:40\n",
        "         next_rpm /usr/src/crashlab/crashlab.c:45 (inlined)\n",
        "         start_engine /usr/src/crashlab/crashlab.c:50\n",
        "  vmlinux of 6.1.0-56-cloud-amd64\n",
    ] {
        assert!(text.contains(want), "{want:?} is not in\n{text}");
    }
    assert!(!text.contains('\x1b'));
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(wide, [] as [&str; 0]);
}
