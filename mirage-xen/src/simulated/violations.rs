//! What the domain under test did wrong.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::vec::Vec;

use crate::abi::{DomainId, PortNumber};

/// The most that are remembered; more are only counted.
const REMEMBERED: usize = 64;

/// Something that the domain does and must not: a defect of the drivers that are tested, never of the other side. A real
/// hypervisor or backend would refuse it, or fall over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// This was called between a suspension that ended in a new domain and [`restore`](crate::Hypervisor::restore).
    CallBeforeRestore(&'static str),
    /// `restore` without such a suspension.
    RestoreWithoutResume,
    /// More than 128 ports in a poll.
    TooManyPorts(usize),
    /// A port that there isn't, or that isn't open, in this call.
    Port(&'static str, PortNumber),
    /// An event came on a port that isn't masked: the processor would be interrupted.
    Unmasked(PortNumber),
    /// A backend was told a grant reference beyond the table.
    GrantReference(u32),
    /// A backend was told the reference of an entry that permits nothing, or permits it to somebody else.
    GrantNotPermitted {
        /// The reference.
        reference: u32,
        /// The backend's domain.
        domain: DomainId,
    },
    /// A backend was to write through an entry that is for reading.
    GrantReadOnly(u32),
    /// An entry permits access to a frame that isn't the domain's memory, or bytes of one that aren't.
    GrantFrame {
        /// The reference.
        reference: u32,
        /// What its entry says.
        frame: u32,
    },
    /// Bytes beyond the end of a page.
    BeyondPage {
        /// The grant reference.
        reference: u32,
        /// Where they begin.
        offset: usize,
        /// How many they are.
        length: usize,
    },
    /// The domain's index on xenstore's ring is impossible, or went back.
    StoreIndices {
        /// `req_prod`, or `rsp_cons`.
        domain: u32,
        /// `req_cons`, or `rsp_prod`.
        store: u32,
    },
    /// A message to xenstored is longer than `XENSTORE_PAYLOAD_MAX`: it would cut the connection.
    StoreMessageLength(u32),
    /// A message to xenstored of a type that isn't for domains, or isn't one.
    StoreMessageType(u32),
    /// The domain's index on the console's ring is impossible.
    ConsoleIndices {
        /// `out_prod`, or `in_cons`.
        domain: u32,
        /// `out_cons`, or `in_prod`.
        console: u32,
    },
    /// The domain's producer index on a device's ring is further than the ring has slots.
    RingIndex {
        /// `req_prod`.
        producer: u32,
        /// How many the backend has taken.
        consumer: u32,
    },
    /// A request that a network backend drops the whole interface for, or refuses.
    NetRequest(&'static str),
    /// A frontend's state or keys that no backend can make sense of.
    Handshake(&'static str),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The list of them.
#[derive(Default)]
pub(super) struct Violations {
    remembered: RefCell<Vec<Violation>>,
    count: Cell<u64>,
}

impl Violations {
    pub(super) fn add(&self, violation: Violation) {
        self.count.set(self.count.get() + 1);
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() < REMEMBERED {
            remembered.push(violation);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    pub(super) fn list(&self) -> Vec<Violation> {
        self.remembered.borrow().clone()
    }
}
