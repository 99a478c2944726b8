//! Debug files from debuginfod servers: asked in order, each file checked before it has its name.
//!
//! The folder is laid out as elfutils lays out its cache (`BUILD-ID/debuginfo`; an empty file: no server has it), so
//! that gdb, drgn and `debuginfod-find` share theirs with us. Protocol: debuginfod(8), debuginfod_find_debuginfo(3).

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use report::BuildId;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use crate::error::chain;
use crate::image::Image;
use crate::source;

/// Bytes that are received at once.
const CHUNK: usize = 1 << 17;
/// Within [`Limits::stall`] at least this much must come, as elfutils has it: less would not end.
const LEAST: u64 = 100 * 1024;
/// A server that is moved says so once or twice.
const REDIRECTS: u32 = 5;

/// Tells the parts of one process apart.
static PARTS: AtomicU64 = AtomicU64::new(0);

/// What of a build is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// The file with the debug information.
    Debuginfo,
    /// The file that runs.
    Executable,
    /// A file that it was compiled from, by its path in the debug information; see [`What::source`].
    Source(String),
}

impl What {
    /// A source file by the path that the compiler had, without `.` and `..`, as servers want it. `None` for a path
    /// that does not begin at the root: no server could tell what it is below.
    pub fn source(path: &str) -> Option<What> {
        let mut plain: Vec<&str> = Vec::new();
        for part in path.strip_prefix('/')?.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(plain.pop()),
                name => plain.push(name),
            }
        }
        (!plain.is_empty()).then(|| What::Source(format!("/{}", plain.join("/"))))
    }

    /// What follows the build-id in the address.
    fn address(&self) -> String {
        let What::Source(path) = self else { return self.to_string() };
        let mut address = "source".to_string();
        for byte in path.bytes() {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                    address.push(byte.into());
                }
                _ => address.push_str(&format!("%{byte:02X}")),
            }
        }
        address
    }

    /// Its name in the folder of the build: paths may be longer than names.
    fn file(&self) -> String {
        match self {
            What::Source(path) => format!("source-{:016x}", xxhash_rust::xxh3::xxh3_64(path.as_bytes())),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Debuginfo => f.write_str("debuginfo"),
            What::Executable => f.write_str("executable"),
            What::Source(path) => write!(f, "source {path}"),
        }
    }
}

/// How long and how much; the defaults are those of elfutils where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A server must take a connection within this.
    pub connect: Duration,
    /// An answer may stand still, and take to begin, this long (`DEBUGINFOD_TIMEOUT`): servers unpack large packages.
    pub stall: Duration,
    /// One file may take this long in all (`DEBUGINFOD_MAXTIME`).
    pub whole: Duration,
    /// A file may have this many bytes (`DEBUGINFOD_MAXSIZE`): an allyesconfig vmlinux has 5 GB.
    pub bytes: u64,
    /// What no server had is asked for again after this (`cache_miss_s`).
    pub missing: Duration,
    /// A server that did not answer is left alone for this long.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(90),
            whole: Duration::from_secs(3600),
            bytes: 8 << 30,
            missing: Duration::from_secs(600),
            rest: Duration::from_secs(60),
        }
    }
}

