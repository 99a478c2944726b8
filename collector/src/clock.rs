//! The clocks of a node: wall time for records, boot time and monotonic time for waiting.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What tells the time, as an argument so that tests can tell it.
pub trait Clock: Send + Sync {
    /// Wall clock in µs since 1970 UTC. May be wrong by years; it is never compared with the service's.
    fn wall_us(&self) -> i64;
    /// `CLOCK_BOOTTIME`: time since this boot, suspend included.
    fn since_boot(&self) -> Duration;
    /// Whether the kernel says that the wall clock is synchronised; `None` where nobody can be asked.
    fn is_synced(&self) -> Option<bool> {
        None
    }
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The running system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for System {
    fn wall_us(&self) -> i64 {
        let now = read(ClockId::CLOCK_REALTIME);
        i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
    }

    fn since_boot(&self) -> Duration {
        read(ClockId::CLOCK_BOOTTIME)
    }

    fn is_synced(&self) -> Option<bool> {
        crate::kernel::clock_is_synced()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

fn read(clock: ClockId) -> Duration {
    // Both clocks exist since Linux 2.6.39; a failure would mean a sandbox that forbids the call, and a time
    // of zero is what the protocol treats as unknown.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}
