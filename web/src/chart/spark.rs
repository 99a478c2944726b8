//! A row's last days as bars the height of a word.

use askama::Template;

use crate::pages::filters::{self, Markup};

/// The picture of one row.
#[derive(Clone, Debug, Template)]
#[template(path = "chart/spark.html")]
pub struct Spark {
    crashes: i64,
    days: i64,
    bars: Vec<(f64, f64, f64)>,
    width: f64,
}
impl Markup for Spark {}

/// Height of the tallest bar, in pixels.
const PLOT: f64 = 18.0;

impl Spark {
    /// Draws the days `first..=last`. `most` is the tallest bar of the list, so that rows compare.
    pub fn new(first: i64, last: i64, counts: impl IntoIterator<Item = (i64, i64)>, most: i64) -> Spark {
        let days = (last - first + 1).max(1);
        let unit = (PLOT / most.max(1) as f64).min(6.0);
        let mut crashes = 0;
        let mut bars = Vec::new();
        for (day, n) in counts.into_iter().filter(|(day, n)| (first..=last).contains(day) && *n > 0) {
            crashes += n;
            let height = (n as f64 * unit).max(1.0);
            bars.push((100.0 * (day - first) as f64 / days as f64, 22.0 - height, height));
        }
        Spark { crashes, days, bars, width: 80.0 / days as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_of_the_window_are_drawn() {
        let spark = Spark::new(10, 19, [(9, 4), (10, 1), (19, 3)], 3);
        assert_eq!(spark.crashes, 4);
        assert_eq!(spark.bars, [(0.0, 16.0, 6.0), (90.0, 4.0, 18.0)]);
    }
}
