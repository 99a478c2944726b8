//! A bar on the terminal when a dump takes longer than a second.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use symbolizer::terminal::shown;
use terminal_size::{Width, terminal_size_of};
use vmcore::{Progress, Step};

/// What takes less is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// How often the bar is drawn again.
const PACE: Duration = Duration::from_millis(200);
/// Cells of the bar, and the fewest that still say something.
const BAR: usize = 24;
const SHORTEST: usize = 8;
/// The fewest characters of a path that still tell which it is.
const NAME: usize = 12;

/// Shows how long it takes.
pub struct Patience;

impl Patience {
    /// Does `work` with the dump at `path`; after a second standard error shows how far it is, if that is a terminal.
    pub fn during<T>(path: &Path, progress: &Progress, work: impl FnOnce() -> T) -> T {
        if !io::stderr().is_terminal() {
            return work();
        }
        let name = shown(&path.to_string_lossy(), false);
        let (done, waiting) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let began = Instant::now();
                let mut pause = QUIET;
                while waiting.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    pause = PACE;
                    // The last column stays empty: some terminals break the line behind it.
                    let width =
                        terminal_size_of(io::stderr()).map_or(80, |(Width(width), _)| usize::from(width));
                    let line =
                        line(&name, progress.now(), began.elapsed().as_secs(), width.saturating_sub(1));
                    // A terminal that went away is no reason to stop.
                    let _ = write!(io::stderr(), "\r{line}\x1b[K");
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

/// `reading tasks of vmcore  [=====>              ]  27 %  12 s`, in at most `width` characters: first the path loses
/// its beginning, then the bar gets shorter.
fn line(name: &str, now: Option<(Step, u64, u64)>, seconds: u64, width: usize) -> String {
    let doing = match now.map(|(step, ..)| step) {
        None => "opening",
        Some(Step::Unpacking) => "unpacking",
        Some(Step::Ordering) => "putting in order",
        Some(Step::Searching) => "searching VMCOREINFO in",
        Some(Step::Tasks) => "reading the tasks of",
        Some(Step::Writing) => "writing the small dump of",
    };
    let part = now.filter(|&(.., all)| all > 0).map(|(_, done, all)| done.min(all) as f64 / all as f64);
    let tail = match part {
        Some(part) => format!("{:3.0} %  {seconds} s", part * 100.0),
        None => format!("{seconds} s"),
    };
    let room = width.saturating_sub(doing.len() + 1 + 2 + tail.len());
    let bar = part.map_or(0, |_| room.saturating_sub(NAME + 4).min(BAR));
    let bar = if bar < SHORTEST { String::new() } else { drawn(part.unwrap_or(0.0), bar) };
    let name = ending(name, room.saturating_sub(bar.len()));
    format!("{doing} {name}  {bar}{tail}").chars().take(width).collect()
}

/// The bar, and two spaces behind it.
fn drawn(part: f64, cells: usize) -> String {
    let full = (part * cells as f64) as usize;
    let head = if full < cells { ">" } else { "" };
    format!("[{:<cells$}]  ", "=".repeat(full.min(cells)) + head)
}

/// The end of a name that is too long.
fn ending(name: &str, room: usize) -> String {
    let count = name.chars().count();
    if count <= room {
        return name.to_owned();
    }
    let kept = name.chars().skip(count - room.saturating_sub(1));
    if room == 0 { String::new() } else { std::iter::once('…').chain(kept).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fits_into_the_terminal() {
        let tasks = |done| Some((Step::Tasks, done, 400));
        for (name, now, width, want) in [
            ("vmcore", None, 79, "opening vmcore  3 s"),
            ("vmcore", tasks(0), 79, "reading the tasks of vmcore  [>                       ]    0 %  3 s"),
            ("vmcore", tasks(100), 79, "reading the tasks of vmcore  [======>                 ]   25 %  3 s"),
            ("vmcore", tasks(900), 79, "reading the tasks of vmcore  [========================]  100 %  3 s"),
            (
                "/var/crash/202611230107/vmcore",
                tasks(200),
                59,
                "reading the tasks of …0107/vmcore  [=====>    ]   50 %  3 s",
            ),
            ("/var/crash/202611230107/vmcore", tasks(200), 39, "reading the tasks of …mcore   50 %  3 s"),
            ("/var/crash/202611230107/vmcore", tasks(200), 10, "reading th"),
            ("vmcore", tasks(1), 0, ""),
        ] {
            let got = line(name, now, 3, width);
            assert_eq!(got, want);
            assert!(got.chars().count() <= width);
        }
    }
}
