//! Half-open connections, in a table of the caller's size.
//!
//! Each is in a list of those whose SYN,ACK was sent as often; in a list all wait equally long, so its oldest is due first, and
//! the next deadline is found by a look at the heads.

use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Instant;

use super::ListenerHandle;
use crate::limit::{Pace, RateLimit};
use crate::random::{HashKey, Random};
use crate::tcp::connection::HalfOpen;
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::table::{Chained, Chains, END, TcpBucket};

/// RFC 6298 §2 (2.1): the first time-out; each further one is twice as long (5.5).
const TIME_OUT: Duration = Duration::from_secs(1);

/// The most repetitions that a configuration can ask for: the last time-out is two minutes then.
const MOST_RETRIES: usize = 7;

/// Storage for one half-open connection.
#[derive(Debug)]
pub struct SynSlot {
    entry: Option<Entry>,
    /// The next one in the hash chain, or on the free list.
    next: u32,
    older: u32,
    newer: u32,
}

impl SynSlot {
    /// An empty slot.
    pub const EMPTY: Self = SynSlot {
        entry: None,
        next: END,
        older: END,
        newer: END,
    };
}

impl Default for SynSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Chained for SynSlot {
    fn next(&self) -> u32 {
        self.next
    }

    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    half_open: HalfOpen,
    listener: ListenerHandle,
    /// How often the SYN,ACK was sent again.
    retries: u8,
    deadline: Instant,
    /// Challenges (RFC 5961 §7): its own, so that a stranger's tell nothing of it.
    challenges: Pace,
}

/// One of the lists.
#[derive(Debug, Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
}

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// The SYN,ACK is to be sent again.
    Repeat(HalfOpen),
    /// The peer did not answer: the entry is gone.
    GivenUp,
}

/// The half-open connections of all listeners.
pub(crate) struct SynCache<'a> {
    slots: ManagedSlice<'a, SynSlot>,
    chains: Chains<'a>,
    key: HashKey,
    free: u32,
    lists: [List; MOST_RETRIES + 1],
    retries: u8,
    length: usize,
}

impl<'a> SynCache<'a> {
    pub(crate) fn new(
        mut slots: ManagedSlice<'a, SynSlot>,
        buckets: ManagedSlice<'a, TcpBucket>,
        retries: u8,
        random: &mut Random,
    ) -> Self {
        let mut free = END;
        for (index, slot) in slots.iter_mut().enumerate().rev() {
            *slot = SynSlot {
                next: free,
                ..SynSlot::EMPTY
            };
            free = index as u32;
        }
        let chains = Chains::new(buckets);
        SynCache {
            free: if chains.is_usable() { free } else { END },
            slots,
            chains,
            key: HashKey::new(random),
            lists: [List {
                oldest: END,
                newest: END,
            }; MOST_RETRIES + 1],
            retries: retries.min(MOST_RETRIES as u8),
            length: 0,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.free == END
    }

    /// Puts one in, whose SYN,ACK goes out now; says whether there was room. None with the same four-tuple is there.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        half_open: HalfOpen,
        listener: ListenerHandle,
    ) -> bool {
        let index = self.free as usize;
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        self.free = slot.next;
        slot.entry = Some(Entry {
            half_open,
            listener,
            retries: 0,
            deadline: now,
            challenges: Pace::NEW,
        });
        self.length += 1;
        let hash = self.hash(&half_open.tuple);
        self.chains.insert(&mut self.slots, hash, index);
        self.append(now, index);
        true
    }

    pub(crate) fn find(&self, tuple: &FourTuple) -> Option<usize> {
        if self.length == 0 {
            return None;
        }
        self.chains.find(&self.slots, self.hash(tuple), |slot| {
            slot.entry
                .as_ref()
                .is_some_and(|entry| entry.half_open.tuple == *tuple)
        })
    }

    pub(crate) fn get(&self, index: usize) -> Option<(&HalfOpen, ListenerHandle)> {
        let entry = self.slots.get(index)?.entry.as_ref()?;
        Some((&entry.half_open, entry.listener))
    }

