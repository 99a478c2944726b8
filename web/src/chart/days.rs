//! Bars by day, stacked by kernel release.

use askama::Template;

use super::steps;
use crate::pages::filters::Markup;
use crate::pages::{filters, words};

/// Releases with a colour of their own; more would not be told apart, so the rest are one series.
const SERIES: usize = 5;
/// Height of the plot and of everything, in pixels.
const PLOT: f64 = 90.0;
const TOP: f64 = 22.0;

/// The picture, ready to print.
#[derive(Clone, Debug, Template)]
#[template(path = "chart/days.html")]
pub struct Days {
    /// What is drawn, for those who do not see it.
    pub title: String,
    /// Series by colour: the class number from 1 and the release.
    pub series: Vec<(usize, String)>,
    /// Days with a crash, newest last: first moment of the day, count by series, all.
    pub rows: Vec<(i64, Vec<i64>, i64)>,
    first_us: i64,
    last_us: i64,
    ticks: Vec<Tick>,
    bars: Vec<Bar>,
    labels: Vec<(f64, &'static str, i64)>,
}
impl Markup for Days {}

#[derive(Clone, Debug)]
struct Tick {
    y: f64,
    text_y: f64,
    value: i64,
}

#[derive(Clone, Debug)]
struct Bar {
    class: usize,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

const DAY_US: i64 = 86_400_000_000;
/// Left edge of the plot in per cent: room for the numbers of the axis.
const LEFT: f64 = 4.5;

impl Days {
    /// Draws the days `first..=last` (whole UTC days since 1970) from counts of (day, release).
    pub fn new(title: &str, first: i64, last: i64, counts: &[(i64, &str, i64)]) -> Days {
        let inside = |count: &&(i64, &str, i64)| (first..=last).contains(&count.0);
        let counts: Vec<(i64, &str, i64)> = counts.iter().filter(inside).copied().collect();
        let names = series(&counts);
        let span = (last - first + 1).max(1) as f64;
        let place = |kernel: &str| names.iter().position(|name| name == kernel).unwrap_or(names.len() - 1);
        let mut rows: Vec<(i64, Vec<i64>, i64)> = Vec::new();
        for &(day, kernel, crashes) in &counts {
            if rows.last().is_none_or(|(at, ..)| *at != day) {
                rows.push((day, vec![0; names.len()], 0));
            }
            if let Some((_, by_series, all)) = rows.last_mut() {
                by_series[place(kernel)] += crashes;
                *all += crashes;
            }
        }
        let most = rows.iter().map(|(.., all)| *all).max().unwrap_or(0);
        let (step, above) = steps(most as f64, 4);
        let scale = PLOT / (step * f64::from(above));
        let y = |value: f64| TOP + PLOT - value * scale;
        let ticks = (0..=above).map(|i| {
            let value = f64::from(i) * step;
            Tick { y: y(value), text_y: y(value) + 4.0, value: value as i64 }
        });
        let x = |day: i64| LEFT + (100.0 - LEFT) * (day - first) as f64 / span;
        let mut bars = Vec::new();
        for (day, by_series, _) in &rows {
            let mut below = 0;
            for (i, crashes) in by_series.iter().enumerate().filter(|(_, crashes)| **crashes > 0) {
                below += crashes;
                bars.push(Bar {
                    class: i + 1,
                    x: x(*day) + 0.4,
                    y: y(below as f64) + 0.5,
                    width: (100.0 - LEFT) / span - 0.8,
                    height: *crashes as f64 * scale - 1.0,
                });
            }
        }
        Days {
            title: title.to_owned(),
            ticks: ticks.collect(),
            bars,
            labels: labels(first, last)
                .map(|(day, class)| (if class == "e" { 100.0 } else { x(day) + 0.4 }, class, day * DAY_US))
                .collect(),
            series: names.into_iter().enumerate().map(|(i, name)| (i + 1, name)).collect(),
            rows: rows.into_iter().map(|(day, by_series, all)| (day * DAY_US, by_series, all)).collect(),
            first_us: first * DAY_US,
            last_us: last * DAY_US,
        }
    }

    /// Whether there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn first(&self) -> String {
        words::day(self.first_us)
    }

    fn last(&self) -> String {
        words::day(self.last_us)
    }
}

/// The releases with most crashes, most first; what is left over is one series.
fn series(counts: &[(i64, &str, i64)]) -> Vec<String> {
    let mut totals: Vec<(&str, i64)> = Vec::new();
    for &(_, kernel, crashes) in counts {
        match totals.iter_mut().find(|(name, _)| *name == kernel) {
            Some((_, sum)) => *sum += crashes,
            None => totals.push((kernel, crashes)),
        }
    }
    totals.sort_by_key(|(name, sum)| (-sum, *name));
    let mut names: Vec<String> = totals.iter().take(SERIES).map(|(name, _)| (*name).to_owned()).collect();
    // The oldest is the grey one: `counts` rise by day, so that the first to appear is the first that crashed.
    let seen = |name: &String| counts.iter().position(|(_, kernel, _)| kernel == name);
    names.sort_by_key(seen);
    if totals.len() > SERIES || names.is_empty() {
        names.push("other releases".into());
    }
    names
}

/// A word under each week, and under the last day.
fn labels(first: i64, last: i64) -> impl Iterator<Item = (i64, &'static str)> {
    let weeks = (first..=last - 4).step_by(7).map(|day| (day, ""));
    weeks.chain(std::iter::once((last, "e")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_stack_and_hostile_names_are_escaped() {
        let days = Days::new(
            "Crashes a day",
            20_000,
            20_027,
            &[(20_003, "6.1<b>", 2), (20_003, "6.12", 1), (19_000, "old", 9)],
        );
        assert_eq!(days.rows, [(20_003 * DAY_US, vec![2, 1], 3)]);
        let page = days.render().unwrap();
        assert!(page.contains("6.1&#60;b&#62;") && !page.contains("<b>6.1"));
        assert_eq!(days.bars.len(), 2);
        assert!(days.bars[1].y < days.bars[0].y);
    }

    #[test]
    fn the_sixth_release_and_the_seventh_are_one_series() {
        let counts: Vec<(i64, String, i64)> = (0..8).map(|i| (5, format!("k{i}"), 8 - i)).collect();
        let counts: Vec<(i64, &str, i64)> = counts.iter().map(|(d, k, n)| (*d, k.as_str(), *n)).collect();
        let days = Days::new("x", 0, 9, &counts);
        assert_eq!(days.series.len(), 6);
        assert_eq!(days.rows[0].1, [8, 7, 6, 5, 4, 6]);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(Days::new("x", 0, 27, &[]).is_empty());
    }
}
