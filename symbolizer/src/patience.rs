//! A word on the terminal when something takes longer than a second.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What takes less is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// How often the word is said again.
const PACE: Duration = Duration::from_millis(200);

/// Says what is being waited for.
pub struct Patience;

impl Patience {
    /// Does `work`; after a second standard error shows what it is and how long it has taken, if that is a terminal.
    pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
        if !io::stderr().is_terminal() {
            return work();
        }
        let (done, waiting) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let began = Instant::now();
                let mut pause = QUIET;
                while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    pause = PACE;
                    // A terminal that went away is no reason to stop.
                    let _ = write!(io::stderr(), "\r\x1b[K{what} … {} s", began.elapsed().as_secs());
                }
                if pause == PACE {
                    let _ = write!(io::stderr(), "\r\x1b[K");
                }
            });
            let result = work();
            drop(done);
            result
        })
    }
}
