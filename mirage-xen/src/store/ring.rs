//! The domain's end of xenstore's ring.

use core::sync::atomic::Ordering;

use super::error::StoreFault;
use crate::abi::xs_wire::{
    ServerFeatures, StoreInterface, XENSTORE_CONNECTED, XENSTORE_ERROR_NONE, XENSTORE_RECONNECT,
};
use crate::byte_ring::{Consumer, IndexFault, Producer};
use crate::hypervisor::SharedPage;

/// Requests out, replies and events in, and what the page says besides.
pub(super) struct Ring {
    interface: &'static StoreInterface,
    requests: Producer,
    responses: Consumer,
}

impl Ring {
    /// Our end of the ring in a page. [`attach`](Self::attach) comes next.
    pub(super) fn new(page: SharedPage) -> Self {
        // SAFETY: `StoreInterface` consists of atomics, for which every bit pattern is valid.
        let interface: &'static StoreInterface = unsafe { page.cast() };
        Self {
            interface,
            requests: Producer::new(
                &interface.request,
                &interface.request_producer,
                &interface.request_consumer,
            ),
            responses: Consumer::new(
                &interface.response,
                &interface.response_producer,
                &interface.response_consumer,
            ),
        }
    }

    /// Takes up the indices where they are, and drops what lies there for us: it was for somebody before. How many
    /// bytes.
    pub(super) fn attach(&self) -> Result<u32, StoreFault> {
        self.responses.attach().map_err(response_fault)?;
        self.requests.attach().map_err(request_fault)?;
        self.responses.drop_all().map_err(response_fault)
    }

    /// Bytes that can be put into the ring.
    pub(super) fn free(&self) -> Result<u32, StoreFault> {
        self.requests.free().map_err(request_fault)
    }

    /// Takes up to `room.len()` bytes. How many, and whether xenstored has to be told: it found the ring full.
    pub(super) fn take(&self, room: &mut [u8]) -> Result<(usize, bool), StoreFault> {
        self.responses.take(room).map_err(response_fault)
    }

    /// Puts `bytes` into the ring; [`publish`](Self::publish) shows them. There is room: [`free`](Self::free) said so.
    pub(super) fn put(&self, bytes: &[u8]) {
        self.requests.put(bytes);
    }

    /// Shows xenstored what was put.
    pub(super) fn publish(&self) {
        self.requests.publish();
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
}

fn response_fault(fault: IndexFault) -> StoreFault {
    StoreFault::ResponseProducer {
        producer: fault.theirs,
        consumer: fault.ours,
    }
}

fn request_fault(fault: IndexFault) -> StoreFault {
    StoreFault::RequestConsumer {
        consumer: fault.theirs,
        producer: fault.ours,
    }
}
