//! The lastwords service: ingest, store, REST, dashboard.
