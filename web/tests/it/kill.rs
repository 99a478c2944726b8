//! The server process is killed, again and again, while machines hand over.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Machine, manifest, oops, parcel, request, settle, token, try_request};

/// The real program.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(data: &Path) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lastwords"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("lastwords listens on ").unwrap().to_owned();
        Process { child, url }
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_kill_during_an_upload_loses_nothing_and_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let machine = Machine::of("pstore/6.12.117+deb12-cloud-amd64-null_deref");
    // Killed at another moment each time, from before the offer to after the receipt.
    for delay in [0, 1, 2, 4, 8, 16, 32] {
        let process = Process::start(data);
        let (url, token) = (process.url.clone(), token(data, "ingest"));
        std::thread::scope(|scope| {
            let run = scope.spawn(|| machine.collect_once(&url, &token));
            std::thread::sleep(Duration::from_millis(delay));
            process.kill();
            // Whatever it says: the server died under it.
            drop(run.join().unwrap());
        });
    }
    let process = Process::start(data);
    let summary = machine.collect(&process.url, &token(data, "ingest"));
    assert_eq!((summary.waiting, summary.troubles.len()), (0, 0), "{:?}", summary.troubles);
    settle(&process.url);
    let get = |path: &str| request("GET", &format!("{}{path}", process.url), None, &[], &[]).json();
    let evidence = get("/api/v1/evidence");
    assert_eq!(evidence["items"].as_array().unwrap().len(), 1, "{evidence}");
    let fatal = get("/api/v1/crashes?fatal=true");
    assert_eq!(fatal["items"].as_array().unwrap().len(), 1, "{fatal}");
    assert_eq!(get("/api/v1/signatures?fatal=true")["items"][0]["crashes"], 1);
}

#[test]
fn every_receipt_that_left_is_kept_whatever_kills_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut receipts = Vec::new();
    for round in 0..4_u32 {
        let process = Process::start(data);
        let token = token(data, "ingest");
        let sent = AtomicUsize::new(0);
        let url = process.url.clone();
        let mut got = Vec::new();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut got = Vec::new();
                for number in 0..1000 {
                    let log = oops(1000 * (round + 1) + number);
                    let (path, body) = parcel(manifest(1, &log), &log);
                    let url = format!("{url}{path}");
                    sent.fetch_add(1, Ordering::Relaxed);
                    let Ok(answer) = try_request("PUT", &url, Some(&token), &[], &body) else { break };
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    got.push((path, answer.json()));
                }
                got
            });
            while sent.load(Ordering::Relaxed) < 6 {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(3 * u64::from(round)));
            process.kill();
            got = sender.join().unwrap();
        });
        receipts.extend(got);
    }
    assert!(receipts.len() >= 20, "only {} receipts", receipts.len());
    let process = Process::start(data);
    settle(&process.url);
    let token = token(data, "ingest");
    for (path, receipt) in &receipts {
        let url = format!("{}{path}", process.url);
        let kept = request("GET", &format!("{url}/receipt"), Some(&token), &[], &[]).json();
        assert_eq!((&kept["receipt"], &kept["signature"]), (&receipt["receipt"], &receipt["signature"]));
        assert_eq!(request("GET", &format!("{url}/raw"), None, &[], &[]).status, 200);
        assert_eq!(kept["advice"].as_array().unwrap().len(), 1, "read and counted");
    }
}
