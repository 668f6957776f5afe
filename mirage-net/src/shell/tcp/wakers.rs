//! Where tasks wait for connections and listeners.

use core::cell::Cell;
use core::fmt;
use core::task::Waker;

use managed::ManagedSlice;
use mirage_core::Instant;
use mirage_core::channel::Signal;

use crate::Stack;
use crate::tcp::{ListenerHandle, TcpEvents, TcpHandle};

/// The memory of a [`SharedStack`](crate::SharedStack)'s TCP, which its owner hands in.
pub struct TcpWakers<'a> {
    /// As many as the stack has connections ([`Stack::tcp_capacity`]). A connection beyond them is refused, or reset.
    pub streams: ManagedSlice<'a, StreamWakerSlot>,
    /// As many as the stack has listeners ([`Stack::tcp_listener_capacity`]). A listener beyond them is refused.
    pub listeners: ManagedSlice<'a, ListenerWakerSlot>,
}

impl<'a> TcpWakers<'a> {
    /// No TCP.
    pub const fn none() -> Self {
        TcpWakers {
            streams: ManagedSlice::Borrowed(&mut []),
            listeners: ManagedSlice::Borrowed(&mut []),
        }
    }

    /// Slots in memory that lives as long as the stack's.
    pub const fn new(
        streams: &'a mut [StreamWakerSlot],
        listeners: &'a mut [ListenerWakerSlot],
    ) -> Self {
        TcpWakers {
            streams: ManagedSlice::Borrowed(streams),
            listeners: ManagedSlice::Borrowed(listeners),
        }
    }

    /// As many as this stack can use, from the global allocator, allocated once, here.
    #[cfg(feature = "alloc")]
    pub fn allocate(stack: &Stack<'_>) -> Self {
        let mut streams = alloc::vec::Vec::new();
        streams.resize_with(stack.tcp_capacity(), StreamWakerSlot::default);
        let mut listeners = alloc::vec::Vec::new();
        listeners.resize_with(stack.tcp_listener_capacity(), ListenerWakerSlot::default);
        TcpWakers {
            streams: streams.into(),
            listeners: listeners.into(),
        }
    }

    /// Wakes who waits for what has happened. A waker may drop a task with its connections, which finds the stack in use.
    pub(in crate::shell) fn wake(&self, stack: &mut Stack<'_>) {
        while let Some((handle, events)) = stack.poll_tcp() {
            let Some(slot) = self.streams.get(handle.index()) else {
                continue;
            };
            let readable = TcpEvents::READABLE | TcpEvents::FINISHED | TcpEvents::CLOSED;
            if events.intersects(readable) {
                wake(&slot.receive);
            }
            let writable = TcpEvents::CONNECTED | TcpEvents::WRITABLE | TcpEvents::CLOSED;
            if events.intersects(writable) {
                wake(&slot.send);
            }
        }
        while let Some(handle) = stack.poll_tcp_listener() {
            if let Some(slot) = self.listeners.get(handle.index()) {
                slot.arrived.set(());
            }
        }
    }

    /// Closes what was dropped while the stack was in use.
    pub(in crate::shell) fn close_dropped(&self, stack: &mut Stack<'_>, now: Instant) {
        for slot in self.streams.iter() {
            match slot.dropped.take() {
                Some(Dropped::Closed(handle)) => stack.tcp_close(now, handle),
                Some(Dropped::Aborted(handle)) => stack.tcp_abort(now, handle),
                None => continue,
            };
        }
        for slot in self.listeners.iter() {
            if let Some(handle) = slot.dropped.take() {
                stack.tcp_close_listener(now, handle);
            }
        }
    }
}

impl fmt::Debug for TcpWakers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpWakers")
            .field("streams", &self.streams.len())
            .field("listeners", &self.listeners.len())
            .finish()
    }
}

/// Storage for the wakers of one connection: one task that reads, one that writes.
#[derive(Default)]
pub struct StreamWakerSlot {
    pub(super) receive: Cell<Option<Waker>>,
    pub(super) send: Cell<Option<Waker>>,
    /// A connection that was given up, and could not be closed then.
    pub(super) dropped: Cell<Option<Dropped>>,
}

impl StreamWakerSlot {
    /// An empty slot.
    pub const fn new() -> Self {
        StreamWakerSlot {
            receive: Cell::new(None),
            send: Cell::new(None),
            dropped: Cell::new(None),
        }
    }

    /// Wakes both tasks.
    pub(super) fn wake(&self) {
        wake(&self.receive);
        wake(&self.send);
    }

    /// Forgets both tasks.
    pub(super) fn clear(&self) {
        self.receive.take();
        self.send.take();
    }
}

impl fmt::Debug for StreamWakerSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamWakerSlot").finish_non_exhaustive()
    }
}

/// Storage for what waits at one listener.
#[derive(Debug, Default)]
pub struct ListenerWakerSlot {
    /// A connection may wait. Whoever takes it sets it again for the next, if more wait.
    pub(super) arrived: Signal<()>,
    /// A listener that was dropped, and could not be closed then.
    pub(super) dropped: Cell<Option<ListenerHandle>>,
}

impl ListenerWakerSlot {
    /// An empty slot.
    pub const fn new() -> Self {
        ListenerWakerSlot {
            arrived: Signal::new(),
            dropped: Cell::new(None),
        }
    }
}

/// How a connection was given up.
#[derive(Clone, Copy)]
pub(super) enum Dropped {
    Closed(TcpHandle),
    Aborted(TcpHandle),
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
