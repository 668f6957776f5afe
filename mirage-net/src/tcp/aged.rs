//! What is found by its four-tuple and ends by its age, in a table of the caller's size: half-open connections, and those in TIME-WAIT.
//!
//! Each entry is in one of a few lists. In a list all wait equally long from when they came to it, so its oldest is due first, and the
//! next deadline is found by a look at the heads. The keyed hash is the caller's, which has made it once for all tables that it looks in.

use managed::ManagedSlice;
use mirage_core::Instant;

use super::four_tuple::FourTuple;
use super::table::{Chained, Chains, END, TcpBucket};
use crate::limit::{Pace, RateLimit};

/// What an entry is about.
pub(crate) trait Aged: Copy {
    /// What it is found by.
    fn tuple(&self) -> &FourTuple;

    /// Which of the table's lists it is in.
    fn list(&self) -> usize {
        0
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    data: T,
    deadline: Instant,
    /// Challenges (RFC 5961 §7): its own, so that a stranger's tell nothing of it.
    challenges: Pace,
}

/// Room for one entry.
#[derive(Debug)]
pub(crate) struct Node<T> {
    entry: Option<Entry<T>>,
    /// By which the entry's chain is found.
    hash: u32,
    /// The next one in the hash chain, or on the free list.
    next: u32,
    older: u32,
    newer: u32,
}

impl<T> Node<T> {
    pub(crate) const EMPTY: Self = Node {
        entry: None,
        hash: 0,
        next: END,
        older: END,
        newer: END,
    };
}

/// A slot that is a node with another name.
pub(crate) trait Slot {
    type Data: Aged;
    const EMPTY: Self;

    fn node(&self) -> &Node<Self::Data>;
    fn node_mut(&mut self) -> &mut Node<Self::Data>;
}

impl<S: Slot> Chained for S {
    fn next(&self) -> u32 {
        self.node().next
    }

    fn set_next(&mut self, next: u32) {
        self.node_mut().next = next;
    }
}

#[derive(Debug, Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    const EMPTY: Self = List {
        oldest: END,
        newest: END,
    };
}

/// See the [module](self).
pub(crate) struct AgedTable<'a, S, const LISTS: usize> {
    slots: ManagedSlice<'a, S>,
    chains: Chains<'a>,
    free: u32,
    lists: [List; LISTS],
    length: usize,
}

impl<'a, S: Slot, const LISTS: usize> AgedTable<'a, S, LISTS> {
    pub(crate) fn new(
        mut slots: ManagedSlice<'a, S>,
        buckets: ManagedSlice<'a, TcpBucket>,
    ) -> Self {
        let mut free = END;
        for (index, slot) in slots.iter_mut().enumerate().rev() {
            *slot = S::EMPTY;
            slot.node_mut().next = free;
            free = index as u32;
        }
        let chains = Chains::new(buckets);
        AgedTable {
            free: if chains.is_usable() { free } else { END },
            slots,
            chains,
            lists: [List::EMPTY; LISTS],
            length: 0,
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// How many slots there are.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.free == END
    }

    /// Puts one in, which is due at `deadline`; says whether there was room. None with the same four-tuple is there.
    pub(crate) fn insert(&mut self, hash: u32, data: S::Data, deadline: Instant) -> bool {
        let index = self.free as usize;
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        let node = slot.node_mut();
        self.free = node.next;
        node.hash = hash;
        node.entry = Some(Entry {
            data,
            deadline,
            challenges: Pace::NEW,
        });
        self.length += 1;
        self.chains.insert(&mut self.slots, hash, index);
        self.append(index);
        true
    }

    /// The place of the one with a four-tuple, whose hash this is.
    #[inline]
    pub(crate) fn find(&self, hash: u32, tuple: &FourTuple) -> Option<usize> {
        if self.length == 0 {
            return None;
        }
        self.chains.find(&self.slots, hash, |slot| {
            slot.node()
                .entry
                .as_ref()
                .is_some_and(|entry| entry.data.tuple() == tuple)
        })
    }

    pub(crate) fn get(&self, index: usize) -> Option<&S::Data> {
        Some(&self.entry(index)?.data)
    }

    /// An entry, to be changed in what says neither what it is found by nor which list it is in.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut S::Data> {
        Some(&mut self.entry_mut(index)?.data)
    }

    fn entry(&self, index: usize) -> Option<&Entry<S::Data>> {
        self.slots.get(index)?.node().entry.as_ref()
    }

    fn entry_mut(&mut self, index: usize) -> Option<&mut Entry<S::Data>> {
        self.slots.get_mut(index)?.node_mut().entry.as_mut()
    }

    /// When one is due.
    pub(crate) fn deadline(&self, index: usize) -> Option<Instant> {
        Some(self.entry(index)?.deadline)
    }

    /// Whether a challenge may be sent for one now; if so, it is.
    pub(crate) fn challenge(&mut self, now: Instant, index: usize, limit: &RateLimit) -> bool {
        self.entry_mut(index)
            .is_some_and(|entry| entry.challenges.take(limit, now))
    }

    /// Makes one the newest of the list that it is in once it was changed; it is due at `deadline`, no earlier than all others there.
    pub(crate) fn renew(
        &mut self,
        index: usize,
        deadline: Instant,
        change: impl FnOnce(&mut S::Data),
    ) {
        self.unlink(index);
        if let Some(entry) = self.entry_mut(index) {
            change(&mut entry.data);
            entry.deadline = deadline;
            self.append(index);
        }
    }

    pub(crate) fn remove(&mut self, index: usize) {
        if self.entry(index).is_none() {
            return;
        }
        self.unlink(index);
        let node = self.slots[index].node_mut();
        node.entry = None;
        let hash = node.hash;
        self.chains.remove(&mut self.slots, hash, index);
        self.slots[index].set_next(self.free);
        self.free = index as u32;
        self.length -= 1;
    }

    /// The oldest one of a list.
    pub(crate) fn oldest(&self, list: usize) -> Option<usize> {
        let index = self.lists.get(list)?.oldest;
        (index != END).then_some(index as usize)
    }

    /// One whose time has come.
    pub(crate) fn due(&self, now: Instant) -> Option<usize> {
        self.heads()
            .find(|(_, deadline)| *deadline <= now)
            .map(|(index, _)| index)
    }

    /// When the next one is due.
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.length == 0 {
            return None;
        }
        self.heads().map(|(_, deadline)| deadline).min()
    }

    #[inline]
    fn heads(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        self.lists.iter().filter_map(|list| {
            let index = list.oldest as usize;
            Some((index, self.deadline(index)?))
        })
    }

    fn append(&mut self, index: usize) {
        let Some(list) = self.entry(index).map(|entry| entry.data.list()) else {
            return;
        };
        let before = core::mem::replace(&mut self.lists[list].newest, index as u32);
        let node = self.slots[index].node_mut();
        node.older = before;
        node.newer = END;
        match self.slots.get_mut(before as usize) {
            Some(before) => before.node_mut().newer = index as u32,
            None => self.lists[list].oldest = index as u32,
        }
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, index: usize) {
        let Some(list) = self.entry(index).map(|entry| entry.data.list()) else {
            return;
        };
        let node = self.slots[index].node();
        let (older, newer) = (node.older, node.newer);
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.node_mut().newer = newer,
            None => self.lists[list].oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.node_mut().older = older,
            None => self.lists[list].newest = older,
        }
    }
}
