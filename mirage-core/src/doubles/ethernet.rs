//! A segment with any number of interfaces, and faults on the way to each.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::task::{Context, Poll, Waker};

use super::faults::{Arrival, FaultCounters, Faults, Line};
use super::packet::Packet;
use super::rng::SplitMix64;
use crate::frame::{Checksum, Frame, Segmentation, SegmentationKind};
use crate::mac::MacAddress;
use crate::netif::{Netif, NetifError, OffloadFlags, Offloads, TransmitError, TransmitReason};
use crate::pool::Reserve;
use crate::time::Instant;

/// Bytes of an Ethernet header (IEEE 802.3, 3.1.1).
const HEADER: usize = 14;
/// Bytes of a VLAN tag (IEEE 802.1Q, 9.3).
const VLAN_TAG: usize = 4;

/// A simulated Ethernet: what one interface transmits reaches all others, through a line with [`Faults`] of its own to
/// each; each takes what is addressed to it.
///
/// Nothing happens by itself. [`deliver`](Self::deliver) sets the time and moves what has arrived by then into the
/// receivers' queues, in pages of their reserves, and wakes them; [`next_event`](Self::next_event) says when to call it
/// next. Frames are on the line from [`Netif::flush`] on, at the time of the last `deliver`.
///
/// A frame that stands for several segments of TCP, from a port that has [`OffloadFlags::TRANSMIT_SEGMENTED_V4`], is cut
/// ([`Packet::cut`]) for each port that doesn't take it whole ([`OffloadFlags::RECEIVE_SEGMENTED_V4`]), and each segment has a
/// fate of its own.
///
/// Frames arrive as from a wire: checksums complete and [`Checksum::Unverified`]. A port whose [`Offloads`] say so
/// receives others: with [`OffloadFlags::RECEIVE_PARTIAL`] partial checksums stay partial, with
/// [`OffloadFlags::RECEIVE_VERIFIED`] all other frames that no fault has touched are [`Checksum::Verified`] (the double
/// vouches for the way, not for what the sender wrote).
///
/// A cheap handle: clones are of the same Ethernet.
///
/// ```
/// use core::task::{Context, Poll, Waker};
/// use mirage_core::doubles::{PortConfig, VirtualClock, VirtualEthernet};
/// use mirage_core::{Clock, MacAddress, Netif, Pool};
///
/// let pool = Pool::leak(64, 2048).unwrap();
/// let clock = VirtualClock::new();
/// let ethernet = VirtualEthernet::new(1);
/// let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
/// let mut a = ethernet.attach(PortConfig::new(mac(1)), pool.reserve(16).unwrap());
/// let mut b = ethernet.attach(PortConfig::new(mac(2)), pool.reserve(16).unwrap());
///
/// let mut page = pool.alloc().unwrap();
/// page.extend_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]).unwrap();
/// page.extend_from_slice(b"hello").unwrap();
/// a.transmit(page.into()).unwrap();
/// a.flush().unwrap();
///
/// while let Some(next) = ethernet.next_event() {
///     clock.advance_to(next);
///     ethernet.deliver(clock.now());
/// }
/// let Poll::Ready(Ok(frame)) = b.poll_receive(&mut Context::from_waker(Waker::noop())) else { panic!() };
/// assert_eq!(&frame.contiguous().unwrap()[14..], b"hello");
/// ```
#[derive(Clone)]
pub struct VirtualEthernet {
    hub: Rc<RefCell<Hub>>,
}

struct Hub {
    now: Instant,
    rng: SplitMix64,
    ports: Vec<Port>,
}

struct Port {
    config: PortConfig,
    /// None when the interface was dropped.
    reserve: Option<Reserve>,
    link_up: bool,
    gone: bool,
    stalled: bool,
    /// Transmitted, not flushed.
    queued: VecDeque<Packet>,
    /// On the way to this port.
    line: Line,
    received: VecDeque<Frame>,
    receive_waker: Option<Waker>,
    ready_waker: Option<Waker>,
    counters: PortCounters,
}

/// What an interface of a [`VirtualEthernet`] is like.
#[derive(Clone, Copy, Debug)]
pub struct PortConfig {
    /// Its address.
    pub mac: MacAddress,
    /// The most bytes of an IP packet: 1,500.
    pub mtu: u16,
    /// What it does for the stack: nothing; frames may be in 18 segments.
    pub offloads: Offloads,
    /// Whether it takes frames that are addressed to others.
    pub promiscuous: bool,
    /// The most frames that are transmitted and not flushed: 64. Full: [`TransmitReason::Full`].
    pub transmit_queue: usize,
    /// The most frames on their way to it: 1,024. Full: the newest is dropped.
    pub line: usize,
    /// The most frames that arrived and weren't taken: 256. Full: the newest is dropped.
    pub receive_queue: usize,
    /// What happens to frames on their way to it: nothing.
    pub faults: Faults,
    /// Bytes of headroom in each page of a received frame: 0.
    pub headroom: usize,
    /// The most bytes in each segment of a received frame, fewer where a page has less: as many as a page has.
    pub segment_len: usize,
}

