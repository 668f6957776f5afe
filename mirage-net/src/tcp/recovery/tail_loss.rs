//! Tail loss probes: when nothing is heard for two round trips the last segment is sent again, and what the peer answers
//! shows what was lost, without a time-out (RFC 8985 §7).

use core::time::Duration;

use crate::tcp::SequenceNumber;

/// What a peer may delay the acknowledgement of a single segment by: "max_ack_delay" of RFC 8985 §7.2.
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);
/// The probe time-out before anything was measured (RFC 8985 §7.2).
const INITIAL: Duration = Duration::from_secs(1);
/// The clock's share in two round trips: RFC 8985 §7.2 has TCP's timer granularity here.
const MINIMUM: Duration = Duration::from_millis(10);

/// A probe that was sent, until it is known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// TLP.end_seq: SND.NXT when it had been sent.
    pub(super) end: SequenceNumber,
    /// TLP.is_retrans: it was no new data.
    pub(super) retransmission: bool,
}

/// What an acknowledgement said of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeOutcome {
    /// Nothing yet.
    Pending,
    /// Nothing was lost.
    Unneeded,
    /// The probe has repaired a loss: that is congestion all the same (RFC 8985 §7.4).
    Repaired,
}

impl Probe {
    /// RFC 8985 §7.4.2.
    pub(super) fn acknowledged(
        &self,
        acknowledgement: SequenceNumber,
        duplicate_of_probe: bool,
        plain_duplicate: bool,
    ) -> ProbeOutcome {
        if acknowledgement.is_before(self.end) {
            return ProbeOutcome::Pending;
        }
        if !self.retransmission || duplicate_of_probe {
            return ProbeOutcome::Unneeded;
        }
        if acknowledgement.is_after(self.end) {
            return ProbeOutcome::Repaired;
        }
        // The peer has both, and doesn't report duplicates.
        if plain_duplicate {
            return ProbeOutcome::Unneeded;
        }
        ProbeOutcome::Pending
    }
}

/// PTO (RFC 8985 §7.2): how long after the last transmission a probe is sent. `single`: one segment is in flight, whose
/// acknowledgement may be delayed.
pub(super) fn probe_timeout(smoothed: Option<Duration>, single: bool) -> Duration {
    let Some(smoothed) = smoothed else {
        return INITIAL;
    };
    let mut timeout = (smoothed * 2).max(MINIMUM);
    if single {
        timeout += MAX_ACK_DELAY;
    }
    timeout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u32) -> SequenceNumber {
        SequenceNumber::new(number)
    }

    #[test]
    fn rfc8985_7_2_the_probe_waits_two_round_trips() {
        let smoothed = Some(Duration::from_millis(30));
        assert_eq!(probe_timeout(smoothed, false), Duration::from_millis(60));
        assert_eq!(probe_timeout(smoothed, true), Duration::from_millis(260));
        assert_eq!(probe_timeout(None, false), Duration::from_secs(1));
        let short = Some(Duration::from_micros(100));
        assert_eq!(probe_timeout(short, false), Duration::from_millis(10));
    }

    #[test]
    fn rfc8985_7_4_a_probe_of_new_data_is_no_sign_of_loss() {
        let probe = Probe {
            end: at(10),
            retransmission: false,
        };
        assert_eq!(
            probe.acknowledged(at(9), false, false),
            ProbeOutcome::Pending
        );
        assert_eq!(
            probe.acknowledged(at(10), false, false),
            ProbeOutcome::Unneeded
        );
    }

    #[test]
    fn rfc8985_7_4_a_loss_that_a_probe_repaired_is_congestion() {
        let probe = Probe {
            end: at(10),
            retransmission: true,
        };
        assert_eq!(
            probe.acknowledged(at(10), false, false),
            ProbeOutcome::Pending
        );
        assert_eq!(
            probe.acknowledged(at(11), false, false),
            ProbeOutcome::Repaired
        );
    }

    #[test]
    fn rfc8985_7_4_a_probe_that_arrived_twice_repaired_nothing() {
        let probe = Probe {
            end: at(10),
            retransmission: true,
        };
        assert_eq!(
            probe.acknowledged(at(10), true, false),
            ProbeOutcome::Unneeded
        );
        assert_eq!(
            probe.acknowledged(at(10), false, true),
            ProbeOutcome::Unneeded
        );
    }
}
