//! The program: what it prints, and how it refuses.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::{RELEASES, fixtures, module_path};

fn run(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lastwords-decode"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refuses(args: &[&str], input: &str, code: i32, text: &str) {
    let output = run(args, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(code), text));
}

#[test]
fn mistakes_are_named_exactly() {
    let module = module_path(RELEASES[0]);
    let module = module.to_str().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    refuses(
        &["no-such.log"],
        "",
        66,
        "lastwords-decode: no-such.log: cannot open: No such file or directory (os error 2)\n",
    );
    refuses(
        &["--debug-dir", "nowhere", "-"],
        "",
        66,
        "lastwords-decode: nowhere: cannot list: No such file or directory (os error 2)\n",
    );
    refuses(&["--vmlinux", source, "-"], "", 65, &format!("lastwords-decode: {source}: not an ELF object\n"));
    refuses(
        &["symbols", "lookup", "--index", module],
        "",
        65,
        &format!("lastwords-decode: {module}: damaged index: not an index of symbols\n"),
    );
    refuses(
        &["symbols", "lookup", "--vmlinux", module],
        "0x1\nfoo\n",
        65,
        "lastwords-decode: standard input, line 2: not an address in hex: \"foo\"\n",
    );
    assert_eq!(run(&["--bogus"], "").status.code(), Some(2));
    assert_eq!(run(&["symbols", "lookup"], "").status.code(), Some(2));
}

#[test]
fn lookups_have_the_exact_form() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("i");
    let (index, module) = (index.to_str().unwrap(), module_path(RELEASES[0]));
    let module = module.to_str().unwrap();
    let made = run(&["symbols", "index", "--out", index, module], "");
    assert!(made.status.success() && made.stdout.is_empty(), "{made:?}");
    let want = concat!(
        r#"{"addr": "0x10000005", "frames": [{"function": "read_rpm", "file": "/usr/src/crashlab/crashlab.c", "line": 40}]}"#,
        "\n",
        r#"{"addr": "0x10000466", "frames": [{"function": "next_rpm", "file": "/usr/src/crashlab/crashlab.c", "line": 45}, {"function": "start_engine", "file": "/usr/src/crashlab/crashlab.c", "line": 50}]}"#,
        "\n",
        r#"{"addr": "0x1", "frames": []}"#,
        "\n",
    );
    for (flag, file) in [("--index", index), ("--vmlinux", module)] {
        let output = run(&["symbols", "lookup", flag, file], ".text+0x5\n\n10000466\n0x1");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), want, "{flag}");
    }
}

#[test]
fn a_line_of_json_for_each_log_and_each_folder_of_records() {
    let pstore = fixtures().join("pstore");
    let output = run(&["--json-lines", pstore.to_str().unwrap()], "");
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let cases = std::fs::read_dir(&pstore).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(lines.len(), cases);
    let line = lines.iter().find(|line| line["file"] == "6.1.0-56-cloud-amd64-null_deref").unwrap();
    let first = &line["reports"][0];
    assert_eq!(first["title"], "BUG: unable to handle kernel NULL pointer dereference in read_rpm");
    assert_eq!(first["frame"], "read_rpm");
    assert_eq!((first["corrupted"].as_bool(), first["fatal"].as_bool()), (Some(false), Some(true)));
}

#[test]
fn one_json_document_holds_reports_with_their_lines() {
    let (case, modules) =
        (fixtures().join("efi/6.12.117+deb12-cloud-amd64-warn"), fixtures().join("modules"));
    let output = run(&["--json", "--debug-dir", modules.to_str().unwrap(), case.to_str().unwrap()], "");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let reports = document["crashes"][0]["reports"].as_array().unwrap();
    let ip = &reports[0]["resolved"]["ip"]["resolution"];
    assert_eq!(ip["quality"], "sized");
    assert_eq!(ip["candidates"][0]["chain"][0]["line"], 69);
}

#[test]
fn standard_input_is_a_log() {
    let output = run(&["-"], "[    1.000000] Kernel panic - not syncing: test of the input\n");
    assert!(String::from_utf8_lossy(&output.stdout).contains("test of the input"), "{output:?}");
    let nothing = run(&["-"], "");
    assert!(nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stdout).starts_with("No crash in this log.\n"));
}
