//! TIME-WAIT, in a few words a connection (RFC 9293 §3.10.7.4, RFC 1337, RFC 6191).
//!
//! What is left of a connection that both ends have closed is what it takes to answer a retransmitted FIN, and to tell a new
//! SYN from an old one. When the table is full the oldest makes room, which is counted.

use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Instant;

use super::SequenceNumber;
use super::aged::{Aged, AgedTable, Node, Slot};
use super::connection::options::{self, TimestampState};
use super::connection::segment_length;
use super::four_tuple::FourTuple;
use super::table::TcpBucket;
use crate::limit::RateLimit;
use crate::wire::tcp::{TcpFlags, TcpOptions, TcpRepr};

/// Storage for one connection in TIME-WAIT.
#[derive(Debug)]
pub struct TimeWaitSlot(Node<TimeWait>);

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<TimeWaitSlot>() <= 104);

impl TimeWaitSlot {
    /// An empty slot.
    pub const EMPTY: Self = TimeWaitSlot(Node::EMPTY);
}

impl Default for TimeWaitSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Slot for TimeWaitSlot {
    type Data = TimeWait;
    const EMPTY: Self = TimeWaitSlot::EMPTY;

    fn node(&self) -> &Node<TimeWait> {
        &self.0
    }

    fn node_mut(&mut self) -> &mut Node<TimeWait> {
        &mut self.0
    }
}

/// A connection in TIME-WAIT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeWait {
    pub(crate) tuple: FourTuple,
    /// SND.NXT.
    pub(crate) send_next: SequenceNumber,
    /// RCV.NXT: behind the peer's FIN.
    pub(crate) receive_next: SequenceNumber,
    pub(crate) timestamps: Option<TimestampState>,
}

impl Aged for TimeWait {
    fn tuple(&self) -> &FourTuple {
        &self.tuple
    }
}

/// What a segment for a connection in TIME-WAIT leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InTimeWait {
    /// Nothing.
    Nothing,
    /// An acknowledgement; the segment was one that the peer had to send again.
    Acknowledge,
    /// The same, as a challenge, whose rate is limited.
    Challenge,
    /// A new connection takes its place; our numbers begin behind this one.
    Reopen(SequenceNumber),
}

/// The connections in TIME-WAIT, oldest first: all wait the same time, so the newest ends last.
pub(crate) struct TimeWaits<'a> {
    table: AgedTable<'a, TimeWaitSlot, 1>,
    duration: Duration,
}

impl<'a> TimeWaits<'a> {
    pub(crate) fn new(
        slots: ManagedSlice<'a, TimeWaitSlot>,
        buckets: ManagedSlice<'a, TcpBucket>,
        duration: Duration,
    ) -> Self {
        TimeWaits {
            table: AgedTable::new(slots, buckets),
            duration,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Puts a connection in, whose four-tuple has this hash; says whether another had to make room for it.
    pub(crate) fn insert(&mut self, now: Instant, hash: u32, connection: TimeWait) -> bool {
        if let Some(known) = self.table.find(hash, &connection.tuple) {
            self.table.remove(known);
        }
        let evicted = self.table.oldest(0).filter(|_| self.table.is_full());
        if let Some(oldest) = evicted {
            self.table.remove(oldest);
        }
        let expires = now.saturating_add(self.duration);
        self.table.insert(hash, connection, expires);
        evicted.is_some()
    }

    /// The place of the one with a four-tuple, whose hash this is.
    #[inline]
    pub(crate) fn find(&self, hash: u32, tuple: &FourTuple) -> Option<usize> {
        self.table.find(hash, tuple)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&TimeWait> {
        self.table.get(index)
    }

    /// Whether a challenge may be sent for one now; if so, it is.
    pub(crate) fn challenge(&mut self, now: Instant, index: usize, limit: &RateLimit) -> bool {
        self.table.challenge(now, index, limit)
    }

    /// A segment for a connection in TIME-WAIT arrived.
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        index: usize,
        repr: &TcpRepr,
        octets: usize,
    ) -> InTimeWait {
        let Some(entry) = self.table.get(index).copied() else {
            return InTimeWait::Nothing;
        };
        if repr.flags.contains(TcpFlags::RST) {
            // RFC 1337 §4: an old reset must not end TIME-WAIT early.
            return InTimeWait::Nothing;
        }
        let length = segment_length(repr, octets);
        let end = repr.sequence + length;
        if repr.flags.contains(TcpFlags::SYN) {
            if !repr.flags.contains(TcpFlags::ACK) && entry.is_new(repr, now) {
                self.table.remove(index);
                return InTimeWait::Reopen(entry.send_next);
            }
            return InTimeWait::Challenge;
        }
        if repr.flags.contains(TcpFlags::FIN) && end == entry.receive_next {
            // "The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and
            // restart the 2 MSL timeout."
            let expires = now.saturating_add(self.duration);
            self.table.renew(index, expires, |_| ());
            return InTimeWait::Acknowledge;
        }
        if length == 0 && repr.sequence == entry.receive_next {
            return InTimeWait::Nothing;
        }
        InTimeWait::Challenge
    }

    /// Ends those whose time is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(index) = self.table.due(now) {
            self.table.remove(index);
        }
    }

