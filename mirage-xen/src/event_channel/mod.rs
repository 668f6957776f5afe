//! Event channels, by the two-level ABI: ports, their tokens, and the sleep until one of them has an event.
//!
//! | type | what it is |
//! | --- | --- |
//! | [`EventChannels`] | the domain's ports: binds them, looks at their bits, sleeps |
//! | [`EventPort`] | one port, with the [`Event`] that remembers what came on it |
//!
//! No event interrupts the domain: no callback is registered, and every mask bit is set, at the start and after a resume.
//! (How a PVH domain is interrupted doesn't look at `evtchn_upcall_mask`.) A masked port becomes pending all the same,
//! and `SCHEDOP_poll` returns when one of the ports that it is given is pending. Xen keeps the selector for unmasked
//! ports alone, so the pending words are looked at directly.
//!
//! A bit is cleared, then the port's token fires, then (when its task runs) the device is looked at: an event that comes
//! during the look sets the bit again.
//!
//! # Generations
//!
//! A resumed domain has none of the ports that the suspended one had, though their numbers may come again. Each port
//! carries the generation that it was bound in; a port of an old one is neither notified nor closed, and its token has
//! fired, so that whoever waits for it looks.

mod port;
#[cfg(test)]
mod tests;

use core::array;
use core::cell::Cell;
use core::fmt;
use core::sync::atomic::Ordering;

use heapless::Vec;
use mirage_core::event::Event;

use crate::abi::shared_info::PORTS;
use crate::abi::{DomainId, PortNumber, XenError};
use crate::hypervisor::Hypervisor;

pub use port::EventPort;

/// Ports that can be bound at a time: as many as `SCHEDOP_poll` takes.
pub const MAXIMUM_PORTS: usize = 128;

const WORDS: usize = PORTS / 64;
const _: () = assert!(WORDS == 64, "`occupied` has a bit for each");
/// The end of a word's list of slots.
const NONE: u8 = u8::MAX;
const _: () = assert!(MAXIMUM_PORTS <= NONE as usize);

/// The domain's event channels. One for a domain, for the life of the program.
pub struct EventChannels<H: Hypervisor> {
    hypervisor: &'static H,
    generation: Cell<u32>,
    /// A bit for each word in which a port is bound.
    occupied: Cell<u64>,
    words: [Word; WORDS],
    slots: [Slot; MAXIMUM_PORTS],
    counters: Tally,
}

/// What is bound in one word of pending bits.
struct Word {
    /// A bit for each bound port.
    bound: Cell<u64>,
    /// The first of their slots.
    first: Cell<u8>,
}

/// The place of a port.
struct Slot {
    /// Zero: free. Else an [`EventPort`] stands for it, perhaps of an old generation.
    port: Cell<u32>,
    /// The next slot with a port in the same word.
    next: Cell<u8>,
    event: Event,
}

impl<H: Hypervisor> EventChannels<H> {
    /// No ports, and all mask bits set.
    pub fn new(hypervisor: &'static H) -> Self {
        let channels = Self {
            hypervisor,
            generation: Cell::new(0),
            occupied: Cell::new(0),
            words: array::from_fn(|_| Word {
                bound: Cell::new(0),
                first: Cell::new(NONE),
            }),
            slots: array::from_fn(|_| Slot {
                port: Cell::new(0),
                next: Cell::new(NONE),
                event: Event::new(),
            }),
            counters: Tally::default(),
        };
        channels.mask();
        channels
    }

    /// As [`new`](Self::new), for the life of the program.
    #[cfg(any(feature = "alloc", test))]
    pub fn leak(hypervisor: &'static H) -> &'static Self {
        alloc::boxed::Box::leak(alloc::boxed::Box::new(Self::new(hypervisor)))
    }

    /// What the calls go to.
    pub fn hypervisor(&self) -> &'static H {
        self.hypervisor
    }

    /// The generation of the ports that are bound now: how often the domain was resumed.
    pub fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// A new port that `remote` may bind to, by its number.
    ///
    /// # Errors
    ///
    /// [`EventError::TooManyPorts`], [`EventError::OutOfRange`], [`EventError::AlreadyBound`], and Xen's.
    pub fn offer(&'static self, remote: DomainId) -> Result<EventPort<H>, EventError> {
        let slot = self.free_slot()?;
        let number = self.hypervisor.allocate_unbound_port(remote)?;
        self.bind_new(slot, number)
    }

