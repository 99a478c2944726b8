//! A service in this process, as small as the protocol allows, that fails when it is told to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use handover::boot::BootRecord;
use handover::canonical::Document;
use handover::key::{KeyEntry, KeyState, Keys, SigningKey};
use handover::manifest::{Manifest, Piece};
use handover::offer::{Answer, HeadAnswer, ItemAnswer, Offer, OfferAnswer};
use handover::problem::Problem;
use handover::readiness::Readiness;
use handover::receipt::{self, Disposition, Envelope, Receipt};
use handover::{EvidenceId, NodeId, ReceiptHash, ServiceId, Sha256, parcel};

pub const TOKEN: &str = "lastwords-test-token";

/// What goes wrong, once, at the next request of a kind.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing does: a place in the row.
    Nothing,
    /// The connection is cut before the request was read.
    Cut,
    /// Everything is done and durable, then the connection is cut.
    CutAfter,
    /// A problem document.
    Status(u16, &'static str),
    /// A problem document with `Retry-After`.
    RetryAfter(u16, u64),
    /// A page that somebody else put in the way.
    Portal,
    /// The receipt is signed with a key nobody endorsed.
    Forged,
    /// The receipt is changed after it was signed.
    Altered,
    /// A sound receipt about other evidence.
    OtherEvidence,
    /// Another service answers.
    OtherService,
    /// Nothing is kept, the receipt says so.
    Disposition(Disposition),
    /// A redirect.
    Redirect,
}

#[derive(Default)]
struct State {
    evidence: BTreeMap<EvidenceId, (Document<Manifest>, Vec<u8>)>,
    receipts: BTreeMap<EvidenceId, BTreeMap<&'static str, Envelope>>,
    chains: BTreeMap<NodeId, (u64, ReceiptHash)>,
    offer_faults: VecDeque<Fault>,
    upload_faults: VecDeque<Fault>,
    requests: Vec<String>,
    boots: Vec<BootRecord>,
    hashes: BTreeSet<ReceiptHash>,
    restored: u64,
    uploads: BTreeMap<EvidenceId, (Document<Manifest>, u64, Vec<u8>)>,
    part_faults: VecDeque<Fault>,
    rotated: bool,
    closed: bool,
}