/// Why it is not known whether there is such a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given is no address of a server.
    #[error("{0:?} is no http or https URL")]
    Url(String),
    /// A line of the headers that go with each request.
    #[error("{0:?} is no header: it wants NAME: VALUE")]
    Header(String),
    /// No server gave the file, and not all of them say that they have none.
    #[error("{what} of {build_id}: {}", reasons.join("; "))]
    Failed {
        /// What was asked for.
        what: What,
        /// Of which build.
        build_id: BuildId,
        /// What each server did.
        reasons: Vec<String>,
    },
    /// The folder failed.
    #[error("cannot {doing} {}", path.display())]
    Disk {
        /// What we were doing.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Asks servers for files of a build and keeps what they send.
pub struct Client {
    servers: Vec<Server>,
    headers: Vec<(String, String)>,
    folder: PathBuf,
    limits: Limits,
    agent: Agent,
    /// Called with each request that goes out: nobody's network is used without a word.
    say: fn(&str),
    asking: Mutex<HashSet<(BuildId, What)>>,
    answered: Condvar,
}

#[derive(Debug)]
struct Server {
    url: String,
    /// When it last failed to answer.
    failed: Mutex<Option<Instant>>,
}

/// What one server did.
enum Answer {
    File(PathBuf),
    HasNone,
    Failed(String),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a token.
        f.debug_struct("Client")
            .field("servers", &self.servers)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Of servers by their addresses, in the order in which they are asked, and the folder for what they send.
    pub fn new(servers: &[String], folder: &Path, limits: Limits, say: fn(&str)) -> Result<Client, Error> {
        let server = |url: &String| {
            let uri: Option<ureq::http::Uri> = url.parse().ok();
            let known = uri.is_some_and(|uri| {
                uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
            });
            let url = url.trim_end_matches('/').to_string();
            if known { Ok(Server { url, failed: Mutex::new(None) }) } else { Err(Error::Url(url)) }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .user_agent(concat!("lastwords/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_per_read(Some(limits.stall))
            .timeout_recv_response(Some(limits.stall))
            .timeout_global(Some(limits.whole))
            .build();
        Ok(Client {
            servers: servers.iter().map(server).collect::<Result<_, _>>()?,
            headers: Vec::new(),
            folder: folder.to_path_buf(),
            limits,
            agent: Agent::new_with_config(config),
            say,
            asking: Mutex::default(),
            answered: Condvar::new(),
        })
    }

    /// Headers that go with every request, one `NAME: VALUE` a line, as in the file `$DEBUGINFOD_HEADERS_FILE`.
    pub fn add_headers(&mut self, lines: &str) -> Result<(), Error> {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(|| Error::Header(line.to_string()))?;
            self.headers.push((name.trim().to_string(), value.trim().to_string()));
        }
        Ok(())
    }

    /// The file of exactly this build; `None` when every server said that it has none, now or not long ago. Who asks
    /// for what is being asked for waits for that answer.
    pub fn find(&self, build_id: &BuildId, what: What) -> Result<Option<PathBuf>, Error> {
        let _turn = self.turn(build_id, &what);
        let folder = self.folder.join(build_id.to_string());
        let path = folder.join(what.file());
        if let Some(known) = self.kept(&path, build_id, &what) {
            return Ok(known.then_some(path));
        }
        fs::create_dir_all(&folder).map_err(disk("make the folder", &folder))?;
        let mut reasons = Vec::new();
        let mut all_have_none = true;
        for server in &self.servers {
            match self.ask(server, build_id, &what, &path)? {
                Answer::File(path) => return Ok(Some(path)),
                Answer::HasNone => reasons.push(format!("{} has none", server.url)),
                Answer::Failed(reason) => {
                    all_have_none = false;
                    reasons.push(format!("{}: {reason}", server.url));
                }
            }
        }
        if !all_have_none {
            return Err(Error::Failed { what, build_id: build_id.clone(), reasons });
        }
        if !self.servers.is_empty() {
            File::create(&path).map_err(disk("note that no server has", &path))?;
        }
        Ok(None)
    }

    /// Says something to whoever is told of requests.
    pub(crate) fn say(&self, text: &str) {
        (self.say)(text);
    }

    /// Whether the file is there, or is known not to be; `None` when neither is known.
    fn kept(&self, path: &Path, build_id: &BuildId, what: &What) -> Option<bool> {
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        if meta.len() == 0 {
            let age = SystemTime::now().duration_since(meta.modified().ok()?).ok()?;
            return (age < self.limits.missing).then_some(false);
        }
        // Others write to this folder too, and do not compare.
        is_it(path, build_id, what).is_ok().then_some(true)
    }

    fn ask(&self, server: &Server, build_id: &BuildId, what: &What, to: &Path) -> Result<Answer, Error> {
        let failed = || server.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed().is_some_and(|at| at.elapsed() < self.limits.rest) {
            return Ok(Answer::Failed("did not answer a moment ago".into()));
        }
        let url = format!("{}/buildid/{build_id}/{}", server.url, what.address());
        (self.say)(&format!("asking for {url}"));
        let request = self.agent.get(&url);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => {
                *failed() = Some(Instant::now());
                return Ok(Answer::Failed(chain(&error)));
            }
        };
        match response.status().as_u16() {
            200 => self.receive(response, build_id, what, to),
            404 => Ok(Answer::HasNone),
            status => Ok(Answer::Failed(format!("answers {status}"))),
        }
    }

    fn receive(
        &self,
        response: Response<Body>,
        build_id: &BuildId,
        what: &What,
        to: &Path,
    ) -> Result<Answer, Error> {
        let most = match what {
            What::Source(_) => self.limits.bytes.min(source::MAX_FILE),
            _ => self.limits.bytes,
        };
        let announced = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let size = announced(header::CONTENT_LENGTH.as_str()).max(announced("x-debuginfod-size"));
        if let Some(size) = size.filter(|&size| size > most) {
            return Ok(Answer::Failed(format!("announces {size} bytes, more than {most}")));
        }
        let folder = to.parent().unwrap_or(to);
        // Who is alive writes more often than this.
        sweep(folder, self.limits.stall * 2);
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let part = Part(to.with_extension(format!("{}-{number}.part", std::process::id())));
        let mut file = File::create(&part.0).map_err(disk("create", &part.0))?;
        if let Err(failure) = self.copy(response, &mut file, most) {
            return match failure {
                Failure::Disk(source) => Err(disk("write", &part.0)(source)),
                Failure::Server(reason) => Ok(Answer::Failed(reason)),
            };
        }
        if let Err(reason) = is_it(&part.0, build_id, what) {
            return Ok(Answer::Failed(format!("sent what is not it: {reason}")));
        }
        file.sync_all().map_err(disk("sync", &part.0))?;
        fs::rename(&part.0, to).map_err(disk("rename to", to))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk("sync", folder))?;
        Ok(Answer::File(to.to_path_buf()))
    }

    fn copy(&self, response: Response<Body>, file: &mut File, most: u64) -> Result<(), Failure> {
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut buffer, mut bytes) = (vec![0; CHUNK], 0);
        let (mut since, mut at) = (Instant::now(), 0);
        loop {
            let read = body.read(&mut buffer).map_err(|e| Failure::Server(format!("broke off: {e}")))?;
            if read == 0 {
                return Ok(());
            }
            bytes += read as u64;
            if bytes > most {
                return Err(Failure::Server(format!("sends more than {most} bytes")));
            }
            file.write_all(&buffer[..read]).map_err(Failure::Disk)?;
            if since.elapsed() > self.limits.stall {
                if bytes - at < LEAST {
                    return Err(Failure::Server(format!(
                        "sent {} bytes in {:?}",
                        bytes - at,
                        since.elapsed()
                    )));
                }
                (since, at) = (Instant::now(), bytes);
            }
        }
    }

    /// Waits until nobody asks for the same.
    fn turn(&self, build_id: &BuildId, what: &What) -> Turn<'_> {
        let key = (build_id.clone(), what.clone());
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        while asking.contains(&key) {
            asking = self.answered.wait(asking).unwrap_or_else(PoisonError::into_inner);
        }
        asking.insert(key.clone());
        Turn { client: self, key }
    }
}

