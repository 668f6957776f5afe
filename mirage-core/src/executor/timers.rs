//! The timer queue: exact to the nanosecond, without memory of its own per timer.
//!
//! # Structure
//!
//! A timer is a [`Node`] inside the future that sleeps. The *horizon* parts the timers:
//!
//! - those before it are in a [`Heap`], in exact order;
//! - those from it on are in a *wheel* of nine levels of 128 slots. A slot of level `i` is a list of all timers of one
//!   block of `2^(13 + 6 i)` nanoseconds, in no order. A timer is in the lowest level whose 128 blocks, counted from
//!   the horizon's, reach its deadline.
//!
//! When the clock reaches a slot, the slot is opened: its timers go to lower levels, or from the lowest (8 us) to the
//! heap. So making and cancelling a timer is O(1) whatever the number, which is what time-outs need: most are cancelled.
//!
//! A level's 128 slots span two blocks of the level above (64 slots each), so a block can be opened one block ahead of
//! the clock: [`Timers::prepare`] does that in small steps while there is nothing else to do, and opening a
//! slot of a million timers does not delay those that are due meanwhile.

use core::cell::Cell;
use core::marker::PhantomPinned;
use core::ptr;
use core::task::Waker;

use super::heap::Heap;
use super::prefetch::prefetch;
use super::wait::WakerCell;
use crate::time::Instant;

/// Width of a slot of the lowest level: 2^13 ns, 8 us.
const SHIFT: u32 = 13;
/// Each level's slots are 2^6 times as wide as those of the level below.
const STEP: u32 = 6;
/// Level 8 has slots of 2^61 ns: its slots reach any deadline.
const LEVELS: usize = 9;
const SLOTS: u64 = 128;

/// The lowest level whose 128 blocks reach a distance of so many bits, in slots of the lowest level.
const LEVEL_OF_BITS: [u8; u64::BITS as usize + 1] = {
    let mut levels = [0; u64::BITS as usize + 1];
    let mut bits = 0;
    while bits <= u64::BITS {
        levels[bits as usize] = bits.saturating_sub(SLOTS.ilog2()).div_ceil(STEP) as u8;
        bits += 1;
    }
    levels
};

/// A timer's place in the queue. Links are addresses of other nodes, or, in a slot's list, of the cell that points here.
///
/// A node that is registered is pinned, alive, and only ever accessed through shared references to its cells, on one
/// thread: its owner removes it before its memory goes.
pub(super) struct Node {
    pub(super) next: Cell<*const Node>,
    pub(super) previous: Cell<*const ()>,
    pub(super) child: Cell<*const Node>,
    deadline: Cell<Instant>,
    /// Order of registration in the upper 62 bits, [`State`] in the lower two.
    order: Cell<u64>,
    waker: WakerCell,
    _pinned: PhantomPinned,
}

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unregistered = 0,
    Wheel = 1,
    Heap = 2,
    Fired = 3,
}

impl Node {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            child: Cell::new(ptr::null()),
            deadline: Cell::new(deadline),
            order: Cell::new(State::Unregistered as u64),
            waker: WakerCell::new(),
            _pinned: PhantomPinned,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    pub(super) fn key(&self) -> (Instant, u64) {
        (self.deadline.get(), self.order.get())
    }

    pub(super) fn is_registered(&self) -> bool {
        matches!(self.state(), State::Wheel | State::Heap)
    }

    pub(super) fn has_fired(&self) -> bool {
        self.state() == State::Fired
    }

    /// Marks a node that is not registered as one whose time has come.
    pub(super) fn set_fired(&self) {
        debug_assert!(!self.is_registered());
        self.set_state(State::Fired);
    }

    /// Sets the waker that a registered node calls.
    #[inline]
    pub(super) fn set_waker(&self, waker: &Waker) {
        // SAFETY: a registered node is pinned, and drops its waker when it's removed or dropped itself.
        unsafe { self.waker.register_pinned(waker) };
    }

    /// Sets the deadline of a node that is not registered.
    pub(super) fn rearm(&self, deadline: Instant) {
        debug_assert!(!self.is_registered());
        self.deadline.set(deadline);
        self.set_state(State::Unregistered);
    }