pub struct Service {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

const SERVICE: ServiceId = ServiceId::new([0x9a; 16]);
const OTHER: ServiceId = ServiceId::new([0x11; 16]);

fn key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn next_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

impl Service {
    pub fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().closed {
                    return;
                }
                // One request a connection; a failed write is the agent's business.
                let _ = answer(stream.unwrap(), &shared);
            }
        });
        Service { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn fail_upload(&self, fault: Fault) {
        self.state.lock().unwrap().upload_faults.push_back(fault);
    }

    pub fn fail_part(&self, fault: Fault) {
        self.state.lock().unwrap().part_faults.push_back(fault);
    }

    /// Restores a backup from before the first evidence.
    pub fn restore_backup(&self) {
        let mut state = self.state.lock().unwrap();
        *state = State { rotated: state.rotated, ..State::default() };
    }

    pub fn fail_offer(&self, fault: Fault) {
        self.state.lock().unwrap().offer_faults.push_back(fault);
    }

    /// Signs with the next key from now on; the first one vouches for it.
    pub fn rotate(&self) {
        self.state.lock().unwrap().rotated = true;
    }

    /// Evidence that is durable here.
    pub fn stored(&self) -> Vec<EvidenceId> {
        self.state.lock().unwrap().evidence.keys().copied().collect()
    }

    pub fn manifest(&self, id: &EvidenceId) -> Manifest {
        (*self.state.lock().unwrap().evidence[id].0).clone()
    }

    /// The boot records that came, in order.
    pub fn boots(&self) -> Vec<BootRecord> {
        self.state.lock().unwrap().boots.clone()
    }

    /// How many receipts of a disposition were made.
    pub fn receipts(&self, disposition: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.receipts.values().filter(|receipts| receipts.contains_key(disposition)).count()
    }

    /// How many pieces of evidence got any receipt.
    pub fn evidence_receipted(&self) -> usize {
        self.state.lock().unwrap().receipts.len()
    }

    pub fn bytes(&self, id: &EvidenceId) -> Vec<u8> {
        self.state.lock().unwrap().evidence[id].1.clone()
    }

    pub fn pieces(&self, id: &EvidenceId) -> Vec<String> {
        self.manifest(id).pieces.into_iter().map(|Piece { name, .. }| name).collect()
    }

    /// Method and path of every request, in order.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.closed = true;
        }
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn receipt(&mut self, manifest: &Document<Manifest>, disposition: Disposition) -> Envelope {
        let id = manifest.evidence_id;
        if let Some(known) = self.receipts.get(&id).and_then(|known| known.get(disposition.as_str())) {
            return known.clone();
        }
        let of = self.receipts.get(&id).and_then(|known| known.get("stored")).map(Envelope::hash);
        let key = if self.rotated { next_key() } else { key() };
        let (seq, prev) = *self.chains.get(&manifest.node_id).unwrap_or(&(0, ReceiptHash::ZERO));
        let receipt = Receipt {
            schema: receipt::SCHEMA.to_owned(),
            service: SERVICE,
            key: key.public().id(),
            node_id: manifest.node_id,
            epoch: 1 + self.restored,
            seq: seq + 1,
            prev,
            evidence_id: id,
            kind: manifest.kind.clone(),
            sha256: manifest.sha256,
            size: manifest.size,
            manifest_sha256: Sha256::of(manifest.bytes()),
            disposition,
            bytes_kept: disposition.takes_custody(),
            weight: manifest.weight,
            received_us: 1,
            issued_us: 2,
            server: "test".to_owned(),
            of: of.filter(|_| disposition == Disposition::Duplicate),
            reason: (!disposition.takes_custody()).then(|| "kind-not-wanted".to_owned()),
            retry_after_s: None,
        };
        let envelope = seal(receipt, &key);
        self.hashes.insert(envelope.hash());
        self.chains.insert(manifest.node_id, (seq + 1, envelope.hash()));
        self.receipts.entry(id).or_default().insert(disposition.as_str(), envelope.clone());
        envelope
    }

    fn offer(&mut self, body: &[u8]) -> Vec<u8> {
        let offer: Offer = serde_json::from_slice(body).unwrap();
        assert!(offer.items.len() <= 100);
        let items = offer.items.iter().map(|item| {
            let known = self.evidence.get(&item.evidence_id).map(|(manifest, _)| manifest.clone());
            let withheld = item.manifest.as_ref().map(|tree| Manifest::read(&tree.bytes()).unwrap());
            let answer = match known {
                None if let Some(manifest) = withheld => {
                    assert!(manifest.withheld.is_some());
                    Answer::Counted { receipt: self.receipt(&manifest, Disposition::Counted) }
                }
                Some(manifest) => Answer::Have { receipt: self.receipt(&manifest, Disposition::Duplicate) },
                None => Answer::Need,
            };
            ItemAnswer { evidence_id: item.evidence_id, answer }
        });
        let items = items.collect();
        let answer = OfferAnswer {
            schema: handover::offer::ANSWER_SCHEMA.to_owned(),
            head: match offer.head.seq == 0 || self.hashes.contains(&offer.head.hash) {
                true => HeadAnswer::Known,
                false => HeadAnswer::Unknown,
            },
            time_us: 3,
            items,
        };
        serde_json::to_vec(&answer).unwrap()
    }

    fn upload(&mut self, path: &str, body: &[u8]) -> Result<Envelope, Box<Problem>> {
        let parcel =
            parcel::open(body).map_err(|e| Box::new(Problem::new(400, "malformed", &e.to_string())))?;
        let bytes =
            parcel.decode().map_err(|e| Box::new(Problem::new(422, "digest-mismatch", &e.to_string())))?;
        let id = parcel.manifest.evidence_id;
        assert_eq!(path, format!("/api/v1/evidence/{id}"));
        let disposition =
            if self.evidence.contains_key(&id) { Disposition::Duplicate } else { Disposition::Stored };
        let manifest = parcel.manifest;
        let envelope = self.receipt(&manifest, disposition);
        self.evidence.entry(id).or_insert((manifest, bytes));
        Ok(envelope)
    }

    /// Envelopes behind `after=`, in their order.
    fn missing(&self, path: &str) -> Vec<u8> {
        let after = path.split("after=").nth(1).unwrap().split('&').next().unwrap();
        let after: u64 = after.parse().unwrap();
        let all = self.receipts.values().flat_map(BTreeMap::values);
        let mut behind: Vec<(u64, &Envelope)> =
            all.map(|e| (e.unverified().unwrap().seq, e)).filter(|(seq, _)| *seq > after).collect();
        behind.sort_by_key(|(seq, _)| *seq);
        let envelopes: Vec<&Envelope> = behind.into_iter().map(|(_, envelope)| envelope).collect();
        serde_json::to_vec(&envelopes).unwrap()
    }

    fn keys(&self) -> Vec<u8> {
        let mut first = KeyEntry::first(SERVICE, &key().public(), 0);
        let mut keys = Vec::new();
        let mut active = key().public().id();
        if self.rotated {
            first.state = KeyState::Retired;
            active = next_key().public().id();
            keys.push(key().endorse(SERVICE, &next_key().public(), 0));
        }
        keys.push(first);
        serde_json::to_vec(&Keys { service: SERVICE, active, keys }).unwrap()
    }
}

