//! Pings of ours that wait for an answer.

use core::net::IpAddr;
use core::time::Duration;

use managed::ManagedSlice;
use mirage_core::Instant;

/// Storage for one ping.
#[derive(Debug, Default)]
pub struct EchoSlot(Option<Echo>);

impl EchoSlot {
    /// An empty slot.
    pub const EMPTY: Self = EchoSlot(None);
}

#[derive(Debug, Clone, Copy)]
struct Echo {
    destination: IpAddr,
    sequence: u16,
    sent: Instant,
}

/// The pings; when all slots are in use the oldest is forgotten.
pub(super) struct Echoes<'a> {
    slots: ManagedSlice<'a, EchoSlot>,
    next: usize,
    sequence: u16,
}

impl<'a> Echoes<'a> {
    pub(super) fn new(slots: ManagedSlice<'a, EchoSlot>, first: u16) -> Self {
        Echoes {
            slots,
            next: 0,
            sequence: first,
        }
    }

    /// The number of the next ping.
    pub(super) fn next_sequence(&mut self) -> u16 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(super) fn record(&mut self, now: Instant, destination: IpAddr, sequence: u16) {
        let length = self.slots.len();
        if let Some(slot) = self.slots.get_mut(self.next) {
            slot.0 = Some(Echo {
                destination,
                sequence,
                sent: now,
            });
            self.next = (self.next + 1) % length;
        }
    }

    /// Takes the ping that a reply or an error is about, and says how long ago it was sent.
    pub(super) fn take(
        &mut self,
        now: Instant,
        destination: IpAddr,
        sequence: u16,
    ) -> Option<Duration> {
        let slot = self.slots.iter_mut().find(|slot| {
            slot.0
                .is_some_and(|echo| echo.destination == destination && echo.sequence == sequence)
        })?;
        let echo = slot.0.take()?;
        Some(now.saturating_duration_since(echo.sent))
    }
}
