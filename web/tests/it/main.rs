//! The service as others meet it: over HTTP, with the real agent, and after a kill.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod buildid;
mod custody;
mod decisions;
mod harness;
mod hostile;
mod kill;
mod memory;
mod pages;
mod parts;
mod reindex;
mod sources;
mod state;
mod symbols;
mod symbols_in;
mod tokens;
mod whole_way;