impl PortConfig {
    /// An ordinary interface on a perfect wire.
    pub const fn new(mac: MacAddress) -> Self {
        Self {
            mac,
            mtu: 1_500,
            offloads: Offloads {
                flags: OffloadFlags::empty(),
                fragments: Frame::MAX_SEGMENTS as u8,
            },
            promiscuous: false,
            transmit_queue: 64,
            line: 1_024,
            receive_queue: 256,
            faults: Faults::NONE,
            headroom: 0,
            segment_len: usize::MAX,
        }
    }
}

/// What happened at an interface of a [`VirtualEthernet`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortCounters {
    /// Frames that went out.
    pub transmitted: u64,
    /// Frames that were refused at [`Netif::transmit`].
    pub refused: u64,
    /// Frames put into the receive queue.
    pub received: u64,
    /// Frames that arrived for somebody else.
    pub filtered: u64,
    /// Frames dropped since the reserve had too few pages, or the frame in more segments than one may have.
    pub no_page: u64,
    /// Frames dropped since the receive queue was full.
    pub queue_full: u64,
    /// Frames dropped since the link was down.
    pub link_down: u64,
    /// Frames dropped since this interface doesn't take segmented ones, and they can't be cut.
    pub segmented: u64,
    /// What happened on the way to this interface.
    pub faults: FaultCounters,
}

impl VirtualEthernet {
    /// A segment without interfaces, at time zero. The same seed and the same calls give the same run.
    pub fn new(seed: u64) -> Self {
        let hub = Hub {
            now: Instant::ZERO,
            rng: SplitMix64::new(seed),
            ports: Vec::new(),
        };
        Self {
            hub: Rc::new(RefCell::new(hub)),
        }
    }

    /// One more interface; what it receives comes in pages of `reserve`. Its link is up.
    pub fn attach(&self, config: PortConfig, reserve: Reserve) -> VirtualNetif {
        let mut hub = self.hub.borrow_mut();
        let line = Line::new(config.faults, config.line, hub.rng.split());
        let port = hub.ports.len();
        hub.ports.push(Port {
            config,
            reserve: Some(reserve),
            link_up: true,
            gone: false,
            stalled: false,
            queued: VecDeque::new(),
            line,
            received: VecDeque::new(),
            receive_waker: None,
            ready_waker: None,
            counters: PortCounters::default(),
        });
        VirtualNetif {
            ethernet: self.clone(),
            port,
        }
    }

    /// When something arrives next, at any interface. `None`: nothing is on its way.
    pub fn next_event(&self) -> Option<Instant> {
        self.hub
            .borrow()
            .ports
            .iter()
            .filter_map(|port| port.line.next_arrival())
            .min()
    }

    /// It is `now` (time doesn't go back): what has arrived goes into the receivers' queues, and they are woken. Says how
    /// many frames that were.
    pub fn deliver(&self, now: Instant) -> usize {
        let mut delivered = 0;
        let mut wakers = Vec::new();
        {
            let mut hub = self.hub.borrow_mut();
            hub.now = hub.now.max(now);
            let now = hub.now;
            for port in &mut hub.ports {
                let before = delivered;
                while let Some(arrival) = port.line.leave(now) {
                    delivered += usize::from(port.receive(arrival));
                }
                if delivered > before {
                    wakers.extend(port.receive_waker.take());
                }
            }
        }
        wake(wakers);
        delivered
    }
}

impl fmt::Debug for VirtualEthernet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hub = self.hub.borrow();
        f.debug_struct("VirtualEthernet")
            .field("now", &hub.now)
            .field("ports", &hub.ports.len())
            .finish()
    }
}

impl Hub {
    /// Puts what `from` has queued on the lines to all others.
    fn carry(&mut self, from: usize) {
        let queued = core::mem::take(&mut self.ports[from].queued);
        if !self.ports[from].link_up {
            self.ports[from].counters.link_down += queued.len() as u64;
            return;
        }
        for packet in queued {
            self.ports[from].counters.transmitted += 1;
            for (index, port) in self.ports.iter_mut().enumerate() {
                if index == from || port.gone {
                    continue;
                }
                let segmentation = packet.metadata.segmentation;
                let cut = match segmentation.filter(|of| !port.takes(of.kind)) {
                    Some(_) => packet.cut(),
                    None => None,
                };
                match cut {
                    Some(packets) => packets
                        .into_iter()
                        .for_each(|packet| port.line.enter(self.now, packet)),
                    None => port.line.enter(self.now, packet.clone()),
                }
            }
        }
    }
}

