//! What goes wrong on a node, through the program itself: one clear line each, the right exit code, evidence kept.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::node::{DIED, Node, PANIC, names};
use crate::service::{Fault, Service};
use crate::tls::Door;

const AGENT: &str = env!("CARGO_BIN_EXE_lastwords-agent");

fn collect(node: &Node) -> Command {
    let mut command = Command::new(AGENT);
    command.arg("collect").arg("--root").arg(node.path("root")).arg("--pstore-dir").arg(node.pstore());
    with_spool(command, node)
}

fn with_spool(mut command: Command, node: &Node) -> Command {
    command.arg("--spool").arg(node.spool()).arg("--token-file").arg(node.path("token"));
    command.args(["--deadline", "0"]);
    for name in ["LASTWORDS_SPOOL", "LASTWORDS_SERVER", "LASTWORDS_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command
}

/// The program ends with a code, says one line that holds all of these words, and keeps the crash: at its source, and
/// in the spool unless that is what is broken.
#[track_caller]
fn check(node: &Node, command: &mut Command, code: i32, words: &[&str], spooled: usize) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{told}{}", String::from_utf8_lossy(&stdout));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(
        lines[0].starts_with("lastwords-agent: ") && words.iter().all(|word| told.contains(word)),
        "{told}"
    );
    assert_eq!(names(&node.pstore()).len(), 2, "the source is untouched");
    let ready = node.spool().join("ready");
    assert_eq!(if ready.exists() { names(&ready).len() } else { 0 }, spooled);
}

fn died() -> Node {
    let node = Node::new();
    node.crash();
    node
}

#[test]
fn the_server_is_away() {
    let (node, service) = (died(), Service::start());
    let url = service.url();
    drop(service);
    let mut command = collect(&node);
    check(&node, command.args(["--server", &url]), 75, &[&url, "cannot be reached"], 1);
    // A name that nobody knows, RFC 6761.
    let mut command = collect(&node);
    check(&node, command.args(["--server", "https://crash.invalid"]), 75, &["crash.invalid", "cannot be"], 1);
}

#[test]
fn something_else_answers() {
    let (node, service) = (died(), Service::start());
    service.fail_offer(Fault::Portal);
    let mut command = collect(&node);
    check(&node, command.args(["--server", &service.url()]), 75, &["is no lastwords service"], 1);
}

#[test]
fn tls_is_wrong() {
    let service = Service::start();
    for (name, years, trusted, words) in [
        ("localhost", (2020, 2090), false, &["UnknownIssuer"][..]),
        ("crash.example", (2020, 2090), true, &["not valid for name"]),
        // To a machine whose clock is a year ahead or behind, a good certificate looks so.
        ("localhost", (2020, 2021), true, &["expired", "is this machine's clock right?"]),
        ("localhost", (2089, 2090), true, &["not valid yet", "is this machine's clock right?"]),
    ] {
        let node = died();
        let door = Door::open(service.address(), name, years);
        let mut command = collect(&node);
        if trusted {
            door.save(&node.path("ca.pem"));
            command.arg("--ca-file").arg(node.path("ca.pem"));
        }
        check(
            &node,
            command.args(["--server", &door.url()]),
            76,
            &[&["TLS with", &door.url()], words].concat(),
            1,
        );
    }
    assert_eq!(service.stored(), []);
}

#[test]
fn a_certificate_that_was_named_is_trusted() {
    let (node, service) = (died(), Service::start());
    let door = Door::open(service.address(), "localhost", (2020, 2090));
    door.save(&node.path("ca.pem"));
    let mut command = collect(&node);
    let out =
        command.args(["--server", &door.url()]).arg("--ca-file").arg(node.path("ca.pem")).output().unwrap();
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]), "{out:?}");
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn a_ca_file_that_is_none_stops_before_anything_is_sent() {
    let node = died();
    for (text, words) in [(Some("no certificate"), "holds no certificate"), (None, "reading the CA file")] {
        let path = node.path("ca.pem");
        let _ = fs::remove_file(&path);
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let mut command = collect(&node);
        command.args(["--server", "https://localhost:1"]).arg("--ca-file").arg(path);
        check(&node, &mut command, 64, &[words], 1);
    }
}

#[test]
fn the_token_is_wrong() {
    let service = Service::start();
    for (token, words) in [
        (Some("another-token"), "does not accept the token: 401"),
        (Some("  \n"), "is empty"),
        (None, "reading the token file"),
    ] {
        let node = died();
        match token {
            Some(token) => fs::write(node.path("token"), token).unwrap(),
            None => fs::remove_file(node.path("token")).unwrap(),
        }
        check(&node, collect(&node).args(["--server", &service.url()]), 77, &[words], 1);
    }
    assert_eq!(service.stored(), []);
}

#[test]
fn the_pinned_key_is_not_the_services() {
    let (node, service) = (died(), Service::start());
    let mut command = collect(&node);
    let pin = hex::encode([0x19; 32]);
    command.args(["--server", &service.url(), "--pin", &pin]);
    let code = command.output().unwrap().status.code();
    assert!(matches!(code, Some(64 | 76)), "{code:?}");
    assert_eq!((service.stored().len(), node.spooled("ready").len()), (0, 1));
}

