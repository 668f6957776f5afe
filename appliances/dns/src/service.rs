//! The service itself: zones, the pure server, counters.

#[cfg(feature = "authority")]
use alloc::collections::{BTreeMap, VecDeque};
#[cfg(feature = "authority")]
use alloc::rc::Rc;
#[cfg(feature = "authority")]
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
#[cfg(feature = "authority")]
use core::net::SocketAddr;
use core::time::Duration;

use mirage_core::Instant;
#[cfg(feature = "authority")]
use mirage_core::channel::Signal;
#[cfg(feature = "authority")]
use mirage_core::event::Event;
#[cfg(feature = "authority")]
use mirage_dns::authority::{Authority, Handled, Now, Ticket, Why};
use mirage_dns::server::{Limits, Memo, Server};
use mirage_dns::zone_set::ZoneSet;
use mirage_net::{UdpRequest, UdpService};

use crate::counters::{Counter, Counters, Tally};

pub use mirage_dns::server::{Client, Transport};

/// A DNS service: what all shells of one appliance share by reference.
///
/// Everything is decided by [`mirage_dns::server`]; the shells move octets.
#[derive(Debug)]
pub struct Service<'z> {
    zones: Zones<'z>,
    server: Server<'z>,
    memo: Option<&'z dyn Front>,
    /// Unix time at [`Instant::ZERO`], in seconds; 0 where no wall clock is known.
    epoch: Cell<u64>,
    /// The latest time that anybody asked for.
    #[cfg(feature = "authority")]
    latest: Cell<Instant>,
    tally: Tally,
    /// Connections that are served now.
    slots: Cell<usize>,
}

/// A connection that is served.
pub(crate) struct Slot<'s>(&'s Cell<usize>);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl<'z> Service<'z> {
    /// Serves `zones`, with the default limits.
    pub fn new(zones: ZoneSet<'z>) -> Self {
        Self::with_limits(zones, Limits::default())
    }

    /// Serves `zones` with answers of a bounded length.
    pub fn with_limits(zones: ZoneSet<'z>, limits: Limits) -> Self {
        Self::with_server(zones, Server::new(limits))
    }

    /// Serves `zones` by this server, with its limits and whatever else it does.
    pub fn with_server(zones: ZoneSet<'z>, server: Server<'z>) -> Self {
        Self {
            zones: Zones::Fixed(zones),
            server,
            memo: None,
            epoch: Cell::new(0),
            #[cfg(feature = "authority")]
            latest: Cell::new(Instant::ZERO),
            tally: Tally::default(),
            slots: Cell::new(0),
        }
    }

    /// Answers what is asked again from a memo, which has answered nothing yet.
    #[must_use]
    pub fn with_memo(mut self, memo: &'z RefCell<Memo<'z>>) -> Self {
        self.memo = Some(memo);
        self
    }

    /// Answers a plain request from zones of this generation.
    fn answer_from(
        &self,
        zones: &ZoneSet<'_>,
        generation: u64,
        client: &Client,
        request: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        match self.memo {
            None => self.server.answer(zones, request, client, out),
            Some(memo) => memo.answer(&self.server, zones, generation, request, client, out),
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        self.server.limits()
    }

    /// Answers one message: how many octets of `out` are the answer, or `None` where there is none.
    pub fn answer(&self, client: &Client, request: &[u8], out: &mut [u8]) -> Option<usize> {
        match &self.zones {
            Zones::Fixed(zones) => self.answer_from(zones, 0, client, request, out),
            #[cfg(feature = "authority")]
            Zones::Changing(changing) => {
                match self.handle(changing, client, request, out) {
                    Handled::Answer(length) => Some(length),
                    // A transfer that this way can't give: `serve_tcp` can.
                    _ => None,
                }
            }
        }
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
        #[cfg(feature = "authority")]
        self.latest.set(self.latest.get().max(now));
        self.epoch.get().saturating_add(now.as_secs())
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.tally.snapshot(self.server.counters())
    }

    /// Counts one connection more as long as this is there.
    pub(crate) fn take_slot(&self) -> Slot<'_> {
        self.slots.set(self.slots.get() + 1);
        Slot(&self.slots)
    }

    /// How many connections are served.
    pub(crate) fn slots(&self) -> usize {
        self.slots.get()
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.tally.count(counter);
    }
}

/// A [`Memo`] that all shells share: as a trait, so that an image without one has nothing of it.
trait Front: core::fmt::Debug {
    fn answer(
        &self,
        server: &Server<'_>,
        zones: &ZoneSet<'_>,
        generation: u64,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Option<usize>;
}

impl Front for RefCell<Memo<'_>> {
    fn answer(
        &self,
        server: &Server<'_>,
        zones: &ZoneSet<'_>,
        generation: u64,
        request: &[u8],
        client: &Client,
        out: &mut [u8],
    ) -> Option<usize> {
        // Nobody else has it: an answer is given in one call.
        let mut memo = self.borrow_mut();
        memo.answer(server, zones, generation, request, client, out)
    }
}

/// What is answered from.
#[derive(Debug)]
enum Zones<'z> {
    Fixed(ZoneSet<'z>),
    #[cfg(feature = "authority")]
    Changing(alloc::boxed::Box<Changing<'z>>),
}

/// Zones that change while they are served.
#[cfg(feature = "authority")]
#[derive(Debug)]
pub(crate) struct Changing<'z> {
    authority: RefCell<Authority<'z>>,
    /// A request may have given the authority something to do.
    pub(crate) asked: Event,
    /// Where answers go that come later.
    awaited: RefCell<BTreeMap<Ticket, Destination>>,
    /// Those that go out as datagrams and can.
    late: RefCell<VecDeque<(SocketAddr, Vec<u8>)>>,
    is_late: Event,
}

