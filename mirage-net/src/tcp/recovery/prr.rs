//! Proportional rate reduction: what leaves during recovery (RFC 9937).

/// PRR's state of one recovery. All numbers are octets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prr {
    /// RecoverFS: what was in flight when recovery began.
    flight: u32,
    /// prr_delivered.
    delivered: u64,
    /// prr_out.
    sent: u64,
    /// The window that follows: cwnd during recovery.
    window: u32,
}

/// What an acknowledgement in recovery says to PRR.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// DeliveredData.
    pub(super) delivered: u32,
    /// What is in the network, after all that the acknowledgement said.
    pub(super) in_flight: u32,
    /// ssthresh.
    pub(super) threshold: u32,
    pub(super) maximum_segment: u32,
    /// SafeACK: it acknowledges new data, and nothing more was found lost.
    pub(super) safe: bool,
}

impl Prr {
    /// Recovery begins, with `flight` octets as RFC 9937 §6 counts RecoverFS.
    pub(super) fn begin(flight: u32) -> Self {
        Prr {
            flight: flight.max(1),
            ..Prr::default()
        }
    }

    /// RFC 9937 §6, for each acknowledgement in recovery.
    pub(super) fn acknowledged(&mut self, progress: Progress) {
        let Progress {
            delivered,
            in_flight,
            threshold,
            maximum_segment,
            safe,
        } = progress;
        self.delivered += u64::from(delivered);
        let mut count = if in_flight > threshold {
            // In proportion, so that the flight is at the threshold when recovery ends.
            let due = (self.delivered * u64::from(threshold)).div_ceil(u64::from(self.flight));
            due.saturating_sub(self.sent)
        } else {
            // PRR-CRB, and PRR-SSRB where it is safe to catch up.
            let mut count = self
                .delivered
                .saturating_sub(self.sent)
                .max(u64::from(delivered));
            if safe {
                count += u64::from(maximum_segment);
            }
            count.min(u64::from(threshold - in_flight))
        };
        // The first retransmission is sent in any case; and with nothing in flight no acknowledgement would let one out.
        if self.sent == 0 || in_flight == 0 {
            count = count.max(u64::from(maximum_segment));
        }
        let window = u64::from(in_flight) + count;
        self.window = window.min(u64::from(u32::MAX)) as u32;
    }

    /// `octets` were sent.
    pub(super) fn sent(&mut self, octets: u32) {
        self.sent += u64::from(octets);
    }

    /// The congestion window.
    pub(super) fn window(&self) -> u32 {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: u32 = 1_000;

    fn progress(delivered: u32, in_flight: u32, threshold: u32, safe: bool) -> Progress {
        Progress {
            delivered,
            in_flight,
            threshold,
            maximum_segment: SEGMENT,
            safe,
        }
    }

    #[test]
    fn rfc9937_one_loss_halves_the_flight_over_a_round_trip() {
        // Twenty segments, the first is lost: each of the 19 that follow is reported, and every other one lets one out.
        let (threshold, mut in_flight) = (10 * SEGMENT, 20 * SEGMENT);
        let mut prr = Prr::begin(in_flight);
        // The lost one leaves the pipe when recovery begins.
        in_flight -= SEGMENT;
        let mut sent = 0;
        for _ in 0..19 {
            in_flight -= SEGMENT;
            prr.acknowledged(progress(SEGMENT, in_flight, threshold, false));
            while in_flight + SEGMENT <= prr.window() {
                prr.sent(SEGMENT);
                in_flight += SEGMENT;
                sent += 1;
            }
        }
        assert!((9..=10).contains(&sent), "{sent}");
        assert!(
            in_flight <= threshold && in_flight >= threshold - SEGMENT,
            "{in_flight}"
        );
    }

    #[test]
    fn rfc9937_many_losses_don_t_stop_the_clock() {
        // Fifteen of twenty are lost: what is in flight is far below the threshold, and each delivery lets out as much, and
        // one segment more when it is safe.
        let mut prr = Prr::begin(20 * SEGMENT);
        prr.acknowledged(progress(SEGMENT, 4 * SEGMENT, 10 * SEGMENT, false));
        assert_eq!(prr.window(), 5 * SEGMENT);
        prr.sent(SEGMENT);
        prr.acknowledged(progress(SEGMENT, 4 * SEGMENT, 10 * SEGMENT, true));
        assert_eq!(prr.window(), 6 * SEGMENT);
    }

    #[test]
    fn rfc9937_the_first_retransmission_is_sent_in_any_case() {
        let mut prr = Prr::begin(20 * SEGMENT);
        prr.acknowledged(progress(1, 19 * SEGMENT, 10 * SEGMENT, false));
        assert_eq!(prr.window(), 20 * SEGMENT);
    }

    #[test]
    fn with_nothing_in_flight_the_window_is_a_segment() {
        let mut prr = Prr::begin(20 * SEGMENT);
        prr.acknowledged(progress(SEGMENT, SEGMENT, 10 * SEGMENT, false));
        prr.sent(SEGMENT);
        // All that was in flight is lost, and nothing was delivered.
        prr.acknowledged(progress(0, 0, 10 * SEGMENT, false));
        assert_eq!(prr.window(), SEGMENT);
    }

    proptest! {
        #[test]
        fn rfc9937_no_more_is_sent_than_delivered_above_the_threshold(
            steps in proptest::collection::vec((0u32..3_000, any::<bool>()), 1..60),
            flight in 10_000u32..1_000_000, percent in 10u32..90,
        ) {
            let threshold = flight / 100 * percent;
            let mut prr = Prr::begin(flight);
            let mut in_flight = flight;
            let (mut delivered, mut sent) = (0u64, 0u64);
            for (octets, safe) in steps {
                let octets = octets.min(in_flight);
                in_flight -= octets;
                delivered += u64::from(octets);
                prr.acknowledged(progress(octets, in_flight, threshold, safe));
                let allowed = prr.window().saturating_sub(in_flight);
                prr.sent(allowed);
                sent += u64::from(allowed);
                in_flight += allowed;
                // One segment for the retransmission that is forced, and what is safe to catch up with below the threshold.
                prop_assert!(in_flight <= threshold || sent <= delivered + u64::from(SEGMENT));
            }
        }
    }
}
