//! A service on a port of its own, machines that crashed, and requests.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::agent::{Config, Summary, collect};
use handover::canonical::Document;
use handover::manifest::{Agent, Class, Clock, DeadBoot, Host, Kind, Manifest, Piece, Redaction, Source};
use handover::{BootId, EvidenceId, Incarnation, NodeId, Sha256};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use web::app::{self, AppState, Setup};
use web::symbols::Settings;

/// A running service. Dropped, it stops as a signal would stop it.
pub struct Service {
    pub data: PathBuf,
    pub address: SocketAddr,
    pub app: Option<AppState>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
    _folder: Option<TempDir>,
}

impl Service {
    /// With a data folder of its own.
    pub fn start() -> Service {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Service::on(folder.path(), true);
        service._folder = Some(folder);
        service
    }

    /// On a data folder that is kept.
    pub fn on(data: &Path, open_to_local_readers: bool) -> Service {
        Service::with(data, open_to_local_readers, Settings::default())
    }

    /// With settings of its own for debug files.
    pub fn with(data: &Path, open_to_local_readers: bool, symbols: Settings) -> Service {
        let runtime = Runtime::new().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let dump_reader = env!("CARGO_BIN_EXE_lastwords").into();
        let setup = Setup { data: data.to_owned(), open_to_local_readers, symbols, dump_reader };
        let (app, address, done) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let app = app::open(&setup).await.unwrap();
            let shutdown = async { drop(stopped.await) };
            let running = web::run(listener, Arc::clone(&app), shutdown);
            let done = tokio::spawn(async { running.await.unwrap() });
            (app, address, done)
        });
        Service {
            data: data.to_owned(),
            address,
            app: Some(app),
            runtime: Some(runtime),
            stop: Some(stop),
            done: Some(done),
            _folder: None,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token of the first start.
    pub fn token(&self, name: &str) -> String {
        token(&self.data, name)
    }

    pub fn get(&self, path: &str) -> Answer {
        request("GET", &format!("{}{path}", self.url()), None, &[], &[])
    }

    /// A `GET` that must succeed.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub fn send(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Answer {
        request(method, &format!("{}{path}", self.url()), Some(token), &[], body)
    }

    /// Waits until everything that was receipted is read and no job is due.
    pub fn settle(&self) {
        settle(&self.url());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.app.take());
        drop(self.stop.take());
        if let (Some(runtime), Some(done)) = (self.runtime.take(), self.done.take()) {
            let ended = runtime.block_on(done);
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

pub fn token(data: &Path, name: &str) -> String {
    fs::read_to_string(data.join("tokens").join(name)).unwrap().trim().to_owned()
}

pub fn settle(url: &str) {
    let begun = Instant::now();
    loop {
        let state = request("GET", &format!("{url}/readyz"), None, &[], &[]).json();
        if state["unread"] == 0 && state["jobs"] == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not settle: {state}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// It is a problem document of this status and code.
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().ends_with(code));
        assert_eq!(problem["trace_id"], self.header("x-request-id"));
    }
}

