//! From a record to a receipt, and what becomes of the record.

use std::fs;
use std::time::Duration;

use collector::agent::{self, Config, Ground, Summary};
use collector::clock::Clock;
use collector::config::Forget;
use collector::custody::State;
use collector::disk::System;
use collector::exit::Exit;
use handover::receipt::Disposition;

use crate::node::{DIED, Node, OOPS, PANIC, names, random};
use crate::service::{Fault, Service};

#[test]
fn a_crash_is_kept_handed_over_and_left_in_place() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let summary = node.run(&node.config(Some(&service)));

    assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    // The worked example of the protocol: same machine-id, same bytes, same ids.
    assert_eq!(summary.node.to_string(), "3724a5f041c56542683118ce1949a77e");
    let [seen] = summary.found.as_slice() else { panic!("{summary:?}") };
    let id = seen.evidence;
    assert_eq!(id.to_string(), "50fa0797e4451a69d09980d2c1bb6c80c284bc62e25f919905d18c0f448f2205");
    assert_eq!((seen.new, seen.state), (true, State::Acked));
    assert_eq!(service.stored(), [id]);
    assert_eq!(service.bytes(&id), [OOPS, PANIC].concat().into_bytes());
    assert_eq!(service.pieces(&id), ["dmesg-ramoops-0", "dmesg-ramoops-1"]);
    assert_eq!(summary.receipts[0].disposition, Disposition::Stored);
    assert_eq!(names(&node.pstore()), ["dmesg-ramoops-0", "dmesg-ramoops-1"]);
    assert_eq!(node.spooled("ready"), [""; 0]);
    assert_eq!(node.spooled("sent"), [format!("{id}.parcel")]);
}

#[test]
fn a_second_run_adds_nothing_and_asks_nobody() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    node.run(&config);
    service.requests();

    let again = node.run(&config);
    assert!(!again.found[0].new);
    assert_eq!((again.receipts.len(), again.waiting, again.exit), (0, 0, Exit::Done));
    assert_eq!(service.requests(), [""; 0]);
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn an_agent_without_memory_gets_a_duplicate_receipt() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    node.run(&config);
    fs::remove_dir_all(node.spool()).unwrap();

    let again = node.run(&config);
    assert_eq!(again.receipts[0].disposition, Disposition::Duplicate);
    assert_eq!(again.exit, Exit::Done);
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn with_the_service_away_everything_is_kept_and_delivered_later() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let mut config = node.config(Some(&service));
    config.forget = Forget::Receipted;
    config.servers = vec!["http://127.0.0.1:1".to_owned()];
    let away = node.run(&config);
    assert_eq!((away.exit, away.waiting, away.erased), (Exit::Later, 1, 0), "{away:?}");
    assert_eq!(names(&node.pstore()).len(), 2);

    config.servers = vec![service.url()];
    let back = node.run(&config);
    assert_eq!((back.exit, back.waiting, back.erased), (Exit::Done, 0, 2), "{back:?}");
    assert!(!back.found[0].new);
    assert_eq!(back.found[0].state, State::Erased);
    assert_eq!(names(&node.pstore()), [""; 0]);
    assert_eq!(service.stored().len(), 1);
}

#[test]
fn without_a_server_evidence_is_only_kept() {
    let node = Node::new();
    node.crash();
    let summary = node.run(&node.config(None));
    assert_eq!((summary.exit, summary.waiting), (Exit::Done, 1));
}

#[test]
fn a_slot_that_holds_the_next_crash_by_now_is_not_erased() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let mut config = node.config(Some(&service));
    node.run(&config);
    // The receipt is there; before the run that may erase, the machine dies again into the same slot.
    let next = PANIC.replace("27.101902", "99.000001");
    node.record("dmesg-ramoops-1", DIED + 100, &next);
    config.forget = Forget::Receipted;
    service.fail_offer(Fault::Status(503, "busy"));
    config.deadline = Duration::ZERO;
    let summary = node.run(&config);

    // The old oops is covered by the receipt. The new panic is not, and stays.
    assert_eq!(names(&node.pstore()), ["dmesg-ramoops-1"], "{summary:?}");
    assert_eq!(summary.waiting, 1);
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.erased), (Exit::Done, 1));
    assert_eq!(service.stored().len(), 2);
}

