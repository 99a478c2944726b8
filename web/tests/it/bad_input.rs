//! What others send us wrong: told with the right status, and never a crash.

use handover::manifest::{Class, Kind};
use handover::{EvidenceId, NodeId, Sha256};

use crate::harness::{Service, manifest, oops, parcel, request};

#[test]
fn a_token_is_needed_and_must_be_the_right_one() {
    let service = Service::start();
    let (path, body) = parcel(manifest(1, &oops(27)), &oops(27));
    let url = format!("{}{path}", service.url());
    request("PUT", &url, None, &[], &body).is_problem(401, "unauthorized");
    request("PUT", &url, Some("lastwords_guess"), &[], &body).is_problem(401, "unauthorized");
    service.send("PUT", &path, &service.token("read"), &body).is_problem(403, "wrong-scope");
    service
        .send("POST", "/api/v1/evidence/offers", &service.token("symbols"), b"{}")
        .is_problem(403, "wrong-scope");
    service.send("PUT", "/api/v1/symbols", &service.token("ingest"), b"x").is_problem(403, "wrong-scope");
    assert_eq!(service.json("/api/v1/evidence")["items"].as_array().unwrap().len(), 0);
}

#[test]
fn reading_is_open_to_this_machine_only() {
    let service = Service::start();
    let url = format!("{}/api/v1/crashes", service.url());
    assert_eq!(request("GET", &url, None, &[], &[]).status, 200);
    request("GET", &url, None, &[("host", "lastwords.example")], &[]).is_problem(401, "unauthorized");
    request("GET", &url, None, &[("x-forwarded-for", "192.0.2.7")], &[]).is_problem(401, "unauthorized");
    assert_eq!(request("GET", &url, Some(&service.token("read")), &[("host", "x.example")], &[]).status, 200);

    let folder = tempfile::tempdir().unwrap();
    let closed = Service::on(folder.path(), false);
    let url = format!("{}/api/v1/crashes", closed.url());
    request("GET", &url, None, &[], &[]).is_problem(401, "unauthorized");
    assert_eq!(request("GET", &url, Some(&closed.token("read")), &[], &[]).status, 200);
    assert_eq!(request("GET", &format!("{}/livez", closed.url()), None, &[], &[]).status, 200);
}

#[test]
fn bytes_that_are_not_what_their_manifest_says_are_refused() {
    let service = Service::start();
    let token = service.token("ingest");
    let log = oops(27);
    let (path, body) = parcel(manifest(1, &log), &oops(28));
    service.send("PUT", &path, &token, &body).is_problem(422, "digest-mismatch");
    let (path, body) = parcel(manifest(1, &log), &log[1..]);
    service.send("PUT", &path, &token, &body).is_problem(422, "size-mismatch");
    let bomb = vec![b'a'; 15 << 20];
    let (path, body) = parcel(manifest(1, &log), &bomb);
    service.send("PUT", &path, &token, &body).is_problem(422, "size-mismatch");
    let (path, mut body) = parcel(manifest(1, &log), &log);
    let end = body.len() - 20;
    body[end] ^= 0xff;
    assert_eq!(service.send("PUT", &path, &token, &body).status, 422);
    assert_eq!(service.json("/api/v1/evidence")["items"].as_array().unwrap().len(), 0);
}

#[test]
fn ids_that_contradict_each_other_are_refused() {
    let service = Service::start();
    let token = service.token("ingest");
    let (_, body) = parcel(manifest(1, &oops(27)), &oops(27));
    let other = EvidenceId::of(&NodeId::new([2; 16]), &Kind::KernelLog, &Sha256::of(&oops(27)));
    service.send("PUT", &format!("/api/v1/evidence/{other}"), &token, &body).is_problem(409, "id-mismatch");
    service.send("PUT", "/api/v1/evidence/xyz", &token, &body).is_problem(400, "malformed");

    let mut lying = parcel(manifest(1, &oops(27)), &oops(27)).1;
    let text = String::from_utf8_lossy(&lying).into_owned();
    let at = text.find("01010101010101010101010101010101").unwrap();
    lying[at] = b'3';
    let answer = service.send("PUT", &format!("/api/v1/evidence/{other}"), &token, &lying);
    answer.is_problem(409, "id-mismatch");
}

#[test]
fn garbage_is_malformed() {
    let service = Service::start();
    let token = service.token("ingest");
    let (path, body) = parcel(manifest(1, &oops(27)), &oops(27));
    for cut in [0, 4, 19, 20, 200, body.len() - 1] {
        service.send("PUT", &path, &token, &body[..cut]).is_problem(400, "malformed");
    }
    let mut longer = body.clone();
    longer.push(0);
    service.send("PUT", &path, &token, &longer).is_problem(400, "malformed");
    let mut coding = body.clone();
    coding[4] = 7;
    service.send("PUT", &path, &token, &coding).is_problem(415, "unknown-coding");
    let mut manifest_length = body;
    manifest_length[8] = 0x7f;
    service.send("PUT", &path, &token, &manifest_length).is_problem(413, "manifest-too-large");
    for offer in ["", "[]", "{", "{\"a\":1,\"a\":2}", "{\"schema\":\"lastwords.offer/9\"}", "\u{0}"] {
        service
            .send("POST", "/api/v1/evidence/offers", &token, offer.as_bytes())
            .is_problem(400, "malformed");
    }
}

