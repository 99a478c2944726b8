//! A rate with its interval: crashes per 1,000 node-days, and how much of it could be chance.

use serde::Serialize;

/// µs in a day.
const DAY_US: f64 = 86_400_000_000.0;

/// Crashes per 1,000 node-days, with the exact 95 % interval of a Poisson count (Garwood 1936): the smallest rate
/// under which so many or more, and the largest under which so many or fewer, would come in one of 40 windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Rate {
    /// Crashes.
    pub crashes: i64,
    /// Node-days in which they came.
    pub node_days: f64,
    /// Per 1,000 node-days.
    pub rate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Rate {
    /// The rate of a count in some time; none without time, since then nothing is known.
    pub fn of(crashes: i64, up_us: i64) -> Option<Rate> {
        let node_days = up_us as f64 / DAY_US;
        if up_us <= 0 || crashes < 0 {
            return None;
        }
        let per = 1000.0 / node_days;
        let (low, high) = interval(crashes.unsigned_abs());
        Some(Rate { crashes, node_days, rate: crashes as f64 * per, low: low * per, high: high * per })
    }

    /// `19.0`, and `0.02` where that says more.
    pub fn shown(value: f64) -> String {
        match value {
            0.0 => "0.0".to_owned(),
            v if v < 0.1 => format!("{v:.2}"),
            v if v < 1000.0 => format!("{v:.1}"),
            v => super::words::count(v.round() as i64),
        }
    }

    /// The rate itself, as [`Rate::shown`].
    pub fn value(&self) -> String {
        Rate::shown(self.rate)
    }

    /// `9.8 – 33.2`.
    pub fn range(&self) -> String {
        format!("{} – {}", Rate::shown(self.low), Rate::shown(self.high))
    }

    /// Whether the interval spans so much that a rate means little: more than tenfold, or no crash at all in fewer
    /// than 100 node-days.
    pub fn is_vague(&self) -> bool {
        if self.crashes == 0 { self.node_days < 100.0 } else { self.high > 10.0 * self.low }
    }
}

/// The means between which a Poisson count of `k` is no surprise at 95 %.
fn interval(k: u64) -> (f64, f64) {
    const TAIL: f64 = 0.025;
    // Above this the normal approximation is exact to the digits that are shown.
    if k > 10_000 {
        let (k, half) = (k as f64, 1.96 * (k as f64).sqrt());
        return (k - half, k + half);
    }
    let low = if k == 0 { 0.0 } else { solve(|mean| 1.0 - at_most(k - 1, mean) < TAIL, k) };
    (low, solve(|mean| at_most(k, mean) > TAIL, k))
}

/// The mean at which `below` turns false: it is true for small means.
fn solve(below: impl Fn(f64) -> bool, k: u64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0 + 2.0 * k as f64);
    // 60 halvings leave less than the rounding of an f64.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    low
}

/// P(X ≤ k) of a Poisson count with a mean, summed from the largest term so that no factor over- or underflows.
fn at_most(k: u64, mean: f64) -> f64 {
    if mean == 0.0 {
        return 1.0;
    }
    let mut log_term = -mean;
    let mut sum = log_term.exp();
    for i in 1..=k {
        log_term += (mean / i as f64).ln();
        sum += log_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(k: u64, low: f64, high: f64) {
        let (l, h) = interval(k);
        assert!((l - low).abs() < 0.005 && (h - high).abs() < 0.005, "{k}: {l} {h}");
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Garwood's table, as in every text on rates.
        check(0, 0.0, 3.69);
        check(1, 0.0253, 5.57);
        check(2, 0.242, 7.22);
        check(10, 4.80, 18.39);
        check(100, 81.36, 121.63);
    }

    #[test]
    fn a_rate_needs_time() {
        assert_eq!(Rate::of(3, 0), None);
        let rate = Rate::of(12, (631.0 * DAY_US) as i64).unwrap();
        assert_eq!((Rate::shown(rate.rate), rate.range()), ("19.0".to_owned(), "9.8 – 33.2".to_owned()));
        assert!(!rate.is_vague());
        assert!(Rate::of(2, (402.0 * DAY_US) as i64).unwrap().is_vague());
    }
}
