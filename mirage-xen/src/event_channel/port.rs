//! One end of an event channel.

use core::fmt;

use mirage_core::event::Event;

use super::{EventChannels, EventError, add};
use crate::abi::PortNumber;
use crate::hypervisor::Hypervisor;

/// A port: this domain's end of an event channel. Dropped, it is closed, unless the toolstack bound it or the
/// domain that it was bound in is no more.
pub struct EventPort<H: Hypervisor> {
    channels: &'static EventChannels<H>,
    /// The slot that is ours until we are dropped.
    slot: u8,
    number: PortNumber,
    generation: u32,
    /// It was made for us, and nobody else closes it.
    owned: bool,
}

impl<H: Hypervisor> EventPort<H> {
    /// For a slot that holds this number since just now.
    pub(super) fn new(
        channels: &'static EventChannels<H>,
        slot: u8,
        number: PortNumber,
        owned: bool,
    ) -> Self {
        Self {
            channels,
            slot,
            number,
            generation: channels.generation(),
            owned,
        }
    }

    /// The port's number, which the other domain is told.
    pub fn number(&self) -> PortNumber {
        self.number
    }

    /// The generation that it was bound in.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the domain was not resumed since it was bound. A port that isn't current has no events any more.
    pub fn is_current(&self) -> bool {
        self.generation == self.channels.generation()
    }

    /// Sends an event to the other end. Where none is bound yet it goes nowhere, which is no error.
    ///
    /// # Errors
    ///
    /// [`EventError::Stale`]: nothing was sent; and Xen's.
    pub fn notify(&self) -> Result<(), EventError> {
        let counters = &self.channels.counters;
        if !self.is_current() {
            add(&counters.stale, 1);
            return Err(EventError::Stale);
        }
        self.channels.hypervisor.notify(self.number)?;
        add(&counters.notified, 1);
        Ok(())
    }

    /// The token that remembers an event until somebody takes it. One task waits for it, as long as the port is there:
    /// later the token may be another port's.
    pub fn event(&self) -> &'static Event {
        &self.channels.slots[usize::from(self.slot)].event
    }
}

impl<H: Hypervisor> Drop for EventPort<H> {
    fn drop(&mut self) {
        if self.is_current() {
            self.channels.unbind(self.slot, self.number);
            if self.owned {
                // Xen refuses only what isn't open, and then there is nothing to close.
                let _ = self.channels.hypervisor.close_port(self.number);
            }
        }
        self.channels.slots[usize::from(self.slot)].port.set(0);
    }
}

impl<H: Hypervisor> fmt::Debug for EventPort<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventPort")
            .field("number", &self.number.0)
            .field("generation", &self.generation)
            .field("current", &self.is_current())
            .finish()
    }
}
