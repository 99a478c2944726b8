//! The agent against a service in this process and a made-up node.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod boots;
mod caps;
mod crash_points;
mod custody;
mod delivery;
mod disk;
mod doctor;
mod drill;
mod errors;
mod large;
mod memory;
mod model;
mod node;
mod receipts;
mod records;
mod redaction;
mod rounds;
mod service;
mod sources;
mod tls;
