//! What each answer of a service means for the node (protocol, chapter 7).

use collector::agent::Summary;
use collector::config::Forget;
use collector::exit::Exit;
use handover::receipt::Disposition;

use crate::node::{DIED, Node, PANIC};
use crate::service::{Fault, Service};

/// One run in which the upload fails; then a second one without a fault.
fn check(fault: Fault, exit: Exit) -> (Summary, Summary, Node, Service) {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let mut config = node.config(Some(&service));
    config.deadline = std::time::Duration::ZERO;
    config.forget = Forget::Receipted;
    service.fail_upload(fault.clone());
    let first = node.run(&config);
    assert_eq!(first.exit, exit, "{fault:?}: {first:?}");
    assert_eq!(first.erased, 0, "{fault:?}");
    let second = node.run(&config);
    (first, second, node, service)
}

#[test]
fn what_passes_by_itself_is_kept_and_delivered_next_time() {
    for (fault, exit) in [
        (Fault::Cut, Exit::Later),
        (Fault::CutAfter, Exit::Later),
        (Fault::Status(500, "internal"), Exit::Later),
        (Fault::Status(404, "not-found"), Exit::Later),
        (Fault::RetryAfter(408, 30), Exit::Later),
        (Fault::RetryAfter(429, 30), Exit::Later),
        (Fault::RetryAfter(503, 30), Exit::Later),
        (Fault::RetryAfter(507, 30), Exit::Later),
        (Fault::RetryAfter(202, 2), Exit::Later),
        (Fault::Status(423, "upload-busy"), Exit::Later),
        (Fault::Portal, Exit::Later),
        (Fault::Redirect, Exit::Later),
        (Fault::Status(401, "unauthorized"), Exit::Denied),
        (Fault::Status(403, "wrong-node"), Exit::Denied),
        (Fault::Forged, Exit::Distrusted),
        (Fault::Altered, Exit::Distrusted),
        (Fault::OtherEvidence, Exit::Distrusted),
        (Fault::OtherService, Exit::Distrusted),
        (Fault::Disposition(Disposition::Unknown), Exit::Later),
    ] {
        let (first, second, _node, service) = check(fault.clone(), exit);
        assert_eq!((first.waiting, first.troubles.len()), (1, 1), "{fault:?}: {first:?}");
        assert_eq!((second.exit, second.waiting, second.erased), (Exit::Done, 0, 2), "{fault:?}: {second:?}");
        assert_eq!(service.stored().len(), 1, "{fault:?}");
    }
}

#[test]
fn what_is_not_taken_is_held_until_somebody_asks() {
    for fault in [
        Fault::Status(400, "malformed"),
        Fault::Status(411, "length-required"),
        Fault::Status(413, "evidence-too-large"),
        Fault::Status(415, "unknown-coding"),
        Fault::Disposition(Disposition::Refused),
        Fault::Disposition(Disposition::Counted),
    ] {
        let (first, second, node, service) = check(fault.clone(), Exit::Held);
        assert_eq!((first.waiting, first.held.len()), (0, 1), "{fault:?}: {first:?}");
        assert_eq!((second.exit, second.waiting, second.erased), (Exit::Done, 0, 0), "{fault:?}: {second:?}");
        assert_eq!(node.spooled("held").len(), 1);

        let mut config = node.config(Some(&service));
        config.retry_held = true;
        let third = node.run(&config);
        assert_eq!(third.exit, Exit::Done, "{fault:?}: {third:?}");
        assert_eq!((node.spooled("held").len(), service.stored().len()), (0, 1), "{fault:?}");
    }
}

#[test]
fn a_doubted_digest_is_sent_once_more_and_then_held() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    service.fail_upload(Fault::Status(422, "digest-mismatch"));
    let once = node.run(&node.config(Some(&service)));
    assert_eq!((once.exit, once.waiting, service.stored().len()), (Exit::Done, 0, 1), "{once:?}");

    let (node, service) = (Node::new(), Service::start());
    node.crash();
    service.fail_upload(Fault::Status(422, "digest-mismatch"));
    service.fail_upload(Fault::Status(409, "id-mismatch"));
    let twice = node.run(&node.config(Some(&service)));
    assert_eq!((twice.exit, twice.held.len()), (Exit::Held, 1), "{twice:?}");
}

#[test]
fn a_parcel_that_rotted_in_the_spool_is_made_again_from_its_source() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    node.run(&node.config(None));
    let path = node.spool().join("ready").join(&node.spooled("ready")[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let config = node.config(Some(&service));
    let first = node.run(&config);
    assert_eq!(first.exit, Exit::Held, "{first:?}");
    assert!(node.spooled("held")[0].ends_with(".damaged"));
    let second = node.run(&config);
    assert_eq!((second.exit, second.receipts.len()), (Exit::Done, 1), "{second:?}");
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn within_the_deadline_a_run_waits_and_tries_again() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    service.fail_offer(Fault::RetryAfter(503, 10));
    service.fail_upload(Fault::Cut);
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.waiting), (Exit::Done, 0), "{summary:?}");
}

#[test]
fn a_second_server_takes_over_when_the_first_is_away() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let mut config = node.config(Some(&service));
    config.servers.insert(0, "http://127.0.0.1:1".to_owned());
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.receipts.len()), (Exit::Done, 1), "{summary:?}");
}

#[test]
fn a_rotated_key_is_followed_along_its_endorsement() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    node.run(&config);
    service.rotate();
    node.record("dmesg-ramoops-0", DIED + 5000, PANIC.replace("27.1", "77.1"));
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.receipts.len()), (Exit::Done, 1), "{summary:?}");
}

#[test]
fn a_pinned_key_that_the_service_does_not_have_is_distrusted() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let mut config = node.config(Some(&service));
    config.pin = Some(handover::key::SigningKey::from_seed(&[5; 32]).public().to_string());
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.waiting), (Exit::Distrusted, 1), "{summary:?}");
    assert_eq!(service.stored(), []);
}

#[test]
fn a_missing_token_stops_the_handing_over_not_the_keeping() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    std::fs::remove_file(node.path("token")).unwrap();
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.waiting), (Exit::Denied, 1), "{summary:?}");
    std::fs::write(node.path("token"), "another-token").unwrap();
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.waiting), (Exit::Denied, 1), "{summary:?}");
}

#[test]
fn more_crashes_than_an_offer_holds_go_in_lots() {
    let (node, service) = (Node::new(), Service::start());
    for n in 0..120u64 {
        node.record(
            &format!("dmesg-erst-{}", 1000 + 2 * n),
            DIED + 100 * n,
            PANIC.replace("27.1", &format!("{n}.1")),
        );
    }
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.receipts.len(), service.stored().len()), (Exit::Done, 120, 120));
    let offers = service.requests().iter().filter(|line| line.starts_with("post")).count();
    assert_eq!(offers, 2);
}
