//! Debug files as a debuginfod server gives them, to clients of ours and to elfutils' own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Answer, Service, request};
use crate::symbols::{RELEASE, module, module_path, split};

fn put(service: &Service, file: &[u8]) -> String {
    let kept = service.send("PUT", "/api/v1/symbols/crashlab.ko", &service.token("symbols"), file);
    assert_eq!(kept.status, 201, "{}", kept.text());
    kept.json()["build_id"].as_str().unwrap().to_owned()
}

fn ask(service: &Service, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(method, &format!("{}{path}", service.url()), None, headers, &[])
}

#[test]
fn a_whole_file_answers_for_its_lines_and_its_code() {
    let service = Service::start();
    let file = module(RELEASE);
    let build_id = put(&service, &file);
    for what in ["debuginfo", "executable"] {
        let path = format!("/buildid/{build_id}/{what}");
        let whole = service.get(&path);
        assert!(whole.body == file);
        assert_eq!(whole.header("content-type"), "application/octet-stream");
        assert_eq!(whole.header("x-debuginfod-size"), file.len().to_string());
        assert_eq!(whole.header("x-debuginfod-file"), "crashlab.ko");
        let head = ask(&service, "HEAD", &path, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), file.len().to_string());
        let tag = whole.header("etag");
        assert!(tag.starts_with(&format!("\"{build_id}-{what}-")), "{tag}");
        assert_eq!(ask(&service, "GET", &path, &[("if-none-match", tag)]).status, 304);
        let part = ask(&service, "GET", &path, &[("range", "bytes=100-199")]);
        assert_eq!((part.status, part.body.as_slice()), (206, &file[100..200]));
        assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", file.len()));
        let rest = ask(&service, "GET", &path, &[("range", "bytes=100-"), ("if-range", tag)]);
        assert!(rest.status == 206 && rest.body == file[100..]);
        let changed = ask(&service, "GET", &path, &[("range", "bytes=100-"), ("if-range", "\"other\"")]);
        assert!(changed.status == 200 && changed.body == file);
        assert_eq!(ask(&service, "GET", &path, &[("range", "bytes=99999999-")]).status, 416);
    }
}

#[test]
fn a_build_in_two_files_gives_each_for_what_it_has() {
    let service = Service::start();
    let Some((code, debug)) = split(RELEASE) else { return };
    let build_id = put(&service, &debug);
    service.get(&format!("/buildid/{build_id}/executable")).is_problem(404, "not-found");
    service.get(&format!("/buildid/{build_id}/section/.text")).is_problem(404, "not-found");
    put(&service, &code);
    assert!(service.get(&format!("/buildid/{build_id}/debuginfo")).body == debug);
    assert!(service.get(&format!("/buildid/{build_id}/executable")).body == code);
    // The debug file has a header for it and no bytes.
    let text = service.get(&format!("/buildid/{build_id}/section/.text"));
    assert_eq!(text.status, 200, "{}", text.text());
    assert!(!text.body.is_empty() && code.windows(text.body.len()).any(|window| window == text.body));
    assert_eq!(service.get(&format!("/buildid/{build_id}/section/.debug_line")).status, 200);
}

#[test]
fn what_is_not_there_is_not_found() {
    let service = Service::start();
    let build_id = put(&service, &module(RELEASE));
    for path in [
        "00112233/debuginfo".to_owned(),
        "not-hex/debuginfo".to_owned(),
        format!("{build_id}/section/.none"),
        format!("{build_id}/source/kernel/fork.c"),
        "/debuginfo".to_owned(),
    ] {
        assert_eq!(service.get(&format!("/buildid/{path}")).status, 404, "{path}");
    }
}

/// elfutils' client, with a cache of its own. `None` where it is not installed.
fn find(service: &Service, cache: &Path, args: &[&str]) -> Option<Result<Vec<u8>, String>> {
    let done = Command::new("debuginfod-find")
        .args(args)
        .env("DEBUGINFOD_URLS", service.url())
        .env("DEBUGINFOD_CACHE_PATH", cache)
        .stdin(Stdio::null())
        .output();
    let Ok(done) = done else {
        println!("no debuginfod-find: elfutils' client is not tested");
        return None;
    };
    if !done.status.success() {
        return Some(Err(String::from_utf8_lossy(&done.stderr).into_owned()));
    }
    let path = String::from_utf8(done.stdout).unwrap();
    Some(Ok(fs::read(path.trim()).unwrap()))
}

#[test]
fn debuginfod_find_gets_the_files_byte_by_byte() {
    let service = Service::start();
    let file = module(RELEASE);
    let build_id = put(&service, &file);
    for what in ["debuginfo", "executable"] {
        let cache = tempfile::tempdir().unwrap();
        let Some(found) = find(&service, cache.path(), &[what, &build_id]) else { return };
        assert!(found.unwrap() == file, "{what}");
    }
    let cache = tempfile::tempdir().unwrap();
    let Some(found) = find(&service, cache.path(), &["source", &build_id, "/kernel/fork.c"]) else { return };
    assert!(found.unwrap_err().contains("No such file"));
    let Some(found) = find(&service, cache.path(), &["debuginfo", "00112233445566778899"]) else { return };
    assert!(found.unwrap_err().contains("No such file"));
    let Some(section) = find(&service, cache.path(), &["section", &build_id, ".modinfo"]) else { return };
    // 0.187 and older have no such command.
    let Ok(section) = section else { return };
    let out = cache.path().join("modinfo");
    let copied = Command::new("objcopy")
        .args(["-O", "binary", "-j", ".modinfo"])
        .arg(module_path(RELEASE))
        .arg(&out)
        .status();
    if copied.is_ok() {
        assert_eq!(section, fs::read(out).unwrap());
    }
}