/// Signing is slow in a debug build, and the crash-point matrix has the same receipts signed again and again.
fn seal(receipt: Receipt, key: &SigningKey) -> Envelope {
    static SEALED: Mutex<BTreeMap<String, Envelope>> = Mutex::new(BTreeMap::new());
    let mut sealed = SEALED.lock().unwrap();
    sealed.entry(format!("{receipt:?}")).or_insert_with(|| Envelope::seal(receipt, key)).clone()
}

struct Reply {
    status: u16,
    service: Option<ServiceId>,
    headers: String,
    body: Vec<u8>,
}

fn reply(status: u16, body: Vec<u8>) -> Reply {
    Reply { status, service: Some(SERVICE), headers: String::new(), body }
}

fn problem(problem: &Problem) -> Reply {
    reply(problem.status, serde_json::to_vec(problem).unwrap())
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let line = head.lines().next().unwrap().replace(" http/1.1", "");
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    assert!(!head.contains("transfer-encoding"), "a parcel's length is known: {head}");
    assert!(head.contains("lastwords-protocol: 1"));

    let mut state = state.lock().unwrap();
    state.requests.push(line.clone());
    let (method, path) = line.split_once(' ').unwrap();
    let fault = match method {
        "patch" => state.part_faults.pop_front(),
        "post" => state.offer_faults.pop_front(),
        "put" => state.upload_faults.pop_front(),
        _ => None,
    };
    let fault = fault.filter(|fault| !matches!(fault, Fault::Nothing));
    if matches!(fault, Some(Fault::Cut)) {
        return Ok(());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let authorized = head.contains(&format!("authorization: bearer {TOKEN}")) || path.ends_with("/keys");
    let reply = match fault {
        _ if !authorized => problem(&Problem::new(401, "unauthorized", "no token")),
        Some(fault) => match faulty(&mut state, path, &body, fault) {
            Some(reply) => reply,
            None => return Ok(()),
        },
        None if method == "patch" => patch(&mut state, path, &head, &body),
        None if path.ends_with("/upload") => open(&mut state, &head, &body),
        None => sound(&mut state, method, path, &body),
    };
    drop(state);
    let mut text = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
    if let Some(service) = reply.service {
        text += &format!("lastwords-protocol: 1\r\nlastwords-service: {service}\r\n");
    }
    text += &format!("{}connection: close\r\n\r\n", reply.headers);
    stream.write_all(text.as_bytes())?;
    stream.write_all(&reply.body)
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)).unwrap()
}

fn place(status: u16, id: &EvidenceId, offset: usize) -> Reply {
    let headers = format!("location: /api/v1/uploads/{id}\r\nupload-offset: {offset}\r\n");
    Reply { headers, ..reply(status, Vec::new()) }
}

fn open(state: &mut State, head: &str, body: &[u8]) -> Reply {
    assert_eq!(field(head, "lastwords-coding: "), "zstd");
    let manifest = Manifest::read(body).unwrap();
    let (id, length) = (manifest.evidence_id, field(head, "upload-length: ").parse().unwrap());
    let (_, _, bytes) = state.uploads.entry(id).or_insert((manifest, length, Vec::new()));
    place(200, &id, bytes.len())
}

fn patch(state: &mut State, path: &str, head: &str, body: &[u8]) -> Reply {
    let id: EvidenceId = path.strip_prefix("/api/v1/uploads/").unwrap().parse().unwrap();
    // The head was lowered, so that the digest is compared likewise.
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::of(body).as_bytes());
    assert_eq!(field(head, "content-digest: "), format!("sha-256=:{digest}:").to_lowercase());
    let (_, length, bytes) = state.uploads.get_mut(&id).unwrap();
    if field(head, "upload-offset: ") != bytes.len().to_string() {
        let offset = bytes.len();
        return Reply { body: b"{}".to_vec(), ..place(409, &id, offset) };
    }
    bytes.extend_from_slice(body);
    if (bytes.len() as u64) < *length {
        let offset = bytes.len();
        return place(204, &id, offset);
    }
    let (manifest, _, coded) = state.uploads.remove(&id).unwrap();
    let mut decoded = Vec::new();
    parcel::decoder(parcel::Coding::Zstd, coded.as_slice()).unwrap().read_to_end(&mut decoded).unwrap();
    assert_eq!(Sha256::of(&decoded), manifest.sha256);
    let envelope = state.receipt(&manifest, Disposition::Stored);
    state.evidence.insert(id, (manifest, decoded));
    reply(201, envelope.bytes())
}

