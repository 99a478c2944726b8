//! How far a long step has come, for whoever watches from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What takes long with a large dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Bytes of a dump that is packed as a whole, unpacked.
    Unpacking = 1,
    /// Bytes of a flattened stream, put in order.
    Ordering,
    /// Pages in which VMCOREINFO is searched for.
    Searching,
    /// Tasks, with their stacks.
    Tasks,
    /// Pages of a small dump, written.
    Writing,
}

const STEPS: [Step; 5] = [Step::Unpacking, Step::Ordering, Step::Searching, Step::Tasks, Step::Writing];

/// A counter that reading a dump keeps up to date. Copies count together.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// 0 before the first step.
    step: AtomicU8,
    done: AtomicU64,
    all: AtomicU64,
}

impl Progress {
    /// The present step, how much of it is done, and how much there is. Between two steps the numbers may for a
    /// moment be of different ones.
    pub fn now(&self) -> Option<(Step, u64, u64)> {
        let step = self.0.step.load(Relaxed);
        let step = STEPS.into_iter().find(|&known| known as u8 == step)?;
        Some((step, self.0.done.load(Relaxed), self.0.all.load(Relaxed)))
    }

    pub(crate) fn begin(&self, step: Step, all: u64) {
        self.0.done.store(0, Relaxed);
        self.0.all.store(all, Relaxed);
        self.0.step.store(step as u8, Relaxed);
    }

    pub(crate) fn reach(&self, done: u64) {
        self.0.done.store(done, Relaxed);
    }
}