    fn state(&self) -> State {
        match self.order.get() & 3 {
            0 => State::Unregistered,
            1 => State::Wheel,
            2 => State::Heap,
            _ => State::Fired,
        }
    }

    fn set_state(&self, state: State) {
        self.order.set(self.order.get() & !3 | state as u64);
    }
}

/// A timer queue. Once a node is registered, it doesn't move.
pub(super) struct Timers {
    heap: Heap,
    /// A multiple of a lowest slot's width, except at the end of time. Never goes back.
    horizon: Cell<u64>,
    /// One bit for each slot that may be occupied: set by insertion, cleared when the slot is seen empty.
    occupied: [Cell<u128>; LEVELS],
    slots: [[Cell<*const Node>; SLOTS as usize]; LEVELS],
    next_order: Cell<u64>,
    len: Cell<usize>,
    /// The clock at the beginning of the turn.
    now: Cell<Instant>,
}

/// A block of a level that holds timers.
#[derive(Clone, Copy)]
struct Slot {
    level: usize,
    block: u64,
}

impl Slot {
    fn index(self) -> usize {
        (self.block % SLOTS) as usize
    }

    /// The first instant of the block.
    fn start(self) -> u64 {
        self.block << shift(self.level)
    }
}

const fn shift(level: usize) -> u32 {
    SHIFT + STEP * level as u32
}

impl Timers {
    pub(super) const fn new() -> Self {
        Self {
            heap: Heap::new(),
            horizon: Cell::new(0),
            occupied: [const { Cell::new(0) }; LEVELS],
            slots: [const { [const { Cell::new(ptr::null()) }; SLOTS as usize] }; LEVELS],
            next_order: Cell::new(0),
            len: Cell::new(0),
            now: Cell::new(Instant::ZERO),
        }
    }

    /// The number of registered timers.
    pub(super) fn len(&self) -> usize {
        self.len.get()
    }

    /// The clock at the beginning of the turn: not later than the clock.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Takes the clock's time over, before timers are made and compared with it.
    pub(super) fn set_now(&self, now: Instant) {
        self.now.set(now.max(self.now.get()));
    }

