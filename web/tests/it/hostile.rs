//! Nodes that mean harm, or are merely broken: they cost others nothing.

use std::io::Write;
use std::net::TcpStream;

use handover::manifest::Withheld;

use crate::harness::{Service, manifest, oops, parcel, request};

#[test]
fn those_who_send_slowly_keep_nobody_waiting() {
    let service = Service::start();
    let token = service.token("ingest");
    let (path, body) = parcel(manifest(1, &oops(27)), &oops(27));
    // More than are decoded at once. Each announces a mebibyte, and sends a byte of it.
    let slow: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(service.address).unwrap();
            write!(
                stream,
                "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
                 content-length: 1048576\r\n\r\nL"
            )
            .unwrap();
            stream
        })
        .collect();
    // They are all under way once the service answers what was asked behind them.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(service.send("PUT", &path, &token, &body).status, 201);
    drop(slow);
}

#[test]
fn an_upload_has_bytes() {
    let service = Service::start();
    let token = service.token("ingest");
    let open = |manifest: handover::manifest::Manifest, length: &str| {
        let body = manifest.write().unwrap();
        let url = format!("{}/api/v1/evidence/{}/upload", service.url(), body.evidence_id);
        request("POST", &url, Some(&token), &[("upload-length", length)], body.bytes())
    };
    open(manifest(1, b""), "0").is_problem(400, "malformed");
    let mut withheld = manifest(1, &oops(27));
    withheld.withheld = Some(Withheld { reason: "loop".to_owned() });
    open(withheld, "100").is_problem(400, "malformed");
    // Nothing is left of them that a receipt is waited for.
    let id = manifest(1, b"").evidence_id;
    service.send("GET", &format!("/api/v1/evidence/{id}/receipt"), &token, b"").is_problem(404, "not-found");
}
