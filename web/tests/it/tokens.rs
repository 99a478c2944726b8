//! Tokens by command, beside a running service.

use std::process::{Command, Output};

use crate::harness::{Service, manifest, oops, parcel};

fn run(service: &Service, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastwords"));
    command.arg("token").args(arguments).arg("--data").arg(&service.data).output().unwrap()
}

/// What a command wrote; it must have gone well.
fn out(service: &Service, arguments: &[&str]) -> String {
    let output = run(service, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_token_holds_from_when_it_is_made_until_it_is_revoked() {
    let service = Service::start();
    let node = "01".repeat(16);
    let token = out(&service, &["add", "rack 7", "--scope", "ingest", "--node", &node, "--days", "30"]);
    let put = |machine: u8| {
        let (path, body) = parcel(manifest(machine, &oops(27)), &oops(27));
        service.send("PUT", &path, token.trim(), &body)
    };
    assert_eq!(put(1).status, 201);
    put(2).is_problem(403, "wrong-node");
    service.send("GET", "/api/v1/handover", token.trim(), b"");
    let list = out(&service, &["list"]);
    let row = list.lines().find(|line| line.contains("rack 7")).unwrap_or_else(|| panic!("{list}"));
    assert!(row.contains(&node) && row.contains("until "), "{row}");
    assert!(!list.contains(token.trim()), "the secret is nowhere");
    let id = row.split_whitespace().next().unwrap();
    out(&service, &["revoke", id]);
    put(1).is_problem(401, "unauthorized");
    assert!(out(&service, &["list"]).contains("revoked "));
    let again = run(&service, &["revoke", id]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("no token"), "{again:?}");
}

#[test]
fn a_token_must_be_made_of_what_there_is() {
    let service = Service::start();
    for wrong in [
        &["add", "x"][..],
        &["add", "x", "--scope", "everything"],
        &["add", "x", "--scope", "ingest", "--node", "rack7"],
        &["add", "x", "--scope", "read", "--days", "0"],
        &["add", " ", "--scope", "read"],
    ] {
        assert!(!run(&service, wrong).status.success(), "{wrong:?}");
    }
    assert_eq!(out(&service, &["list"]).lines().count(), 1 + 4, "the four of the first start");
}
