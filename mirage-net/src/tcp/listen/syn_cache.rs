//! Half-open connections, in a table of the caller's size.
//!
//! Each is in a list of those whose SYN,ACK was sent as often.

use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Instant;

use super::ListenerHandle;
use crate::limit::RateLimit;
use crate::tcp::aged::{Aged, AgedTable, Node, Slot};
use crate::tcp::connection::HalfOpen;
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::table::TcpBucket;

/// RFC 6298 §2 (2.1): the first time-out; each further one is twice as long (5.5).
const TIME_OUT: Duration = Duration::from_secs(1);

/// The most repetitions that a configuration can ask for: the last time-out is two minutes then.
const MOST_RETRIES: usize = 7;

/// Storage for one half-open connection.
#[derive(Debug)]
pub struct SynSlot(Node<Waiting>);

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SynSlot>() <= 128);

impl SynSlot {
    /// An empty slot.
    pub const EMPTY: Self = SynSlot(Node::EMPTY);
}

impl Default for SynSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Slot for SynSlot {
    type Data = Waiting;
    const EMPTY: Self = SynSlot::EMPTY;

    fn node(&self) -> &Node<Waiting> {
        &self.0
    }

    fn node_mut(&mut self) -> &mut Node<Waiting> {
        &mut self.0
    }
}

/// A half-open connection, and whose it will be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    half_open: HalfOpen,
    listener: ListenerHandle,
    /// How often the SYN,ACK was sent again.
    retries: u8,
}

impl Aged for Waiting {
    fn tuple(&self) -> &FourTuple {
        &self.half_open.tuple
    }

    fn list(&self) -> usize {
        self.retries.into()
    }
}

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// The SYN,ACK is to be sent again.
    Repeat(HalfOpen, ListenerHandle),
    /// The peer did not answer: the entry is gone.
    GivenUp,
}

/// The half-open connections of all listeners.
pub(crate) struct SynCache<'a> {
    table: AgedTable<'a, SynSlot, { MOST_RETRIES + 1 }>,
    retries: u8,
}

impl<'a> SynCache<'a> {
    pub(crate) fn new(
        slots: ManagedSlice<'a, SynSlot>,
        buckets: ManagedSlice<'a, TcpBucket>,
        retries: u8,
    ) -> Self {
        SynCache {
            table: AgedTable::new(slots, buckets),
            retries: retries.min(MOST_RETRIES as u8),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.table.is_full()
    }

    /// Puts one in, whose SYN,ACK goes out now; says whether there was room. None with the same four-tuple is there.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        hash: u32,
        half_open: HalfOpen,
        listener: ListenerHandle,
    ) -> bool {
        let waiting = Waiting {
            half_open,
            listener,
            retries: 0,
        };
        self.table
            .insert(hash, waiting, now.saturating_add(TIME_OUT))
    }

    /// The place of the one with a four-tuple, whose hash this is.
    #[inline]
    pub(crate) fn find(&self, hash: u32, tuple: &FourTuple) -> Option<usize> {
        self.table.find(hash, tuple)
    }

    pub(crate) fn get(&self, index: usize) -> Option<(&HalfOpen, ListenerHandle)> {
        let waiting = self.table.get(index)?;
        Some((&waiting.half_open, waiting.listener))
    }

    /// The SYN,ACK went out once more than planned, for the SYN came again: what acknowledges it measures nothing.
    pub(crate) fn set_repeated(&mut self, index: usize) {
        if let Some(waiting) = self.table.get_mut(index) {
            waiting.half_open.repeated = true;
        }
    }

    /// Whether a challenge may be sent for one now; if so, it is.
    pub(crate) fn challenge(&mut self, now: Instant, index: usize, limit: &RateLimit) -> bool {
        self.table.challenge(now, index, limit)
    }

    pub(crate) fn remove(&mut self, index: usize) {
        self.table.remove(index);
    }

    /// Removes all of a listener that is closed; says how many.
    pub(crate) fn remove_all(&mut self, listener: ListenerHandle) -> u64 {
        let mut removed = 0;
        for index in 0..self.table.capacity() {
            let of_it = self.get(index).is_some_and(|(_, of)| of == listener);
            if of_it {
                self.remove(index);
                removed += 1;
            }
        }
        removed
    }