#[test]
fn what_is_too_large_is_told_before_it_is_read() {
    let service = Service::start();
    let token = service.token("ingest");
    let (path, _) = parcel(manifest(1, b"x"), b"x");
    let huge = vec![0; (1 << 20) + 40_000];
    service.send("PUT", &path, &token, &huge).is_problem(413, "use-parts");
    service.send("POST", "/api/v1/evidence/offers", &token, &huge).is_problem(413, "offer-too-large");
}

#[test]
fn unknown_things_are_not_found() {
    let service = Service::start();
    let token = service.token("ingest");
    for path in [
        "/api/v1/crashes/00112233445566778899aabbccddeeff",
        "/api/v1/crashes/xyz",
        "/api/v1/signatures/00112233445566778899aabbccddeeff",
        "/api/v1/nodes/00112233445566778899aabbccddeeff",
        "/api/v1/crashes?node=00112233445566778899aabbccddeeff",
        "/api/v1/evidence/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "/api/v1/evidence/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff/raw",
        "/api/v1/nothing",
    ] {
        service.get(path).is_problem(404, "not-found");
    }
    let path = "/api/v1/evidence/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff/receipt";
    let url = format!("{}{path}", service.url());
    request("GET", &url, Some(&token), &[], &[]).is_problem(404, "not-found");
    service.get("/api/v1/crashes?node=zz").is_problem(400, "malformed");
    service.get("/api/v1/crashes?limit=many").is_problem(400, "malformed");
    service.send("DELETE", "/api/v1/crashes", &token, b"").is_problem(405, "method-not-allowed");
    let url = format!("{}/api/v1/handover", service.url());
    let other = request("GET", &url, None, &[("lastwords-protocol", "2")], &[]);
    other.is_problem(400, "protocol");
    assert_eq!(other.json()["protocols"], serde_json::json!([1]));
}

#[test]
fn evidence_that_no_reader_understands_is_kept_and_shown_with_its_notes() {
    let service = Service::start();
    let token = service.token("ingest");
    let binary: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let texts: [&[u8]; 5] =
        [b"", b"\n", &binary, b"Panic#1 Part1\n", "not a kernel's words\u{fffd}\n".as_bytes()];
    for (machine, bytes) in (1..).zip(texts) {
        let (path, body) = parcel(manifest(machine, bytes), bytes);
        assert_eq!(service.send("PUT", &path, &token, &body).status, 201);
        let raw = service.get(&format!("{path}/raw"));
        assert_eq!(raw.body, bytes, "byte for byte");
    }
    let mut unknown = manifest(9, b"{}");
    unknown.kind = Kind::from_word("crystal-ball");
    unknown.evidence_id = EvidenceId::of(&unknown.node_id, &unknown.kind, &unknown.sha256);
    let (path, body) = parcel(unknown, b"{}");
    let answer = service.send("PUT", &path, &token, &body);
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["receipt"]["disposition"], "quarantined");
    service.settle();
    let unnamed = service.json("/api/v1/evidence?unnamed=true");
    assert_eq!(unnamed["items"].as_array().unwrap().len(), 6);
    assert_eq!(unnamed["items"][0]["notes"][0]["code"], "not-read");
    assert_eq!(service.json("/api/v1/crashes")["items"].as_array().unwrap().len(), 0);
}

#[test]
fn a_canary_needs_its_scope() {
    let service = Service::start();
    let mut canary = manifest(1, &oops(27));
    canary.class = Class::Canary;
    let (path, body) = parcel(canary, &oops(27));
    service.send("PUT", &path, &service.token("ingest"), &body).is_problem(403, "wrong-class");
}

#[test]
fn a_drill_is_kept_and_not_counted() {
    let service = Service::start();
    let mut drill = manifest(1, &oops(27));
    drill.class = Class::Drill;
    let (path, body) = parcel(drill, &oops(27));
    assert_eq!(service.send("PUT", &path, &service.token("ingest"), &body).status, 201);
    service.settle();
    assert_eq!(service.json("/api/v1/signatures")["items"].as_array().unwrap().len(), 0);
}

#[test]
fn a_browser_shows_its_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::on(folder.path(), false);
    let url = |path: &str| format!("{}{path}", service.url());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let page = request("GET", &url("/crashes"), None, &[], &[]);
    assert_eq!(page.status, 401);
    assert!(page.text().contains("action=\"/session\""), "{}", page.text());
    assert_eq!(request("POST", &url("/session"), None, &form, b"token=guess&back=/crashes").status, 401);
    let body = format!("token={}&back=%2F%2Fevil.example", service.token("read"));
    let opened = request("POST", &url("/session"), None, &form, body.as_bytes());
    assert_eq!((opened.status, opened.header("location")), (303, "/"));
    let cookie = opened.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(request("GET", &url("/crashes"), None, &[("cookie", cookie)], &[]).status, 200);
    assert_eq!(request("GET", &url("/api/v1/crashes"), None, &[("cookie", cookie)], &[]).status, 200);
    let decided = request("POST", &url("/api/v1/service/acknowledge"), None, &[("cookie", cookie)], &[]);
    decided.is_problem(403, "wrong-scope");
}

#[test]
fn a_request_that_never_ends_does_not_keep_the_service_from_stopping() {
    use std::io::Write;
    let service = Service::start();
    let mut stream = std::net::TcpStream::connect(service.address).unwrap();
    let token = service.token("ingest");
    let head = format!(
        "POST /api/v1/evidence/offers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 1000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let begun = std::time::Instant::now();
    drop(service);
    let took = begun.elapsed().as_secs();
    assert!((5..25).contains(&took), "{took} s: it waits for what is under way, and not for ever");
}