    /// When the oldest ends.
    #[inline(always)]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.table.deadline(self.table.oldest(0)?)
    }
}

impl TimeWait {
    /// RFC 6191 §2: whether a SYN is of a new connection, and not an old one that came late.
    fn is_new(&self, repr: &TcpRepr, now: Instant) -> bool {
        let later = repr.sequence.is_after(self.receive_next);
        match (&self.timestamps, repr.options.timestamps) {
            (Some(state), Some(timestamps)) => {
                let value = timestamps.value;
                options::is_before(state.recent, value) || (!state.is_old(value, now) && later)
            }
            // Its timestamps will keep the old segments out (PAWS).
            (None, Some(_)) => true,
            (_, None) => later,
        }
    }

    /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>. Nothing more is taken: the window is zero.
    pub(crate) fn acknowledgement(&self, now: Instant) -> TcpRepr {
        TcpRepr {
            source_port: self.tuple.local_port,
            destination_port: self.tuple.remote_port,
            sequence: self.send_next,
            acknowledgement: self.receive_next,
            flags: TcpFlags::ACK,
            options: TcpOptions {
                timestamps: self.timestamps.map(|state| state.option(now)),
                ..TcpOptions::NONE
            },
            ..TcpRepr::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::connection::options::TimestampClock;
    use crate::tcp::four_tuple::tests::tuple;
    use crate::wire::tcp::Timestamps;
    use std::vec::Vec;

    const DURATION: Duration = Duration::from_secs(60);
    /// All are in one chain.
    const HASH: u32 = 77;

    fn waits(count: usize) -> TimeWaits<'static> {
        let slots: Vec<TimeWaitSlot> = (0..count).map(|_| TimeWaitSlot::EMPTY).collect();
        let buckets: Vec<TcpBucket> = std::vec![TcpBucket::EMPTY; count];
        TimeWaits::new(
            ManagedSlice::Borrowed(slots.leak()),
            ManagedSlice::Borrowed(buckets.leak()),
            DURATION,
        )
    }

    fn number(value: u32) -> SequenceNumber {
        SequenceNumber::new(value)
    }

    fn state(recent: u32) -> TimestampState {
        TimestampState::new(TimestampClock { offset: 0 }, recent, Instant::ZERO)
    }

    fn put(waits: &mut TimeWaits<'_>, port: u16, at: u64, timestamps: Option<u32>) -> bool {
        let connection = TimeWait {
            tuple: tuple(80, [10, 0, 0, 2], port),
            send_next: number(5_000),
            receive_next: number(1_000),
            timestamps: timestamps.map(state),
        };
        waits.insert(Instant::from_secs(at), HASH, connection)
    }

    fn syn(sequence: u32, timestamp: Option<u32>) -> TcpRepr {
        TcpRepr {
            sequence: number(sequence),
            flags: TcpFlags::SYN,
            options: TcpOptions {
                timestamps: timestamp.map(|value| Timestamps { value, echo: 0 }),
                ..TcpOptions::NONE
            },
            ..TcpRepr::default()
        }
    }

    fn segment(flags: TcpFlags, sequence: u32) -> TcpRepr {
        TcpRepr {
            sequence: number(sequence),
            flags,
            ..TcpRepr::default()
        }
    }

    #[test]
    fn each_ends_after_two_maximum_segment_lifetimes() {
        let mut waits = waits(4);
        for port in 1..=3u16 {
            put(&mut waits, port, u64::from(port), None);
        }
        assert_eq!(waits.poll_timeout(), Some(Instant::from_secs(61)));
        waits.handle_timeout(Instant::from_secs(62));
        assert_eq!(waits.len(), 1);
        assert!(waits.find(HASH, &tuple(80, [10, 0, 0, 2], 3)).is_some());
        assert!(waits.find(HASH, &tuple(80, [10, 0, 0, 2], 1)).is_none());
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut waits = waits(2);
        assert!(!put(&mut waits, 1, 0, None));
        assert!(!put(&mut waits, 2, 1, None));
        assert!(put(&mut waits, 3, 2, None));
        let found: Vec<bool> = (1..=3)
            .map(|port| waits.find(HASH, &tuple(80, [10, 0, 0, 2], port)).is_some())
            .collect();
        assert_eq!(found, [false, true, true]);
        let mut none = self::waits(0);
        assert!(!put(&mut none, 1, 0, None));
        assert_eq!(none.len(), 0);
    }

    #[test]
    fn a_retransmitted_fin_is_acknowledged_and_starts_the_time_again() {
        let mut waits = waits(2);
        put(&mut waits, 1, 0, None);
        put(&mut waits, 2, 1, None);
        let index = waits.find(HASH, &tuple(80, [10, 0, 0, 2], 1)).unwrap();
        let fin = segment(TcpFlags::FIN | TcpFlags::ACK, 999);
        let now = Instant::from_secs(30);
        assert_eq!(
            waits.handle_segment(now, index, &fin, 0),
            InTimeWait::Acknowledge
        );
        assert_eq!(waits.table.deadline(index), Some(Instant::from_secs(90)));
        // The order of expiry holds.
        assert_eq!(waits.poll_timeout(), Some(Instant::from_secs(61)));
        let repr = waits.get(index).unwrap().acknowledgement(now);
        assert_eq!(
            (repr.sequence, repr.acknowledgement),
            (number(5_000), number(1_000))
        );
    }

    #[test]
    fn rfc1337_a_reset_does_not_end_time_wait() {
        let mut waits = waits(1);
        put(&mut waits, 1, 0, None);
        for sequence in [999, 1_000, 1_001] {
            let reset = segment(TcpFlags::RST, sequence);
            assert_eq!(
                waits.handle_segment(Instant::ZERO, 0, &reset, 0),
                InTimeWait::Nothing
            );
        }
        assert_eq!(waits.len(), 1);
    }

    #[test]
    fn two_ends_in_time_wait_do_not_answer_each_other() {
        let mut waits = waits(1);
        put(&mut waits, 1, 0, None);
        let acknowledgement = segment(TcpFlags::ACK, 1_000);
        assert_eq!(
            waits.handle_segment(Instant::ZERO, 0, &acknowledgement, 0),
            InTimeWait::Nothing
        );
    }

    /// RFC 6191 §2, line by line.
    #[test]
    fn rfc6191_which_syn_is_a_new_connection() {
        // (timestamp that was, timestamp that comes, sequence, is new)
        let cases = [
            (Some(500), Some(501), 900, true),
            (Some(500), Some(500), 1_001, true),
            (Some(500), Some(500), 1_000, false),
            (Some(500), Some(499), 1_001, false),
            (Some(500), None, 1_001, true),
            (Some(500), None, 1_000, false),
            (None, Some(1), 900, true),
            (None, None, 1_001, true),
            (None, None, 1_000, false),
        ];
        for (was, comes, sequence, new) in cases {
            let mut waits = waits(1);
            put(&mut waits, 1, 0, was);
            let outcome = waits.handle_segment(Instant::ZERO, 0, &syn(sequence, comes), 0);
            let expected = if new {
                InTimeWait::Reopen(number(5_000))
            } else {
                InTimeWait::Challenge
            };
            assert_eq!(outcome, expected, "{was:?} {comes:?} {sequence}");
            assert_eq!(waits.len(), usize::from(!new));
        }
    }

    #[test]
    fn a_syn_with_an_acknowledgement_opens_nothing() {
        let mut waits = waits(1);
        put(&mut waits, 1, 0, None);
        let mut repr = syn(2_000, Some(1));
        repr.flags |= TcpFlags::ACK;
        assert_eq!(
            waits.handle_segment(Instant::ZERO, 0, &repr, 0),
            InTimeWait::Challenge
        );
    }
}
