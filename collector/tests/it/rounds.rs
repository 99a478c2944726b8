//! The agent that no timer starts: rounds, until it is told to end.

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::{Node, PANIC};
use crate::service::Service;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Rounds(Child);

impl Rounds {
    /// The program over a made-up root, with its settings there and its token behind links, as a secret is mounted.
    fn begin(node: &Node, service: &Service) -> Rounds {
        fs::create_dir(node.path("version")).unwrap();
        fs::rename(node.path("token"), node.path("version/token")).unwrap();
        std::os::unix::fs::symlink("version", node.path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/token", node.path("token")).unwrap();
        let token = node.path("token");
        node.file(
            "etc/lastwords/agent.toml",
            &format!("servers = [{:?}]\ntoken_file = {token:?}\n", service.url()),
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastwords-agent"));
        command.args(["collect", "--every", "1"]);
        command.env("LASTWORDS_ROOT", node.path("root")).env("LASTWORDS_SPOOL", node.spool());
        Rounds(command.spawn().unwrap())
    }

    fn ends_with(mut self) -> Option<i32> {
        until("it ends", || self.0.try_wait().unwrap()).code()
    }
}

fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        match ready() {
            Some(found) => return found,
            None if began.elapsed() > PATIENCE => panic!("not within {PATIENCE:?}: {what}"),
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn rounds_take_up_what_comes_and_end_in_order_when_told() {
    let (node, service) = (Node::new(), Service::start());
    let rounds = Rounds::begin(&node, &service);
    until("the service hears of the boot", || service.boots().pop());
    node.file("sys/fs/pstore/dmesg-ramoops-0", PANIC);
    until("the crash", || service.stored().pop());
    let told = || service.requests().iter().any(|line| line.contains("/readiness")).then_some(());
    until("what the doctor found in the first round", told);
    kill(Pid::from_raw(rounds.0.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(rounds.ends_with(), Some(0));
}

#[test]
fn settings_that_become_wrong_end_the_rounds() {
    let (node, service) = (Node::new(), Service::start());
    let rounds = Rounds::begin(&node, &service);
    until("the service hears of the boot", || service.boots().pop());
    node.file("etc/lastwords/agent.toml", "forgett = true\n");
    assert_eq!(rounds.ends_with(), Some(64));
}
