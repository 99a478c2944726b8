//! The crate from outside: real records, properties, whole logs.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod architectures;
mod artifacts;
mod bodies;
mod convention;
mod corpus;
mod deaths;
mod names;
mod pasted;
mod properties;
mod whole;