    /// The SYN,ACK went out once more than planned, for the SYN came again: what acknowledges it measures nothing.
    pub(crate) fn set_repeated(&mut self, index: usize) {
        if let Some(entry) = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.entry.as_mut())
        {
            entry.half_open.repeated = true;
        }
    }

    /// Whether a challenge may be sent for one now; if so, it is.
    pub(crate) fn challenge(&mut self, now: Instant, index: usize, limit: &RateLimit) -> bool {
        let entry = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.entry.as_mut());
        entry.is_some_and(|entry| entry.challenges.take(limit, now))
    }

    pub(crate) fn remove(&mut self, index: usize) {
        let Some(entry) = self.slots.get(index).and_then(|slot| slot.entry) else {
            return;
        };
        self.unlink(index);
        self.slots[index].entry = None;
        let hash = self.hash(&entry.half_open.tuple);
        self.chains.remove(&mut self.slots, hash, index);
        self.slots[index].next = self.free;
        self.free = index as u32;
        self.length -= 1;
    }

    /// Removes all of a listener that is closed; says how many.
    pub(crate) fn remove_all(&mut self, listener: ListenerHandle) -> u64 {
        let mut removed = 0;
        for index in 0..self.slots.len() {
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
        let index = self
            .heads()
            .find(|(_, deadline)| *deadline <= now)
            .map(|(index, _)| index)?;
        self.unlink(index);
        let retries = self.retries;
        let entry = self.slots.get_mut(index)?.entry.as_mut()?;
        if entry.retries >= retries {
            // Back into a list, from which it is removed as any other.
            self.append(now, index);
            self.remove(index);
            return Some(Due::GivenUp);
        }
        entry.retries += 1;
        entry.half_open.repeated = true;
        let half_open = entry.half_open;
        self.append(now, index);
        Some(Due::Repeat(half_open))
    }

    /// When the next one is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.length == 0 {
            return None;
        }
        self.heads().map(|(_, deadline)| deadline).min()
    }

    fn heads(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        self.lists.iter().filter_map(|list| {
            let index = list.oldest as usize;
            let entry = self.slots.get(index)?.entry.as_ref()?;
            Some((index, entry.deadline))
        })
    }

    fn hash(&self, tuple: &FourTuple) -> u64 {
        tuple.encoded(0, 0, |bytes| self.key.hash(bytes))
    }

    fn append(&mut self, now: Instant, index: usize) {
        let Some(entry) = self
            .slots
            .get_mut(index)
            .and_then(|slot| slot.entry.as_mut())
        else {
            return;
        };
        let retries = entry.retries;
        entry.deadline = now.saturating_add(TIME_OUT * (1 << retries));
        let list = &mut self.lists[usize::from(retries)];
        let before = core::mem::replace(&mut list.newest, index as u32);
        if before == END {
            list.oldest = index as u32;
        }
        self.slots[index].older = before;
        self.slots[index].newer = END;
        if let Some(before) = self.slots.get_mut(before as usize) {
            before.newer = index as u32;
        }
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, index: usize) {
        let slot = &self.slots[index];
        let (older, newer) = (slot.older, slot.newer);
        let Some(retries) = slot.entry.map(|entry| entry.retries) else {
            return;
        };
        let list = &mut self.lists[usize::from(retries)];
        if list.oldest == index as u32 {
            list.oldest = newer;
        }
        if list.newest == index as u32 {
            list.newest = older;
        }
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.newer = newer;
        }
        if let Some(slot) = self.slots.get_mut(newer as usize) {
            slot.older = older;
        }
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
            &mut Random::fixed(2),
        )
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
        assert!(cache.insert(Instant::ZERO, half_open(1), listener()));
        let mut times = Vec::new();
        while let Some(at) = cache.poll_timeout() {
            assert!(cache.poll(at - Duration::from_nanos(1)).is_none());
            match cache.poll(at) {
                Some(Due::Repeat(half_open)) => assert!(half_open.repeated),
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
        assert!(cache.insert(Instant::ZERO, half_open(1), listener()));
        assert!(cache.insert(Instant::ZERO, half_open(2), listener()));
        assert!(cache.is_full());
        assert!(!cache.insert(Instant::ZERO, half_open(3), listener()));
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
                let found = cache.find(&tuple);
                match (step, found) {
                    (0, None) => {
                        let full = cache.is_full();
                        prop_assert_eq!(cache.insert(now, half_open(port), listener()), !full);
                    }
                    (1, Some(index)) => {
                        cache.remove(index);
                        prop_assert!(cache.find(&tuple).is_none());
                    }
                    _ => {
                        now += Duration::from_secs(seconds);
                        while cache.poll(now).is_some() {}
                        prop_assert!(cache.poll_timeout().is_none_or(|at| at > now));
                    }
                }
                let found = (0..8)
                    .filter(|port| cache.find(&self::tuple(80, [10, 0, 0, 2], *port)).is_some())
                    .count();
                prop_assert_eq!(found, cache.len());
                prop_assert_eq!(cache.is_full(), cache.len() == 5);
                prop_assert_eq!(cache.poll_timeout().is_some(), cache.len() > 0);
            }
        }
    }
}
