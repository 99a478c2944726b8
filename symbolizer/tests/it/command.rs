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
        &[module],
        "",
        65,
        &format!("lastwords-decode: {module}: an ELF object, not a log; --vmlinux takes it\n"),
    );
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

#[test]
fn a_title_is_explained_rule_by_rule() {
    let case = fixtures().join("pstore/6.12.117+deb12-cloud-amd64-refcount");
    let output = run(&["--explain", case.to_str().unwrap()], "");
    let said = String::from_utf8(output.stdout).unwrap();
    let why = said.split("\nWhy: ").nth(1).unwrap();
    assert!(why.starts_with("WARNING: refcount bug in use_freed_engine\n"), "{why}");
    assert!(why.contains("skipped   refcount_warn_saturate (line "), "{why}");
    assert!(why.contains("chosen    use_freed_engine\n"), "{why}");
    let look_alike = "[    1.000000] INFO: NMI handler (x) took too long to run: 3 msecs\n";
    let said = String::from_utf8(run(&["--explain", "-"], look_alike).stdout).unwrap();
    assert!(said.contains("line 1: token info, refused by info.nmi-handler"), "{said}");
}

#[test]
fn records_are_named_by_production_and_logs_by_the_letter() {
    let case = fixtures().join("pstore/6.12.117+deb12-cloud-amd64-rcu");
    let by_default = |path: &str| String::from_utf8(run(&["--json-lines", path], "").stdout).unwrap();
    let records = by_default(case.to_str().unwrap());
    assert!(records.contains("INFO: rcu detected stall in crash_rcu"), "{records}");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("console");
    std::fs::copy(case.join("dmesg-ramoops-0"), &log).unwrap();
    let log = by_default(log.to_str().unwrap());
    assert!(log.contains("INFO: rcu detected stall in corrupted"), "{log}");
}

#[test]
fn a_dump_gives_its_log_facts_and_tasks() {
    let dump = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/artifacts/vmcore/6.12.117+deb12-cloud-amd64-sysrq"
    );
    let (dump, reference) = (format!("{dump}.zlib"), format!("{dump}.dmesg.txt"));
    let Ok(reference) = std::fs::read(&reference) else {
        println!("skipped: no {reference}");
        return;
    };
    assert!(run(&["vmcore", "log", &dump], "").stdout == reference, "the log is makedumpfile's");
    let facts = String::from_utf8(run(&["vmcore", "facts", "--json", &dump], "").stdout).unwrap();
    assert!(facts.contains("\"panic_cpu\": 1,") && facts.contains("\"comm\": \"init\""), "{facts}");
    let tasks = run(&["vmcore", "tasks", "--json", &dump], "").stdout;
    let tasks: Vec<serde_json::Value> = serde_json::from_slice(&tasks).unwrap();
    assert_eq!((tasks.len(), &tasks[0]["comm"]), (69, &"swapper/0".into()));
    let text = String::from_utf8(run(&[&dump], "").stdout).unwrap();
    assert!(text.starts_with("kernel panic: sysrq triggered crash\n"), "{text}");
    assert!(text.contains("init (1, R) on CPU 1, which panicked\n     __crash_kexec+0x11c\n"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    let made = run(&["vmcore", "extract", &dump, small.to_str().unwrap()], "");
    assert!(made.status.success(), "{made:?}");
    let small = small.to_str().unwrap();
    assert!(run(&["vmcore", "log", small], "").stdout == reference, "the small dump has the same log");
    refuses(
        &["vmcore", "log", "nowhere"],
        "",
        66,
        "lastwords-decode: reading the dump nowhere: No such file or directory (os error 2)\n",
    );
}

#[test]
fn a_hostile_log_does_not_steer_the_terminal() {
    let log = "[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
        [    1.000001] CPU: 1 PID: 7 Comm: ev\x1b[31mil Not tainted 6.1.0 #1\n\
        [    1.000002] Hardware name: x\x1b]0;owned\x07y\n\
        [    1.000003] RIP: 0010:foo+0x5/0x10 [m\x1b[2J]\n";
    let said = String::from_utf8(run(&["--explain", "-"], log).stdout).unwrap();
    assert!(said.contains("hardware x"), "{said}");
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said}");
}
