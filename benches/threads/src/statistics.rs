//! What is told of many numbers.

use serde::{Deserialize, Serialize};

/// How late tasks woke, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lateness {
    pub(crate) count: usize,
    /// Share of tasks, and by how many nanoseconds at most these were late.
    pub(crate) quantiles: Vec<(f64, u64)>,
    /// Tasks at most this late, in percent.
    pub(crate) percent_within_10_us: f64,
    /// As above: MirageOS's figure is for 56 us.
    pub(crate) percent_within_56_us: f64,
    pub(crate) max_ns: u64,
}

/// The shares whose lateness is told.
const SHARES: [f64; 21] = [
    0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.997, 0.998,
    0.999, 0.9995, 0.9999, 0.99999,
];

impl Lateness {
    pub(crate) fn of(mut late: Vec<u64>) -> Self {
        late.sort_unstable();
        let count = late.len();
        let at = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            late.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        let within = |limit: u64| {
            let below = late.partition_point(|&late| late <= limit);
            100.0 * below as f64 / count.max(1) as f64
        };
        Self {
            count,
            quantiles: SHARES.iter().map(|&share| (share, at(share))).collect(),
            percent_within_10_us: within(10_000),
            percent_within_56_us: within(56_000),
            max_ns: late.last().copied().unwrap_or(0),
        }
    }

    /// The lateness that a share of the tasks did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        self.quantiles
            .iter()
            .find(|(known, _)| *known >= share)
            .map_or(self.max_ns, |&(_, late)| late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_the_share_does_not_exceed() {
        let lateness = Lateness::of((1..=100_000).rev().collect());
        assert_eq!(lateness.quantile(0.5), 50_000);
        assert_eq!(lateness.quantile(0.997), 99_700);
        assert_eq!(lateness.max_ns, 100_000);
        assert_eq!(lateness.percent_within_10_us, 10.0);
        assert_eq!(Lateness::of(Vec::new()).quantile(0.5), 0);
    }
}
