//! A rate and its interval on a shared axis: one row of a table of rates.

use askama::Template;

use super::steps;
use crate::pages::filters::{self, Markup};

/// The axis that all rows share.
#[derive(Clone, Debug, Template)]
#[template(path = "chart/axis.html")]
pub struct Axis {
    ticks: Vec<(f64, i64)>,
    most: f64,
}
impl Markup for Axis {}

/// One row's picture.
#[derive(Clone, Debug, Template)]
#[template(path = "chart/interval.html")]
pub struct Interval {
    label: String,
    grid: Vec<f64>,
    low: f64,
    high: f64,
    at: f64,
}
impl Markup for Interval {}

/// The last tick stands here, so that its word fits.
const RIGHT: f64 = 96.0;

impl Axis {
    /// An axis from 0 that holds `most`.
    pub fn new(most: f64) -> Axis {
        let (step, count) = steps(most, 4);
        let end = step * f64::from(count);
        let ticks =
            (0..=count).map(|i| (RIGHT * f64::from(i) / f64::from(count), (f64::from(i) * step) as i64));
        Axis { ticks: ticks.collect(), most: end }
    }

    /// The picture of a rate on this axis; what lies beyond the end is drawn to the end.
    pub fn row(&self, rate: f64, low: f64, high: f64, label: String) -> Interval {
        let x = |value: f64| RIGHT * (value / self.most).clamp(0.0, 100.0 / RIGHT);
        Interval {
            label,
            grid: self.ticks.iter().map(|(x, _)| *x).collect(),
            low: x(low),
            high: x(high),
            at: x(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_lies_on_the_axis() {
        let axis = Axis::new(37.0);
        assert_eq!(axis.ticks.last(), Some(&(96.0, 40)));
        let row = axis.row(10.0, 5.0, 400.0, String::new());
        assert_eq!((row.low, row.at, row.high), (12.0, 24.0, 100.0));
    }
}
