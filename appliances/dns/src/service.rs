//! The service itself: zones, the pure server, counters.

use mirage_dns::server::{Limits, Server};
use mirage_dns::zone_set::ZoneSet;
use mirage_net::{UdpRequest, UdpService};

use crate::counters::{Counter, Counters, Tally};

pub use mirage_dns::server::Transport;

/// A DNS service: what all shells of one appliance share by reference.
///
/// Everything is decided by [`mirage_dns::server`]; the shells move octets.
#[derive(Debug)]
pub struct Service<'z> {
    zones: ZoneSet<'z>,
    server: Server,
    tally: Tally,
}

impl<'z> Service<'z> {
    /// Serves `zones`, with the default limits.
    pub fn new(zones: ZoneSet<'z>) -> Self {
        Self::with_limits(zones, Limits::default())
    }

    /// Serves `zones` with answers of a bounded length.
    pub fn with_limits(zones: ZoneSet<'z>, limits: Limits) -> Self {
        Self {
            zones,
            server: Server::new(limits),
            tally: Tally::default(),
        }
    }

    /// The zones.
    pub fn zones(&self) -> &ZoneSet<'z> {
        &self.zones
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        self.server.limits()
    }

    /// Answers one message: how many octets of `out` are the answer, or `None` where there is none.
    pub fn answer(&self, transport: Transport, request: &[u8], out: &mut [u8]) -> Option<usize> {
        self.server.answer(&self.zones, request, transport, out)
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.tally.snapshot(self.server.counters())
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.tally.count(counter);
    }
}

/// On our own stack: the answer is written into the page that is sent, while the received one is looked at.
impl UdpService for &Service<'_> {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        self.answer(Transport::Udp, request.payload, answer)
    }
}