enum Failure {
    Disk(io::Error),
    Server(String),
}

/// The right to ask for one file, given back when dropped.
struct Turn<'c> {
    client: &'c Client,
    key: (BuildId, What),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.client.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.client.answered.notify_all();
    }
}

/// A file that is not whole; it goes unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Removes what a killed program left: parts that nobody has written to for so long.
fn sweep(folder: &Path, age: Duration) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
        let old = modified.and_then(|at| at.elapsed().ok()).is_some_and(|since| since > age);
        if old && path.extension().is_some_and(|ending| ending == "part") {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether a file is an object of this build; of a source nothing says that, and it is enough that it is text.
fn is_it(path: &Path, build_id: &BuildId, what: &What) -> Result<(), String> {
    if let What::Source(_) = what {
        let mut head = [0; CHUNK];
        let read = File::open(path).and_then(|mut file| file.read(&mut head)).map_err(|e| e.to_string())?;
        return if head[..read].contains(&0) { Err("it is no text".into()) } else { Ok(()) };
    }
    let image = Image::open_alone(path, path).map_err(|e| {
        // The name of a temporary file tells nobody anything.
        std::error::Error::source(&e).map_or_else(|| chain(&e), chain)
    })?;
    match image.build_id() {
        Some(found) if found == build_id => Ok(()),
        Some(found) => Err(format!("its build-id is {found}")),
        None => Err("it has no build-id".into()),
    }
}

fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Disk { doing, path, source }
}
