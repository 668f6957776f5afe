//! What an executor counts.

use core::cell::Cell;

/// What an executor did. The numbers wrap around.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ExecutorCounters {
    /// Tasks made.
    pub spawned: u64,
    /// Tasks that ended, in whatever way.
    pub ended: u64,
    /// Tasks refused because of the limit.
    pub refused_limit: u64,
    /// Tasks refused for want of memory.
    pub refused_memory: u64,
    /// Tasks refused after the end.
    pub refused_shut_down: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Wake-ups that came through the list of other threads.
    pub remote_wakes: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// Moves of timers inside of the queue, from what is sorted by wide steps of time to narrow ones.
    pub timers_moved: u64,
    /// Times that the platform was asked to wait.
    pub parks: u64,
}

#[derive(Default)]
pub(super) struct CounterCells {
    pub(super) spawned: Cell<u64>,
    pub(super) ended: Cell<u64>,
    pub(super) refused_limit: Cell<u64>,
    pub(super) refused_memory: Cell<u64>,
    pub(super) refused_shut_down: Cell<u64>,
    pub(super) polls: Cell<u64>,
    pub(super) remote_wakes: Cell<u64>,
    pub(super) timers_fired: Cell<u64>,
    pub(super) timers_moved: Cell<u64>,
    pub(super) parks: Cell<u64>,
}

impl CounterCells {
    pub(super) fn read(&self) -> ExecutorCounters {
        ExecutorCounters {
            spawned: self.spawned.get(),
            ended: self.ended.get(),
            refused_limit: self.refused_limit.get(),
            refused_memory: self.refused_memory.get(),
            refused_shut_down: self.refused_shut_down.get(),
            polls: self.polls.get(),
            remote_wakes: self.remote_wakes.get(),
            timers_fired: self.timers_fired.get(),
            timers_moved: self.timers_moved.get(),
            parks: self.parks.get(),
        }
    }
}

pub(super) fn count(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get().wrapping_add(more));
}
