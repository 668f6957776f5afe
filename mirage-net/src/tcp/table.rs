//! Chains of slots by a keyed hash: whoever has a four-tuple is found in O(1).
//!
//! The hash is keyed, so that a peer can't choose addresses and ports that make one chain long.

use managed::ManagedSlice;

/// "None" in a chain of slots.
pub(crate) const END: u32 = u32::MAX;

/// One chain of a table: as many of them as the table has slots make chains of one on average.
#[derive(Debug, Clone, Copy)]
pub struct TcpBucket(u32);

impl TcpBucket {
    /// An empty chain.
    pub const EMPTY: Self = TcpBucket(END);
}

impl Default for TcpBucket {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// A slot that knows the next one of its chain.
pub(crate) trait Chained {
    /// The next slot of the chain, or [`END`].
    fn next(&self) -> u32;
    /// Changes it.
    fn set_next(&mut self, next: u32);
}

/// The heads of the chains.
pub(crate) struct Chains<'a> {
    heads: ManagedSlice<'a, TcpBucket>,
}

impl<'a> Chains<'a> {
    pub(crate) fn new(mut heads: ManagedSlice<'a, TcpBucket>) -> Self {
        for head in heads.iter_mut() {
            *head = TcpBucket::EMPTY;
        }
        Chains { heads }
    }

    /// Whether anything can be in the table.
    pub(crate) fn is_usable(&self) -> bool {
        !self.heads.is_empty()
    }

    fn head(&self, hash: u32) -> usize {
        // Without a division: the high half of a product spreads over all chains.
        ((u64::from(hash) * self.heads.len() as u64) >> 32) as usize
    }

    /// The slot of a chain that `is` the one.
    #[inline]
    pub(crate) fn find<S: Chained>(
        &self,
        slots: &[S],
        hash: u32,
        is: impl Fn(&S) -> bool,
    ) -> Option<usize> {
        let mut index = self.heads.get(self.head(hash))?.0;
        while let Some(slot) = slots.get(index as usize) {
            if is(slot) {
                return Some(index as usize);
            }
            index = slot.next();
        }
        None
    }

    /// Puts a slot, which is in no chain, at the head of one.
    pub(crate) fn insert<S: Chained>(&mut self, slots: &mut [S], hash: u32, index: usize) {
        let head = self.head(hash);
        if let (Some(head), Some(slot)) = (self.heads.get_mut(head), slots.get_mut(index)) {
            slot.set_next(head.0);
            head.0 = index as u32;
        }
    }

    /// Takes a slot out of its chain; says whether it was there.
    pub(crate) fn remove<S: Chained>(&mut self, slots: &mut [S], hash: u32, index: usize) -> bool {
        let head = self.head(hash);
        let Some(next) = slots.get(index).map(Chained::next) else {
            return false;
        };
        let Some(head) = self.heads.get_mut(head) else {
            return false;
        };
        if head.0 == index as u32 {
            head.0 = next;
            slots[index].set_next(END);
            return true;
        }
        let mut before = head.0;
        while let Some(slot) = slots.get_mut(before as usize) {
            if slot.next() == index as u32 {
                slot.set_next(next);
                slots[index].set_next(END);
                return true;
            }
            before = slot.next();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[derive(Clone, Copy)]
    struct Slot {
        key: u64,
        next: u32,
    }

    impl Chained for Slot {
        fn next(&self) -> u32 {
            self.next
        }

        fn set_next(&mut self, next: u32) {
            self.next = next;
        }
    }

    #[test]
    fn what_is_inserted_is_found_until_it_is_removed() {
        let mut heads = [TcpBucket::EMPTY; 3];
        let mut chains = Chains::new((&mut heads[..]).into());
        let hash = |key: u64| (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
        let mut slots: Vec<Slot> = (0..20).map(|key| Slot { key, next: END }).collect();
        for index in 0..slots.len() {
            chains.insert(&mut slots, hash(index as u64), index);
        }
        for index in (0..20).step_by(2) {
            assert!(chains.remove(&mut slots, hash(index as u64), index));
            assert!(!chains.remove(&mut slots, hash(index as u64), index));
        }
        for key in 0..20 {
            let found = chains.find(&slots, hash(key), |slot| slot.key == key);
            assert_eq!(found, (key % 2 == 1).then_some(key as usize));
        }
    }

    #[test]
    fn a_table_without_chains_finds_nothing() {
        let mut chains = Chains::new(ManagedSlice::Borrowed(&mut []));
        let mut slots = [Slot { key: 1, next: END }];
        chains.insert(&mut slots, 1, 0);
        assert_eq!(chains.find(&slots, 1, |_| true), None);
        assert!(!chains.remove(&mut slots, 1, 0));
        assert!(!chains.is_usable());
    }
}
