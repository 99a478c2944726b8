//! The symbolizer against real modules and real crashes.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod arm64;
mod command;
mod compiled;
mod crashlab;
mod debuginfod;
mod hostile;
mod index;
mod logs;
mod separate;

use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn module_path(release: &str) -> PathBuf {
    fixtures().join("modules").join(release).join("crashlab.ko")
}

const RELEASES: [&str; 2] = ["6.1.0-56-cloud-amd64", "6.12.117+deb12-cloud-amd64"];

/// Every case with its truth: those of the repository, and those beside it where they are.
fn cases() -> Vec<(PathBuf, serde_json::Value)> {
    let more = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/artifacts");
    if !more.is_dir() {
        println!("no ../shared/artifacts: only the repository's own cases");
    }
    let mut cases = Vec::new();
    for root in [fixtures(), more] {
        for folder in ["pstore", "efi"] {
            for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
                let path = entry.unwrap().path();
                if let Ok(truth) = std::fs::read_to_string(path.join("truth.json")) {
                    cases.push((path, serde_json::from_str(&truth).unwrap()));
                }
            }
        }
    }
    cases
}

/// What a truth says of one frame: `read_rpm+0x5`, and `function file:line` of each call, innermost first.
fn true_frames(truth: &serde_json::Value) -> Vec<(String, Vec<String>)> {
    let frames = truth["module_frames"].as_array().unwrap().iter();
    frames
        .map(|frame| {
            let lines = frame["lines"].as_array().unwrap().iter();
            (frame["symbol"].as_str().unwrap().into(), lines.map(|l| l.as_str().unwrap().into()).collect())
        })
        .collect()
}

/// In the form of the truths.
fn shown(chain: &[symbolizer::Location]) -> Vec<String> {
    let file = |path: &str| path.rsplit('/').next().unwrap().to_string();
    chain.iter().map(|at| format!("{} {}:{}", at.function, file(&at.file), at.line)).collect()
}
