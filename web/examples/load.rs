//! How much the service takes and gives: requests a second and how long they take, over HTTP, against a service in this
//! process on a disk that is synced.
//!
//! `cargo run --release -p web --example load [-- CRASHES]`. Clients and service share the processors: compare runs of
//! one machine with each other, and with nothing else. The processor time of a request, of client and service together,
//! is the figure that a busy machine changes least.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use handover::canonical::Document;
use handover::manifest::{Agent, Class, Clock, DeadBoot, Host, Kind, Manifest, Piece, Redaction, Source};
use handover::{BootId, EvidenceId, Incarnation, NodeId, Sha256};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use web::app::{self, Setup};
use web::symbols::Settings;

/// Connections that ask at the same time.
const CLIENTS: usize = 8;
/// Requests of each reading kind.
const READS: usize = 400;

fn main() {
    let crashes: usize = std::env::args().nth(1).map_or(2000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir_in(".").unwrap();
    let runtime = Runtime::new().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let setup = Setup {
        data: folder.path().to_owned(),
        open_to_local_readers: true,
        symbols: Settings::default(),
        dump_reader: PathBuf::from("lastwords"),
    };
    let (url, service) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = app::open(&setup).await.unwrap();
        let running = web::run(listener, Arc::clone(&app), async { drop(stopped.await) });
        (url, tokio::spawn(async { running.await.unwrap() }))
    });
    let token =
        |name: &str| fs::read_to_string(folder.path().join("tokens").join(name)).unwrap().trim().to_owned();

    println!(
        "{:<34} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "requests", "a second", "p50 ms", "p99 ms", "worst ms", "CPU ms"
    );
    let logs = logs();
    let parcels: Vec<(String, Vec<u8>)> = (0..crashes).map(|number| parcel(number, &logs)).collect();
    let ingest = token("ingest");
    measure("evidence put (1 crash each)", crashes, |agent, number| {
        let (path, parcel) = &parcels[number];
        let answer = agent
            .put(format!("{url}{path}"))
            .header("authorization", format!("Bearer {ingest}"))
            .send(parcel);
        assert_eq!(answer.unwrap().status(), 201);
    });
    let begun = Instant::now();
    settle(&url);
    println!(
        "{:<34} {crashes:>8} {:>9.0}",
        "  … named, counted, located after",
        crashes as f64 / begun.elapsed().as_secs_f64()
    );
    measure("evidence put again (duplicates)", crashes.min(READS), |agent, number| {
        let (path, parcel) = &parcels[number];
        let answer = agent
            .put(format!("{url}{path}"))
            .header("authorization", format!("Bearer {ingest}"))
            .send(parcel);
        assert_eq!(answer.unwrap().status(), 200);
    });

    let module = module();
    let symbols = token("symbols");
    // Four are taken at once; the others are told to come again.
    measure("symbols put (350 KB, at hand)", 100, |agent, _| {
        loop {
            let put = agent
                .put(format!("{url}/api/v1/symbols/crashlab.ko"))
                .header("authorization", format!("Bearer {symbols}"));
            match put.send(&module) {
                Err(ureq::Error::StatusCode(503)) => std::thread::sleep(Duration::from_millis(5)),
                answer => return assert!(answer.unwrap().status().is_success()),
            }
        }
    });
    settle(&url);
    let one = |path: &str, field: &str| {
        let text = read(&agent(), &format!("{url}/api/v1/{path}"));
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        value["items"][0][field].as_str().unwrap().to_owned()
    };
    let (crash, signature) = (one("crashes", "crash_id"), one("signatures", "signature_id"));
    let build_id = one("symbols", "build_id");
    for path in [
        "/livez".to_owned(),
        "/".to_owned(),
        "/signatures".to_owned(),
        format!("/signatures/{signature}"),
        "/crashes".to_owned(),
        format!("/crashes/{crash}"),
        format!("/api/v1/crashes/{crash}"),
        "/nodes".to_owned(),
        "/symbols".to_owned(),
        "/api/v1/symbols/missing".to_owned(),
        format!("/buildid/{build_id}/debuginfo"),
    ] {
        let name = path.replace(&crash, "…").replace(&signature, "…").replace(&build_id, "…");
        measure(&format!("GET {name}"), READS, |agent, _| {
            read(agent, &format!("{url}{path}"));
        });
    }
    drop(stop);
    runtime.block_on(service).unwrap();
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().into()
}

