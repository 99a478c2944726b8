//! For whom a log is read: a fleet, or the scorer of the fuzzing corpus.

/// Which set of rules applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// A fleet of machines: every input form, no tokens of fuzzers or user programs, hangs and recursions named by
    /// the function that spins or recurses.
    #[default]
    Production,
    /// syzkaller's conventions to the letter, to be measured against its corpus.
    Scoring,
}
