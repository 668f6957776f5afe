//! The memory that a store stands on.

use core::fmt;

use super::protocol::{
    MAXIMUM_REQUESTS, MAXIMUM_TRANSACTIONS, MAXIMUM_WATCHES, Memory, RequestSlot, TransactionSlot,
    WatchSlot,
};
use crate::abi::xs_wire::XENSTORE_PAYLOAD_MAX;
use crate::static_cell::StaticValue;

// The default numbers.
const REQUESTS: usize = 16;
const REQUEST_BYTES: usize = 256;
const WATCHES: usize = 16;
const WATCH_BYTES: usize = 256;
const TRANSACTIONS: usize = 4;

/// Room for a [`Store`](super::Store), in a `static`: 8 KiB for messages of any length, and
///
/// - `REQUESTS` (at most 127) requests that can be outstanding at a time, of `BYTES` each: name and value, or the reply. One that
///   may be longer takes the one large place that there is in addition. Further ones wait, first come first served;
/// - `WATCHES` (at most 64) of `WATCH_BYTES` each: the path, and the events that were not taken yet;
/// - `TRANSACTIONS` (at most 64; xenstored grants a domain 10 unless told otherwise).
///
/// ```
/// use mirage_xen::store::StoreStorage;
///
/// static STORAGE: StoreStorage = StoreStorage::new();
///
/// assert!(STORAGE.take().is_some());
/// assert!(STORAGE.take().is_none()); // once
/// ```
pub struct StoreStorage<
    const REQUESTS: usize = { self::REQUESTS },
    const BYTES: usize = { self::REQUEST_BYTES },
    const WATCHES: usize = { self::WATCHES },
    const WATCH_BYTES: usize = { self::WATCH_BYTES },
    const TRANSACTIONS: usize = { self::TRANSACTIONS },
>(StaticValue<Content<REQUESTS, BYTES, WATCHES, WATCH_BYTES, TRANSACTIONS>>);

struct Content<
    const REQUESTS: usize,
    const BYTES: usize,
    const WATCHES: usize,
    const WATCH_BYTES: usize,
    const TRANSACTIONS: usize,
> {
    requests: [RequestSlot; REQUESTS],
    request_bytes: [[u8; BYTES]; REQUESTS],
    large_bytes: [u8; XENSTORE_PAYLOAD_MAX],
    receive_bytes: [u8; XENSTORE_PAYLOAD_MAX],
    watches: [WatchSlot; WATCHES],
    watch_bytes: [[u8; WATCH_BYTES]; WATCHES],
    transactions: [TransactionSlot; TRANSACTIONS],
}

/// What was taken from a [`StoreStorage`], to make a [`Store`](super::Store) of.
pub struct StoreMemory(pub(super) Memory<'static>);

impl<
    const REQUESTS: usize,
    const BYTES: usize,
    const WATCHES: usize,
    const WATCH_BYTES: usize,
    const TRANSACTIONS: usize,
> StoreStorage<REQUESTS, BYTES, WATCHES, WATCH_BYTES, TRANSACTIONS>
{
    /// Room that nobody has taken. Numbers beyond the bounds don't compile.
    pub const fn new() -> Self {
        const {
            assert!(0 < REQUESTS && REQUESTS <= MAXIMUM_REQUESTS);
            assert!(16 <= BYTES && BYTES <= XENSTORE_PAYLOAD_MAX);
            assert!(WATCHES <= MAXIMUM_WATCHES);
            assert!(WATCH_BYTES <= XENSTORE_PAYLOAD_MAX * 2);
            assert!(TRANSACTIONS <= MAXIMUM_TRANSACTIONS);
        }
        Self(StaticValue::new(Content {
            requests: [const { RequestSlot::new() }; REQUESTS],
            request_bytes: [[0; BYTES]; REQUESTS],
            large_bytes: [0; XENSTORE_PAYLOAD_MAX],
            receive_bytes: [0; XENSTORE_PAYLOAD_MAX],
            watches: [const { WatchSlot::new() }; WATCHES],
            watch_bytes: [[0; WATCH_BYTES]; WATCHES],
            transactions: [const { TransactionSlot::new() }; TRANSACTIONS],
        }))
    }

    /// Takes the room, for the one store that it is for. `None` from the second call on.
    pub fn take(&'static self) -> Option<StoreMemory> {
        let content = self.0.take()?;
        Some(StoreMemory(Memory {
            requests: &mut content.requests,
            request_bytes: content.request_bytes.as_flattened_mut(),
            large_bytes: &mut content.large_bytes,
            receive_bytes: &mut content.receive_bytes,
            watches: &mut content.watches,
            watch_bytes: content.watch_bytes.as_flattened_mut(),
            transactions: &mut content.transactions,
        }))
    }
}

impl<
    const REQUESTS: usize,
    const BYTES: usize,
    const WATCHES: usize,
    const WATCH_BYTES: usize,
    const TRANSACTIONS: usize,
> Default for StoreStorage<REQUESTS, BYTES, WATCHES, WATCH_BYTES, TRANSACTIONS>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<
    const REQUESTS: usize,
    const BYTES: usize,
    const WATCHES: usize,
    const WATCH_BYTES: usize,
    const TRANSACTIONS: usize,
> fmt::Debug for StoreStorage<REQUESTS, BYTES, WATCHES, WATCH_BYTES, TRANSACTIONS>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreStorage").finish_non_exhaustive()
    }
}

impl fmt::Debug for StoreMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMemory").finish_non_exhaustive()
    }
}

#[cfg(any(feature = "alloc", test))]
impl StoreMemory {
    /// The room of the default numbers, from the global allocator, for the life of the program. Piece by piece, so that
    /// none of it is ever on the stack.
    pub fn leak() -> Self {
        use alloc::vec::Vec;
        fn bytes(length: usize) -> &'static mut [u8] {
            alloc::vec![0; length].leak()
        }
        fn payload() -> &'static mut [u8; XENSTORE_PAYLOAD_MAX] {
            // It was asked for with that length.
            let bytes = bytes(XENSTORE_PAYLOAD_MAX).first_chunk_mut();
            bytes.unwrap_or_else(|| unreachable!())
        }
        fn slots<T>(count: usize, slot: fn() -> T) -> &'static mut [T] {
            let mut slots = Vec::new();
            slots.resize_with(count, slot);
            slots.leak()
        }
        Self(Memory {
            requests: slots(REQUESTS, RequestSlot::new),
            request_bytes: bytes(REQUESTS * REQUEST_BYTES),
            large_bytes: payload(),
            receive_bytes: payload(),
            watches: slots(WATCHES, WatchSlot::new),
            watch_bytes: bytes(WATCHES * WATCH_BYTES),
            transactions: slots(TRANSACTIONS, TransactionSlot::new),
        })
    }
}
