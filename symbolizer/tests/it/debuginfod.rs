//! The client of debuginfod servers, against small servers that behave and ones that do not.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use report::BuildId;
use symbolizer::debuginfod::{Client, Error, Limits, What};
use symbolizer::{Image, chain};

use crate::{RELEASES, module_path};

/// A server that answers every request in one way and counts them. Its threads end with the test's process.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn new(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (counted, answer) = (Arc::clone(&counted), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let Some(Ok(request)) = lines.next() else { return };
                    lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).count();
                    counted.fetch_add(1, Ordering::SeqCst);
                    answer(request.split(' ').nth(1).unwrap(), &mut stream);
                });
            }
        });
        Server { url, asked }
    }

    fn of(body: Vec<u8>) -> Server {
        Server::new(move |_, stream| send(stream, body.len(), &body))
    }

    fn empty() -> Server {
        Server::new(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The client may be gone before it has all.
fn send(stream: &mut TcpStream, announced: usize, body: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn module(release: &str) -> (BuildId, Vec<u8>) {
    let path = module_path(release);
    (Image::open(&path).unwrap().build_id().unwrap().clone(), fs::read(path).unwrap())
}

const SHORT: Duration = Duration::from_millis(500);

fn limits() -> Limits {
    Limits { stall: SHORT, whole: SHORT * 4, bytes: 4 << 20, ..Limits::default() }
}

fn client(servers: &[&Server], folder: &Path, limits: Limits) -> Client {
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    Client::new(&urls, folder, limits, |_| {}).unwrap()
}

fn reason(error: &Error) -> String {
    chain(error)
}

/// Nothing but what has its name is left in the folder.
fn kept(folder: &Path, build_id: &BuildId) -> Vec<String> {
    let listed = fs::read_dir(folder.join(build_id.to_string())).into_iter().flatten();
    listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn servers_are_asked_in_order_until_one_has_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[0]);
    let path = format!("/buildid/{build_id}/debuginfo");
    let (sent, wanted) = (bytes.clone(), path);
    let has = Server::new(move |asked, stream| {
        assert_eq!(asked, wanted);
        send(stream, sent.len(), &sent);
    });
    let (empty, last) = (Server::empty(), Server::empty());
    let client = client(&[&empty, &has, &last], folder.path(), limits());
    let found = client.find(&build_id, What::Debuginfo).unwrap().unwrap();
    assert!(fs::read(&found).unwrap() == bytes);
    assert_eq!(kept(folder.path(), &build_id), ["debuginfo"]);
    assert_eq!((empty.asked(), has.asked(), last.asked()), (1, 1, 0));
    assert_eq!(client.find(&build_id, What::Debuginfo).unwrap().unwrap(), found);
    assert_eq!(has.asked(), 1, "what is kept is not asked for");

    // What somebody else wrote there is asked for again when it is another build.
    fs::write(&found, module(RELEASES[1]).1).unwrap();
    client.find(&build_id, What::Debuginfo).unwrap().unwrap();
    assert_eq!(has.asked(), 2);
    assert!(fs::read(&found).unwrap() == bytes);
}

#[test]
fn what_no_server_has_is_asked_for_again_only_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let build_id = module(RELEASES[0]).0;
    let servers = [Server::empty(), Server::empty()];
    let both = [&servers[0], &servers[1]];
    let limits = limits();
    for _ in 0..3 {
        assert_eq!(client(&both, folder.path(), limits).find(&build_id, What::Debuginfo).unwrap(), None);
    }
    assert_eq!((servers[0].asked(), servers[1].asked()), (1, 1));
    let long_ago = std::time::SystemTime::now() - limits.missing;
    let noted = folder.path().join(build_id.to_string()).join("debuginfo");
    fs::File::options().write(true).open(noted).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(client(&both, folder.path(), limits).find(&build_id, What::Debuginfo).unwrap(), None);
    assert_eq!((servers[0].asked(), servers[1].asked()), (2, 2));
    // Another kind of file is another question.
    client(&both, folder.path(), limits).find(&build_id, What::Executable).unwrap();
    assert_eq!(servers[0].asked(), 3);
}

#[test]
fn a_file_of_another_build_is_never_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[0]);
    let other = Server::of(module(RELEASES[1]).1);
    let page = Server::of(b"<html>a proxy's greeting</html>".to_vec());
    let error = client(&[&other, &page], folder.path(), limits()).find(&build_id, What::Debuginfo);
    let reason = reason(&error.unwrap_err());
    assert!(reason.contains("its build-id is") && reason.contains("not an ELF object"), "{reason}");
    assert_eq!(kept(folder.path(), &build_id), Vec::<String>::new());
    let right = Server::of(bytes);
    let found = client(&[&other, &right], folder.path(), limits()).find(&build_id, What::Debuginfo);
    assert!(found.unwrap().is_some(), "the next server is asked");
}

