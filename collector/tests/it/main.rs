//! The agent against a service in this process and a made-up node.

mod custody;
mod delivery;
mod disk;
mod node;
mod records;
mod service;
