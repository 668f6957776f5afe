//! When what was received is acknowledged (RFC 9293 §3.8.6.3, RFC 5681 §4.2).

use core::time::Duration;

use mirage_core::Instant;

use super::{Connection, Context};
use crate::tcp::{CongestionControl, SequenceNumber};

/// Segments whose acknowledgement does not wait for a second one at the beginning of a connection, and after one was missing (RFC 5681
/// §4.2 allows it): the peer's window is small then, each acknowledgement opens it, and the last of an odd number in flight would wait
/// for the timer.
const QUICK: u8 = 8;

/// Segments behind a gap that are acknowledged one by one, before those that only make the same range longer are acknowledged together,
/// where SACK says which they are: as many as tell a sender without SACK of a loss (RFC 5681 §3.2), and one.
const EACH: u8 = 4;

/// For what an acknowledgement waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Haste {
    /// For its time, or another segment.
    None,
    /// For segments that have come and were not looked at, and for the owner.
    Soon,
    /// For the owner, but for no further segment: the peer has sent half of what it may, and what the owner reads is what it may send next.
    Pressing,
    /// For nothing.
    Urgent,
}

/// The state of what is owed to the peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledging {
    /// When an acknowledgement is due at the latest.
    due: Option<Instant>,
    /// Whether one is due whatever the time.
    haste: Haste,
    /// Octets received since the last one.
    octets: u32,
    /// The largest payload that came so far: what the peer's full-sized segments are like.
    largest: u32,
    /// Segments that are still acknowledged at once.
    quick: u8,
    /// Segments behind the gap that were acknowledged one by one.
    each: u8,
    /// Last.ACK.sent (RFC 7323 §4.3).
    last: SequenceNumber,
}

impl Acknowledging {
    pub(crate) fn new(next: SequenceNumber) -> Self {
        Acknowledging {
            due: None,
            haste: Haste::None,
            octets: 0,
            largest: 0,
            quick: QUICK,
            each: 0,
            last: next,
        }
    }

    /// One goes out at once, before anything else that has come is looked at.
    pub(crate) fn at_once(&mut self) {
        self.haste = Haste::Urgent;
    }

    /// One goes out when what has come was looked at, and its owner has acted on it.
    pub(crate) fn soon(&mut self) {
        self.haste = self.haste.max(Haste::Soon);
    }

    /// Something is missing, or came twice: one goes out at once, and for each of the segments that follow.
    pub(crate) fn disturbed(&mut self) {
        self.at_once();
        self.quick = QUICK;
        self.each = 0;
    }

    /// A segment came that makes a range longer which SACK tells the peer of: after the first ones what came together is reported
    /// together, for the report is of the range. RFC 5681 §4.2 has each acknowledged at once, to be counted; with SACK nobody counts
    /// (RFC 6675, RFC 8985).
    pub(crate) fn extended(&mut self) {
        self.quick = QUICK;
        if self.each < EACH {
            self.each += 1;
            self.at_once();
        } else {
            self.soon();
        }
    }

    /// `octets` of payload advanced RCV.NXT, in segments of at most `segment` octets. With `most` of them the peer should not be kept
    /// waiting, though more may have come: it has sent half of what it may.
    fn data(&mut self, now: Instant, octets: u32, segment: u32, most: u32, longest: Duration) {
        let segment = segment.min(octets).max(1);
        self.largest = self.largest.max(segment);
        self.octets = self.octets.saturating_add(octets);
        // RFC 9293 (SHLD-18), RFC 5681 §4.2: every second full-sized segment.
        if self.quick > 0 || self.octets >= self.largest.saturating_mul(2) {
            // Of frames of 64 KiB two are not quite half of 256: what is nearest to half is meant.
            let haste = match self.octets.saturating_add(octets / 2) >= most {
                true => Haste::Pressing,
                false => Haste::Soon,
            };
            self.haste = self.haste.max(haste);
            let segments = octets.div_ceil(segment).min(u8::MAX.into());
            self.quick = self.quick.saturating_sub(segments as u8);
        } else if self.due.is_none() {
            self.due = Some(now.saturating_add(longest));
        }
    }

    /// Time has passed: what was due is due now.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.soon();
        }
    }

    /// Whether one is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.haste > Haste::None || self.due.is_some_and(|due| due <= now)
    }

    /// Whether one is due that each segment has to have, and no other can have with it, out of order or after a gap (RFC 5681 §4.2).
    pub(crate) fn is_urgent(&self) -> bool {
        self.haste == Haste::Urgent
    }

    /// Whether one is due without which the peer would soon stand still.
    pub(crate) fn is_pressing(&self) -> bool {
        self.haste == Haste::Pressing
    }

    /// Whether one is owed, now or later.
    pub(crate) fn is_owed(&self) -> bool {
        self.haste > Haste::None || self.due.is_some()
    }

    /// When one is due at the latest, if it may wait.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// A segment went out that acknowledges everything before `next`.
    pub(crate) fn sent(&mut self, next: SequenceNumber) {
        self.due = None;
        self.haste = Haste::None;
        self.octets = 0;
        self.last = next;
    }

    /// Last.ACK.sent.
    pub(crate) fn last(&self) -> SequenceNumber {
        self.last
    }

    /// What a full-sized segment of the peer's is like, in octets.
    pub(crate) fn peer_segment(&self) -> u32 {
        self.largest
    }
}

