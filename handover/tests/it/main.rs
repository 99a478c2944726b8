//! The protocol against its own worked examples, and against what a hostile or broken peer sends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain;
mod examples;
mod hostile;
