//! The table of UDP sockets and the queues of what they have received.
//!
//! A queue is bounded in datagrams and in pages. While it has few pages it keeps a datagram in the
//! page that it came in, exchanged for one of the pool's general part. From half of its bound on,
//! or when the general part runs low, a datagram that fills less than half of its pages is copied
//! behind the one before it, into a page that they share, and its own page is free at once: so
//! many small datagrams can't hold many pages.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use managed::ManagedSlice;
use mirage_core::{Frame, PageMut, Pool};

use crate::random::Random;

/// "None" in a chain of slots.
const END: u16 = u16::MAX;

/// Names a socket of a stack; after the socket was closed it names nothing, even when the slot is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UdpHandle {
    index: u16,
    generation: u32,
}

impl UdpHandle {
    /// The number of the socket's slot, below the size of the table: an index for what an owner
    /// keeps beside it (wakers).
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// What becomes of a datagram that is larger than its path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragmentation {
    /// It is sent in fragments; routers may cut it too (Don't Fragment is clear).
    Allowed,
    /// It is refused with [`SendError::TooLong`](crate::SendError::TooLong), and Don't Fragment
    /// is set on those that fit, so that the path's MTU is discovered (RFC 1191).
    Refused,
}

/// How a socket is bound, and its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpOptions {
    /// Local address and port; the unspecified address for all of ours, port 0 for an ephemeral
    /// one (RFC 6056).
    pub local: SocketAddr,
    /// The only peer, of a connected socket: others' datagrams are not for it, and errors that
    /// ICMP tells of are reported to it.
    pub remote: Option<SocketAddr>,
    /// Datagrams that wait to be received; they are set aside for this socket, and no other can
    /// take them. A datagram beyond is dropped.
    pub queue: u16,
    /// Pages that those hold at most. From half of it on, datagrams that fill less than half of
    /// a page are copied, and share one. A datagram beyond is dropped.
    pub pages: u16,
    /// Datagrams may be sent to broadcast addresses.
    pub broadcast: bool,
    /// For the socket of a DHCP client (RFC 2131 §4.1), which has to be bound to the unspecified address: it may send from
    /// the unspecified address to 255.255.255.255 when that is asked for as the source, and it receives what comes to its
    /// port in a frame for this interface alone, even if the datagram's address is none of ours.
    pub unconfigured: bool,
    /// What becomes of datagrams that exceed the path's MTU.
    pub fragmentation: Fragmentation,
    /// Time to live of what is sent.
    pub time_to_live: u8,
}

impl UdpOptions {
    /// A socket that receives from all, with a queue of 8 datagrams in at most 16 pages.
    pub const fn bind(local: SocketAddr) -> Self {
        UdpOptions {
            local,
            remote: None,
            queue: 8,
            pages: 16,
            broadcast: false,
            unconfigured: false,
            fragmentation: Fragmentation::Allowed,
            time_to_live: 64,
        }
    }

    /// A socket for one peer.
    pub const fn connect(local: SocketAddr, remote: SocketAddr) -> Self {
        let mut options = Self::bind(local);
        options.remote = Some(remote);
        options
    }
}

/// Why a socket or a service was not bound. Always the caller's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// Another has this address and port.
    AddressInUse,
    /// The address is none of ours.
    AddressNotAvailable,
    /// All ephemeral ports are taken.
    NoPort,
    /// The table of sockets or services, whose size the caller chose, is full.
    TableFull,
    /// Fewer datagrams than `queue` are left to set aside.
    NoQueue,
    /// The address family is not implemented, or there are two at once.
    UnsupportedFamily,
    /// The peer's address or port can't be a peer's.
    BadRemote,
    /// The stack is in use: called inside of [`SharedStack::with`](crate::SharedStack::with), or
    /// by a service.
    InUse,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BindError::AddressInUse => "address and port are in use",
            BindError::AddressNotAvailable => "the address is not one of this stack's",
            BindError::NoPort => "no ephemeral port is free",
            BindError::TableFull => "the table of sockets is full",
            BindError::NoQueue => "too few datagrams are left for the queue",
            BindError::UnsupportedFamily => "the address family is not implemented",
            BindError::BadRemote => "the peer's address can't be a peer's",
            BindError::InUse => "the stack is in use by the caller itself",
        })
    }
}