impl Port {
    /// Whether it takes frames that stand for several segments.
    fn takes(&self, kind: SegmentationKind) -> bool {
        self.config.offloads.flags.contains(match kind {
            SegmentationKind::TcpV4 => OffloadFlags::RECEIVE_SEGMENTED_V4,
            SegmentationKind::TcpV6 => OffloadFlags::RECEIVE_SEGMENTED_V6,
        })
    }

    /// Whether the packet went into the receive queue.
    fn receive(&mut self, arrival: Arrival) -> bool {
        let Arrival { mut packet, intact } = arrival;
        let segmented = packet.metadata.segmentation;
        let refused = segmented.is_some_and(|segmentation| !self.takes(segmentation.kind));
        let (config, counters) = (&self.config, &mut self.counters);
        if !self.link_up || self.gone {
            counters.link_down += 1;
            return false;
        }
        // What is too short to have a destination is shown to everybody: stacks must stand it.
        let to: Option<[u8; 6]> = packet.bytes.first_chunk().copied();
        let mine =
            to.is_none_or(|to| MacAddress(to) == config.mac || MacAddress(to).is_multicast());
        if !mine && !config.promiscuous {
            counters.filtered += 1;
            return false;
        }
        let flags = config.offloads.flags;
        if refused {
            counters.segmented += 1;
            return false;
        }
        let partial = matches!(packet.metadata.checksum, Checksum::Partial { .. });
        if !(partial && flags.contains(OffloadFlags::RECEIVE_PARTIAL)) {
            packet.complete_checksum();
            if intact && flags.contains(OffloadFlags::RECEIVE_VERIFIED) {
                packet.metadata.checksum = Checksum::Verified;
            }
        }
        if self.received.len() >= config.receive_queue {
            counters.queue_full += 1;
            return false;
        }
        let frame = self
            .reserve
            .as_ref()
            .and_then(|reserve| packet.into_frame(reserve, config.headroom, config.segment_len));
        match frame {
            Some(frame) => {
                self.received.push_back(frame);
                counters.received += 1;
                true
            }
            None => {
                counters.no_page += 1;
                false
            }
        }
    }

    /// Why a frame is not to be transmitted.
    fn check(&self, frame: &Frame) -> Result<(), TransmitReason> {
        self.alive()?;
        let Offloads { flags, fragments } = self.config.offloads;
        let len = frame.len();
        let metadata = frame.metadata;
        if !self.link_up {
            return Err(NetifError::LinkDown.into());
        }
        if len < HEADER {
            return Err(TransmitReason::TooShort);
        }
        if frame.segments().len() > usize::from(fragments) {
            return Err(TransmitReason::TooManySegments);
        }
        let partial_flags = OffloadFlags::TRANSMIT_PARTIAL_V4 | OffloadFlags::TRANSMIT_PARTIAL_V6;
        if let Checksum::Partial { start, offset } = metadata.checksum {
            let field_ends = usize::from(start) + usize::from(offset) + 2;
            if !flags.intersects(partial_flags) || field_ends > len {
                return Err(TransmitReason::Unsupported);
            }
        }
        match metadata.segmentation {
            Some(Segmentation {
                kind,
                size,
                header_len,
            }) => {
                if !flags.contains(match kind {
                    SegmentationKind::TcpV4 => OffloadFlags::TRANSMIT_SEGMENTED_V4,
                    SegmentationKind::TcpV6 => OffloadFlags::TRANSMIT_SEGMENTED_V6,
                }) {
                    return Err(TransmitReason::Unsupported);
                }
                let piece = usize::from(size) + usize::from(header_len);
                let longest = HEADER + VLAN_TAG + usize::from(self.config.mtu);
                if piece > longest || len > usize::from(u16::MAX) {
                    return Err(TransmitReason::TooLong);
                }
            }
            None if len > HEADER + VLAN_TAG + usize::from(self.config.mtu) => {
                return Err(TransmitReason::TooLong);
            }
            None => {}
        }
        if self.queued.len() >= self.config.transmit_queue {
            return Err(TransmitReason::Full);
        }
        Ok(())
    }

    fn alive(&self) -> Result<(), NetifError> {
        if self.gone {
            Err(NetifError::Gone)
        } else {
            Ok(())
        }
    }
}

