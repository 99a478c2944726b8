//! Pictures, drawn by the server as SVG: x in per cent and y in pixels, so that words never scale. Each has its
//! numbers beside it as a table; a picture alone is no answer.
//!
//! They are templates, so that a release's name or a function in a picture is escaped as it is everywhere else.

mod days;
mod icicle;
mod interval;
mod spark;

pub use days::Days;
pub use icicle::Icicle;
pub use interval::{Axis, Interval};
pub use spark::Spark;

/// The first tick, its step and how many there are, for an axis from 0 that holds `most`: steps of 1, 2 or 5
/// times a power of ten, at most `ticks` of them above 0.
fn steps(most: f64, ticks: u32) -> (f64, u32) {
    let mut step = 1.0;
    let mut factor = [2.0, 2.5, 2.0].into_iter().cycle();
    while most / step > f64::from(ticks) {
        step *= factor.next().unwrap_or(2.0);
    }
    (step, (most / step).ceil().max(1.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_step_by_round_numbers() {
        assert_eq!(steps(3.0, 4), (1.0, 3));
        assert_eq!(steps(7.0, 4), (2.0, 4));
        assert_eq!(steps(19.0, 4), (5.0, 4));
        assert_eq!(steps(4000.0, 4), (1000.0, 4));
        assert_eq!(steps(0.0, 4), (1.0, 1));
    }
}
