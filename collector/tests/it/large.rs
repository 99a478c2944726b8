//! Evidence in parts, and a service that was restored from a backup.

use std::fs;
use std::time::Duration;

use collector::config::Forget;
use collector::custody::State;
use collector::exit::Exit;
use collector::source::PIECE;

use crate::node::{DIED, Node, PANIC};
use crate::service::{Fault, Service};

/// Bytes that do not compress (xorshift64).
fn noise(length: u64, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    (0..length / 8).flat_map(|_| next()).collect()
}

/// Two records of 4 MiB that belong to one crash: a little more than one part once coded.
fn node() -> Node {
    let node = Node::new();
    for (n, header) in [(0, b"Oops#1 Part1\n."), (1, b"Panic#2 Part1\n")] {
        let mut bytes = noise(PIECE, 7 + n);
        bytes[..header.len()].copy_from_slice(header);
        node.record(&format!("dmesg-ramoops-{n}"), DIED, bytes);
    }
    node
}

fn patches(service: &Service) -> usize {
    service.requests().iter().filter(|line| line.starts_with("patch")).count()
}

#[test]
fn large_evidence_goes_in_parts() {
    let (node, service) = (node(), Service::start());
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!(
        (summary.exit, summary.found.len(), summary.receipts.len()),
        (Exit::Done, 1, 1),
        "{summary:?}"
    );
    assert_eq!(service.bytes(&summary.found[0].evidence).len() as u64, 2 * PIECE);
    assert_eq!(patches(&service), 2);
}

#[test]
fn an_upload_that_was_cut_goes_on_where_it_was() {
    let (node, service) = (node(), Service::start());
    let mut config = node.config(Some(&service));
    config.deadline = Duration::ZERO;
    // The second part gets no answer.
    service.fail_part(Fault::Nothing);
    service.fail_part(Fault::Cut);
    let first = node.run(&config);
    assert_eq!((first.exit, first.waiting), (Exit::Later, 1), "{first:?}");
    assert_eq!(patches(&service), 2);
    let second = node.run(&config);
    assert_eq!((second.exit, second.receipts.len()), (Exit::Done, 1), "{second:?}");
    assert_eq!(patches(&service), 1);
}

#[test]
fn an_upload_that_expired_is_begun_anew() {
    let (node, service) = (node(), Service::start());
    service.fail_part(Fault::Status(404, "not-found"));
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.receipts.len()), (Exit::Done, 1), "{summary:?}");
}

/// Three crashes handed over, then the service is restored from yesterday's backup.
fn forgotten() -> (Node, Service) {
    let (node, service) = (Node::new(), Service::start());
    for n in 0..3 {
        node.record(&format!("dmesg-ramoops-{n}"), DIED + 1000 * n, PANIC.replace("27.1", &format!("{n}.1")));
    }
    let mut config = node.config(Some(&service));
    config.forget = Forget::Receipted;
    assert_eq!(node.run(&config).erased, 3);
    service.restore_backup();
    assert_eq!(service.stored(), []);
    node.record("dmesg-ramoops-0", DIED + 9000, PANIC.replace("27.1", "99.1"));
    (node, service)
}

#[test]
fn what_a_restored_service_lost_is_sent_again() {
    let (node, service) = forgotten();
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.waiting), (Exit::Done, 0), "{summary:?}");
    assert_eq!(service.stored().len(), 4);
    assert!(summary.receipts.iter().all(|receipt| receipt.epoch == 2));
    assert!(summary.troubles[0].contains("lost 3"), "{summary:?}");

    let again = node.run(&node.config(Some(&service)));
    assert_eq!((again.exit, again.receipts.len(), again.waiting), (Exit::Done, 0, 0), "{again:?}");
    assert_eq!(again.found[0].state, State::Acked);
}

#[test]
fn what_is_no_longer_in_the_spool_is_told() {
    let (node, service) = forgotten();
    for name in node.spooled("sent") {
        fs::remove_file(node.spool().join("sent").join(name)).unwrap();
    }
    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, service.stored().len()), (Exit::Held, 1), "{summary:?}");
    assert!(summary.troubles[0].contains("3 are no longer"), "{summary:?}");
}

#[test]
fn an_old_receipt_erases_nothing_that_was_lost() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let mut config = node.config(Some(&service));
    node.run(&config);
    service.restore_backup();
    // The service knows nothing, and takes nothing now.
    node.record("dmesg-erst-7", DIED + 9000, PANIC.replace("27.1", "99.1"));
    service.fail_upload(Fault::Status(503, "busy"));
    (config.forget, config.deadline) = (Forget::Receipted, Duration::ZERO);
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.erased), (Exit::Later, 0), "{summary:?}");
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.erased, service.stored().len()), (Exit::Done, 3, 2), "{summary:?}");
}