#[test]
fn a_body_that_ends_early_is_no_file_and_no_proof_that_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[0]);
    let half = bytes.len() / 2;
    let (whole, cut) = (bytes.len(), bytes[..half].to_vec());
    let announced = Server::new(move |_, stream| send(stream, whole, &cut));
    let cut = bytes[..half].to_vec();
    let unannounced = Server::new(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(&cut);
    });
    for server in [&announced, &unannounced] {
        let client = client(&[server], folder.path(), limits());
        for asked in 1..3 {
            client.find(&build_id, What::Debuginfo).unwrap_err();
            assert_eq!(server.asked(), asked);
        }
        assert_eq!(kept(folder.path(), &build_id), Vec::<String>::new());
    }
}

#[test]
fn a_slow_server_is_given_up_and_left_alone_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[0]);
    let silent = Server::new(|_, _| std::thread::sleep(SHORT * 20));
    let drop_by_drop = Server::new(|_, stream| {
        send(stream, 1 << 20, b"");
        for _ in 0..100 {
            std::thread::sleep(SHORT / 6);
            if stream.write_all(b"\x7f").is_err() {
                return;
            }
        }
    });
    let right = Server::of(bytes);
    let client = client(&[&silent, &drop_by_drop, &right], folder.path(), limits());
    let begun = Instant::now();
    assert!(client.find(&build_id, What::Debuginfo).unwrap().is_some());
    assert!(begun.elapsed() < SHORT * 8, "{:?}", begun.elapsed());
    client.find(&module(RELEASES[1]).0, What::Debuginfo).unwrap_err();
    assert_eq!(silent.asked(), 1, "it did not answer a moment ago");
}

#[test]
fn a_huge_body_is_refused_by_its_announcement_and_while_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let build_id = module(RELEASES[0]).0;
    let announced = Server::new(|_, stream| send(stream, 1 << 40, b"\x7fELF"));
    let endless = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[0x7f; 1 << 16]).is_ok() {}
    });
    let error = client(&[&announced, &endless], folder.path(), limits()).find(&build_id, What::Debuginfo);
    let reason = reason(&error.unwrap_err());
    assert!(reason.contains("announces 1099511627776 bytes"), "{reason}");
    assert!(reason.contains("sends more than 4194304 bytes"), "{reason}");
    assert_eq!(kept(folder.path(), &build_id), Vec::<String>::new());
}

#[test]
fn many_who_ask_for_one_file_are_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[0]);
    let server = Server::new(move |_, stream| {
        std::thread::sleep(SHORT / 3);
        send(stream, bytes.len(), &bytes);
    });
    let client = client(&[&server], folder.path(), limits());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.find(&build_id, What::Debuginfo).unwrap().unwrap());
        }
    });
    assert_eq!(server.asked(), 1);
}