    /// A new port that is bound to one that `remote` offered. It may have an event at once.
    ///
    /// # Errors
    ///
    /// As of [`offer`](Self::offer).
    pub fn connect(
        &'static self,
        remote: DomainId,
        remote_port: PortNumber,
    ) -> Result<EventPort<H>, EventError> {
        let slot = self.free_slot()?;
        let number = self.hypervisor.bind_interdomain(remote, remote_port)?;
        self.bind_new(slot, number)
    }

    /// A port that the toolstack bound: xenstore's or the console's, from the domain's parameters. Dropped, it stays open.
    ///
    /// # Errors
    ///
    /// [`EventError::TooManyPorts`], [`EventError::OutOfRange`], [`EventError::AlreadyBound`].
    pub fn adopt(&'static self, number: PortNumber) -> Result<EventPort<H>, EventError> {
        let slot = self.free_slot()?;
        self.bind(slot, number)?;
        Ok(EventPort::new(self, slot, number, false))
    }

    /// Looks at the bound ports once: clears each pending bit, then fires the port's token. How many fired.
    pub fn scan(&self) -> usize {
        let pending_words = &self.hypervisor.shared_info().event_pending;
        let mut fired = 0;
        for index in ones(self.occupied.get()) {
            let (word, pending_word) = (&self.words[index], &pending_words[index]);
            let pending = pending_word.load(Ordering::Acquire) & word.bound.get();
            if pending == 0 {
                continue;
            }
            // Release: cleared before anything that the look at the device reads. A bit that was set since the load stays.
            pending_word.fetch_and(!pending, Ordering::AcqRel);
            for slot in self.slots_in(word) {
                if pending & bit(slot.port.get()) != 0 {
                    slot.event.set();
                    fired += 1;
                }
            }
        }
        add(&self.counters.fired, fired as u64);
        fired
    }

    /// Sleeps until a bound port has an event, or until the system time `until` in nanoseconds (`None`: without a limit).
    /// It may end for no reason. Takes no event: [`scan`](Self::scan) does.
    ///
    /// Where Xen refuses, which is counted, it has not slept.
    pub fn wait(&self, until: Option<u64>) {
        let mut ports = Vec::<PortNumber, MAXIMUM_PORTS>::new();
        for index in ones(self.occupied.get()) {
            for slot in self.slots_in(&self.words[index]) {
                // There are as many places as slots.
                let _ = ports.push(PortNumber(slot.port.get()));
            }
        }
        add(&self.counters.waits, 1);
        // Zero would be no limit at all; what is negative as a signed number, past.
        if self
            .hypervisor
            .poll(&ports, until.map(|until| until.clamp(1, i64::MAX as u64)))
            .is_err()
        {
            add(&self.counters.wait_errors, 1);
        }
    }

