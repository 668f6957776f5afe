//! The two windows: what the peer lets us send, and what we let the peer send.

use crate::tcp::sequence::SequenceNumber;

/// The peer's window, as it was told last (RFC 9293 §3.3.1: SND.WND, SND.WL1, SND.WL2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendWindow {
    /// SND.WND in octets.
    window: u32,
    /// The largest that it ever was (RFC 5961 §5, MAX.SND.WND; and for Fs of RFC 9293 §3.8.6.2.1).
    largest: u32,
    /// Sequence number of the segment that told it.
    wl1: SequenceNumber,
    /// Acknowledgement of the segment that told it.
    wl2: SequenceNumber,
    /// The shift of the windows that the peer states.
    scale: u8,
}

impl SendWindow {
    /// The window of a SYN, which is never scaled (RFC 7323 §2.2).
    pub(crate) fn of_syn(
        window: u16,
        scale: u8,
        sequence: SequenceNumber,
        acknowledgement: SequenceNumber,
    ) -> Self {
        SendWindow {
            window: window.into(),
            largest: window.into(),
            wl1: sequence,
            wl2: acknowledgement,
            scale,
        }
    }

    /// The window of the segment that acknowledges our SYN.
    pub(crate) fn of_acknowledgement(
        field: u16,
        scale: u8,
        sequence: SequenceNumber,
        acknowledgement: SequenceNumber,
    ) -> Self {
        let window = u32::from(field) << scale;
        SendWindow {
            window,
            largest: window,
            wl1: sequence,
            wl2: acknowledgement,
            scale,
        }
    }

    /// The shift of the windows that the peer states.
    pub(crate) fn scale(&self) -> u8 {
        self.scale
    }

    /// Takes the window of a segment whose acknowledgement is acceptable, unless a newer one told it
    /// before (RFC 9293 §3.10.7.4, fifth). Says whether it changed.
    pub(crate) fn update(
        &mut self,
        sequence: SequenceNumber,
        acknowledgement: SequenceNumber,
        field: u16,
    ) -> bool {
        let newer = self.wl1.is_before(sequence)
            || (self.wl1 == sequence && self.wl2.is_at_or_before(acknowledgement));
        if !newer {
            return false;
        }
        let window = u32::from(field) << self.scale;
        let changed = window != self.window;
        self.window = window;
        self.largest = self.largest.max(window);
        self.wl1 = sequence;
        self.wl2 = acknowledgement;
        changed
    }

    /// SND.WND in octets.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// The largest that it ever was, in octets.
    pub(crate) fn largest(&self) -> u32 {
        self.largest
    }

    /// Octets that may be sent from `next` on; none where the peer took its window back.
    pub(crate) fn usable(&self, unacknowledged: SequenceNumber, next: SequenceNumber) -> u32 {
        self.window
            .saturating_sub(next.distance_from(unacknowledged))
    }
}

/// Our window (RFC 9293 §3.3.1: RCV.WND), with its right edge, which never moves back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiveWindow {
    /// The right edge that the peer was told.
    edge: SequenceNumber,
    /// The most octets that it may be ahead of what the owner has read.
    limit: u32,
    /// The shift of the windows that we state.
    scale: u8,
}

impl ReceiveWindow {
    /// With a SYN that states `field` octets, unscaled.
    pub(crate) fn new(next: SequenceNumber, field: u16, limit: u32, scale: u8) -> Self {
        ReceiveWindow {
            edge: next + u32::from(field),
            limit,
            scale,
        }
    }

    /// RCV.WND: octets from `next` on that the peer may send. At most 2³⁰.
    #[inline]
    pub(crate) fn offered(&self, next: SequenceNumber) -> u32 {
        if self.edge.is_before(next) {
            // The peer sent more than it was told, and it was taken: a FIN at the edge.
            0
        } else {
            self.edge.distance_from(next)
        }
    }

    /// The largest window that is ever offered, in octets.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// The right edge that could be told, with `unread` octets in the way. RFC 9293 §3.8.6.2.2 (MUST-39): the
    /// edge stands still until it can move by a segment, or by half of the buffer.
    fn target(&self, next: SequenceNumber, unread: u32, segment: u32) -> SequenceNumber {
        let free = next + self.limit.saturating_sub(unread);
        let step = segment.min(self.limit / 2).max(1);
        if free.is_after(self.edge) && free.distance_from(self.edge) >= step {
            free
        } else {
            self.edge
        }
    }

    /// Whether the peer should be told of a new edge although there is nothing else to tell: it moved by two
    /// segments, or half of the buffer, or the window was closed.
    pub(crate) fn is_worth_telling(&self, next: SequenceNumber, unread: u32, segment: u32) -> bool {
        let gained = self.target(next, unread, segment).distance_from(self.edge);
        gained > 0
            && (gained >= segment.saturating_mul(2).min(self.limit / 2).max(1)
                || self.offered(next) < segment)
    }

