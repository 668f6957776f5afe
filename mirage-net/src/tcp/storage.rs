//! The memory of TCP, which its owner hands in.

use managed::ManagedSlice;

use super::engine::TcpSlot;
use super::listen::{ListenerSlot, SynSlot};
use super::schedule::TimerSlot;
use super::segments::SegmentSlot;
use super::table::TcpBucket;
use super::time_wait::TimeWaitSlot;

/// All tables of TCP: the length of each is the bound of what it holds.
///
/// Without connections, segments or buckets a stack has no TCP, and answers segments with ICMP Protocol Unreachable.
/// [`TcpMemory`] makes all of them at once.
#[derive(Debug)]
pub struct TcpStorage<'a> {
    /// Connections, those that wait to be accepted included. Full: a connection to open is refused, one that a peer opens waits
    /// half open.
    pub connections: ManagedSlice<'a, TcpSlot>,
    /// Deadlines: one for each connection; of connections beyond there are none.
    pub timers: ManagedSlice<'a, TimerSlot>,
    /// Chains that find connections: as many as connections.
    pub buckets: ManagedSlice<'a, TcpBucket>,
    /// Listeners. Full: no more are opened.
    pub listeners: ManagedSlice<'a, ListenerSlot>,
    /// Half-open connections. Full: SYN cookies.
    pub half_open: ManagedSlice<'a, SynSlot>,
    /// Chains that find half-open connections: as many as of these.
    pub half_open_buckets: ManagedSlice<'a, TcpBucket>,
    /// Connections in TIME-WAIT. Full: the oldest makes room.
    pub time_waits: ManagedSlice<'a, TimeWaitSlot>,
    /// Chains that find connections in TIME-WAIT: as many as of these.
    pub time_wait_buckets: ManagedSlice<'a, TcpBucket>,
    /// Pieces of data of all connections: queued to be sent, sent and not acknowledged, received and not read. Full: what is to be
    /// sent is refused, what is received is dropped and comes again.
    pub segments: ManagedSlice<'a, SegmentSlot>,
}

impl TcpStorage<'_> {
    /// None: a stack without TCP.
    pub fn none() -> Self {
        TcpStorage {
            connections: empty(),
            timers: empty(),
            buckets: empty(),
            listeners: empty(),
            half_open: empty(),
            half_open_buckets: empty(),
            time_waits: empty(),
            time_wait_buckets: empty(),
            segments: empty(),
        }
    }
}

fn empty<'a, T>() -> ManagedSlice<'a, T> {
    ManagedSlice::Borrowed(&mut [])
}

/// Memory for TCP, sized by what varies most: connections, pieces of data, half-open connections and those in TIME-WAIT; with 8
/// listeners.
///
/// ```
/// use mirage_net::tcp::TcpMemory;
/// let mut memory = TcpMemory::<16, 128, 32, 64>::new();
/// assert_eq!(memory.storage().connections.len(), 16);
/// ```
#[derive(Debug)]
pub struct TcpMemory<
    const CONNECTIONS: usize,
    const SEGMENTS: usize,
    const HALF_OPEN: usize,
    const TIME_WAITS: usize,
> {
    connections: [TcpSlot; CONNECTIONS],
    timers: [TimerSlot; CONNECTIONS],
    buckets: [TcpBucket; CONNECTIONS],
    listeners: [ListenerSlot; 8],
    half_open: [SynSlot; HALF_OPEN],
    half_open_buckets: [TcpBucket; HALF_OPEN],
    time_waits: [TimeWaitSlot; TIME_WAITS],
    time_wait_buckets: [TcpBucket; TIME_WAITS],
    segments: [SegmentSlot; SEGMENTS],
}

impl<
    const CONNECTIONS: usize,
    const SEGMENTS: usize,
    const HALF_OPEN: usize,
    const TIME_WAITS: usize,
> TcpMemory<CONNECTIONS, SEGMENTS, HALF_OPEN, TIME_WAITS>
{
    /// Empty memory.
    pub const fn new() -> Self {
        TcpMemory {
            connections: [const { TcpSlot::EMPTY }; CONNECTIONS],
            timers: [const { TimerSlot::EMPTY }; CONNECTIONS],
            buckets: [const { TcpBucket::EMPTY }; CONNECTIONS],
            listeners: [const { ListenerSlot::EMPTY }; 8],
            half_open: [const { SynSlot::EMPTY }; HALF_OPEN],
            half_open_buckets: [const { TcpBucket::EMPTY }; HALF_OPEN],
            time_waits: [const { TimeWaitSlot::EMPTY }; TIME_WAITS],
            time_wait_buckets: [const { TcpBucket::EMPTY }; TIME_WAITS],
            segments: [const { SegmentSlot::EMPTY }; SEGMENTS],
        }
    }

    /// The storage for [`StackStorage::tcp`](crate::StackStorage::tcp).
    pub fn storage(&mut self) -> TcpStorage<'_> {
        TcpStorage {
            connections: (&mut self.connections[..]).into(),
            timers: (&mut self.timers[..]).into(),
            buckets: (&mut self.buckets[..]).into(),
            listeners: (&mut self.listeners[..]).into(),
            half_open: (&mut self.half_open[..]).into(),
            half_open_buckets: (&mut self.half_open_buckets[..]).into(),
            time_waits: (&mut self.time_waits[..]).into(),
            time_wait_buckets: (&mut self.time_wait_buckets[..]).into(),
            segments: (&mut self.segments[..]).into(),
        }
    }
}

impl<
    const CONNECTIONS: usize,
    const SEGMENTS: usize,
    const HALF_OPEN: usize,
    const TIME_WAITS: usize,
> Default for TcpMemory<CONNECTIONS, SEGMENTS, HALF_OPEN, TIME_WAITS>
{
    fn default() -> Self {
        Self::new()
    }
}

/// How large the tables are that [`TcpStorage::allocate`] makes.
#[cfg(feature = "alloc")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpCapacities {
    /// Connections.
    pub connections: usize,
    /// Pieces of data of all of them.
    pub segments: usize,
    /// Listeners.
    pub listeners: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// Connections in TIME-WAIT.
    pub time_waits: usize,
}

#[cfg(feature = "alloc")]
impl Default for TcpCapacities {
    /// For a server with a pool of some thousand pages.
    fn default() -> Self {
        TcpCapacities {
            connections: 256,
            segments: 4_096,
            listeners: 8,
            half_open: 256,
            time_waits: 1_024,
        }
    }
}

#[cfg(feature = "alloc")]
impl TcpStorage<'_> {
    /// Tables from the global allocator, allocated once, here; they never grow.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub fn allocate(capacities: &TcpCapacities) -> Self {
        fn slots<'a, T: Default>(count: usize) -> ManagedSlice<'a, T> {
            let mut slots = alloc::vec::Vec::new();
            slots.resize_with(count, T::default);
            slots.into()
        }
        TcpStorage {
            connections: slots(capacities.connections),
            timers: slots(capacities.connections),
            buckets: slots(capacities.connections),
            listeners: slots(capacities.listeners),
            half_open: slots(capacities.half_open),
            half_open_buckets: slots(capacities.half_open),
            time_waits: slots(capacities.time_waits),
            time_wait_buckets: slots(capacities.time_waits),
            segments: slots(capacities.segments),
        }
    }
}
