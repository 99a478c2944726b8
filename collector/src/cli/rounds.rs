//! Rounds: collecting again and again where no timer does it, as in a container, until told to end.

use std::thread;
use std::time::Duration;

use collector::Error;
use collector::agent::{self, Ground};
use collector::exit::Exit;
use nix::sys::signal::{SigSet, Signal};

use super::{Settings, config, print};

/// How often the doctor looks: most of its findings hold for an hour.
const EXAMINED: Duration = Duration::from_secs(1800);

/// Collects, waits, and does it again. The settings are read anew for each round; wrong ones end it, since nothing that
/// the agent does mends them, and whoever started it sees that.
pub(super) fn go(settings: &Settings, every: Duration, ground: &Ground<'_>) -> Result<Exit, Error> {
    end_when_told()?;
    let mut examined: Option<Duration> = None;
    loop {
        let config = config(settings.clone())?;
        match agent::collect(&config) {
            Ok(summary) => drop(print::summary(&summary, settings.json)),
            Err(error) if error.exit() == Exit::Usage => return Err(error),
            Err(error) => print::trouble(&agent::chain(&error)),
        }
        let now = ground.clock.since_boot();
        if examined.is_none_or(|then| now.saturating_sub(then) >= EXAMINED) {
            // The next round tells it.
            match agent::note_readiness(&config, &agent::examine(&config, ground), ground) {
                Ok(()) => examined = Some(now),
                Err(error) => print::trouble(&agent::chain(&error)),
            }
        }
        ground.clock.sleep(every);
    }
}

/// Ends the program in order at SIGTERM and SIGINT. The first process of a container is not ended by them otherwise:
/// the kernel drops a signal to it that it does not ask for (signal(7)). Every step of a round is durable before the
/// next one begins, so the end may come anywhere.
fn end_when_told() -> Result<(), Error> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let error = |error: nix::Error| Error::Setting(format!("waiting for signals: {error}"));
    signals.thread_block().map_err(error)?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            std::process::exit(Exit::Done.code().into());
        }
    });
    Ok(())
}