    /// One whose time has come.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Due> {
        let index = self.table.due(now)?;
        let waiting = *self.table.get(index)?;
        let retries = waiting.retries + 1;
        if retries > self.retries {
            self.remove(index);
            return Some(Due::GivenUp);
        }
        let deadline = now.saturating_add(TIME_OUT * (1 << retries));
        self.table.renew(index, deadline, |waiting| {
            waiting.retries = retries;
            waiting.half_open.repeated = true;
        });
        let (half_open, listener) = self.get(index)?;
        Some(Due::Repeat(*half_open, listener))
    }

    /// When the next one is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.table.poll_timeout()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::SequenceNumber;
    use crate::tcp::connection::options::{Offer, TimestampClock};
    use crate::tcp::four_tuple::tests::tuple;
    use crate::tcp::listen::{ListenOptions, ListenerSlot, Listeners};
    use proptest::prelude::*;
    use std::vec::Vec;

    fn cache(count: usize, retries: u8) -> SynCache<'static> {
        let slots: Vec<SynSlot> = (0..count).map(|_| SynSlot::EMPTY).collect();
        let buckets: Vec<TcpBucket> = std::vec![TcpBucket::EMPTY; count.max(1)];
        SynCache::new(
            ManagedSlice::Borrowed(slots.leak()),
            ManagedSlice::Borrowed(buckets.leak()),
            retries,
        )
    }

    fn hash(port: u16) -> u32 {
        // Chains of more than one.
        u32::from(port % 3) << 30
    }

    fn listener() -> ListenerHandle {
        let slots = std::vec![ListenerSlot::EMPTY].leak();
        let mut listeners = Listeners::new(ManagedSlice::Borrowed(slots));
        listeners
            .open(ListenOptions::bind(([0, 0, 0, 0], 80).into()))
            .unwrap()
    }

    fn half_open(port: u16) -> HalfOpen {
        HalfOpen {
            tuple: tuple(80, [10, 0, 0, 2], port),
            sequence: SequenceNumber::new(1),
            offer: Offer {
                sequence: SequenceNumber::new(2),
                window: 100,
                maximum_segment: 1_460,
                window_scale: None,
                sack: false,
                timestamp: None,
                congestion_notification: false,
            },
            window: 1_000,
            clock: TimestampClock { offset: 0 },
            repeated: false,
            sent_at: Instant::ZERO,
        }
    }

    #[test]
    fn the_answer_is_repeated_with_back_off_and_given_up() {
        let mut cache = cache(4, 3);
        assert!(cache.insert(Instant::ZERO, hash(1), half_open(1), listener()));
        let mut times = Vec::new();
        while let Some(at) = cache.poll_timeout() {
            assert!(cache.poll(at - Duration::from_nanos(1)).is_none());
            match cache.poll(at) {
                Some(Due::Repeat(half_open, _)) => assert!(half_open.repeated),
                Some(Due::GivenUp) => assert_eq!(cache.len(), 0),
                None => panic!("a deadline without an event"),
            }
            times.push(at.as_secs());
        }
        assert_eq!(times, [1, 3, 7, 15]);
        assert!(!cache.is_full());
    }

    #[test]
    fn a_full_cache_takes_no_more() {
        let mut cache = cache(2, 3);
        assert!(cache.insert(Instant::ZERO, hash(1), half_open(1), listener()));
        assert!(cache.insert(Instant::ZERO, hash(2), half_open(2), listener()));
        assert!(cache.is_full());
        assert!(!cache.insert(Instant::ZERO, hash(3), half_open(3), listener()));
        assert_eq!(cache.remove_all(listener()), 2);
        assert_eq!((cache.len(), cache.poll_timeout()), (0, None));
    }

    proptest! {
        /// Whatever happens: what is in the cache is found, each is due in time, and no slot is lost.
        #[test]
        fn no_entry_and_no_deadline_is_lost(
            steps in proptest::collection::vec((0u16..8, 0u8..3, 0u64..4), 1..200)
        ) {
            let mut cache = cache(5, 2);
            let mut now = Instant::ZERO;
            for (port, step, seconds) in steps {
                let tuple = tuple(80, [10, 0, 0, 2], port);
                let found = cache.find(hash(port), &tuple);
                match (step, found) {
                    (0, None) => {
                        let full = cache.is_full();
                        prop_assert_eq!(cache.insert(now, hash(port), half_open(port), listener()), !full);
                    }
                    (1, Some(index)) => {
                        cache.remove(index);
                        prop_assert!(cache.find(hash(port), &tuple).is_none());
                    }
                    _ => {
                        now += Duration::from_secs(seconds);
                        while cache.poll(now).is_some() {}
                        prop_assert!(cache.poll_timeout().is_none_or(|at| at > now));
                    }
                }
                let found = (0..8)
                    .filter(|port| cache.find(hash(*port), &self::tuple(80, [10, 0, 0, 2], *port)).is_some())
                    .count();
                prop_assert_eq!(found, cache.len());
                prop_assert_eq!(cache.is_full(), cache.len() == 5);
                prop_assert_eq!(cache.poll_timeout().is_some(), cache.len() > 0);
            }
        }
    }
}