impl<C: CongestionControl> Connection<C> {
    /// Data came that moved RCV.NXT on: one segment, or several of `segment` octets that the device has merged.
    pub(super) fn owe_acknowledgement(&mut self, cx: &Context<'_, '_>, octets: u32, segment: u16) {
        // RFC 9293, MUST-58: below half a second.
        let longest = cx
            .config
            .delayed_acknowledgement
            .min(Duration::from_millis(499));
        let segment = if segment == 0 { octets } else { segment.into() };
        let most = self.receive_window.limit() / 2;
        self.acknowledging
            .data(cx.now, octets, segment, most, longest);
    }

    /// Whether it has an acknowledgement to send that should not wait for what has come and was not looked at (getter).
    pub(crate) fn is_urgent(&self) -> bool {
        self.acknowledging.is_urgent()
    }

    /// Whether it has an acknowledgement to send for which nothing further should be received, once its owner has read (getter).
    pub(crate) fn is_pressing(&self) -> bool {
        self.acknowledging.is_pressing()
    }

    /// The device or the network layer refused a segment after `poll_transmit` gave it: an acknowledgement that it carried was
    /// not sent (input). Data in it are lost as if on the wire.
    pub(crate) fn handle_refused(&mut self) {
        self.acknowledging.at_once();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(40);
    const MOST: u32 = 16_000;

    fn settled() -> Acknowledging {
        let mut acknowledging = Acknowledging::new(SequenceNumber::new(0));
        for _ in 0..QUICK {
            acknowledging.data(Instant::ZERO, 1_000, 1_000, MOST, LONGEST);
            assert!(acknowledging.is_due(Instant::ZERO));
            acknowledging.sent(SequenceNumber::new(1));
        }
        acknowledging
    }

    #[test]
    fn rfc5681_4_2_every_second_full_sized_segment() {
        let mut acknowledging = settled();
        acknowledging.data(Instant::ZERO, 1_000, 1_000, MOST, LONGEST);
        assert!(!acknowledging.is_due(Instant::ZERO) && acknowledging.is_owed());
        acknowledging.data(Instant::ZERO, 1_000, 1_000, MOST, LONGEST);
        assert!(acknowledging.is_due(Instant::ZERO));
    }

    /// What the device has merged counts as what it was merged of, and tells how long the peer's segments are.
    #[test]
    fn rfc5681_4_2_two_segments_in_one_frame_are_acknowledged() {
        let mut acknowledging = settled();
        acknowledging.data(Instant::ZERO, 2_000, 1_000, MOST, LONGEST);
        assert!(acknowledging.is_due(Instant::ZERO));
        assert_eq!(acknowledging.peer_segment(), 1_000);
        acknowledging.sent(SequenceNumber::new(1));
        acknowledging.data(Instant::ZERO, 1_500, 1_000, MOST, LONGEST);
        assert!(!acknowledging.is_due(Instant::ZERO));
        // The first eight are counted one by one, too.
        let mut acknowledging = Acknowledging::new(SequenceNumber::new(0));
        acknowledging.data(Instant::ZERO, 8_000, 1_000, MOST, LONGEST);
        acknowledging.sent(SequenceNumber::new(1));
        acknowledging.data(Instant::ZERO, 1_000, 1_000, MOST, LONGEST);
        assert!(!acknowledging.is_due(Instant::ZERO));
        // A device's word of nothing, or of more than there is, harms nobody.
        for segment in [0, u32::MAX] {
            acknowledging.data(Instant::ZERO, 10, segment, MOST, LONGEST);
        }
        assert_eq!(acknowledging.peer_segment(), 1_000);
    }

    /// Whoever sends is not kept waiting by how much has come: at half of the window, or what is nearest to it, it is told.
    #[test]
    fn rfc5681_4_2_half_a_window_is_acknowledged_before_the_end_of_a_batch() {
        let mut acknowledging = settled();
        for _ in 0..15 {
            acknowledging.data(Instant::ZERO, 1_000, 1_000, MOST, LONGEST);
            assert!(!acknowledging.is_pressing());
        }
        acknowledging.data(Instant::ZERO, 1_000, 1_000, MOST, LONGEST);
        assert!(acknowledging.is_pressing() && !acknowledging.is_urgent());
        acknowledging.sent(SequenceNumber::new(1));
        assert!(!acknowledging.is_pressing());
        acknowledging.data(Instant::ZERO, 7_900, 1_000, MOST, LONGEST);
        assert!(!acknowledging.is_pressing());
        acknowledging.data(Instant::ZERO, 7_900, 1_000, MOST, LONGEST);
        assert!(acknowledging.is_pressing());
        // What has to be said at once takes it along.
        acknowledging.at_once();
        assert!(acknowledging.is_urgent() && !acknowledging.is_pressing());
    }

    #[test]
    fn rfc9293_must_58_no_longer_than_the_delay() {
        let mut acknowledging = settled();
        acknowledging.data(Instant::ZERO, 10, 10, MOST, LONGEST);
        acknowledging.data(Instant::from_millis(39), 10, 10, MOST, LONGEST);
        assert_eq!(acknowledging.deadline(), Some(Instant::from_millis(40)));
        assert!(!acknowledging.is_due(Instant::from_millis(39)));
        assert!(acknowledging.is_due(Instant::from_millis(40)));
        acknowledging.sent(SequenceNumber::new(2));
        assert!(!acknowledging.is_owed());
        assert_eq!(acknowledging.last(), SequenceNumber::new(2));
    }
}
