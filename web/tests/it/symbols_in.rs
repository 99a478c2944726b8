//! The ways in which a debug file comes: each gives a crash that waited its lines.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use web::symbols::Settings;
use web::symbols::watch::Pace;

use crate::harness::{Machine, Service, manifest, parcel};
use crate::symbols::{RELEASE, lines, module, module_path};

/// A service with a crash that waits for crashlab's debug file, and the crash's id.
fn waiting(service: &Service) -> String {
    Machine::of(&format!("pstore/{RELEASE}-div0")).collect(&service.url(), &service.token("ingest"));
    service.settle();
    let crash = service.json("/api/v1/crashes?fatal=true")["items"][0].clone();
    let id = crash["crash_id"].as_str().unwrap().to_owned();
    assert_eq!(lines(service, &id), Vec::<String>::new());
    id
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn located(service: &Service, crash: &str) -> bool {
    lines(service, crash).iter().any(|line| line.starts_with("crashlab.c:"))
}

/// `lastwords symbols …` on a data folder: what it printed, and whether it succeeded.
fn symbols(data: &Path, args: &[&str]) -> (String, bool) {
    let done = Command::new(env!("CARGO_BIN_EXE_lastwords"))
        .arg("symbols")
        .args(args)
        .args(["--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (said, done.status.success())
}

#[test]
fn added_beside_a_running_service() {
    let service = Service::start();
    let crash = waiting(&service);
    let (said, done) = symbols(&service.data, &["missing"]);
    assert!(done && said.contains(&format!("apt install linux-image-{RELEASE}-dbg")), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let tree = fs::canonicalize(module_path(RELEASE)).unwrap();
    let tree = tree.ancestors().nth(2).unwrap().to_str().unwrap().to_owned();
    let (said, done) = symbols(&service.data, &["add", &tree]);
    assert!(done && said.contains("2 files: 2 added, 0 at hand before, 0 not taken; 1 crash"), "{said}");
    until("lines", || located(&service, &crash));
    let (said, done) = symbols(&service.data, &["add", &tree, "--json"]);
    assert!(done && said.lines().count() == 2, "{said}");
    let line: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&line["name"], &line["new"]), (&"crashlab".into(), &false.into()));
    let (said, done) = symbols(&service.data, &["list"]);
    assert!(done && said.contains("lines, code") && said.contains(RELEASE), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let (said, _) = symbols(&service.data, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let (said, done) = symbols(&service.data, &["add", "/proc/version"]);
    assert!(!done && said.contains("not taken: /proc/version"), "{said}");
}

#[test]
fn added_while_the_service_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::on(folder.path(), true);
    let crash = waiting(&service);
    drop(service);
    let (said, done) = symbols(folder.path(), &["add", module_path(RELEASE).to_str().unwrap()]);
    assert!(done, "{said}");
    let service = Service::on(folder.path(), true);
    service.settle();
    assert!(located(&service, &crash));
    let (said, done) = symbols(&folder.path().join("none"), &["list"]);
    assert!(!done && said.contains("there is no service in"), "{said}");
}

#[test]
fn seen_in_a_watched_folder_and_used_from_there() {
    let (data, watched) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = Settings {
        watched: vec![watched.path().to_owned()],
        watch: Pace { every: Duration::from_millis(50), settled: Duration::ZERO },
        ..Settings::default()
    };
    let service = Service::with(data.path(), true, settings);
    let crash = waiting(&service);
    let folder = watched.path().join(format!("lib/modules/{RELEASE}/extra"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("noise.ko"), b"no object").unwrap();
    let packed = folder.join("crashlab.ko.zst");
    fs::write(folder.join("new"), zstd::encode_all(module(RELEASE).as_slice(), 3).unwrap()).unwrap();
    fs::rename(folder.join("new"), &packed).unwrap();
    until("lines", || located(&service, &crash));
    let listed = service.json("/api/v1/symbols")["items"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!((&listed[0]["watched"], &listed[0]["crashes"]), (&true.into(), &1.into()));
    let build_id = listed[0]["build_id"].as_str().unwrap().to_owned();
    let served = service.get(&format!("/buildid/{build_id}/debuginfo"));
    assert!(served.body == module(RELEASE), "{}", served.text());
    assert_eq!(served.header("x-debuginfod-size"), module(RELEASE).len().to_string());
    let own = data.path().join("symbols").join(&build_id[..2]).join(format!("{}.debug", &build_id[2..]));
    assert!(!own.exists(), "it stays where it is");

    // Another build takes its name, then it goes: what was found stays.
    fs::write(folder.join("new"), module("6.1.0-56-cloud-amd64")).unwrap();
    fs::rename(folder.join("new"), &packed).unwrap();
    until("the other build", || service.json("/api/v1/symbols")["items"][0]["build_id"] != *build_id);
    service.get(&format!("/buildid/{build_id}/debuginfo")).is_problem(404, "not-found");
    fs::remove_file(&packed).unwrap();
    until("gone", || service.json("/api/v1/symbols")["items"].as_array().unwrap().is_empty());
    assert!(located(&service, &crash));
}

#[test]
fn a_crash_shows_its_source_and_others_are_given_it() {
    let (data, sources) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = sources.path().join(RELEASE);
    fs::create_dir_all(folder.join("lab")).unwrap();
    let source =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/lab/module/crashlab.c")).unwrap();
    fs::write(folder.join("crashlab.c"), &source).unwrap();
    let settings = Settings { sources: Some(sources.path().to_owned()), ..Settings::default() };
    let service = Service::with(data.path(), true, settings);
    let crash = waiting(&service);
    let kept = service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module(RELEASE)).json();
    until("lines", || located(&service, &crash));
    let shown = service.json(&format!("/crashes/{crash}.json"));
    let lines = shown["source"].as_array().unwrap();
    let here = lines.iter().find(|line| line["here"] == true).unwrap();
    let text = String::from_utf8_lossy(&source);
    let number = here["number"].as_u64().unwrap() as usize;
    assert_eq!(text.lines().nth(number - 1).unwrap(), here["text"]);
    assert!(lines.len() > 5 && text.lines().nth(number - 1).unwrap().contains("div0"), "{shown:?}");
    let page = service.get(&format!("/crashes/{crash}")).text();
    assert!(page.contains("Lines of the source around the fault"), "{page}");

    let build_id = kept["build_id"].as_str().unwrap();
    let served = service.get(&format!("/buildid/{build_id}/source/build/crashlab.c"));
    assert!(served.status == 200 && served.body == source);
    fs::write(sources.path().join("secret.c"), b"secret").unwrap();
    for path in ["secret.c", "..%2Fsecret.c", "../secret.c", "%2e%2e/secret.c", "lab", ""] {
        let served = service.get(&format!("/buildid/{build_id}/source/{path}"));
        assert!(served.status == 404, "{path}: {}", served.text());
    }
}

/// A log whose frames name the build of their module, as CONFIG_STACKTRACE_BUILD_ID prints them.
fn crash_that_names(service: &Service, machine: u8, build_id: &str) -> String {
    let log = format!(
        "<4>[   61.100776] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
         <4>[   61.100779] Oops: 0000 [#1] PREEMPT SMP\n\
         <4>[   61.100780] CPU: 1 PID: 117 Comm: insmod Not tainted {RELEASE} #1\n\
         <4>[   61.100782] RIP: 0010:read_rpm+0x5/0x10 [crashlab]\n\
         <4>[   61.100782] Call Trace:\n<4>[   61.100783]  <TASK>\n\
         <4>[   61.100784]  read_rpm+0x5/0x10 [crashlab {build_id}]\n<4>[   61.100786]  </TASK>\n\
         <0>[   61.101902] Kernel panic - not syncing: Fatal exception\n"
    );
    let (path, parcel) = parcel(manifest(machine, log.as_bytes()), log.as_bytes());
    let sent = service.send("PUT", &path, &service.token("ingest"), &parcel);
    assert_eq!(sent.status, 201, "{}", sent.text());
    service.settle();
    service.json("/api/v1/crashes?fatal=true")["items"][0]["crash_id"].as_str().unwrap().to_owned()
}

#[test]
fn fetched_from_a_server_that_has_it() {
    let (has, has_none) = (Service::start(), Service::start());
    let kept = has.send("PUT", "/api/v1/symbols", &has.token("symbols"), &module(RELEASE)).json();
    let build_id = kept["build_id"].as_str().unwrap();
    let data = tempfile::tempdir().unwrap();
    let settings = Settings { servers: vec![has_none.url(), has.url()], ..Settings::default() };
    let service = Service::with(data.path(), true, settings);
    let crash = crash_that_names(&service, 3, build_id);
    until("lines", || located(&service, &crash));
    assert!(service.get(&format!("/buildid/{build_id}/debuginfo")).body == module(RELEASE));
    crash_that_names(&service, 4, &"ab".repeat(20));
    until("the answer", || {
        let missing = service.json("/api/v1/symbols/missing");
        missing["items"].as_array().unwrap().iter().any(|item| item["answer"] == "no server has it")
    });
}

/// The log does not print it, but the node saw which kernel it was.
#[test]
fn the_kernel_is_wanted_by_the_build_id_that_its_node_told() {
    let service = Service::start();
    let log = crate::harness::oops(61);
    let mut manifest = manifest(3, &log);
    manifest.host.build_id = "ef".repeat(20);
    let (path, parcel) = parcel(manifest, &log);
    assert_eq!(service.send("PUT", &path, &service.token("ingest"), &parcel).status, 201);
    service.settle();
    let missing = service.json("/api/v1/symbols/missing");
    let kernel = missing["items"].as_array().unwrap().iter().find(|item| item["name"] == "vmlinux").unwrap();
    assert_eq!(kernel["build_id"], "ef".repeat(20), "{missing}");
}

/// Some nodes tell their kernel's build-id, and some do not; with two builds of one release nobody knows which.
#[test]
fn one_kernel_is_missing_once_however_it_is_named() {
    let service = Service::start();
    let kernels = |machine: u8, build_id: &str| {
        let log = crate::harness::oops(60 + u32::from(machine));
        let mut manifest = manifest(machine, &log);
        manifest.host.build_id = build_id.to_owned();
        let (path, parcel) = parcel(manifest, &log);
        assert_eq!(service.send("PUT", &path, &service.token("ingest"), &parcel).status, 201);
        service.settle();
        let missing = service.json("/api/v1/symbols/missing");
        let items = missing["items"].as_array().unwrap().iter().filter(|item| item["name"] == "vmlinux");
        let mut rows: Vec<(String, i64)> = items
            .map(|item| (item["build_id"].as_str().unwrap().to_owned(), item["crashes"].as_i64().unwrap()))
            .collect();
        rows.sort();
        rows
    };
    let (ef, ab) = ("ef".repeat(20), "ab".repeat(20));
    assert_eq!(kernels(3, ""), [(String::new(), 1)]);
    assert_eq!(kernels(4, &ef), [(ef.clone(), 2)]);
    let (said, _) = symbols(&service.data, &["missing"]);
    assert_eq!(said.matches("vmlinux of").count(), 1, "{said}");
    assert_eq!(kernels(5, &ab), [(String::new(), 1), (ab, 1), (ef, 1)]);
}

/// Nobody is asked unless the service was told whom: the default is silence, whatever the environment says.
#[test]
fn without_a_server_nobody_is_asked() {
    let service = Service::start();
    crash_that_names(&service, 3, &"cd".repeat(20));
    std::thread::sleep(Duration::from_millis(200));
    let missing = service.json("/api/v1/symbols/missing");
    let items = missing["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|item| item["asked_us"].is_null()), "{missing}");
}

#[test]
fn pruning_keeps_what_crashes_use_and_lines_outlive_their_file() {
    let service = Service::start();
    let crash = waiting(&service);
    let token = service.token("symbols");
    for release in [RELEASE, "6.1.0-56-cloud-amd64"] {
        service.send("PUT", "/api/v1/symbols", &token, &module(release));
    }
    service.settle();
    assert!(located(&service, &crash));
    let at_hand = || service.json("/api/v1/symbols")["items"].as_array().unwrap().len();
    let (said, done) = symbols(&service.data, &["prune", "--unused", "--dry-run"]);
    assert!(done && said.contains("1 file would be removed") && said.contains("1 file stays"), "{said}");
    assert_eq!(at_hand(), 2);
    let (said, done) = symbols(&service.data, &["prune", "--days", "30"]);
    assert!(done && said.contains("0 files removed"), "{said}");
    let (said, done) = symbols(&service.data, &["prune", "--unused"]);
    assert!(done && said.contains("1 file removed"), "{said}");
    assert_eq!(at_hand(), 1);
    let (said, done) = symbols(&service.data, &["prune", "--down-to", "0"]);
    assert!(!done && said.contains("what stays is used"), "{said}");
    let (said, done) = symbols(&service.data, &["prune", "--down-to", "0", "--used-too"]);
    assert!(done, "{said}");
    assert_eq!(at_hand(), 0);
    assert!(located(&service, &crash), "the lines stay");
    // What is new of that build waits again.
    Machine::of(&format!("pstore/{RELEASE}-null_deref")).collect(&service.url(), &service.token("ingest"));
    service.settle();
    let missing = service.json("/api/v1/symbols/missing");
    assert!(missing["items"].as_array().unwrap().iter().any(|item| item["name"] == "crashlab"), "{missing}");
    let (said, done) = symbols(&service.data, &["prune"]);
    assert!(!done && said.contains("--unused"), "{said}");
}

#[test]
fn indexes_are_built_kept_evicted_and_built_again() {
    let data = tempfile::tempdir().unwrap();
    let index = |build_id: &str| {
        data.path().join("symbols").join(&build_id[..2]).join(format!("{}.lwsym", &build_id[2..]))
    };
    let settings = |most_index_bytes| Settings { most_index_bytes, ..Settings::default() };
    let service = Service::with(data.path(), true, settings(1 << 30));
    let crash = waiting(&service);
    let kept = service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module(RELEASE)).json();
    let build_id = kept["build_id"].as_str().unwrap().to_owned();
    until("an index", || index(&build_id).exists());
    drop(service);

    // A damaged index is not believed.
    fs::write(index(&build_id), b"lwsymidx and no more").unwrap();
    let service = Service::with(data.path(), true, settings(1));
    Machine::of(&format!("pstore/{RELEASE}-null_deref")).collect(&service.url(), &service.token("ingest"));
    service.settle();
    for item in service.json("/api/v1/crashes?fatal=true")["items"].as_array().unwrap() {
        assert!(located(&service, item["crash_id"].as_str().unwrap()));
    }
    until("no index over the limit", || !index(&build_id).exists());
    assert!(located(&service, &crash));
}
