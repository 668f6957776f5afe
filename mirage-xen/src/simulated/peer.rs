//! Another domain, played by the test itself.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use super::backend::{Backend, BackendId};
use super::grants::Mapping;
use super::machine::Machine;
use crate::abi::{DomainId, GrantReference, PortNumber, XenError};

/// Another domain, played by the test: it binds to the domain's ports, hears and sends events, and reaches what it was
/// granted. A device whose backend isn't among those of this module is tested with it.
///
/// ```
/// use mirage_xen::simulated::Simulation;
/// use mirage_xen::{DomainId, Hypervisor};
///
/// let simulation = Simulation::new(1);
/// let peer = simulation.peer(DomainId(7));
/// let port = simulation.hypervisor().allocate_unbound_port(DomainId(7)).unwrap();
/// peer.bind(port).unwrap();
/// simulation.hypervisor().notify(port).unwrap();
/// while simulation.step() {}
/// assert_eq!(peer.take_notified(), 1);
/// ```
#[derive(Clone, Copy)]
pub struct SimulatedPeer {
    machine: &'static Machine,
    state: &'static PeerState,
}

struct PeerState {
    domain: DomainId,
    id: Cell<BackendId>,
    notified: Cell<u64>,
    held: RefCell<BTreeMap<u32, Mapping>>,
}

/// Xen refused to let another domain reach a frame. That it was told such a reference is kept as a
/// [`Violation`](super::Violation), too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRefused;

impl fmt::Display for AccessRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the grant's entry does not permit it")
    }
}

impl std::error::Error for AccessRefused {}

impl SimulatedPeer {
    pub(super) fn new(machine: &'static Machine, domain: DomainId) -> Self {
        let state = Box::leak(Box::new(PeerState {
            domain,
            id: Cell::new(BackendId(0)),
            notified: Cell::new(0),
            held: RefCell::default(),
        }));
        state.id.set(machine.add_backend(state));
        Self { machine, state }
    }

    /// Binds to a port that the domain allocated for this one.
    ///
    /// # Errors
    ///
    /// [`XenError::Invalid`]: it isn't, or somebody has.
    pub fn bind(self, port: PortNumber) -> Result<(), XenError> {
        let (domain, id) = (self.state.domain, self.state.id.get());
        self.machine.events.bind_backend(port, domain, id)
    }

    /// Closes the own end of the domain's port.
    pub fn unbind(self, port: PortNumber) {
        self.machine
            .events
            .unbind_backend(port, self.state.id.get());
    }

    /// Allocates a port of this domain's, with this number, for the domain under test to bind to.
    pub fn offer(self, port: PortNumber) {
        self.machine
            .events
            .offer(self.state.domain, port, self.state.id.get());
    }

    /// Sends an event to a port of the domain's that is bound to this one; without one, it goes nowhere.
    pub fn notify(self, port: PortNumber) {
        if self.machine.events.is_bound(port, self.state.id.get()) {
            self.machine.send(port);
        }
    }

    /// Has a turn whenever a key in xenstore, or one below it, changes or vanishes.
    pub fn watch(self, path: &str) {
        self.machine.store.observe(path, self.state.id.get());
    }

    /// Watches nothing any more.
    pub fn unwatch(self) {
        self.machine.store.forget(self.state.id.get());
    }

    /// How many turns this domain had since the last call: one or more events, or changes of what it watches, each.
    pub fn take_notified(self) -> u64 {
        self.state.notified.take()
    }

    /// Copies bytes out of a frame that was granted.
    ///
    /// # Errors
    ///
    /// [`AccessRefused`].
    pub fn read(
        self,
        reference: GrantReference,
        offset: usize,
        to: &mut [u8],
    ) -> Result<(), AccessRefused> {
        let reach = self.machine.reach();
        reach
            .copy_from(self.state.domain, reference.0, offset, to)
            .map_err(|_| AccessRefused)
    }

    /// Copies bytes into a frame that was granted.
    ///
    /// # Errors
    ///
    /// [`AccessRefused`].
    pub fn write(
        self,
        reference: GrantReference,
        offset: usize,
        from: &[u8],
    ) -> Result<(), AccessRefused> {
        let reach = self.machine.reach();
        reach
            .copy_to(self.state.domain, reference.0, offset, from)
            .map_err(|_| AccessRefused)
    }

    /// Whether a frame could be reached now, for writing or only for reading. No violation: a hostile peer tries.
    pub fn can_reach(self, reference: GrantReference, writable: bool) -> bool {
        let reach = self.machine.reach();
        match reach.try_map(self.state.domain, reference.0, writable) {
            Ok(mapping) => {
                reach.unmap(mapping);
                true
            }
            Err(_) => false,
        }
    }

    /// Maps a frame and keeps it mapped, so that its grant can't be ended, until [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// [`AccessRefused`].
    pub fn hold(self, reference: GrantReference, writable: bool) -> Result<(), AccessRefused> {
        let reach = self.machine.reach();
        let mapping = reach
            .map(self.state.domain, reference.0, writable)
            .map_err(|_| AccessRefused)?;
        let before = self.state.held.borrow_mut().insert(reference.0, mapping);
        if let Some(before) = before {
            reach.unmap(before);
        }
        Ok(())
    }

    /// Unmaps a frame that is held.
    pub fn release(self, reference: GrantReference) {
        if let Some(mapping) = self.state.held.borrow_mut().remove(&reference.0) {
            self.machine.reach().unmap(mapping);
        }
    }
}

impl fmt::Debug for SimulatedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedPeer({})", self.state.domain)
    }
}

impl Backend for PeerState {
    fn run(&self, _machine: &'static Machine) {
        self.notified.set(self.notified.get() + 1);
    }

    fn reset(&self, _machine: &'static Machine) {
        self.held.borrow_mut().clear();
    }
}
