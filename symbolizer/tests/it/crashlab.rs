//! Every frame of the crash lab's module, against what its truth says.

use std::path::{Path, PathBuf};

use symbolizer::{Image, Kind, Quality, Query};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn module(release: &str) -> Image {
    Image::open(&fixtures().join("modules").join(release).join("crashlab.ko")).unwrap()
}

/// `read_rpm+0x5` → name and offset.
fn split(symbol: &str) -> (&str, u64) {
    let (name, offset) = symbol.rsplit_once("+0x").unwrap();
    (name, u64::from_str_radix(offset, 16).unwrap())
}

#[test]
fn a_module_says_what_it_is() {
    for (release, build_id) in [
        ("6.1.0-56-cloud-amd64", "7b4d5f10e0f3ceeb5d92f3ad01064315e190d7a9"),
        ("6.12.117+deb12-cloud-amd64", "12afb477dcf67188a95ed7e01da03dbd2b8b6c90"),
    ] {
        let image = module(release);
        assert_eq!(image.kind(), &Kind::Module("crashlab".into()));
        assert_eq!(image.release(), Some(release));
        assert_eq!(image.build_id().unwrap().to_string(), build_id);
    }
}

#[test]
fn every_module_frame_of_every_case_has_its_true_lines() {
    let mut frames = 0;
    for folder in ["pstore", "efi"] {
        for case in std::fs::read_dir(fixtures().join(folder)).unwrap() {
            let Ok(text) = std::fs::read_to_string(case.unwrap().path().join("truth.json")) else { continue };
            let truth: serde_json::Value = serde_json::from_str(&text).unwrap();
            let image = module(truth["kernel_release"].as_str().unwrap());
            let rip = truth["rip"].as_str().unwrap_or_default().split('/').next().unwrap().to_string();
            for frame in truth["module_frames"].as_array().unwrap() {
                let symbol = frame["symbol"].as_str().unwrap();
                let (name, offset) = split(symbol);
                let query = Query { symbol: name, offset, size: None, exact: symbol == rip, reliable: true };
                let resolution = image.resolve(&query).unwrap();
                assert_eq!(resolution.quality, Quality::Unsized, "{symbol}");
                let file = |path: &str| path.rsplit('/').next().unwrap().to_string();
                let lines: Vec<String> = resolution
                    .chain()
                    .iter()
                    .map(|at| format!("{} {}:{}", at.function, file(&at.file), at.line))
                    .collect();
                let want: Vec<&str> =
                    frame["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
                assert_eq!(lines, want, "{symbol} of {}", truth["kind"]);
                frames += 1;
            }
        }
    }
    assert!(frames > 40, "only {frames} frames");
}