/// Where an answer goes that comes later.
#[cfg(feature = "authority")]
#[derive(Debug)]
enum Destination {
    Datagram(SocketAddr),
    Stream(Rc<Signal<Vec<u8>>>),
}

#[cfg(feature = "authority")]
impl<'z> Service<'z> {
    /// Serves the zones of an authority by this server. What the authority wants done is done by
    /// [`maintain`](crate::maintain).
    pub fn with_authority(authority: Authority<'z>, server: Server<'z>) -> Self {
        Self {
            zones: Zones::Changing(alloc::boxed::Box::new(Changing {
                authority: RefCell::new(authority),
                asked: Event::new(),
                awaited: RefCell::new(BTreeMap::new()),
                late: RefCell::new(VecDeque::new()),
                is_late: Event::new(),
            })),
            server,
            memo: None,
            epoch: Cell::new(0),
            #[cfg(feature = "authority")]
            latest: Cell::new(Instant::ZERO),
            tally: Tally::default(),
            slots: Cell::new(0),
        }
    }

    /// Looks at the authority, or has it do something; `None` where the zones are fixed. What it wants done in consequence is
    /// done.
    ///
    /// # Panics
    /// When `look` calls a method of this service.
    pub fn authority<R>(&self, look: impl FnOnce(&mut Authority<'z>) -> R) -> Option<R> {
        let changing = self.changing()?;
        let result = look(&mut changing.authority.borrow_mut());
        changing.asked.set();
        Some(result)
    }

    pub(crate) fn changing(&self) -> Option<&Changing<'z>> {
        match &self.zones {
            Zones::Fixed(_) => None,
            Zones::Changing(changing) => Some(changing),
        }
    }

    /// Answers, or begins a transfer.
    pub(crate) fn handle(
        &self,
        changing: &Changing<'z>,
        client: &Client,
        request: &[u8],
        out: &mut [u8],
    ) -> Handled<'z> {
        if Authority::is_plain(request) {
            let authority = changing.authority.borrow();
            let zones = authority.zones().as_zone_set();
            let generation = authority.generation();
            return match self.answer_from(&zones, generation, client, request, out) {
                Some(length) => Handled::Answer(length),
                None => Handled::Ignored,
            };
        }
        // A signature is taken off in place, and what was received is not ours to write.
        let mut request: Vec<u8> = request.into();
        let now = self.now(self.latest.get());
        let mut authority = changing.authority.borrow_mut();
        let handled = authority.handle_request(&self.server, &mut request, client, now, out);
        while let Some(rejection) = authority.poll_rejection() {
            match rejection.why {
                // That somebody tries is no news to who serves zones to all the world.
                Why::NotAllowed => log::info!("{rejection}"),
                _ => log::warn!("{rejection}"),
            }
        }
        changing.asked.set();
        handled
    }

    /// Answers a datagram from `remote`: how many octets of `out` are the answer, or `None` where there is none, or none yet.
    pub(crate) fn answer_datagram(
        &self,
        client: &Client,
        remote: SocketAddr,
        request: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let Some(changing) = self.changing() else {
            return self.answer(client, request, out);
        };
        match self.handle(changing, client, request, out) {
            Handled::Answer(length) => Some(length),
            Handled::Later(ticket) => {
                let destination = Destination::Datagram(remote);
                changing.awaited.borrow_mut().insert(ticket, destination);
                None
            }
            _ => None,
        }
    }

    /// Waits until there are answers to datagrams that were asked for earlier.
    pub(crate) async fn late_answers(&self) {
        match self.changing() {
            Some(changing) => changing.is_late.wait().await,
            None => core::future::pending().await,
        }
    }

    /// The next answer to a datagram that was asked for earlier, and where it goes.
    pub(crate) fn next_late_answer(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.changing()?.late.borrow_mut().pop_front()
    }

    /// Waits for an answer that comes later.
    pub(crate) async fn wait_for(&self, changing: &Changing<'z>, ticket: Ticket) -> Vec<u8> {
        let signal = Rc::new(Signal::new());
        let destination = Destination::Stream(Rc::clone(&signal));
        changing.awaited.borrow_mut().insert(ticket, destination);
        signal.wait().await
    }

    /// Sends the answers that can go out on their way.
    pub(crate) fn deliver(&self, changing: &Changing<'z>) {
        while let Some(reply) = {
            let mut authority = changing.authority.borrow_mut();
            authority.poll_reply()
        } {
            match changing.awaited.borrow_mut().remove(&reply.ticket) {
                Some(Destination::Datagram(remote)) => {
                    changing.late.borrow_mut().push_back((remote, reply.octets));
                    changing.is_late.set();
                }
                Some(Destination::Stream(signal)) => drop(signal.set(reply.octets)),
                // Who asked has gone.
                None => {}
            }
        }
    }

    /// The time as an authority wants it.
    pub(crate) fn now(&self, now: Instant) -> Now {
        Now {
            elapsed: now.saturating_duration_since(Instant::ZERO),
            unix: self.unix_time(now),
        }
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
