//! How much work one object may ask for: hostile DWARF can name the same list from a million entries.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Address ranges plus line rows. Debian's vmlinux has 5 million, an allyesconfig build some 100 million.
const MAX_STEPS: u64 = 1 << 28;
/// A worker takes its steps in portions, so that threads do not fight over one counter.
const PORTION: u64 = 1 << 16;

/// The steps left for an object, shared by the threads that read it.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub fn new() -> Budget {
        Budget(AtomicU64::new(MAX_STEPS))
    }

    /// For one unit, in one thread.
    pub fn worker(&self) -> Work<'_> {
        Work { budget: self, left: 0 }
    }
}

/// One worker's portion.
pub(crate) struct Work<'b> {
    budget: &'b Budget,
    left: u64,
}

impl Work<'_> {
    /// Counts one step; an error when the object has used up all of them.
    #[inline]
    pub fn spend(&mut self) -> Result<(), Error> {
        if self.left == 0 {
            let take = |left: u64| left.checked_sub(PORTION);
            let taken = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            taken.map_err(|_| Error::TooLarge {
                what: "address ranges and line rows".into(),
                limit: MAX_STEPS,
            })?;
            self.left = PORTION;
        }
        self.left -= 1;
        Ok(())
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.left, Ordering::Relaxed);
    }
}