impl core::error::Error for BindError {}

/// What happened to a datagram that a connected socket had sent. Reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketError {
    /// Nobody is bound to the peer's port (ICMP Port Unreachable).
    Refused,
    /// A router or the peer's host could not deliver it: ICMP Unreachable with this code.
    Unreachable(u8),
    /// The next hop on our link did not answer ARP.
    NeighbourUnreachable,
    /// It was larger than its path, which takes this many bytes, IP header included.
    PathMtu(u16),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::Refused => f.write_str("the peer's port is not open"),
            SocketError::Unreachable(code) => {
                write!(
                    f,
                    "the peer can't be reached (ICMP unreachable, code {code})"
                )
            }
            SocketError::NeighbourUnreachable => {
                f.write_str("the next hop does not answer on the link")
            }
            SocketError::PathMtu(mtu) => {
                write!(f, "a datagram was larger than its path takes ({mtu} bytes)")
            }
        }
    }
}

impl core::error::Error for SocketError {}

/// A received datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it, as it says.
    pub source: SocketAddr,
    /// The address that it was sent to, from which an answer should come; a broadcast address
    /// if it came by broadcast.
    pub destination: SocketAddr,
    /// The payload alone, charged to the general part: in the pages that it was received in, or,
    /// copied while the queue was crowded, in one that it shares with others (without headroom).
    /// An empty payload has no page.
    pub payload: Frame,
}

/// Storage for one received datagram.
#[derive(Debug)]
pub struct DatagramSlot {
    datagram: Option<Datagram>,
    /// Pages of the queue's that are free when this datagram leaves it. Of those that share a
    /// page it is the last one that pays.
    pages: u16,
    next: u16,
}

impl DatagramSlot {
    /// An empty slot.
    pub const EMPTY: Self = DatagramSlot {
        datagram: None,
        pages: 0,
        next: END,
    };
}

impl Default for DatagramSlot {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// One chain of the table that finds sockets by port: more of them, shorter chains.
///
/// The chain is the port modulo the number of chains, without a secret: ports are chosen here (by
/// the owner, or at random), so a peer can name a chain, but not make one longer.
#[derive(Debug)]
pub struct PortBucket(u16);

impl PortBucket {
    /// An empty chain.
    pub const EMPTY: Self = PortBucket(END);
}

impl Default for PortBucket {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Storage for one socket.
#[derive(Debug, Default)]
pub struct UdpSlot {
    generation: u32,
    socket: Option<Socket>,
}

impl UdpSlot {
    /// An empty slot.
    pub const EMPTY: Self = UdpSlot {
        generation: 0,
        socket: None,
    };
}

#[derive(Debug)]
struct Socket {
    options: UdpOptions,
    /// The queue: a chain of datagram slots.
    head: u16,
    tail: u16,
    queued: u16,
    pages: u16,
    shared: Option<Shared>,
    error: Option<SocketError>,
    /// Next socket in the same bucket.
    next: u16,
    /// Next socket in the chain of those that have news; meaningful while `signalled`.
    next_signal: u16,
    signalled: bool,
}

/// The page that small datagrams of a crowded queue share.
#[derive(Debug)]
struct Shared {
    /// An empty window before what is left of it.
    room: PageMut,
    /// The slot of the last datagram in it, which is in the queue: when it leaves, this ends.
    last: u16,
}

impl Socket {
    fn local_address(&self) -> Option<IpAddr> {
        let address = self.options.local.ip();
        (!address.is_unspecified()).then_some(address)
    }
}

/// What became of a datagram that was given to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deliver {
    /// The socket has it.
    Queued,
    /// The socket has a copy, in a page that it shares with others.
    Coalesced,
    /// The socket's queue is full.
    QueueFull,
    /// The queue has as many pages as it may, or the pool has none to exchange.
    NoPages,
}

/// The sockets of a stack.
pub(crate) struct Sockets<'a> {
    slots: ManagedSlice<'a, UdpSlot>,
    datagrams: ManagedSlice<'a, DatagramSlot>,
    buckets: ManagedSlice<'a, PortBucket>,
    pool: &'static Pool,
    /// Chain of free datagram slots.
    free: u16,
    /// Datagram slots that no socket has set aside.
    unreserved: usize,
    /// Chain of sockets that have news.
    signals: u16,
}

