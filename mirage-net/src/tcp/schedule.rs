//! When each connection wants to be called: a heap of deadlines, with a place for each connection.
//!
//! Most deadlines are moved later over and over (a retransmission time-out with each
//! acknowledgement) and never come. So a deadline that moves later, or away, stays where it is in
//! the heap: a connection is called early at most once for each time that it really waited, and
//! the usual case costs a comparison. One that moves earlier costs O(log n).

use managed::ManagedSlice;
use mirage_core::Instant;

/// "Not in the heap."
const OUT: u32 = u32::MAX;

/// Storage for the deadline of one connection.
#[derive(Debug, Clone, Copy)]
pub struct TimerSlot {
    /// The connection at this place of the heap.
    member: u32,
    /// Where in the heap the connection of this slot's number is.
    place: u32,
    /// When the connection of this slot's number is to be called.
    at: Instant,
}

impl TimerSlot {
    /// An empty slot.
    pub const EMPTY: Self = TimerSlot {
        member: OUT,
        place: OUT,
        at: Instant::FAR_FUTURE,
    };
}

impl Default for TimerSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Deadlines of members that are named by number, at most as many as there are slots.
pub(crate) struct Schedule<'a> {
    slots: ManagedSlice<'a, TimerSlot>,
    length: usize,
}

impl<'a> Schedule<'a> {
    pub(crate) fn new(mut slots: ManagedSlice<'a, TimerSlot>) -> Self {
        for slot in slots.iter_mut() {
            *slot = TimerSlot::EMPTY;
        }
        Schedule { slots, length: 0 }
    }

    /// How many members there can be.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Sees to it that a member is called at `at` at the latest.
    #[inline]
    pub(crate) fn ask(&mut self, member: usize, at: Instant) {
        let Some(slot) = self.slots.get_mut(member) else {
            return;
        };
        if slot.place != OUT {
            if slot.at <= at {
                return;
            }
            slot.at = at;
            let place = slot.place as usize;
            self.rise(place);
        } else {
            slot.at = at;
            slot.place = self.length as u32;
            let place = self.length;
            self.slots[place].member = member as u32;
            self.length += 1;
            self.rise(place);
        }
    }

    /// Forgets a member.
    pub(crate) fn remove(&mut self, member: usize) {
        let Some(slot) = self.slots.get_mut(member) else {
            return;
        };
        let place = slot.place as usize;
        if slot.place == OUT {
            return;
        }
        slot.place = OUT;
        self.length -= 1;
        if place < self.length {
            let moved = self.slots[self.length].member;
            self.put(place, moved);
            self.rise(place);
            self.sink(place);
        }
    }

    /// A member whose time has come; it is forgotten, and asks again if it still waits.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<usize> {
        if self.next()? > now {
            return None;
        }
        let member = self.slots.first()?.member as usize;
        self.remove(member);
        Some(member)
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.length == 0 {
            return None;
        }
        let first = self.slots.first()?.member;
        Some(self.slots.get(first as usize)?.at)
    }

    fn at(&self, place: usize) -> Instant {
        self.slots[self.slots[place].member as usize].at
    }

    fn put(&mut self, place: usize, member: u32) {
        self.slots[place].member = member;
        self.slots[member as usize].place = place as u32;
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (first, second) = (self.slots[one].member, self.slots[other].member);
        self.put(one, second);
        self.put(other, first);
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.at(parent) <= self.at(place) {
                return;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let mut earliest = place;
            for child in [2 * place + 1, 2 * place + 2] {
                if child < self.length && self.at(child) < self.at(earliest) {
                    earliest = child;
                }
            }
            if earliest == place {
                return;
            }
            self.swap(earliest, place);
            place = earliest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn schedule(count: usize) -> Schedule<'static> {
        let slots: Vec<TimerSlot> = std::vec![TimerSlot::EMPTY; count];
        Schedule::new(ManagedSlice::Borrowed(slots.leak()))
    }

    #[test]
    fn a_deadline_that_moves_later_costs_one_early_call() {
        let mut schedule = schedule(2);
        schedule.ask(1, Instant::from_secs(1));
        schedule.ask(1, Instant::from_secs(5));
        assert_eq!(schedule.next(), Some(Instant::from_secs(1)));
        assert_eq!(schedule.poll(Instant::from_secs(1)), Some(1));
        assert_eq!(schedule.next(), None);
        // The caller asks again with what it really waits for.
        schedule.ask(1, Instant::from_secs(5));
        assert_eq!(schedule.poll(Instant::from_secs(4)), None);
        assert_eq!(schedule.poll(Instant::from_secs(5)), Some(1));
    }

    #[test]
    fn members_beyond_the_table_are_refused() {
        let mut schedule = schedule(1);
        schedule.ask(1, Instant::ZERO);
        schedule.remove(7);
        assert_eq!(schedule.poll(Instant::FAR_FUTURE), None);
    }

    proptest! {
        /// Against a model: nobody is called late, and nobody who was removed is called.
        #[test]
        fn equals_the_model(
            steps in proptest::collection::vec((0usize..12, 0u64..50, 0u8..4), 0..200)
        ) {
            let mut schedule = schedule(12);
            let mut model: BTreeMap<usize, u64> = BTreeMap::new();
            for (member, time, step) in steps {
                match step {
                    0 => {
                        schedule.remove(member);
                        model.remove(&member);
                    }
                    1 => {
                        while let Some(called) = schedule.poll(Instant::from_secs(time)) {
                            let at = model.remove(&called);
                            prop_assert!(at.is_some_and(|at| at <= time));
                        }
                        prop_assert!(model.values().all(|at| *at > time));
                    }
                    _ => {
                        schedule.ask(member, Instant::from_secs(time));
                        let at = model.entry(member).or_insert(time);
                        *at = (*at).min(time);
                    }
                }
                let earliest = model.values().min().map(|at| Instant::from_secs(*at));
                prop_assert_eq!(schedule.next(), earliest);
            }
        }
    }
}
