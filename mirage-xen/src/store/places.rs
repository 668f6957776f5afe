//! Places that users wait for, first come first served.

use core::cell::Cell;

use mirage_core::channel::Channel;

use super::protocol::{MAXIMUM_REQUESTS, MAXIMUM_TRANSACTIONS, MAXIMUM_WATCHES};

/// The most places of a kind. One number for all kinds, so that what waits for a place is one future.
const MOST: usize = 127;

const _: () =
    assert!(MAXIMUM_REQUESTS <= MOST && MAXIMUM_WATCHES <= MOST && MAXIMUM_TRANSACTIONS <= MOST);

/// Up to [`MOST`] places.
pub(super) struct Places {
    /// A value for each place that is taken or that there is not: senders wait in order.
    taken: Channel<(), MOST>,
    missing: usize,
    waiting: Cell<usize>,
}

impl Places {
    /// So many, at most [`MOST`].
    pub(super) fn new(count: usize) -> Self {
        let places = Self {
            taken: Channel::new(),
            missing: MOST.saturating_sub(count),
            waiting: Cell::new(0),
        };
        for _ in 0..places.missing {
            // There is room for all.
            let _ = places.taken.try_send(());
        }
        places
    }

    /// Takes a place; waits for one if there is none.
    pub(super) async fn take(&self) {
        // The channel is never closed.
        let _ = self.taken.send(()).await;
    }

    /// Takes a place, if one is free that nobody waits for.
    pub(super) fn try_take(&self) -> bool {
        self.taken.try_send(()).is_ok()
    }

    /// Takes a place. Where there is none, waits if one of the `leaving` ones will be for us; else it is `false`.
    pub(super) async fn take_soon(&self, leaving: usize) -> bool {
        if self.try_take() {
            return true;
        }
        if leaving <= self.waiting.get() {
            return false;
        }
        let _waiting = Waiting::new(&self.waiting);
        self.take().await;
        true
    }

    /// Gives one back.
    pub(super) fn give_back(&self) {
        let _ = self.taken.try_receive();
    }

    /// Gives back what is taken beyond so many.
    pub(super) fn keep(&self, taken: usize) {
        while self.taken.len() > self.missing + taken {
            self.give_back();
        }
    }
}

/// Somebody waits.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
