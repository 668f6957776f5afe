//! What the two SYNs agree on: the MSS, window scaling, timestamps (and PAWS), SACK, ECN.

use core::time::Duration;

use mirage_core::Instant;

use crate::tcp::config::TcpConfig;
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::sequence::SequenceNumber;
use crate::wire::tcp::{
    DEFAULT_MAXIMUM_SEGMENT_SIZE, TIMESTAMPS_LEN, TcpFlags, TcpOptions, TcpRepr, Timestamps,
};

/// RFC 7323 §5.5: after 24 days without a segment the peer's clock may have gone half around.
const OUTDATED: Duration = Duration::from_secs(24 * 24 * 3_600);

/// What a peer's SYN says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The peer's initial sequence number.
    pub(crate) sequence: SequenceNumber,
    /// Its window, which is not scaled in a SYN (RFC 7323 §2.2).
    pub(crate) window: u16,
    /// Octets of payload that it takes, at least [`TcpConfig::least_segment`].
    pub(crate) maximum_segment: u16,
    /// The shift of the windows that it will state.
    pub(crate) window_scale: Option<u8>,
    /// It understands SACK.
    pub(crate) sack: bool,
    /// Its clock, where it does timestamps.
    pub(crate) timestamp: Option<u32>,
    /// It does ECN (RFC 3168 §6.1.1).
    pub(crate) congestion_notification: bool,
}

impl Offer {
    /// Of a SYN, or a SYN,ACK.
    pub(crate) fn of(repr: &TcpRepr, config: &TcpConfig) -> Self {
        let options = &repr.options;
        let (both, echo) = (TcpFlags::ECE | TcpFlags::CWR, TcpFlags::ECE);
        // RFC 3168 §6.1.1: both flags in a SYN, ECE alone in the answer.
        let offers = if repr.flags.contains(TcpFlags::ACK) {
            repr.flags & both == echo
        } else {
            repr.flags.contains(both)
        };
        Offer {
            sequence: repr.sequence,
            window: repr.window,
            maximum_segment: options
                .maximum_segment_size
                .unwrap_or(DEFAULT_MAXIMUM_SEGMENT_SIZE)
                .max(config.least_segment),
            window_scale: options.window_scale,
            sack: options.sack_permitted,
            timestamp: options.timestamps.map(|timestamps| timestamps.value),
            congestion_notification: offers,
        }
    }
}

/// A SYN or a SYN,ACK of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Synchronise {
    pub(crate) tuple: FourTuple,
    pub(crate) sequence: SequenceNumber,
    /// The peer's SYN, to be acknowledged.
    pub(crate) acknowledges: Option<SequenceNumber>,
    pub(crate) window: u16,
    pub(crate) maximum_segment: u16,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) congestion_notification: bool,
}

impl Synchronise {
    pub(crate) fn repr(&self) -> TcpRepr {
        let mut flags = TcpFlags::SYN;
        match (self.acknowledges.is_some(), self.congestion_notification) {
            (true, true) => flags |= TcpFlags::ACK | TcpFlags::ECE,
            (true, false) => flags |= TcpFlags::ACK,
            (false, true) => flags |= TcpFlags::ECE | TcpFlags::CWR,
            (false, false) => {}
        }
        TcpRepr {
            source_port: self.tuple.local_port,
            destination_port: self.tuple.remote_port,
            sequence: self.sequence,
            acknowledgement: self
                .acknowledges
                .map_or_else(Default::default, |irs| irs + 1),
            flags,
            window: self.window,
            options: TcpOptions {
                maximum_segment_size: Some(self.maximum_segment),
                window_scale: self.window_scale,
                sack_permitted: self.sack,
                timestamps: self.timestamps,
                ..TcpOptions::NONE
            },
            ..TcpRepr::default()
        }
    }
}

/// Our clock of timestamps: milliseconds (RFC 7323 §5.4 wants a tick of 1 ms to 1 s), from a point that
/// an outsider can't know (§7.1), the same for each incarnation of a four-tuple, so that the peer's
/// TIME-WAIT sees it go on (RFC 6191).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimestampClock {
    pub(crate) offset: u32,
}

impl TimestampClock {
    pub(crate) fn value(self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.offset)
    }

    /// The instant that an echoed value stands for, rounded down to a millisecond; none for one
    /// that this clock has not shown yet.
    pub(crate) fn instant(self, now: Instant, echo: u32) -> Option<Instant> {
        let elapsed = self.value(now).wrapping_sub(echo);
        if elapsed > u32::MAX / 2 {
            return None;
        }
        let millis = now.as_millis().checked_sub(u64::from(elapsed))?;
        Some(Instant::from_millis(millis))
    }
}

