//! The symbolizer against real modules and real crashes.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod crashlab;