#[test]
fn a_parcel_of_another_node_is_held() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    node.run(&node.config(None));
    fs::remove_dir_all(node.pstore()).unwrap();
    fs::create_dir(node.pstore()).unwrap();
    node.file("etc/machine-id", "11111111111111111111111111111111\n");

    let summary = node.run(&node.config(Some(&service)));
    assert_eq!((summary.exit, summary.waiting), (Exit::Held, 0));
    assert!(summary.held[0].1.contains("another node"));
    assert_eq!(node.spooled("held").len(), 1);
    assert_eq!(service.stored(), []);
}

#[test]
fn two_agents_do_not_share_a_spool() {
    let node = Node::new();
    let config = node.config(None);
    node.run(&config);
    let lock = fs::File::open(node.spool().join("lock")).unwrap();
    lock.lock().unwrap();
    let error = crate::node::run_on(&config, &System).unwrap_err();
    assert_eq!(error.exit(), Exit::Later);
    assert!(error.to_string().contains("another agent"));
}

#[test]
fn a_torn_receipt_is_cut_off_and_asked_for_again() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    node.run(&config);
    let log = node.spool().join("receipts.log");
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 9]).unwrap();
    let parcel = node.spooled("sent")[0].clone();
    fs::rename(node.spool().join("sent").join(&parcel), node.spool().join("ready").join(&parcel)).unwrap();

    let summary = node.run(&config);
    assert_eq!(summary.receipts[0].disposition, Disposition::Duplicate);
    assert_eq!(node.spooled("sent"), [parcel]);
    let text = fs::read_to_string(&log).unwrap();
    // The one that was torn is fetched behind it.
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("duplicate") && text.contains("stored"));
}

