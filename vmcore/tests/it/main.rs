//! Real dumps against what other tools read in them, and made-up dumps against what was put in.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builder;
mod bzip2;
mod containers;
mod damage;
mod facts;
mod logs;
mod reference;
mod summary;
