//! The crate from outside: real records, properties, whole logs.

mod artifacts;
mod corpus;
mod properties;
mod whole;