fn read(agent: &ureq::Agent, url: &str) -> Vec<u8> {
    agent.get(url).call().unwrap().body_mut().with_config().limit(64 << 20).read_to_vec().unwrap()
}

/// Does something so many times by all clients together, and prints how long it took.
fn measure(name: &str, times: usize, work: impl Fn(&ureq::Agent, usize) + Sync) {
    let next = AtomicUsize::new(0);
    let (begun, processor) = (Instant::now(), processor_time());
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let client = || {
            let (agent, mut took) = (agent(), Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= times {
                    return took;
                }
                let begun = Instant::now();
                work(&agent, number);
                took.push(begun.elapsed());
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let (all, processor) = (begun.elapsed(), processor_time() - processor);
    took.sort();
    let ms = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)].as_secs_f64() * 1000.0;
    let rate = times as f64 / all.as_secs_f64();
    let processor = processor.as_secs_f64() * 1000.0 / times as f64;
    println!(
        "{name:<34} {times:>8} {rate:>9.0} {:>9.2} {:>9.2} {:>9.2} {processor:>9.2}",
        ms(50),
        ms(99),
        ms(100)
    );
}

/// Of this process, in user and kernel.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap();
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

fn settle(url: &str) {
    let agent = agent();
    loop {
        let state: serde_json::Value =
            serde_json::from_slice(&read(&agent, &format!("{url}/readyz"))).unwrap();
        if state["unread"] == 0 && state["jobs"] == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn module() -> Vec<u8> {
    fs::read(fixtures().join("modules/6.12.117+deb12-cloud-amd64/crashlab.ko")).unwrap()
}

/// The records of the fixtures, joined: some 20 KB of log each.
fn logs() -> Vec<Vec<u8>> {
    let mut logs = Vec::new();
    for case in fs::read_dir(fixtures().join("pstore")).unwrap() {
        let case = case.unwrap().path();
        let records = fs::read_dir(&case).into_iter().flatten().flatten();
        let mut records: Vec<PathBuf> = records
            .map(|entry| entry.path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("dmesg-"))
            .collect();
        records.sort();
        if let Some(record) = records.first() {
            logs.push(fs::read(record).unwrap());
        }
    }
    assert!(!logs.is_empty());
    logs.sort();
    logs
}

/// A crash; every second one is of a machine that crashes again and again.
fn parcel(number: usize, logs: &[Vec<u8>]) -> (String, Vec<u8>) {
    let mut evidence = logs[number % logs.len()].clone();
    // Another boot printed another line somewhere.
    evidence.extend_from_slice(format!("<6>[  999.{number:06}] load: {number}\n").as_bytes());
    let machine = if number.is_multiple_of(2) { number - number % 10 } else { number } as u128;
    let node_id = NodeId::new(machine.to_be_bytes());
    let sha256 = Sha256::of(&evidence);
    let kind = Kind::KernelLog;
    let size = evidence.len() as u64;
    let manifest = Manifest {
        schema: handover::manifest::SCHEMA.to_owned(),
        evidence_id: EvidenceId::of(&node_id, &kind, &sha256),
        node_id,
        incarnation: Incarnation::new([1; 16]),
        kind,
        size,
        sha256,
        pieces: vec![Piece { name: "dmesg-ramoops-0".to_owned(), size, mtime_us: 0 }],
        source: Source { kind: "pstore".to_owned(), backend: None },
        dead_boot: DeadBoot { id: BootId::new((number as u128).to_be_bytes()), basis: "derived".to_owned() },
        found_boot: BootId::new([9; 16]),
        found_us: 1_795_376_533_000_000 + number as i64,
        found_boottime_us: 21_400_000,
        crash_time: None,
        clock: Clock { synced: true, basis: "adjtimex".to_owned() },
        host: Host {
            name: String::new(),
            kernel: "6.12.117+deb12-cloud-amd64".to_owned(),
            build_id: String::new(),
            arch: "x86_64".to_owned(),
            cmdline_sha256: String::new(),
        },
        labels: [("pool".to_owned(), "blue".to_owned())].into(),
        agent: Agent { version: "0.1.0".to_owned(), build: String::new() },
        redaction: Redaction::default(),
        class: Class::Field,
        notes: Vec::new(),
        weight: 1,
        withheld: None,
    };
    let manifest: Document<Manifest> = manifest.write().unwrap();
    let path = format!("/api/v1/evidence/{}", manifest.evidence_id);
    (path, handover::parcel::encode(&manifest, Some(&evidence)).unwrap())
}
