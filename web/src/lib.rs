//! The lastwords service: ingest, store, REST, dashboard.
//!
//! What arrives ([`api`]) is made durable and receipted ([`store::writer`]) before anything reads it. The
//! [`pipeline`] reads and counts it behind, [`jobs`] find source lines, [`pages`] show. [`app::run`] is all of it.

pub mod api;
pub mod app;
pub mod auth;
pub mod blobs;
pub mod chart;
pub mod cli;
pub mod clock;
pub mod count;
pub mod dead_boot;
#[cfg(feature = "demo")]
pub mod demo;
pub mod door;
pub mod drain;
pub mod dump;
pub mod health;
pub mod jobs;
pub mod locate;
pub mod pages;
pub mod paging;
pub mod pipeline;
pub mod problem;
pub mod random;
pub mod reading;
pub mod reindex;
pub mod router;
pub mod secrets;
pub mod session;
pub mod store;
pub mod symbols;
pub mod tasks;
pub mod text;

pub use app::run;
