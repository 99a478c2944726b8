//! The service's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, µs since 1970 UTC; 0 on a machine that believes to be earlier.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
