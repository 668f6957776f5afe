//! What is told of several runs.

use serde::{Deserialize, Serialize};

/// The middle one, of an even number the mean of the two in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(at(half.saturating_sub(1)), at(half))
    } else {
        at(half)
    }
}

/// The median of several runs, with the smallest and the largest as its spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
    /// How many runs there were; at least one.
    pub runs: usize,
}

impl Spread {
    /// That of these values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let minimum = values.iter().copied().min_by(f64::total_cmp)?;
        let maximum = values.iter().copied().max_by(f64::total_cmp)?;
        let runs = values.len();
        Some(Self {
            median: median(values),
            minimum,
            maximum,
            runs,
        })
    }

    /// The same in another unit.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            minimum: self.minimum * factor,
            maximum: self.maximum * factor,
            runs: self.runs,
        }
    }
}

impl core::fmt::Display for Spread {
    /// The median, and the spread in brackets, with the formatter's precision.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let precision = f.precision().unwrap_or(1);
        if self.runs == 1 {
            return write!(f, "{:.precision$} (1 run)", self.median);
        }
        write!(
            f,
            "{:.precision$} ({:.precision$} to {:.precision$}, {} runs)",
            self.median, self.minimum, self.maximum, self.runs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn the_spread_holds_all_runs() {
        let spread = Spread::of([5.0, -1.0, 3.0, 9.0, 4.0]).unwrap();
        let expected = Spread {
            median: 4.0,
            minimum: -1.0,
            maximum: 9.0,
            runs: 5,
        };
        assert_eq!(spread, expected);
        assert_eq!(
            format!("{:.0}", spread.times(10.0)),
            "40 (-10 to 90, 5 runs)"
        );
        assert_eq!(Spread::of([1.5]).unwrap().to_string(), "1.5 (1 run)");
        assert_eq!(Spread::of([]), None);
    }
}