/// A store of UEFI variables that is more than half full of dumps.
fn short_of_room() -> Node {
    let node = Node::new();
    node.record("dmesg-efi_pstore-179537647501001", DIED, PANIC.replace("#2", "#1"));
    node.file("sys/module/pstore/parameters/backend", "efi_pstore\n");
    node.file("sys/firmware/efi/efivars/dump-type0-1-1-1795376475-C", &"x".repeat(40 * 1024));
    node.file("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    node
}

#[test]
fn a_full_store_is_emptied_once_the_spool_holds_it() {
    let (node, service) = (short_of_room(), Service::start());
    let mut config = Config { forget: Forget::WhenFull, tell_boot: true, ..node.config(None) };
    let summary = node.run(&config);
    assert_eq!((summary.erased, summary.waiting, names(&node.pstore()).len()), (1, 1, 0), "{summary:?}");
    assert!(summary.troubles[0].contains("erased before a receipt"), "{summary:?}");
    config.servers = vec![service.url()];
    let summary = node.run(&config);
    assert_eq!((summary.exit, summary.waiting, service.stored().len()), (Exit::Done, 0, 1), "{summary:?}");
    assert_eq!(service.boots()[0].spool.emergency_erases, 1);
    assert_eq!(service.boots()[0].unread, ["bpf: nobody looked"]);
}

#[test]
fn a_full_store_is_left_alone_where_that_would_lose_something() {
    for (what, change) in [
        (
            "there is room",
            &(|node: &Node| node.file("sys/firmware/efi/efivars/dump-type0-1-1-1795376475-C", "x"))
                as &dyn Fn(&Node),
        ),
        ("another backend", &|node| node.file("sys/module/pstore/parameters/backend", "ramoops\n")),
        ("a volatile spool", &|node| node.file("proc/self/mountinfo", "22 1 0:1 / / rw - tmpfs none rw\n")),
        ("no mounts to see", &|node| fs::remove_file(node.path("root/proc/self/mountinfo")).unwrap()),
    ] {
        let node = short_of_room();
        change(&node);
        let summary = node.run(&Config { forget: Forget::WhenFull, ..node.config(None) });
        assert_eq!((summary.erased, names(&node.pstore()).len()), (0, 1), "{what}: {summary:?}");
    }
    let node = short_of_room();
    let summary = node.run(&Config { forget: Forget::Receipted, ..node.config(None) });
    assert_eq!(summary.erased, 0, "{summary:?}");
}

/// A clock that is some days ahead of the others.
struct Ahead(i64);

impl Clock for Ahead {
    fn wall_us(&self) -> i64 {
        (DIED as i64 + self.0) * 1_000_000
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {}
}

fn run_at(node: &Node, config: &Config, seconds: i64) -> Summary {
    let clock = Ahead(seconds);
    let ground = Ground { disk: &System, clock: &clock, random: &random };
    let summary = agent::collect_on(config, &ground).unwrap();
    assert!(node.spool().exists());
    summary
}

#[test]
fn what_was_not_taken_is_offered_again_after_a_day() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    service.fail_upload(Fault::Status(400, "malformed"));
    assert_eq!(run_at(&node, &config, 0).held.len(), 1);
    assert_eq!(run_at(&node, &config, 86_000).receipts.len(), 0);
    assert_eq!(node.spooled("held").len(), 1);
    assert_eq!(run_at(&node, &config, 86_500).receipts.len(), 1);
    assert_eq!((node.spooled("held").len(), service.stored().len()), (0, 1));
}

#[test]
fn what_was_not_taken_is_offered_again_by_another_version() {
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    service.fail_upload(Fault::Status(400, "malformed"));
    assert_eq!(run_at(&node, &config, 0).held.len(), 1);
    let entry = node.spool().join("sources").join(&node.spooled("sources")[0]);
    let text = fs::read_to_string(&entry).unwrap();
    fs::write(&entry, text.replace(env!("CARGO_PKG_VERSION"), "0.0.9")).unwrap();
    assert_eq!(run_at(&node, &config, 60).receipts.len(), 1);
}

#[test]
fn where_evidence_came_from_is_forgotten_after_the_evidence() {
    const DAY: i64 = 86_400;
    let (node, service) = (Node::new(), Service::start());
    node.crash();
    let config = node.config(Some(&service));
    run_at(&node, &config, 0);
    run_at(&node, &config, 300 * DAY);
    // The parcel is gone after a week. The source is still there: the entry stops it from being kept again.
    assert_eq!((node.spooled("sources").len(), node.spooled("sent").len()), (1, 0));
    for name in names(&node.pstore()) {
        fs::remove_file(node.pstore().join(name)).unwrap();
    }
    run_at(&node, &config, 10 * DAY);
    assert_eq!(node.spooled("sources").len(), 1);
    run_at(&node, &config, 31 * DAY);
    assert_eq!(node.spooled("sources").len(), 0);
}

#[test]
fn what_the_kernel_says_of_its_clock_is_told() {
    struct Told(Option<bool>);
    impl Clock for Told {
        fn wall_us(&self) -> i64 {
            Ahead(0).wall_us()
        }
        fn since_boot(&self) -> Duration {
            Duration::ZERO
        }
        fn is_synced(&self) -> Option<bool> {
            self.0
        }
        fn sleep(&self, _: Duration) {}
    }
    for (told, synced, basis) in
        [(Some(true), true, "adjtimex"), (Some(false), false, "adjtimex"), (None, true, "timesync")]
    {
        let (node, service) = (Node::new(), Service::start());
        node.crash();
        node.file("run/systemd/timesync/synchronized", "");
        let ground = Ground { disk: &System, clock: &Told(told), random: &random };
        let summary = agent::collect_on(&node.config(Some(&service)), &ground).unwrap();
        let clock = service.manifest(&summary.found[0].evidence).clock;
        assert_eq!((clock.synced, clock.basis.as_str()), (synced, basis));
    }
}