pub fn request(
    method: &str,
    url: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_request(method, url, token, headers, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

/// A request whose server may die under it.
pub fn try_request(
    method: &str,
    url: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = match method {
        "GET" | "HEAD" | "DELETE" => agent.run(request.body(()).unwrap()),
        _ => agent.run(request.body(body).unwrap()),
    };
    let mut answer = answer?;
    let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec()?;
    Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
}

/// The repository's folder of real crashes.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// A machine that crashed and came back: an agent's root, and its records in pstore.
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    /// With the records of a fixture.
    pub fn of(case: &str) -> Machine {
        let machine = Machine::new(case);
        for entry in fs::read_dir(fixtures().join(case)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("dmesg-") {
                machine.record(name, &fs::read(&path).unwrap());
            }
        }
        machine
    }

    /// With an empty pstore. `name` makes its machine-id.
    pub fn new(name: &str) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let id = &Sha256::of(name.as_bytes()).to_string()[..32];
        let boot = "550e8400-e29b-41d4-a716-446655440000";
        for (path, text) in [
            ("etc/machine-id", id),
            ("proc/sys/kernel/random/boot_id", boot),
            ("proc/sys/kernel/osrelease", "6.12.117+deb12-cloud-amd64"),
            ("pstore/.keep", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        fs::remove_file(folder.path().join("pstore/.keep")).unwrap();
        Machine { folder }
    }

    pub fn record(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join("pstore").join(name), bytes).unwrap();
    }

    /// Runs the agent as its timer would.
    pub fn collect(&self, url: &str, token: &str) -> Summary {
        self.run(url, token, Duration::from_secs(10))
    }

    /// Runs the agent; it asks a service that is away only once.
    pub fn collect_once(&self, url: &str, token: &str) -> Summary {
        self.run(url, token, Duration::ZERO)
    }

    fn run(&self, url: &str, token: &str, deadline: Duration) -> Summary {
        let path = self.folder.path();
        fs::write(path.join("token"), token).unwrap();
        let config = Config {
            root: path.to_owned(),
            pstore: vec![path.join("pstore")],
            servers: vec![url.to_owned()],
            token_file: Some(path.join("token")),
            deadline,
            ..Config::new(path.join("spool"))
        };
        collect(&config).unwrap()
    }
}

/// A manifest of one log of a machine.
pub fn manifest(machine: u8, evidence: &[u8]) -> Manifest {
    let node_id = NodeId::new([machine; 16]);
    let sha256 = Sha256::of(evidence);
    let kind = Kind::KernelLog;
    Manifest {
        schema: handover::manifest::SCHEMA.to_owned(),
        evidence_id: EvidenceId::of(&node_id, &kind, &sha256),
        node_id,
        incarnation: Incarnation::new([1; 16]),
        kind,
        size: evidence.len() as u64,
        sha256,
        pieces: vec![Piece { name: "dmesg-ramoops-0".to_owned(), size: evidence.len() as u64, mtime_us: 0 }],
        source: Source { kind: "pstore".to_owned(), backend: None },
        dead_boot: DeadBoot { id: BootId::new([machine; 16]), basis: "derived".to_owned() },
        found_boot: BootId::new([9; 16]),
        found_us: 1_795_376_533_000_000,
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
    }
}

/// The same for evidence of another kind.
pub fn manifest_of(kind: Kind, machine: u8, evidence: &[u8]) -> Manifest {
    let manifest = manifest(machine, evidence);
    let evidence_id = EvidenceId::of(&manifest.node_id, &kind, &manifest.sha256);
    Manifest { kind, evidence_id, ..manifest }
}

/// A parcel, and the path it is put to.
pub fn parcel(manifest: Manifest, evidence: &[u8]) -> (String, Vec<u8>) {
    let manifest: Document<Manifest> = manifest.write().unwrap();
    let path = format!("/api/v1/evidence/{}", manifest.evidence_id);
    (path, handover::parcel::encode(&manifest, Some(evidence)).unwrap())
}

/// A kernel log of one oops, at a time since boot.
pub fn oops(seconds: u32) -> Vec<u8> {
    format!(
        "<4>[ {seconds}.100776] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
         <4>[ {seconds}.100777] #PF: supervisor read access in kernel mode\n\
         <4>[ {seconds}.100779] Oops: 0000 [#1] PREEMPT SMP\n\
         <4>[ {seconds}.100780] CPU: 1 PID: 117 Comm: insmod Not tainted 6.12.117+deb12-cloud-amd64 #1\n\
         <4>[ {seconds}.100781] RIP: 0010:start_engine+0x10/0x20 [car]\n\
         <4>[ {seconds}.100782] Call Trace:\n\
         <4>[ {seconds}.100783]  <TASK>\n\
         <4>[ {seconds}.100784]  turn_key+0x2b/0x40 [car]\n\
         <4>[ {seconds}.100785]  do_one_initcall+0x56/0x230\n\
         <4>[ {seconds}.100786]  </TASK>\n\
         <0>[ {seconds}.101902] Kernel panic - not syncing: Fatal exception\n"
    )
    .into_bytes()
}
