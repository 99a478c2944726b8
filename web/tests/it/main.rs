//! The service as others meet it: over HTTP, with the real agent, and after a kill.

mod bad_input;
mod custody;
mod harness;
mod kill;
mod symbols;
mod whole_way;
