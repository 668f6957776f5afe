//! Event channels: the domain's ports, and who is at their other ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::backend::BackendId;
use crate::abi::shared_info::SharedInfo;
use crate::abi::{DomainId, PortNumber, XenError};

/// The domain's port table.
pub(super) struct Events {
    ports: RefCell<BTreeMap<u32, Port>>,
    /// The most ports that the domain may have.
    limit: Cell<u32>,
    /// Ports that backends offer, by their number there.
    offers: RefCell<BTreeMap<(DomainId, PortNumber), BackendId>>,
    /// Events on their way, by when they arrive (nanoseconds since the simulation's start) and a sequence number.
    late: RefCell<BTreeMap<(u64, u64), PortNumber>>,
    sequence: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// `remote` may bind to it.
    Unbound { remote: DomainId },
    /// A backend is at the other end.
    Bound {
        remote: DomainId,
        backend: BackendId,
    },
}

impl Events {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            ports: RefCell::default(),
            limit: Cell::new(limit),
            offers: RefCell::default(),
            late: RefCell::default(),
            sequence: Cell::new(0),
        }
    }

    /// Every port is closed: the domain is a new one.
    pub(super) fn reset(&self) {
        self.ports.borrow_mut().clear();
        self.late.borrow_mut().clear();
    }

    /// The lowest free port, from `first` on.
    fn add(&self, first: u32, port: Port) -> Result<PortNumber, XenError> {
        let mut ports = self.ports.borrow_mut();
        let free = (first..self.limit.get()).find(|number| !ports.contains_key(number));
        let free = free.ok_or(XenError::NoSpace)?;
        ports.insert(free, port);
        Ok(PortNumber(free))
    }

    /// A port that the toolstack made, bound to a backend from the beginning; its number is at least `first`.
    pub(super) fn give(
        &self,
        first: u32,
        remote: DomainId,
        backend: BackendId,
    ) -> Result<PortNumber, XenError> {
        self.add(first, Port::Bound { remote, backend })
    }

    pub(super) fn allocate(&self, remote: DomainId) -> Result<PortNumber, XenError> {
        self.add(1, Port::Unbound { remote })
    }

    /// A backend offers a port of its domain's, for the domain to bind to.
    pub(super) fn offer(&self, remote: DomainId, port: PortNumber, backend: BackendId) {
        self.offers.borrow_mut().insert((remote, port), backend);
    }

    pub(super) fn bind(
        &self,
        remote: DomainId,
        remote_port: PortNumber,
    ) -> Result<PortNumber, XenError> {
        let backend = *self
            .offers
            .borrow()
            .get(&(remote, remote_port))
            .ok_or(XenError::Invalid)?;
        let port = self.add(1, Port::Bound { remote, backend })?;
        self.offers.borrow_mut().remove(&(remote, remote_port));
        Ok(port)
    }

    /// Whether there is such a port, open.
    pub(super) fn is_open(&self, port: PortNumber) -> bool {
        self.ports.borrow().contains_key(&port.0)
    }

    /// How many ports are open.
    pub(super) fn open(&self) -> usize {
        self.ports.borrow().len()
    }

    /// The domain closes a port; whose other end that was. The backend's end stays, without anybody at the other.
    pub(super) fn close(&self, port: PortNumber) -> Result<Option<BackendId>, XenError> {
        match self.ports.borrow_mut().remove(&port.0) {
            Some(Port::Bound { backend, .. }) => Ok(Some(backend)),
            Some(Port::Unbound { .. }) => Ok(None),
            None => Err(XenError::Invalid),
        }
    }

    /// Whom an event of the domain's reaches: nobody, where the port waits to be bound.
    pub(super) fn other_end(&self, port: PortNumber) -> Result<Option<BackendId>, XenError> {
        match self.ports.borrow().get(&port.0) {
            Some(Port::Bound { backend, .. }) => Ok(Some(*backend)),
            Some(Port::Unbound { .. }) => Ok(None),
            None => Err(XenError::Invalid),
        }
    }

    /// A backend of `domain` binds to the domain's port.
    pub(super) fn bind_backend(
        &self,
        port: PortNumber,
        domain: DomainId,
        backend: BackendId,
    ) -> Result<(), XenError> {
        match self.ports.borrow_mut().get_mut(&port.0) {
            Some(at) if *at == (Port::Unbound { remote: domain }) => {
                *at = Port::Bound {
                    remote: domain,
                    backend,
                };
                Ok(())
            }
            _ => Err(XenError::Invalid),
        }
    }

    /// A backend closes its end: the domain's port waits to be bound again.
    pub(super) fn unbind_backend(&self, port: PortNumber, backend: BackendId) {
        if let Some(at) = self.ports.borrow_mut().get_mut(&port.0)
            && let Port::Bound {
                remote,
                backend: bound,
            } = *at
            && bound == backend
        {
            *at = Port::Unbound { remote };
        }
    }

    /// Whether the backend's end of a port is still connected.
    pub(super) fn is_bound(&self, port: PortNumber, backend: BackendId) -> bool {
        matches!(self.ports.borrow().get(&port.0), Some(Port::Bound { backend: bound, .. }) if *bound == backend)
    }

    /// Any open port but the first so many of them, for events that nobody sent.
    pub(super) fn nth_open(&self, index: usize) -> Option<PortNumber> {
        let ports = self.ports.borrow();
        ports.keys().nth(index).map(|&number| PortNumber(number))
    }

    pub(super) fn send_later(&self, due: u64, port: PortNumber) {
        self.sequence.set(self.sequence.get() + 1);
        self.late
            .borrow_mut()
            .insert((due, self.sequence.get()), port);
    }

    /// When the next event that is on its way arrives.
    pub(super) fn next_late(&self) -> Option<u64> {
        self.late.borrow().first_key_value().map(|(key, _)| key.0)
    }

    /// The next event that has arrived by `now`.
    pub(super) fn arrive(&self, now: u64) -> Option<PortNumber> {
        let mut late = self.late.borrow_mut();
        let first = late.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// Marks a port pending, as Xen does (event_2l.c: the bit, and if that was clear and the port isn't masked, the selector
/// and the upcall). Says whether the port was not masked.
pub(super) fn set_pending(page: &SharedInfo, port: PortNumber) -> bool {
    let (word, bit) = (port.0 as usize / 64, 1 << (port.0 % 64));
    let was_pending = page.event_pending[word].fetch_or(bit, Ordering::SeqCst) & bit != 0;
    if was_pending || page.event_mask[word].load(Ordering::SeqCst) & bit != 0 {
        return false;
    }
    let vcpu = &page.vcpu_info[0];
    vcpu.pending_selector.fetch_or(1 << word, Ordering::SeqCst);
    vcpu.upcall_pending.store(1, Ordering::SeqCst);
    true
}

/// Whether an event is pending on a port.
pub(super) fn is_pending(page: &SharedInfo, port: PortNumber) -> bool {
    let word = &page.event_pending[port.0 as usize / 64];
    word.load(Ordering::SeqCst) & (1 << (port.0 % 64)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_port_never_touches_the_selector() {
        let page = SharedInfo::new();
        page.event_mask[1].store(!0, Ordering::Relaxed);
        assert!(!set_pending(&page, PortNumber(70)));
        assert!(is_pending(&page, PortNumber(70)) && !is_pending(&page, PortNumber(6)));
        let vcpu = &page.vcpu_info[0];
        assert_eq!(vcpu.pending_selector.load(Ordering::Relaxed), 0);
        assert!(set_pending(&page, PortNumber(3)));
        assert_eq!(vcpu.pending_selector.load(Ordering::Relaxed), 1);
        assert_eq!(vcpu.upcall_pending.load(Ordering::Relaxed), 1);
        assert!(!set_pending(&page, PortNumber(3)), "already pending");
    }

    #[test]
    fn only_the_domain_that_was_named_binds_and_only_once() {
        let events = Events::new(16);
        let port = events.allocate(DomainId(5)).unwrap();
        let (one, two) = (BackendId(0), BackendId(1));
        assert_eq!(
            events.bind_backend(port, DomainId(0), one),
            Err(XenError::Invalid)
        );
        assert_eq!(events.other_end(port), Ok(None));
        events.bind_backend(port, DomainId(5), one).unwrap();
        assert_eq!(
            events.bind_backend(port, DomainId(5), two),
            Err(XenError::Invalid)
        );
        assert_eq!(events.other_end(port), Ok(Some(one)));
        events.unbind_backend(port, two);
        assert!(events.is_bound(port, one));
        events.unbind_backend(port, one);
        assert_eq!(events.other_end(port), Ok(None));
        assert_eq!(events.close(port), Ok(None));
        assert_eq!(events.close(port), Err(XenError::Invalid));
    }

    #[test]
    fn ports_run_out_and_the_lowest_is_used_again() {
        let events = Events::new(4);
        let ports: [PortNumber; 3] = std::array::from_fn(|_| events.allocate(DomainId(0)).unwrap());
        assert_eq!(ports.map(|port| port.0), [1, 2, 3]);
        assert_eq!(events.allocate(DomainId(0)), Err(XenError::NoSpace));
        events.close(PortNumber(2)).unwrap();
        assert_eq!(events.allocate(DomainId(0)), Ok(PortNumber(2)));
    }
}