/// An interface of a [`VirtualEthernet`]. Dropped, it is gone from the segment.
#[derive(Debug)]
pub struct VirtualNetif {
    ethernet: VirtualEthernet,
    port: usize,
}

impl VirtualNetif {
    /// Another hand on the same interface, to look at it and to pull its plug while a stack owns it.
    pub fn control(&self) -> PortControl {
        PortControl {
            ethernet: self.ethernet.clone(),
            port: self.port,
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> PortCounters {
        self.control().counters()
    }
}

impl Netif for VirtualNetif {
    fn mac(&self) -> MacAddress {
        self.ethernet.hub.borrow().ports[self.port].config.mac
    }

    fn mtu(&self) -> u16 {
        self.ethernet.hub.borrow().ports[self.port].config.mtu
    }

    fn offloads(&self) -> Offloads {
        self.ethernet.hub.borrow().ports[self.port].config.offloads
    }

    fn link_up(&self) -> bool {
        let port = &self.ethernet.hub.borrow().ports[self.port];
        port.link_up && !port.gone
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        let port = &mut self.ethernet.hub.borrow_mut().ports[self.port];
        if let Some(frame) = port.received.pop_front() {
            return Poll::Ready(Ok(frame));
        }
        port.alive()?;
        keep_waker(&mut port.receive_waker, cx);
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        let port = &mut self.ethernet.hub.borrow_mut().ports[self.port];
        port.alive()?;
        if port.queued.len() < port.config.transmit_queue {
            return Poll::Ready(Ok(()));
        }
        keep_waker(&mut port.ready_waker, cx);
        Poll::Pending
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        let port = &mut self.ethernet.hub.borrow_mut().ports[self.port];
        match port.check(&frame) {
            Ok(()) => {
                port.queued.push_back(Packet::of(&frame));
                Ok(())
            }
            Err(reason) => {
                port.counters.refused += 1;
                Err(TransmitError { frame, reason })
            }
        }
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        let ready = {
            let mut hub = self.ethernet.hub.borrow_mut();
            hub.ports[self.port].alive()?;
            if hub.ports[self.port].stalled {
                return Ok(());
            }
            hub.carry(self.port);
            hub.ports[self.port].ready_waker.take()
        };
        wake(ready);
        Ok(())
    }
}

impl Drop for VirtualNetif {
    fn drop(&mut self) {
        self.control().remove();
        // Outside of the borrow: a page's way back is the pool's business.
        let (received, reserve) = {
            let mut hub = self.ethernet.hub.borrow_mut();
            let port = &mut hub.ports[self.port];
            (core::mem::take(&mut port.received), port.reserve.take())
        };
        drop(received);
        drop(reserve);
    }
}

/// A hand on an interface of a [`VirtualEthernet`] that somebody else owns.
#[derive(Clone, Debug)]
pub struct PortControl {
    ethernet: VirtualEthernet,
    port: usize,
}

impl PortControl {
    /// What happened so far.
    pub fn counters(&self) -> PortCounters {
        let port = &self.ethernet.hub.borrow().ports[self.port];
        PortCounters {
            faults: port.line.counters,
            ..port.counters
        }
    }

    /// What happens to frames on their way to this interface, from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.ethernet.hub.borrow_mut().ports[self.port].line.faults = faults;
    }

    /// Plugs the cable in, or pulls it. While the link is down what arrives is lost, and nothing is taken to be
    /// transmitted. Wakes the owner.
    pub fn set_link(&self, up: bool) {
        self.change(|port| port.link_up = up);
    }

    /// A stalled device transmits nothing, so that its queue fills; one that goes again transmits what it has.
    pub fn set_stalled(&self, stalled: bool) {
        self.ethernet.hub.borrow_mut().ports[self.port].stalled = stalled;
        if !stalled {
            self.ethernet.hub.borrow_mut().carry(self.port);
            self.change(|_| ());
        }
    }

    /// Takes the device away, for good: [`NetifError::Gone`]. What it received may still be taken.
    pub fn remove(&self) {
        self.change(|port| {
            port.gone = true;
            port.queued.clear();
        });
    }

    fn change(&self, change: impl FnOnce(&mut Port)) {
        let wakers = {
            let port = &mut self.ethernet.hub.borrow_mut().ports[self.port];
            change(port);
            [port.receive_waker.take(), port.ready_waker.take()]
        };
        wake(wakers.into_iter().flatten());
    }
}

/// Keeps the waker of the last call, without a clone where it is the same.
pub(super) fn keep_waker(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// Wakes, when nothing is borrowed any more.
pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
