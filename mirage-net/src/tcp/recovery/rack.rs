//! RACK: a segment is lost when one that was sent after it was delivered, and some time has passed (RFC 8985 §6).

use core::time::Duration;

use mirage_core::Instant;

use super::scoreboard::Newest;
use crate::tcp::SequenceNumber;

/// Recoveries for which a wider reordering window stays (RFC 8985 §6.2, step 4).
const PERSISTENCE: u8 = 16;
/// The most quarters of a round-trip time that the window is of, before it is bounded by a round trip anyway.
const MAX_MULTIPLIER: u8 = 32;

/// RACK's state of one connection.
#[derive(Debug, Clone)]
pub(super) struct Rack {
    /// RACK.xmit_ts and RACK.end_seq: of the segment that was sent last among those delivered.
    sent_at: Instant,
    end: SequenceNumber,
    /// RACK.rtt, in nanoseconds: of that segment. Zero before there is one.
    round_trip: u64,
    /// RACK.fack.
    pub(super) forward: SequenceNumber,
    /// RACK.dsack_round, while there is one: D-SACKs before it is acknowledged count once.
    round: Option<SequenceNumber>,
    /// RACK.reo_wnd_mult and RACK.reo_wnd_persist.
    multiplier: u8,
    persistence: u8,
    reordering_seen: bool,
}

impl Rack {
    pub(super) const fn new(first: SequenceNumber) -> Self {
        Rack {
            sent_at: Instant::ZERO,
            end: first,
            round_trip: 0,
            forward: first,
            round: None,
            multiplier: 1,
            persistence: PERSISTENCE,
            reordering_seen: false,
        }
    }

    /// §6.2, step 2: the segment that was sent last among those delivered now.
    pub(super) fn update(&mut self, now: Instant, newest: Newest) {
        self.round_trip = nanos(now - newest.sent_at).max(1);
        if newest.sent_at > self.sent_at
            || (newest.sent_at == self.sent_at && newest.end.is_after(self.end))
        {
            self.sent_at = newest.sent_at;
            self.end = newest.end;
        }
    }

    /// §6.2, step 3: what was delivered came in another order than it was sent in.
    pub(super) fn reordered(&mut self) {
        self.reordering_seen = true;
    }

    /// §6.2, step 4: the peer had received something twice, so that what was sent again was not lost, in most cases.
    pub(super) fn duplicate_reported(
        &mut self,
        acknowledged: SequenceNumber,
        next: SequenceNumber,
    ) {
        if self
            .round
            .is_some_and(|round| acknowledged.is_before(round))
        {
            return;
        }
        self.round = Some(next);
        self.multiplier = self.multiplier.saturating_add(1).min(MAX_MULTIPLIER);
        self.persistence = PERSISTENCE;
    }

    /// The round of the last D-SACK is over.
    pub(super) fn end_round(&mut self, acknowledged: SequenceNumber) {
        if self
            .round
            .is_some_and(|round| round.is_at_or_before(acknowledged))
        {
            self.round = None;
        }
    }

    /// A recovery ended: the wider window wears off.
    pub(super) fn recovery_ended(&mut self) {
        self.persistence = self.persistence.saturating_sub(1);
        if self.persistence == 0 {
            self.multiplier = 1;
        }
    }

    /// RACK.rtt.
    pub(super) fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip)
    }

    /// Whether anything was delivered yet.
    pub(super) fn has_sample(&self) -> bool {
        self.round_trip != 0
    }

    /// §6.2, step 4: how long a segment is waited for, beyond a round trip, after one that was sent later was delivered.
    ///
    /// `at_once`: in recovery, or with as much reported by SACK as fast retransmission needs: without reordering seen there
    /// is nothing to wait for.
    pub(super) fn reordering_window(
        &self,
        at_once: bool,
        minimum: Duration,
        smoothed: Duration,
    ) -> Duration {
        if !self.reordering_seen && at_once {
            return Duration::ZERO;
        }
        (minimum / 4 * u32::from(self.multiplier)).min(smoothed)
    }

    /// Whether the segment that was delivered last was sent after one that was sent at `sent_at` and ends at `end`.
    #[inline]
    pub(super) fn was_sent_after(&self, sent_at: Instant, end: SequenceNumber) -> bool {
        self.round_trip != 0
            && (self.sent_at > sent_at || (self.sent_at == sent_at && self.end.is_after(end)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
