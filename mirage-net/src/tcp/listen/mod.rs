//! Listeners, and connections that are only half open.
//!
//! A SYN makes no connection: it makes an entry of 120 bytes in the SYN cache, which all listeners share, and becomes a
//! connection when our SYN,ACK is acknowledged. When the cache is full, its place is taken by a cookie, which costs no
//! memory at all (RFC 4987 §3.6).

mod cookie;
mod syn_cache;

pub(crate) use cookie::{Cookie, Cookies};
pub use syn_cache::SynSlot;
pub(crate) use syn_cache::{Due, SynCache};

use core::net::{IpAddr, SocketAddr};

use managed::ManagedSlice;

use super::config::ConnectionOptions;
use super::table::END;

/// Names a listener of a stack; after it was closed it names nothing, even when the slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerHandle {
    index: u16,
    generation: u32,
}

impl ListenerHandle {
    /// The number of the listener's slot, below the size of the table: an index for what an owner keeps beside it (wakers).
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What a listener accepts, and its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Local address and port; the unspecified address for all of ours. Port 0 is refused.
    pub local: SocketAddr,
    /// Connections that are established and wait to be accepted. While there are so many, SYNs are dropped, and the peers try
    /// again.
    pub backlog: u16,
    /// The options of its connections.
    pub connection: ConnectionOptions,
}

impl ListenOptions {
    /// A listener with a backlog of 128 connections with the usual options.
    pub const fn bind(local: SocketAddr) -> Self {
        ListenOptions {
            local,
            backlog: 128,
            connection: ConnectionOptions::DEFAULT,
        }
    }
}

/// Storage for one listener.
#[derive(Debug, Default)]
pub struct ListenerSlot {
    generation: u32,
    listener: Option<Listener>,
}

impl ListenerSlot {
    /// An empty slot.
    pub const EMPTY: Self = ListenerSlot {
        generation: 0,
        listener: None,
    };
}

#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) options: ListenOptions,
    /// The queue of connections to accept: a chain of connection slots.
    pub(crate) head: u32,
    pub(crate) tail: u32,
    pub(crate) waiting: u16,
    /// A connection was queued since the owner was told last.
    pub(crate) news: bool,
}

impl Listener {
    /// Whether as many connections wait to be accepted as may.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting >= self.options.backlog
    }
}

/// The listeners of a stack. A segment that is for no connection is looked up in all of them: a handful, not hundreds.
pub(crate) struct Listeners<'a> {
    slots: ManagedSlice<'a, ListenerSlot>,
}

impl<'a> Listeners<'a> {
    pub(crate) fn new(mut slots: ManagedSlice<'a, ListenerSlot>) -> Self {
        for slot in slots.iter_mut() {
            slot.listener = None;
        }
        Listeners { slots }
    }

    /// How many listeners there can be.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len().min(usize::from(u16::MAX))
    }

    /// Opens a listener, whose address has been checked; none when the table is full.
    pub(crate) fn open(&mut self, options: ListenOptions) -> Option<ListenerHandle> {
        let capacity = self.capacity();
        let (index, slot) = self
            .slots
            .iter_mut()
            .take(capacity)
            .enumerate()
            .find(|(_, slot)| slot.listener.is_none())?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.listener = Some(Listener {
            options,
            head: END,
            tail: END,
            waiting: 0,
            news: false,
        });
        Some(ListenerHandle {
            index: index as u16,
            generation: slot.generation,
        })
    }

    pub(crate) fn close(&mut self, handle: ListenerHandle) -> Option<Listener> {
        self.get(handle)?;
        self.slots.get_mut(handle.index())?.listener.take()
    }

    pub(crate) fn get(&self, handle: ListenerHandle) -> Option<&Listener> {
        let slot = self.slots.get(handle.index())?;
        slot.listener
            .as_ref()
            .filter(|_| slot.generation == handle.generation)
    }

    pub(crate) fn get_mut(&mut self, handle: ListenerHandle) -> Option<&mut Listener> {
        let slot = self.slots.get_mut(handle.index())?;
        slot.listener
            .as_mut()
            .filter(|_| slot.generation == handle.generation)
    }

    /// The listener that a SYN to `local` is for: the one of the very address before the one of all.
    pub(crate) fn find(&self, local: SocketAddr) -> Option<ListenerHandle> {
        let mut best = None;
        for (handle, listener) in self.iter() {
            let own = listener.options.local;
            if own.port() != local.port() {
                continue;
            }
            if own.ip() == local.ip() {
                return Some(handle);
            }
            if own.ip().is_unspecified() {
                best = Some(handle);
            }
        }
        best
    }

    /// Whether another listener has this very address and port.
    pub(crate) fn collides(&self, local: SocketAddr) -> bool {
        self.iter()
            .any(|(_, listener)| listener.options.local == local)
    }

    /// Whether a listener has this port, on this address or on all.
    pub(crate) fn has_port(&self, address: IpAddr, port: u16) -> bool {
        self.find((address, port).into()).is_some()
    }

    /// Whether `poll_news` would name one.
    pub(crate) fn has_news(&self) -> bool {
        self.iter().any(|(_, listener)| listener.news)
    }

    /// A listener with a new connection to accept that was not named here since.
    pub(crate) fn poll_news(&mut self) -> Option<ListenerHandle> {
        let index = self
            .slots
            .iter()
            .position(|slot| slot.listener.as_ref().is_some_and(|listener| listener.news))?;
        let slot = self.slots.get_mut(index)?;
        slot.listener.as_mut()?.news = false;
        Some(ListenerHandle {
            index: index as u16,
            generation: slot.generation,
        })
    }

    fn iter(&self) -> impl Iterator<Item = (ListenerHandle, &Listener)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let handle = ListenerHandle {
                index: index as u16,
                generation: slot.generation,
            };
            Some((handle, slot.listener.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(count: usize) -> Listeners<'static> {
        let slots: std::vec::Vec<ListenerSlot> = (0..count).map(|_| ListenerSlot::EMPTY).collect();
        Listeners::new(ManagedSlice::Borrowed(slots.leak()))
    }

    fn at(address: [u8; 4], port: u16) -> ListenOptions {
        ListenOptions::bind((address, port).into())
    }

    #[test]
    fn the_particular_address_comes_before_all() {
        let mut listeners = listeners(3);
        let all = listeners.open(at([0; 4], 80)).unwrap();
        let one = listeners.open(at([10, 0, 0, 1], 80)).unwrap();
        assert_eq!(listeners.find(([10, 0, 0, 1], 80).into()), Some(one));
        assert_eq!(listeners.find(([10, 0, 0, 2], 80).into()), Some(all));
        assert_eq!(listeners.find(([10, 0, 0, 2], 81).into()), None);
        assert!(listeners.collides(([0, 0, 0, 0], 80).into()));
        assert!(!listeners.collides(([10, 0, 0, 2], 80).into()));
    }

    #[test]
    fn a_closed_listener_s_handle_names_nothing() {
        let mut listeners = listeners(1);
        let first = listeners.open(at([0; 4], 80)).unwrap();
        assert!(listeners.open(at([0; 4], 81)).is_none());
        assert!(listeners.close(first).is_some());
        assert!(listeners.close(first).is_none());
        let second = listeners.open(at([0; 4], 81)).unwrap();
        assert!(listeners.get(first).is_none());
        assert!(listeners.get(second).is_some());
    }
}