#[derive(serde::Deserialize)]
struct Shown {
    receipts: Vec<Envelope>,
}

/// A receipt of ours that we do not know proves that a backup was restored: the epoch rises once.
fn reconcile(state: &mut State, body: &[u8]) -> Reply {
    let shown: Shown = serde_json::from_slice(body).unwrap();
    let items: Vec<String> = shown
        .receipts
        .iter()
        .map(|envelope| {
            if !state.hashes.contains(&envelope.hash()) {
                state.restored = 1;
            }
            let id = envelope.unverified().unwrap().evidence_id;
            let word = if state.evidence.contains_key(&id) { "known" } else { "lost" };
            format!(r#"{{"evidence_id": "{id}", "state": "{word}"}}"#)
        })
        .collect();
    let epoch = 1 + state.restored;
    reply(200, format!(r#"{{"schema": "x", "epoch": {epoch}, "items": [{}]}}"#, items.join(",")).into_bytes())
}

fn sound(state: &mut State, method: &str, path: &str, body: &[u8]) -> Reply {
    match (method, path) {
        ("get", "/api/v1/handover/keys") => reply(200, state.keys()),
        ("get", path) if path.contains("/receipts?") => reply(200, state.missing(path)),
        ("post", "/api/v1/evidence/offers") => reply(200, state.offer(body)),
        ("post", path) if path.ends_with("/reconcile") => reconcile(state, body),
        ("put", path) if path.contains("/boots/") => {
            let record: BootRecord = serde_json::from_slice(body).unwrap();
            assert_eq!(path, format!("/api/v1/nodes/{}/boots/{}", record.node_id, record.boot_id));
            state.boots.push(record);
            reply(200, b"{}".to_vec())
        }
        ("put", path) if path.ends_with("/readiness") => {
            assert!(Readiness::read(body).is_ok(), "{path}");
            reply(200, b"{}".to_vec())
        }
        ("put", path) => match state.upload(path, body) {
            Ok(envelope) => reply(201, envelope.bytes()),
            Err(refusal) => problem(&refusal),
        },
        _ => problem(&Problem::new(404, "not-found", "")),
    }
}

fn faulty(state: &mut State, path: &str, body: &[u8], fault: Fault) -> Option<Reply> {
    let uploaded = |state: &mut State| state.upload(path, body).unwrap();
    Some(match fault {
        Fault::Cut | Fault::Nothing => return None,
        Fault::CutAfter => {
            if path.ends_with("/offers") {
                state.offer(body);
            } else {
                uploaded(state);
            }
            return None;
        }
        Fault::Status(status, code) => problem(&Problem::new(status, code, "told to")),
        Fault::RetryAfter(status, seconds) => Reply {
            headers: format!("retry-after: {seconds}\r\n"),
            ..problem(&Problem::new(status, "busy", "told to"))
        },
        Fault::Portal => Reply { service: None, ..reply(200, b"<html>Welcome to the hotel".to_vec()) },
        Fault::Redirect => {
            Reply { headers: "location: http://elsewhere.example/\r\n".to_owned(), ..reply(302, Vec::new()) }
        }
        Fault::Forged => {
            let receipt = uploaded(state).unverified().unwrap();
            reply(201, Envelope::seal(receipt, &SigningKey::from_seed(&[9; 32])).bytes())
        }
        Fault::Altered => {
            let text = String::from_utf8(uploaded(state).bytes()).unwrap();
            reply(201, text.replace("\"weight\":1", "\"weight\":2").into_bytes())
        }
        Fault::OtherEvidence => {
            let mut receipt = uploaded(state).unverified().unwrap();
            receipt.evidence_id = EvidenceId::new([7; 32]);
            reply(201, Envelope::seal(receipt, &key()).bytes())
        }
        Fault::OtherService => Reply { service: Some(OTHER), ..reply(201, uploaded(state).bytes()) },
        Fault::Disposition(disposition) => {
            let manifest = parcel::open(body).unwrap().manifest;
            let envelope = state.receipt(&manifest, disposition);
            reply(200, envelope.bytes())
        }
    })
}