#[test]
fn another_agent_is_at_work() {
    let node = died();
    assert!(collect(&node).status().unwrap().success());
    let lock = fs::File::open(node.spool().join("lock")).unwrap();
    lock.lock().unwrap();
    check(&node, &mut collect(&node), 75, &["another agent is at work"], 1);
}

/// Runs the agent with a file system of its own over the spool's folder; `None`, told, where that is not allowed.
fn mounted(node: &Node, mount: &str) -> Option<Command> {
    fs::create_dir_all(node.spool()).unwrap();
    let mut trial = Command::new("unshare");
    trial.args(["--mount", "sh", "-c", &format!("{mount} >/dev/null 2>&1"), "sh"]).arg(node.spool());
    if !trial.status().is_ok_and(|status| status.success()) {
        println!("skipped: no mounts of its own for a test ({mount})");
        return None;
    }
    let mut command = Command::new("unshare");
    let script = format!("{mount}; shift; exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(node.spool()).arg(AGENT).arg("collect");
    command.arg("--root").arg(node.path("root")).arg("--pstore-dir").arg(node.pstore());
    Some(with_spool(command, node))
}

#[test]
fn the_spool_is_full() {
    let node = died();
    // 48 KiB hold the folders; the crash is noise, which no coder makes smaller.
    let mut seed = 1u64;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(33 + (seed >> 58) as u8)
    });
    node.record("dmesg-ramoops-1", DIED, format!("{PANIC}{}\n", noise.take(200_000).collect::<String>()));
    if let Some(mut command) = mounted(&node, "mount -t tmpfs -o size=48k none \"$1\"") {
        check(&node, &mut command, 74, &["No space left on device"], 0);
    }
}

#[test]
fn the_root_is_read_only() {
    let node = died();
    if let Some(mut command) = mounted(&node, "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"")
    {
        check(&node, &mut command, 74, &["making", "Read-only file system"], 0);
    }
    // The spool is there from better days.
    assert!(collect(&node).status().unwrap().success());
    if let Some(mut command) = mounted(&node, "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"")
    {
        check(&node, &mut command, 74, &["Read-only file system"], 1);
    }
}

#[test]
fn the_pstore_cannot_be_read() {
    for (of_folder, words) in [(true, "reading the pstore at"), (false, "could not be read in full")] {
        let node = died();
        fs::remove_file(node.pstore().join("dmesg-ramoops-0")).unwrap();
        let record = node.record("dmesg-ramoops-1", DIED, PANIC);
        let closed = if of_folder { node.pstore() } else { record };
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let mut command = collect(&node);
        if fs::metadata(node.dir.path()).unwrap().uid() == 0 {
            // Nothing is closed to root.
            fs::set_permissions(node.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
            command.uid(65534).gid(65534);
            if !readable_by_nobody(Path::new(AGENT)) {
                println!("skipped: the program lies where nobody but root comes");
                return;
            }
        }
        let Output { status, stderr, .. } = command.output().unwrap();
        let told = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), told.lines().count()), (Some(74), 1), "{told}");
        assert!(told.contains(words), "{told}");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(names(&node.pstore()).len(), 1);
    }
}

fn readable_by_nobody(path: &Path) -> bool {
    path.ancestors().all(|above| fs::metadata(above).is_ok_and(|metadata| metadata.mode() & 0o005 == 0o005))
}

#[test]
fn foreign_words_do_not_steer_the_terminal() {
    let (node, service) = (died(), Service::start());
    service.fail_offer(Fault::Status(401, "\u{1b}]0;title\u{7}"));
    let folder = node.path("crash/\u{1b}[2J");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("dump-incomplete"), "").unwrap();
    fs::File::options()
        .write(true)
        .open(folder.join("dump-incomplete"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let mut command = collect(&node);
    let out = command
        .arg("--crash-dir")
        .arg(node.path("crash"))
        .args(["--server", &service.url()])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(77));
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(told.contains("\\u{1b}[2J") && told.contains("\\u{1b}]0;title\\u{7}"), "{told}");
    assert!(
        !told.contains('\u{1b}') && out.stdout.iter().all(|&byte| byte == b'\n' || byte >= b' '),
        "{told}"
    );
}

/// Ten thousand crashes, and the service away: all are kept, and all arrive. Fewer in an ordinary run of the tests.
#[test]
fn ten_thousand_records() {
    let count = if std::env::var_os("LASTWORDS_FULL_MATRIX").is_some() { 10_000 } else { 500 };
    let (node, service) = (Node::new(), Service::start());
    for n in 0..count {
        let text = PANIC.replace("27.1", &format!("{n}.1"));
        node.record(&format!("dmesg-erst-{}", 1_000_000 + 2 * n), DIED + 100 * n, text);
    }
    let begun = std::time::Instant::now();
    let out = collect(&node).args(["--server", "http://127.0.0.1:1"]).output().unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), told.lines().count()), (Some(75), 1), "{told}");
    assert_eq!(node.spooled("ready").len() as u64, count);
    let kept = begun.elapsed();
    let out = collect(&node).args(["--server", &service.url(), "--forget"]).output().unwrap();
    assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!((service.stored().len() as u64, names(&node.pstore()).len()), (count, 0));
    println!("{count} records: kept in {kept:.1?}, handed over and erased in {:.1?}", begun.elapsed() - kept);
}