    /// The field of the next segment that goes out; the peer is told by it.
    ///
    /// Where the window is no multiple of the scale's unit, rounding down would move the right edge back (RFC 7323 §2.4):
    /// it is rounded up, unless that would promise more than one unit beyond the limit.
    pub(crate) fn tell(&mut self, next: SequenceNumber, unread: u32, segment: u32) -> u16 {
        self.edge = self.target(next, unread, segment);
        let window = self.offered(next);
        let unit = 1u32 << self.scale;
        let mut field = window >> self.scale;
        if field << self.scale < window
            && (field + 1) << self.scale <= self.limit.saturating_sub(unread).saturating_add(unit)
        {
            field += 1;
        }
        let field = field.min(65_535);
        self.edge = self.edge.latest(next + (field << self.scale));
        field as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MSS: u32 = 1_460;

    fn number(value: u32) -> SequenceNumber {
        SequenceNumber::new(value)
    }

    /// RFC 9293 §3.10.7.4: an old segment that comes late does not change the window.
    #[test]
    fn an_older_segment_does_not_move_the_window() {
        let mut window = SendWindow::of_syn(1_000, 2, number(99), number(500));
        assert_eq!(window.window(), 1_000);
        assert!(window.update(number(100), number(500), 1_000));
        assert_eq!((window.window(), window.largest()), (4_000, 4_000));
        assert!(!window.update(number(99), number(600), 1));
        assert!(!window.update(number(100), number(499), 1));
        assert_eq!(window.window(), 4_000);
        assert!(window.update(number(100), number(500), 1));
        assert_eq!((window.window(), window.largest()), (4, 4_000));
    }

    #[test]
    fn a_window_that_shrank_lets_nothing_out() {
        let mut window = SendWindow::of_syn(1_000, 0, number(0), number(0));
        assert_eq!(window.usable(number(10), number(510)), 500);
        window.update(number(1), number(10), 100);
        assert_eq!(window.usable(number(10), number(510)), 0);
    }

    #[test]
    fn mss_wide_steps_only() {
        let mut window = ReceiveWindow::new(number(0), 0, 10_000, 0);
        assert_eq!(window.tell(number(0), 10_000 - MSS + 1, MSS), 0);
        assert!(!window.is_worth_telling(number(0), 10_000 - MSS + 1, MSS));
        assert!(window.is_worth_telling(number(0), 10_000 - MSS, MSS));
        assert_eq!(window.tell(number(0), 10_000 - MSS, MSS), MSS as u16);
        // Open already: it waits for two segments' worth.
        assert!(!window.is_worth_telling(number(0), 10_000 - 2 * MSS, MSS));
        assert!(window.is_worth_telling(number(0), 10_000 - 3 * MSS, MSS));
    }

    #[test]
    fn a_buffer_below_two_segments_opens_by_halves() {
        let mut window = ReceiveWindow::new(number(0), 0, 1_000, 0);
        assert_eq!(window.tell(number(0), 501, MSS), 0);
        assert_eq!(window.tell(number(0), 500, MSS), 500);
    }

    proptest! {
        /// "Scale rounding that moves the right edge back": with full-sized segments it never does; with
        /// segments below the unit by less than a unit, and what is promised stays bounded.
        #[test]
        fn rfc7323_2_4_the_right_edge_does_not_move_back(
            scale in 0u8..8, start: u32,
            steps in proptest::collection::vec((1u32..4_000, 0u32..6_000), 1..200)
        ) {
            let limit = 65_535u32 << scale;
            let unit = 1u32 << scale;
            let mut next = number(start);
            let mut unread = 0;
            let mut window = ReceiveWindow::new(next, 65_535, limit, scale);
            let mut told = next + 65_535;
            for (arrives, read) in steps {
                let arrives = arrives.min(window.offered(next));
                next += arrives;
                unread += arrives;
                unread -= read.min(unread);
                let field = window.tell(next, unread, MSS);
                let edge = next + (u32::from(field) << scale);
                if edge.is_before(told) {
                    prop_assert!(told.distance_from(edge) < unit);
                }
                told = told.latest(edge);
                prop_assert!(window.offered(next) + unread <= limit + unit);
            }
        }

        /// "A window that closes and never opens again."
        #[test]
        fn a_window_whose_data_were_read_opens(
            scale in 0u8..8, start: u32, unread in 0u32..70_000
        ) {
            let limit = 65_535u32 << scale;
            let mut window = ReceiveWindow::new(number(start), 65_535, limit, scale);
            let next = number(start) + window.offered(number(start));
            window.tell(next, limit, MSS);
            prop_assert_eq!(window.offered(next), 0);
            if limit.saturating_sub(unread) >= MSS {
                prop_assert!(window.is_worth_telling(next, unread, MSS));
                prop_assert!(window.tell(next, unread, MSS) > 0);
            }
        }
    }
}