    /// Registers a timer.
    ///
    /// # Safety
    ///
    /// `node` is pinned, is not registered, and is removed before its memory is used for anything else.
    pub(super) unsafe fn insert(&self, node: *const Node) {
        // SAFETY: the caller's promise.
        let timer = unsafe { &*node };
        let order = self.next_order.get();
        // 2^62 registrations take longer than the clock can tell.
        self.next_order.set(order.wrapping_add(1));
        timer.order.set(order << 2);
        self.len.set(self.len.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { self.place(node) };
    }

    /// Takes a registered timer out, and its waker away.
    ///
    /// # Safety
    ///
    /// `node` is registered here.
    pub(super) unsafe fn remove(&self, node: *const Node) {
        // SAFETY: registered, hence alive.
        let timer = unsafe { &*node };
        match timer.state() {
            State::Wheel => {
                let next = timer.next.get();
                // SAFETY: in a slot's list, `previous` is the cell that points here, in a live node or in the wheel.
                unsafe {
                    (*timer.previous.get().cast::<Cell<*const Node>>()).set(next);
                    if let Some(next) = next.as_ref() {
                        next.previous.set(timer.previous.get());
                    }
                }
            }
            // SAFETY: it's in this heap.
            State::Heap => unsafe { self.heap.remove(node) },
            State::Unregistered | State::Fired => return,
        }
        timer.set_state(State::Unregistered);
        self.len.set(self.len.get() - 1);
        drop(timer.waker.take());
    }

    /// Takes the earliest timer that is due at `now` out. Returns whether there was one, with its waker.
    ///
    /// Slots above the lowest level are opened with at most `moves` timers, which counts down; at 0, timers may be due
    /// though there was none.
    pub(super) fn fire(&self, now: Instant, moves: &mut usize) -> Option<Option<Waker>> {
        loop {
            let first = self.heap.first();
            // SAFETY: nodes in the heap are alive.
            if let Some(timer) = unsafe { first.as_ref() } {
                // All timers of the wheel are later than those of the heap.
                if timer.deadline() > now {
                    return None;
                }
                // SAFETY: it's in this heap.
                unsafe { self.heap.remove(first) };
                timer.set_state(State::Fired);
                self.len.set(self.len.get() - 1);
                return Some(timer.waker.take());
            }
            if !self.advance(now, moves) {
                return None;
            }
        }
    }

    /// Opens, a block ahead of the clock, slots with up to `limit` timers. Returns how many it moved: 0 when there was
    /// nothing to do.
    pub(super) fn prepare(&self, limit: usize) -> usize {
        let mut left = limit;
        for level in 1..LEVELS {
            let slot = Slot {
                level,
                block: (self.horizon.get() >> shift(level)) + 1,
            };
            if self.occupied[level].get() & (1u128 << slot.index()) == 0 {
                continue;
            }
            let head = &self.slots[level][slot.index()];
            // SAFETY: nodes in slots are alive.
            while let Some(timer) = unsafe { head.get().as_ref() } {
                if left == 0 {
                    return limit;
                }
                left -= 1;
                let node = head.get();
                self.unlink_first(head, timer);
                prefetch(head.get().cast_mut().cast(), size_of::<Node>());
                // SAFETY: registered, and in no list at the moment. All of the next block is within the level below.
                unsafe { self.place(node) };
            }
            self.clear(slot);
        }
        limit - left
    }

    /// When to look at the timers next: never after the earliest deadline; before it when that allows to prepare.
    pub(super) fn next_look(&self) -> Option<Instant> {
        // SAFETY: nodes in the heap are alive.
        if let Some(timer) = unsafe { self.heap.first().as_ref() } {
            return Some(timer.deadline());
        }
        (0..LEVELS)
            .filter_map(|level| {
                let slot = self.first_in(level)?;
                // SAFETY: nodes in slots are alive.
                let first = unsafe { self.slots[level][slot.index()].get().as_ref() }?;
                Some(if first.next.get().is_null() {
                    // A lone timer needs no preparation.
                    first.deadline()
                } else if level == 0 {
                    Instant::from_nanos(slot.start())
                } else {
                    Instant::from_nanos(slot.start().saturating_sub(1 << shift(level)))
                })
            })
            .min()
    }

    /// The earliest deadline, exactly. Looks through one slot of each level that may hold it.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // SAFETY: nodes in the heap are alive.
        if let Some(timer) = unsafe { self.heap.first().as_ref() } {
            return Some(timer.deadline());
        }
        let mut earliest: Option<Instant> = None;
        for level in 0..LEVELS {
            let Some(slot) = self.first_in(level) else {
                continue;
            };
            if earliest.is_some_and(|earliest| earliest.as_nanos() < slot.start()) {
                continue;
            }
            let mut next = self.slots[level][slot.index()].get();
            // SAFETY: nodes in slots are alive.
            while let Some(timer) = unsafe { next.as_ref() } {
                earliest = Some(earliest.map_or(timer.deadline(), |e| e.min(timer.deadline())));
                next = timer.next.get();
            }
        }
        earliest
    }

