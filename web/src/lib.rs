//! The lastwords service: ingest, store, REST, dashboard.

pub mod clock;
pub mod paging;
pub mod problem;
pub mod store;
