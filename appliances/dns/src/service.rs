//! The service itself: zones, the pure server, counters.

use core::cell::Cell;
use core::time::Duration;

use mirage_core::Instant;
use mirage_dns::server::{Limits, Server};
use mirage_dns::zone_set::ZoneSet;
use mirage_net::{UdpRequest, UdpService};

use crate::counters::{Counter, Counters, Tally};

pub use mirage_dns::server::{Client, Transport};

/// A DNS service: what all shells of one appliance share by reference.
///
/// Everything is decided by [`mirage_dns::server`]; the shells move octets.
#[derive(Debug)]
pub struct Service<'z> {
    zones: ZoneSet<'z>,
    server: Server<'z>,
    /// Unix time at [`Instant::ZERO`], in seconds; 0 where no wall clock is known.
    epoch: Cell<u64>,
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
            epoch: Cell::new(0),
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
    pub fn answer(&self, client: &Client, request: &[u8], out: &mut [u8]) -> Option<usize> {
        self.server.answer(&self.zones, request, client, out)
    }

    /// Says what time it is, `wall` since the Unix epoch: at the start, and whenever the wall clock may have been set.
    /// [`serve_udp`](crate::serve_udp) and [`serve_tcp`](crate::serve_tcp) do it by themselves.
    ///
    /// Where no wall clock is known, the service counts from the beginning of `now`.
    pub fn set_time(&self, now: Instant, wall: Option<Duration>) {
        let wall = wall.map_or(0, |wall| wall.as_secs());
        self.epoch.set(wall.saturating_sub(now.as_secs()));
    }

    /// The time of one who asks, as [`Client::now`] wants it.
    pub fn unix_time(&self, now: Instant) -> u64 {
        self.epoch.get().saturating_add(now.as_secs())
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
        let client = Client {
            address: request.source.ip(),
            transport: Transport::Udp,
            now: self.unix_time(request.now),
        };
        self.answer(&client, request.payload, answer)
    }
}
