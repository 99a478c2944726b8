//! A crash loop with the service away: the spool keeps its caps, the first and the last, and the count.

use std::time::Duration;

use collector::agent::Config;
use collector::config::Forget;
use collector::custody::State;
use collector::disk::System;
use collector::exit::Exit;
use collector::spool::Spool;
use collector::spool::caps::Caps;
use handover::receipt::Disposition;

use crate::node::{DIED, Node, PANIC, random};
use crate::service::Service;

/// A crash a minute, the agent after each, nobody to hand over to.
fn crash_loop(node: &Node, crashes: u64, caps: Caps) -> Config {
    let mut config = node.config(None);
    config.caps = caps;
    for n in 0..crashes {
        node.record(
            &format!("dmesg-erst-{}", 1000 + 2 * n),
            DIED + 100 * n,
            PANIC.replace("27.1", &format!("{n}.1")),
        );
        let summary = node.run(&config);
        assert_eq!(summary.exit, Exit::Done, "{summary:?}");
    }
    config
}

#[test]
fn the_first_and_the_last_stay_whole_and_each_is_counted_once() {
    let (node, service) = (Node::new(), Service::start());
    let mut config = crash_loop(&node, 20, Caps { files: 6, ..Caps::default() });
    config.servers = vec![service.url()];
    config.forget = Forget::Receipted;
    let summary = node.run(&config);

    let of = |disposition| summary.receipts.iter().filter(|r| r.disposition == disposition).count();
    assert_eq!((of(Disposition::Stored), of(Disposition::Counted)), (6, 14), "{summary:?}");
    assert_eq!((summary.exit, summary.waiting), (Exit::Done, 0));
    let stored = |n: usize| service.stored().contains(&summary.found[n].evidence);
    assert!(stored(0) && stored(1) && stored(18) && stored(19));
    assert!(!stored(2) && !stored(10));
    // What was only counted stays where it is: nobody else has the bytes.
    assert_eq!(summary.erased, 6);
    assert!(summary.found.iter().all(|seen| seen.state >= State::Acked));

    let again = node.run(&config);
    assert_eq!((again.receipts.len(), again.waiting, again.erased), (0, 0, 0), "{again:?}");
}

#[test]
fn each_cap_is_kept() {
    let whole = {
        let node = Node::new();
        crash_loop(&node, 8, Caps::default());
        sizes(&node)
    };
    for (caps, withheld) in [
        (Caps::default(), 0),
        (Caps { files: 5, ..Caps::default() }, 3),
        // The ends stay, whatever the cap says.
        (Caps { files: 0, ..Caps::default() }, 4),
        (Caps { bytes: whole - 1, ..Caps::default() }, 1),
        (Caps { free: u64::MAX, ..Caps::default() }, 4),
    ] {
        let node = Node::new();
        let config = crash_loop(&node, 8, caps);
        let service = Service::start();
        let summary = node.run(&Config { servers: vec![service.url()], ..config });
        let counted = summary.receipts.iter().filter(|r| r.disposition == Disposition::Counted).count();
        assert_eq!((counted, summary.receipts.len()), (withheld, 8), "{caps:?}: {summary:?}");
    }
}

#[test]
fn what_waited_too_long_is_given_up_but_for_the_ends() {
    let node = Node::new();
    crash_loop(&node, 8, Caps::default());
    let mut spool = Spool::open(&System, &node.spool(), &random).unwrap();
    let caps = Caps { age: Duration::from_secs(86_400), ..Caps::default() };
    let found_us = spool.ready().unwrap()[0].manifest.found_us;
    assert_eq!(spool.withhold(&caps, found_us + 86_399_000_000).unwrap(), []);
    assert_eq!(spool.withhold(&caps, found_us + 86_401_000_000).unwrap().len(), 4);
    let reasons: Vec<_> = spool.ready().unwrap().into_iter().map(|r| r.manifest.withheld.clone()).collect();
    assert!(
        reasons[1].is_none() && reasons[2].as_ref().unwrap().reason == "spool-age" && reasons[6].is_none()
    );
}

fn sizes(node: &Node) -> u64 {
    let ready = node.spool().join("ready");
    std::fs::read_dir(ready).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