    /// The domain was resumed, and [`Hypervisor::restore`] has succeeded: sets all mask bits again, and begins a new generation.
    ///
    /// The token of each old port fires.
    pub fn restored(&self) {
        self.mask();
        self.generation.set(self.generation.get().wrapping_add(1));
        for index in ones(self.occupied.replace(0)) {
            let word = &self.words[index];
            for slot in self.slots_in(word) {
                slot.event.set();
            }
            word.bound.set(0);
            word.first.set(NONE);
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> EventCounters {
        EventCounters {
            fired: self.counters.fired.get(),
            waits: self.counters.waits.get(),
            wait_errors: self.counters.wait_errors.get(),
            notified: self.counters.notified.get(),
            stale: self.counters.stale.get(),
        }
    }

    fn mask(&self) {
        for word in &self.hypervisor.shared_info().event_mask {
            word.store(!0, Ordering::Release);
        }
    }

    fn free_slot(&self) -> Result<u8, EventError> {
        let free = (0..NONE)
            .zip(&self.slots)
            .find(|(_, slot)| slot.port.get() == 0);
        free.map(|(index, _)| index).ok_or(EventError::TooManyPorts)
    }

    /// A port that Xen made for us just now.
    fn bind_new(&'static self, slot: u8, number: PortNumber) -> Result<EventPort<H>, EventError> {
        match self.bind(slot, number) {
            Ok(()) => Ok(EventPort::new(self, slot, number, true)),
            Err(error) => {
                // Of no use, so it shouldn't stay open; one that is bound already is somebody's.
                if let EventError::OutOfRange(_) = error {
                    let _ = self.hypervisor.close_port(number);
                }
                Err(error)
            }
        }
    }

    fn bind(&self, index: u8, number: PortNumber) -> Result<(), EventError> {
        let at = word_of(number).ok_or(EventError::OutOfRange(number))?;
        let word = &self.words[at];
        if word.bound.get() & bit(number.0) != 0 {
            return Err(EventError::AlreadyBound(number));
        }
        let slot = &self.slots[usize::from(index)];
        // What came for the slot's last port.
        slot.event.take();
        slot.port.set(number.0);
        slot.next.set(word.first.replace(index));
        word.bound.set(word.bound.get() | bit(number.0));
        self.occupied.set(self.occupied.get() | 1 << at);
        Ok(())
    }

    /// Takes a port of this generation off its word's list.
    fn unbind(&self, index: u8, number: PortNumber) {
        let Some(at) = word_of(number) else {
            return;
        };
        let word = &self.words[at];
        word.bound.set(word.bound.get() & !bit(number.0));
        if word.bound.get() == 0 {
            self.occupied.set(self.occupied.get() & !(1 << at));
        }
        let next = self.slots[usize::from(index)].next.get();
        let mut link = &word.first;
        while link.get() != index {
            let Some(slot) = self.slots.get(usize::from(link.get())) else {
                return;
            };
            link = &slot.next;
        }
        link.set(next);
    }

    fn slots_in(&self, word: &Word) -> impl Iterator<Item = &Slot> {
        let first = self.slots.get(usize::from(word.first.get()));
        core::iter::successors(first, |slot| self.slots.get(usize::from(slot.next.get())))
    }
}

impl<H: Hypervisor> fmt::Debug for EventChannels<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.words.iter().map(|word| word.bound.get().count_ones());
        f.debug_struct("EventChannels")
            .field("generation", &self.generation())
            .field("bound", &bound.sum::<u32>())
            .field("counters", &self.counters())
            .finish()
    }
}

/// The word of a port, if it is one that the ABI has.
fn word_of(port: PortNumber) -> Option<usize> {
    let word = usize::try_from(port.0 / 64).ok()?;
    (port.0 != 0 && word < WORDS).then_some(word)
}

/// The numbers of a word's bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = (word != 0).then(|| word.trailing_zeros() as usize);
        word &= word.wrapping_sub(1);
        lowest
    })
}

/// A port's bit in its word.
fn bit(port: u32) -> u64 {
    1 << (port % 64)
}

/// Why a port can't be bound, or no event be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The caller's: [`MAXIMUM_PORTS`] are bound, or not dropped yet since the domain was resumed.
    TooManyPorts,
    /// The caller's: the port is of a domain that this one was before it was suspended.
    Stale,
    /// Xen's or the toolstack's: a number that no port has.
    OutOfRange(PortNumber),
    /// Xen's or the toolstack's (the caller's, of [`EventChannels::adopt`]): the number of a port that is bound already.
    AlreadyBound(PortNumber),
    /// Xen refused.
    Xen(XenError),
}

impl From<XenError> for EventError {
    fn from(error: XenError) -> Self {
        Self::Xen(error)
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPorts => write!(f, "{MAXIMUM_PORTS} event channels are bound"),
            Self::Stale => f.write_str("the event channel was the suspended domain's"),
            Self::OutOfRange(port) => write!(f, "Xen named {port}, which can't be"),
            Self::AlreadyBound(port) => write!(f, "{port} is bound already"),
            Self::Xen(error) => write!(f, "Xen refused the event channel: {error}"),
        }
    }
}

impl core::error::Error for EventError {}

/// What happened on a domain's event channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventCounters {
    /// Pending bits cleared.
    pub fired: u64,
    /// Sleeps.
    pub waits: u64,
    /// Sleeps that Xen refused.
    pub wait_errors: u64,
    /// Events sent.
    pub notified: u64,
    /// Events not sent, since the port was of an old generation.
    pub stale: u64,
}

#[derive(Default)]
struct Tally {
    fired: Cell<u64>,
    waits: Cell<u64>,
    wait_errors: Cell<u64>,
    notified: Cell<u64>,
    stale: Cell<u64>,
}

fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get().wrapping_add(count));
}
