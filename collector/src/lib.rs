//! The node agent: finds crash evidence, keeps it, hands it over, forgets it.
//!
//! The way of one crash: a [`source`] finds its records, [`gather`] reads and describes them, the [`spool`] makes
//! them durable, [`deliver`] hands them over and verifies the receipt, [`custody`] erases what a receipt covers.
//! [`agent`] is these five steps as one run.
//!
//! Nothing leaves the node's custody without a signed receipt that names it, and a run may be stopped at any
//! system call: the next one goes on.

pub mod agent;
pub mod boot;
pub mod clock;
pub mod config;
pub mod custody;
pub mod deliver;
pub mod disk;
pub mod doctor;
pub mod drill;
mod error;
pub mod exit;
pub mod gather;
pub mod host;
pub mod http;
pub mod kernel;
pub mod labels;
pub mod ledger;
pub mod memory;
mod mounts;
pub mod receipts;
pub mod redact;
pub mod room;
pub mod source;
pub mod spool;
pub mod trust;

pub use error::Error;