    /// Opens the earliest slot that begins by `now`, with at most `moves` timers if it's wide, or moves the horizon to
    /// `now`. Returns whether it opened one.
    ///
    /// A wide slot that is open in part stays the earliest, and the horizon at its beginning: no later timer passes.
    fn advance(&self, now: Instant, moves: &mut usize) -> bool {
        let now = now.as_nanos();
        let mut earliest: Option<Slot> = None;
        for level in 0..LEVELS {
            if let Some(slot) = self.first_in(level)
                // Of two that begin together the wider first: it may hold timers for the narrower.
                && earliest.is_none_or(|earliest| slot.start() <= earliest.start())
            {
                earliest = Some(slot);
            }
        }
        let Some(slot) = earliest.filter(|slot| slot.start() <= now) else {
            // Nothing begins up to now, so no timer is passed by.
            let aligned = now >> SHIFT << SHIFT;
            self.horizon.set(self.horizon.get().max(aligned));
            return false;
        };
        self.horizon.set(self.horizon.get().max(slot.start()));
        if slot.level == 0 {
            let end = slot.start().saturating_add(1 << SHIFT);
            self.horizon.set(end);
        }
        let head = &self.slots[slot.level][slot.index()];
        if slot.level > 0 {
            // SAFETY: nodes in slots are alive.
            while let Some(timer) = unsafe { head.get().as_ref() } {
                if *moves == 0 {
                    return false;
                }
                *moves -= 1;
                let node = head.get();
                self.unlink_first(head, timer);
                prefetch(head.get().cast_mut().cast(), size_of::<Node>());
                // SAFETY: registered, and in no list at the moment.
                unsafe { self.place(node) };
            }
            self.clear(slot);
            return true;
        }
        let mut next = head.replace(ptr::null());
        self.clear(slot);
        // SAFETY: nodes in slots are alive.
        while let Some(timer) = unsafe { next.as_ref() } {
            let node = next;
            next = timer.next.get();
            prefetch(next.cast_mut().cast(), size_of::<Node>());
            // What it wakes is needed within a slot's width.
            timer.waker.prefetch();
            timer.set_state(State::Heap);
            // SAFETY: registered, and in no list that's still in use. All of the slot is before the horizon now (at the
            // end of time, it has to be taken as such).
            unsafe { self.heap.insert(node) };
        }
        true
    }

    /// Puts a timer where its deadline belongs.
    ///
    /// # Safety
    ///
    /// `node` is registered or about to be, pinned, and in no list.
    unsafe fn place(&self, node: *const Node) {
        // SAFETY: the caller's promise.
        let timer = unsafe { &*node };
        let (deadline, horizon) = (timer.deadline().as_nanos(), self.horizon.get());
        if deadline < horizon {
            timer.set_state(State::Heap);
            // SAFETY: the caller's promise.
            unsafe { self.heap.insert(node) };
            return;
        }
        let distance = (deadline >> SHIFT) - (horizon >> SHIFT);
        // The lowest level for which `distance < 128 * 64^level`, or the one above when the horizon is inside its block.
        let bits = (u64::BITS - distance.leading_zeros()) as usize;
        let mut level = usize::from(LEVEL_OF_BITS[bits]);
        if (deadline >> shift(level)) - (horizon >> shift(level)) >= SLOTS {
            level += 1;
        }
        let index = (deadline >> shift(level)) % SLOTS;
        let head = &self.slots[level][index as usize];
        let first = head.get();
        // SAFETY: nodes in slots are alive.
        if let Some(first) = unsafe { first.as_ref() } {
            first.previous.set(ptr::from_ref(&timer.next).cast());
        }
        timer.next.set(first);
        timer.previous.set(ptr::from_ref(head).cast());
        timer.set_state(State::Wheel);
        head.set(node);
        let occupied = &self.occupied[level];
        occupied.set(occupied.get() | 1u128 << index);
    }

    /// The first slot of a level, from the horizon on, that holds a timer.
    fn first_in(&self, level: usize) -> Option<Slot> {
        let current = self.horizon.get() >> shift(level);
        loop {
            let occupied = self.occupied[level].get();
            if occupied == 0 {
                return None;
            }
            let ahead = occupied
                .rotate_right((current % SLOTS) as u32)
                .trailing_zeros();
            let slot = Slot {
                level,
                block: current + u64::from(ahead),
            };
            if !self.slots[level][slot.index()].get().is_null() {
                return Some(slot);
            }
            // Cancelled timers leave their slot's bit.
            self.clear(slot);
        }
    }

    fn unlink_first(&self, head: &Cell<*const Node>, timer: &Node) {
        let next = timer.next.get();
        head.set(next);
        // SAFETY: nodes in slots are alive.
        if let Some(next) = unsafe { next.as_ref() } {
            next.previous.set(ptr::from_ref(head).cast());
        }
    }

    fn clear(&self, slot: Slot) {
        let occupied = &self.occupied[slot.level];
        occupied.set(occupied.get() & !(1u128 << slot.index()));
    }
}