/// Timestamps of a connection that both ends agreed on (RFC 7323 §3, §4.3, §5).
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimestampState {
    pub(crate) clock: TimestampClock,
    /// TS.Recent: to be echoed, and what no later segment is older than.
    pub(crate) recent: u32,
    /// When `recent` was set.
    recent_at: Instant,
}

impl TimestampState {
    pub(crate) fn new(clock: TimestampClock, recent: u32, now: Instant) -> Self {
        TimestampState {
            clock,
            recent,
            recent_at: now,
        }
    }

    pub(crate) fn option(&self, now: Instant) -> Timestamps {
        Timestamps {
            value: self.clock.value(now),
            echo: self.recent,
        }
    }

    /// RFC 7323 §5.3, R1: whether a segment is older than what came before. Never after the
    /// connection was silent for 24 days (§5.5).
    pub(crate) fn is_old(&self, value: u32, now: Instant) -> bool {
        is_before(value, self.recent) && now.saturating_duration_since(self.recent_at) < OUTDATED
    }

    /// RFC 7323 §4.3 (2) and §5.3, R3: remembers the timestamp of a segment that is acceptable, and not
    /// behind the last acknowledgement: `covers` says that it is not. The echo is then that
    /// of the earliest segment which the next acknowledgement answers.
    pub(crate) fn observe(&mut self, value: u32, covers: bool, now: Instant) {
        let outdated = now.saturating_duration_since(self.recent_at) >= OUTDATED;
        if covers && (!is_before(value, self.recent) || outdated) {
            self.recent = value;
            self.recent_at = now;
        }
    }
}

/// Whether a timestamp is before another, on their circle.
pub(crate) fn is_before(value: u32, other: u32) -> bool {
    (value.wrapping_sub(other) as i32) < 0
}

/// Octets of options in each segment (RFC 6691: the sender takes them off the MSS).
pub(crate) fn fixed_options_len(timestamps: bool) -> u16 {
    if timestamps { TIMESTAMPS_LEN as u16 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> TimestampClock {
        TimestampClock {
            offset: u32::MAX - 5,
        }
    }

    #[test]
    fn rfc7323_an_echo_names_the_instant_that_it_was_sent() {
        let (sent, now) = (Instant::from_micros(3_500), Instant::from_millis(40));
        let echo = clock().value(sent);
        assert_eq!(clock().instant(now, echo), Some(Instant::from_millis(3)));
        // Across the wrap of the clock.
        let now = Instant::from_millis(10);
        assert_eq!(
            clock().instant(now, u32::MAX - 5),
            Some(Instant::from_millis(0))
        );
        // What was never sent is no measurement.
        let future = clock().value(Instant::from_millis(11));
        assert_eq!(clock().instant(now, future), None);
        let before_the_start = clock().value(Instant::ZERO).wrapping_sub(1);
        assert_eq!(clock().instant(now, before_the_start), None);
    }

    #[test]
    fn rfc7323_5_5_an_old_timestamp_is_believed_after_24_days() {
        let mut state = TimestampState::new(clock(), 1_000, Instant::ZERO);
        assert!(state.is_old(999, Instant::from_secs(1)));
        assert!(!state.is_old(1_000, Instant::from_secs(1)));
        let late = Instant::from_secs(24 * 24 * 3_600);
        assert!(!state.is_old(999, late));
        state.observe(999, true, late);
        assert_eq!(state.recent, 999);
    }

    #[test]
    fn rfc7323_4_3_a_segment_beyond_the_last_acknowledgement_is_not_echoed() {
        let mut state = TimestampState::new(clock(), 1_000, Instant::ZERO);
        state.observe(1_001, false, Instant::ZERO);
        assert_eq!(state.recent, 1_000);
        state.observe(999, true, Instant::ZERO);
        assert_eq!(state.recent, 1_000);
        state.observe(1_001, true, Instant::ZERO);
        assert_eq!(state.recent, 1_001);
    }

    #[test]
    fn rfc3168_6_1_1_which_flags_offer() {
        let config = TcpConfig::default();
        let offers = |flags| {
            let repr = TcpRepr {
                flags,
                ..TcpRepr::default()
            };
            Offer::of(&repr, &config).congestion_notification
        };
        use TcpFlags as F;
        assert!(offers(F::SYN | F::ECE | F::CWR));
        assert!(!offers(F::SYN | F::ECE));
        assert!(!offers(F::SYN));
        assert!(offers(F::SYN | F::ACK | F::ECE));
        // A host that reflects the bits does not know what they mean.
        assert!(!offers(F::SYN | F::ACK | F::ECE | F::CWR));
    }

    #[test]
    fn a_tiny_mss_is_not_believed() {
        let mut repr = TcpRepr::default();
        let config = TcpConfig::default();
        assert_eq!(Offer::of(&repr, &config).maximum_segment, 536);
        repr.options.maximum_segment_size = Some(1);
        assert_eq!(Offer::of(&repr, &config).maximum_segment, 88);
    }
}