impl<'a> Sockets<'a> {
    pub(crate) fn new(
        mut slots: ManagedSlice<'a, UdpSlot>,
        mut datagrams: ManagedSlice<'a, DatagramSlot>,
        mut buckets: ManagedSlice<'a, PortBucket>,
        pool: &'static Pool,
    ) -> Self {
        let mut free = END;
        let count = datagrams.len().min(usize::from(END));
        for (index, slot) in datagrams.iter_mut().take(count).enumerate().rev() {
            slot.datagram = None;
            slot.next = free;
            free = index as u16;
        }
        for bucket in buckets.iter_mut() {
            bucket.0 = END;
        }
        for slot in slots.iter_mut() {
            slot.socket = None;
        }
        Sockets {
            slots,
            datagrams,
            buckets,
            pool,
            free,
            unreserved: count,
            signals: END,
        }
    }

    /// How many sockets there can be.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len().min(usize::from(END))
    }

    /// Opens a socket. That `options.local` is ours, or unspecified, has been checked; `taken`
    /// says which ports others than sockets have.
    pub(crate) fn bind(
        &mut self,
        mut options: UdpOptions,
        random: &mut Random,
        taken: impl Fn(u16) -> bool,
    ) -> Result<UdpHandle, BindError> {
        let index = (0..self.capacity())
            .find(|index| self.slots[*index].socket.is_none())
            .filter(|_| !self.buckets.is_empty())
            .ok_or(BindError::TableFull)?;
        if usize::from(options.queue) > self.unreserved {
            return Err(BindError::NoQueue);
        }
        if options.local.port() == 0 {
            let port = self.ephemeral_port(random, taken)?;
            options.local.set_port(port);
        } else if taken(options.local.port()) || self.collides(&options) {
            return Err(BindError::AddressInUse);
        }
        let bucket = self.bucket(options.local.port());
        self.unreserved -= usize::from(options.queue);
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.socket = Some(Socket {
            options,
            head: END,
            tail: END,
            queued: 0,
            pages: 0,
            shared: None,
            error: None,
            next: self.buckets[bucket].0,
            next_signal: END,
            signalled: false,
        });
        self.buckets[bucket].0 = index as u16;
        Ok(UdpHandle {
            index: index as u16,
            generation: slot.generation,
        })
    }

    /// Closes a socket; what it had received is dropped. Says whether there was one.
    pub(crate) fn close(&mut self, handle: UdpHandle) -> bool {
        while self.receive(handle).is_some() {}
        if self.get(handle).is_none() {
            return false;
        }
        let Some(socket) = self.slots[handle.index()].socket.take() else {
            return false;
        };
        self.unreserved += usize::from(socket.options.queue);
        let bucket = self.bucket(socket.options.local.port());
        if self.buckets[bucket].0 == handle.index {
            self.buckets[bucket].0 = socket.next;
        }
        if self.signals == handle.index {
            self.signals = socket.next_signal;
        }
        for other in self.slots.iter_mut().flat_map(|slot| &mut slot.socket) {
            if other.next == handle.index {
                other.next = socket.next;
            }
            if other.signalled && other.next_signal == handle.index {
                other.next_signal = socket.next_signal;
            }
        }
        true
    }

    pub(crate) fn options(&self, handle: UdpHandle) -> Option<&UdpOptions> {
        self.get(handle).map(|socket| &socket.options)
    }

    /// The socket that a datagram is for: the most particular one.
    pub(crate) fn find(&self, source: SocketAddr, destination: SocketAddr) -> Option<UdpHandle> {
        let mut best: Option<(u8, u16)> = None;
        let bucket = self.buckets.get(self.bucket(destination.port()))?;
        let mut index = bucket.0;
        while let Some(socket) = self
            .slots
            .get(usize::from(index))
            .and_then(|slot| slot.socket.as_ref())
        {
            let local = socket.local_address();
            let for_it = socket.options.local.port() == destination.port()
                && local.is_none_or(|address| address == destination.ip())
                && socket.options.remote.is_none_or(|remote| remote == source);
            if for_it {
                let rank =
                    2 * u8::from(socket.options.remote.is_some()) + u8::from(local.is_some());
                if best.is_none_or(|(known, _)| known < rank) {
                    best = Some((rank, index));
                }
            }
            index = socket.next;
        }
        let (_, index) = best?;
        Some(UdpHandle {
            index,
            generation: self.slots[usize::from(index)].generation,
        })
    }

    /// Whether a datagram for an address that is none of ours is for a socket that takes those.
    pub(crate) fn is_for_unconfigured(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        self.find(source, destination)
            .and_then(|handle| self.options(handle))
            .is_some_and(|options| options.unconfigured)
    }

    /// The connected socket between exactly two addresses: whom an ICMP error is for.
    pub(crate) fn find_connected(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<UdpHandle> {
        self.find(remote, local).filter(|handle| {
            self.options(*handle)
                .is_some_and(|options| options.remote == Some(remote))
        })
    }

    /// Queues a datagram (input).
    pub(crate) fn deliver(
        &mut self,
        handle: UdpHandle,
        source: SocketAddr,
        destination: SocketAddr,
        payload: Frame,
    ) -> Deliver {
        let free = self.free;
        let Some(socket) = Self::get_mut(&mut self.slots, handle) else {
            return Deliver::QueueFull;
        };
        if self.datagrams.get(usize::from(free)).is_none() || socket.queued >= socket.options.queue
        {
            return Deliver::QueueFull;
        }
        let segments = payload.segments().len();
        let (mut kept, mut pages, mut delivered) = (None, 0, Deliver::Queued);
        if payload.is_empty() {
            kept = Some(Frame::new());
        } else if 2 * payload.len() < segments * self.pool.block_size()
            && (socket.pages >= socket.options.pages / 2
                || self.pool.free() <= self.pool.blocks() / 16)
        {
            kept = coalesce(socket, &mut self.datagrams, free, &payload, self.pool);
            pages = 1;
            delivered = Deliver::Coalesced;
        }
        let payload = match kept {
            Some(kept) => kept,
            None => {
                pages = segments as u16;
                delivered = Deliver::Queued;
                if socket.pages + pages > socket.options.pages {
                    return Deliver::NoPages;
                }
                // A queue keeps a received page only in exchange for one of the general part.
                let Ok(payload) = payload.keep() else {
                    return Deliver::NoPages;
                };
                payload
            }
        };
        let slot = &mut self.datagrams[usize::from(free)];
        self.free = slot.next;
        slot.next = END;
        slot.pages = pages;
        slot.datagram = Some(Datagram {
            source,
            destination,
            payload,
        });
        socket.queued += 1;
        socket.pages += pages;
        let tail = core::mem::replace(&mut socket.tail, free);
        if tail == END {
            socket.head = free;
        } else {
            self.datagrams[usize::from(tail)].next = free;
        }
        self.signal(handle);
        delivered
    }

    /// The oldest datagram of a socket.
    pub(crate) fn receive(&mut self, handle: UdpHandle) -> Option<Datagram> {
        let socket = Self::get_mut(&mut self.slots, handle)?;
        let index = socket.head;
        let slot = self.datagrams.get_mut(usize::from(index))?;
        let datagram = slot.datagram.take()?;
        socket.head = slot.next;
        if socket.head == END {
            socket.tail = END;
        }
        socket.queued -= 1;
        socket.pages -= slot.pages;
        // Nobody else is in the page that they shared: it goes with its last datagram.
        if matches!(&socket.shared, Some(shared) if shared.last == index) {
            socket.shared = None;
        }
        slot.next = self.free;
        self.free = index;
        Some(datagram)
    }

    /// The oldest datagram of a socket, left where it is.
    pub(crate) fn peek(&self, handle: UdpHandle) -> Option<&Datagram> {
        let head = self.get(handle)?.head;
        self.datagrams.get(usize::from(head))?.datagram.as_ref()
    }

    /// Reports an error to a socket (input); it replaces one that was not taken.
    pub(crate) fn fail(&mut self, handle: UdpHandle, error: SocketError) {
        if let Some(socket) = Self::get_mut(&mut self.slots, handle) {
            socket.error = Some(error);
            self.signal(handle);
        }
    }

    pub(crate) fn has_error(&self, handle: UdpHandle) -> bool {
        self.get(handle)
            .is_some_and(|socket| socket.error.is_some())
    }

    pub(crate) fn take_error(&mut self, handle: UdpHandle) -> Option<SocketError> {
        Self::get_mut(&mut self.slots, handle)?.error.take()
    }

    pub(crate) fn is_open(&self, handle: UdpHandle) -> bool {
        self.get(handle).is_some()
    }

    /// A socket that got a datagram or an error since it was last named here (output).
    pub(crate) fn poll_signal(&mut self) -> Option<UdpHandle> {
        let index = self.signals;
        let slot = self.slots.get_mut(usize::from(index))?;
        let generation = slot.generation;
        let socket = slot.socket.as_mut()?;
        socket.signalled = false;
        self.signals = socket.next_signal;
        Some(UdpHandle { index, generation })
    }

    fn signal(&mut self, handle: UdpHandle) {
        let next = self.signals;
        if let Some(socket) = Self::get_mut(&mut self.slots, handle)
            && !socket.signalled
        {
            socket.signalled = true;
            socket.next_signal = next;
            self.signals = handle.index;
        }
    }

    fn get(&self, handle: UdpHandle) -> Option<&Socket> {
        let slot = self.slots.get(handle.index())?;
        slot.socket
            .as_ref()
            .filter(|_| slot.generation == handle.generation)
    }

    fn get_mut(slots: &mut [UdpSlot], handle: UdpHandle) -> Option<&mut Socket> {
        let slot = slots.get_mut(handle.index())?;
        slot.socket
            .as_mut()
            .filter(|_| slot.generation == handle.generation)
    }

    /// Whether a socket has this port.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        let mut sockets = self.slots.iter().flat_map(|slot| &slot.socket);
        sockets.any(|socket| socket.options.local.port() == port)
    }

    fn bucket(&self, port: u16) -> usize {
        usize::from(port) % self.buckets.len().max(1)
    }

    fn collides(&self, options: &UdpOptions) -> bool {
        let address = options.local.ip();
        let mut sockets = self.slots.iter().flat_map(|slot| &slot.socket);
        sockets.any(|socket| {
            let other = socket.options.local;
            other.port() == options.local.port()
                && socket.options.remote == options.remote
                && (other.ip() == address
                    || other.ip().is_unspecified()
                    || address.is_unspecified())
        })
    }

    /// RFC 6056 §3.3.2 (algorithm 2): a random port of 49,152 to 65,535, another when it is
    /// taken; at last the first that is free.
    fn ephemeral_port(
        &self,
        random: &mut Random,
        taken: impl Fn(u16) -> bool,
    ) -> Result<u16, BindError> {
        const FIRST: u16 = 49_152;
        const COUNT: u16 = 16_384;
        let used = |port: u16| taken(port) || self.has_port(port);
        for _ in 0..16 {
            let port = FIRST + random.below(u64::from(COUNT)) as u16;
            if !used(port) {
                return Ok(port);
            }
        }
        let start = random.below(u64::from(COUNT)) as u16;
        (0..COUNT)
            .map(|step| FIRST + (start + step) % COUNT)
            .find(|port| !used(*port))
            .ok_or(BindError::NoPort)
    }
}

/// Copies a payload, of a datagram that will be in the slot `index`, behind the last one that was
/// copied, or into a new page; none when there is neither room nor a page. The page is paid for by
/// the datagram in `index` from now on, no more by the one before it.
fn coalesce(
    socket: &mut Socket,
    datagrams: &mut [DatagramSlot],
    index: u16,
    payload: &Frame,
    pool: &'static Pool,
) -> Option<Frame> {
    let length = payload.len();
    let fits = |shared: &Shared| shared.room.tailroom() >= length;
    let mut room = if socket.shared.as_ref().is_some_and(fits) {
        let Shared { room, last } = socket.shared.take()?;
        if let Some(last) = datagrams.get_mut(usize::from(last)) {
            socket.pages -= core::mem::take(&mut last.pages);
        }
        room
    } else if socket.pages < socket.options.pages && length <= pool.block_size() {
        pool.alloc()?
    } else {
        return None;
    };
    payload.copy_to_slice(0, room.append(length)?);
    let (copy, room) = room.split_at(length).ok()?;
    socket.shared = Some(Shared { room, last: index });
    Some(copy.into())
}

#[cfg(test)]
mod tests;
