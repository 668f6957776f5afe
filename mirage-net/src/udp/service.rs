//! Services that answer a datagram where it lies.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use managed::ManagedSlice;
use mirage_core::Instant;

use super::Fragmentation;

/// A request as it was received.
#[derive(Debug, Clone, Copy)]
pub struct UdpRequest<'r> {
    /// When it was handled.
    pub now: Instant,
    /// Who asks, as the datagram says.
    pub source: SocketAddr,
    /// The address that was asked; a broadcast address if it came by broadcast.
    pub destination: SocketAddr,
    /// The payload, in the page that it was received in.
    pub payload: &'r [u8],
}

/// A server that gives at most one datagram in answer to one, at once.
///
/// It is called from [`Stack::handle_frame`](crate::Stack::handle_frame): no queue, no task and
/// no copy stands between the received page and the answer's.
pub trait UdpService {
    /// Writes the answer into `answer`, which lies in the page that will be sent, and says how
    /// long it is; none when there is nothing to answer.
    ///
    /// `answer` is as long as what may be sent to this peer (see [`ServiceOptions`]); what it
    /// holds at first is arbitrary. A length beyond it is a defect of the service: the answer
    /// is dropped and counted.
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize>;
}

impl<S: UdpService + ?Sized> UdpService for &mut S {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        (**self).respond(request, answer)
    }
}

/// How a service is bound, and how its answers are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOptions {
    /// The local address; none for all of ours, broadcasts included.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Longest answer in bytes; one page of the pool less 64 bytes is a bound above it.
    pub max_answer: usize,
    /// What becomes of answers that exceed the path's MTU: with
    /// [`Refused`](Fragmentation::Refused) the service is given no more room than fits, and the
    /// answer carries Don't Fragment; with [`Allowed`](Fragmentation::Allowed) it is given
    /// `max_answer`, and a long answer is sent in fragments.
    pub fragmentation: Fragmentation,
    /// Time to live of the answers.
    pub time_to_live: u8,
}

impl ServiceOptions {
    /// All addresses, answers up to 1,232 bytes, which reach nearly everyone unfragmented.
    pub const fn port(port: u16) -> Self {
        ServiceOptions {
            address: None,
            port,
            max_answer: 1_232,
            fragmentation: Fragmentation::Allowed,
            time_to_live: 64,
        }
    }
}

/// Storage for one bound service.
#[derive(Default)]
pub struct ServiceSlot<'a>(Option<Bound<'a>>);

impl ServiceSlot<'_> {
    /// An empty slot.
    pub const EMPTY: Self = ServiceSlot(None);
}

impl fmt::Debug for ServiceSlot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceSlot")
            .field(&self.0.as_ref().map(|bound| bound.options))
            .finish()
    }
}

struct Bound<'a> {
    options: ServiceOptions,
    service: &'a mut dyn UdpService,
}

/// The services of a stack. A lookup looks at each slot in turn: the length of the table, which the
/// caller chose, bounds its cost, and no peer can add to it.
pub(crate) struct Services<'a> {
    slots: ManagedSlice<'a, ServiceSlot<'a>>,
}

impl<'a> Services<'a> {
    pub(crate) fn new(slots: ManagedSlice<'a, ServiceSlot<'a>>) -> Self {
        Services { slots }
    }

    /// Binds a service; says whether the table had room.
    pub(crate) fn bind(
        &mut self,
        options: ServiceOptions,
        service: &'a mut dyn UdpService,
    ) -> bool {
        match self.slots.iter_mut().find(|slot| slot.0.is_none()) {
            Some(slot) => {
                slot.0 = Some(Bound { options, service });
                true
            }
            None => false,
        }
    }

    /// Whether a bound service would take datagrams for this address (none: any) and port.
    pub(crate) fn collides(&self, address: Option<IpAddr>, port: u16) -> bool {
        self.slots.iter().flat_map(|slot| &slot.0).any(|bound| {
            bound.options.port == port
                && (bound.options.address.is_none()
                    || address.is_none()
                    || bound.options.address == address)
        })
    }

    /// The service for an address and port.
    #[inline]
    pub(crate) fn find(
        &mut self,
        address: IpAddr,
        port: u16,
    ) -> Option<(ServiceOptions, &mut (dyn UdpService + 'a))> {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.0.as_mut())
            .find(|bound| {
                bound.options.port == port && bound.options.address.is_none_or(|own| own == address)
            })
            .map(|bound| (bound.options, &mut *bound.service))
    }
}
