//! The domain's end of xenstore's ring: bytes both ways.

use core::cell::Cell;
use core::sync::atomic::{AtomicU8, Ordering, fence};

use super::error::StoreFault;
use crate::abi::xs_wire::{
    ServerFeatures, StoreInterface, XENSTORE_CONNECTED, XENSTORE_ERROR_NONE, XENSTORE_RECONNECT,
    XENSTORE_RING_SIZE,
};
use crate::hypervisor::SharedPage;

const SIZE: u32 = XENSTORE_RING_SIZE as u32;

/// Our end. Our own indices are kept here and never read back; xenstored's are read, checked, then used.
pub(super) struct Ring {
    interface: &'static StoreInterface,
    request_producer: Cell<u32>,
    response_consumer: Cell<u32>,
}

impl Ring {
    /// Our end of the ring in a page. [`attach`](Self::attach) comes next.
    pub(super) fn new(page: SharedPage) -> Self {
        Self {
            // SAFETY: `StoreInterface` consists of atomics, for which every bit pattern is valid.
            interface: unsafe { page.cast() },
            request_producer: Cell::new(0),
            response_consumer: Cell::new(0),
        }
    }

    /// Takes up the indices where they are, and drops what lies there for us: it was for somebody before. How many bytes.
    pub(super) fn attach(&self) -> Result<u32, StoreFault> {
        let interface = self.interface;
        let producer = interface.request_producer.load(Ordering::Relaxed);
        self.request_producer.set(producer);
        let consumer = interface.response_consumer.load(Ordering::Relaxed);
        self.response_consumer.set(consumer);
        let stale = self.available()?;
        self.free()?;
        self.set_response_consumer(consumer.wrapping_add(stale));
        Ok(stale)
    }

    /// Bytes for us in the ring.
    pub(super) fn available(&self) -> Result<u32, StoreFault> {
        // Acquire: the bytes below the index are read after it.
        let producer = self.interface.response_producer.load(Ordering::Acquire);
        let consumer = self.response_consumer.get();
        let available = producer.wrapping_sub(consumer);
        if available > SIZE {
            return Err(StoreFault::ResponseProducer { producer, consumer });
        }
        Ok(available)
    }

    /// Bytes that can be put into the ring.
    pub(super) fn free(&self) -> Result<u32, StoreFault> {
        // Acquire: bytes are overwritten after xenstored has read them.
        let consumer = self.interface.request_consumer.load(Ordering::Acquire);
        let producer = self.request_producer.get();
        let used = producer.wrapping_sub(consumer);
        if used > SIZE {
            return Err(StoreFault::RequestConsumer { consumer, producer });
        }
        Ok(SIZE - used)
    }

    /// Takes up to `room.len()` bytes, each read once. How many, and whether xenstored has to be told: it found the
    /// ring full.
    pub(super) fn take(&self, room: &mut [u8]) -> Result<(usize, bool), StoreFault> {
        let available = self.available()?;
        let consumer = self.response_consumer.get();
        let mut taken = 0_u32;
        for (byte, place) in room.iter_mut().zip(0..available) {
            *byte =
                at(&self.interface.response, consumer.wrapping_add(place)).load(Ordering::Relaxed);
            taken = place + 1;
        }
        if taken == 0 {
            return Ok((0, false));
        }
        self.set_response_consumer(consumer.wrapping_add(taken));
        // Either xenstored sees that there is room, or we see that it filled the ring meanwhile.
        fence(Ordering::SeqCst);
        let producer = self.interface.response_producer.load(Ordering::Relaxed);
        let was_full = producer.wrapping_sub(consumer) >= SIZE;
        Ok((taken as usize, was_full))
    }

    /// Puts `bytes` into the ring; [`publish`](Self::publish) shows them. There is room: [`free`](Self::free) said so.
    pub(super) fn put(&self, bytes: &[u8]) {
        let mut producer = self.request_producer.get();
        for byte in bytes {
            at(&self.interface.request, producer).store(*byte, Ordering::Relaxed);
            producer = producer.wrapping_add(1);
        }
        self.request_producer.set(producer);
    }

    /// Shows xenstored what was put.
    pub(super) fn publish(&self) {
        let producer = self.request_producer.get();
        // Release: the bytes are there before the index says so.
        self.interface
            .request_producer
            .store(producer, Ordering::Release);
    }

    /// What xenstored can, as far as it says.
    pub(super) fn features(&self) -> ServerFeatures {
        ServerFeatures::from_bits_truncate(self.interface.server_features.load(Ordering::Relaxed))
    }

    /// Why xenstored ended the connection, if it says so.
    pub(super) fn ended(&self) -> Result<(), StoreFault> {
        if !self.features().contains(ServerFeatures::ERROR) {
            return Ok(());
        }
        match self.interface.error.load(Ordering::Relaxed) {
            XENSTORE_ERROR_NONE => Ok(()),
            reason => Err(StoreFault::Ended(reason)),
        }
    }

    /// Whether the indices mean something: the ring is not being set up again.
    pub(super) fn is_connected(&self) -> bool {
        // Acquire: what xenstored reset is read after this.
        self.interface.connection.load(Ordering::Acquire) == XENSTORE_CONNECTED
    }

    /// Asks for the ring to be set up again. It may be asked for where xenstored offers
    /// [`ServerFeatures::RECONNECTION`].
    pub(super) fn reconnect(&self) {
        self.interface
            .connection
            .store(XENSTORE_RECONNECT, Ordering::Release);
    }

    fn set_response_consumer(&self, consumer: u32) {
        self.response_consumer.set(consumer);
        // Release: the bytes were read before they may be overwritten.
        self.interface
            .response_consumer
            .store(consumer, Ordering::Release);
    }
}

/// The byte at an index of the stream.
fn at(ring: &[AtomicU8; XENSTORE_RING_SIZE], index: u32) -> &AtomicU8 {
    &ring[index as usize % XENSTORE_RING_SIZE]
}