#[test]
fn what_a_killed_program_left_goes_and_what_is_being_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[0]);
    let own = folder.path().join(build_id.to_string());
    fs::create_dir_all(&own).unwrap();
    let (old, new) = (own.join("debuginfo.1-0.part"), own.join("debuginfo.2-0.part"));
    for path in [&old, &new] {
        fs::write(path, b"\x7fELF").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    client(&[&Server::of(bytes)], folder.path(), Limits::default()).find(&build_id, What::Debuginfo).unwrap();
    assert!(!old.exists() && new.exists());
}

#[test]
fn what_is_no_address_is_said_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["", "debuginfod.example", "ftp://debuginfod.example", "http://"] {
        let refused = Client::new(&[url.to_string()], folder.path(), limits(), |_| {});
        assert!(refused.is_err(), "{url:?}");
    }
}

/// The command asks only who it is told to, says so, and uses what comes.
#[test]
fn a_log_that_names_a_build_is_decoded_with_what_a_server_has() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, bytes) = module(RELEASES[1]);
    let server = Server::of(bytes);
    let log = format!(
        "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
         [    1.0] CPU: 1 PID: 117 Comm: insmod Not tainted {} #1\n\
         [    1.0] Call Trace:\n[    1.0]  read_rpm+0x5/0x10 [crashlab {build_id}]\n",
        RELEASES[1]
    );
    let path = folder.path().join("log");
    fs::write(&path, log).unwrap();
    let run = |set: &dyn Fn(&mut std::process::Command)| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lastwords-decode"));
        command.env_remove("DEBUGINFOD_URLS").env("DEBUGINFOD_CACHE_PATH", folder.path().join("cache"));
        set(command.arg(&path));
        let done = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(done.stdout), text(done.stderr))
    };
    let (out, said) = run(&|_| {});
    assert_eq!((out.contains("crashlab.c:"), said.as_str(), server.asked()), (false, "", 0));
    let (out, said) = run(&|command| {
        command.args(["--debuginfod", &server.url]);
    });
    assert!(out.contains("crashlab.c:"), "{out}\n{said}");
    assert!(said.contains(&format!("asking for {}/buildid/{build_id}/debuginfo", server.url)), "{said}");
    let (out, _) = run(&|command| {
        command.env("DEBUGINFOD_URLS", format!("{} http://192.0.2.1", server.url));
    });
    assert!(out.contains("crashlab.c:"), "{out}");
    assert_eq!(server.asked(), 1, "what is kept is not asked for");
}

#[test]
fn sources_are_fetched_by_the_path_of_the_compiler_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (build_id, _) = module(RELEASES[0]);
    let wanted = format!("/buildid/{build_id}/source/usr/src/linux-6.1%2B1/kernel/fork.c");
    let has = Server::new(move |asked, stream| {
        assert_eq!(asked, wanted);
        send(stream, 12, b"int fork;\n\n\n");
    });
    let client_of = |server: &Server| client(&[server], folder.path(), limits());
    let source = || What::source("/usr/src/./linux-6.1+1/mm/../kernel/fork.c").unwrap();
    let found = client_of(&has).find(&build_id, source()).unwrap().unwrap();
    assert_eq!(fs::read(&found).unwrap(), b"int fork;\n\n\n");
    assert_eq!(client_of(&has).find(&build_id, source()).unwrap(), Some(found));
    assert_eq!(has.asked(), 1);
    for (path, body, why) in [
        ("/binary.c", b"int\0".to_vec(), "sent what is not it: it is no text"),
        ("/large.c", vec![b' '; 5 << 20], "announces 5242880 bytes, more than 4194304"),
    ] {
        let other = Server::of(body);
        let error = client_of(&other).find(&build_id, What::source(path).unwrap()).unwrap_err();
        assert!(reason(&error).starts_with(&format!("source {path} of {build_id}")), "{error}");
        assert!(reason(&error).ends_with(why), "{error}");
    }
    assert_eq!(What::source("kernel/fork.c"), None);
    assert_eq!(What::source("/../.."), None);
}
