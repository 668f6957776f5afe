//! Both halves of a device and what connects them with a backend, moved by whoever polls.

use core::fmt;
use core::task::{Context, Poll, Waker};

use mirage_core::{
    Frame, MacAddress, NetifError, OffloadFlags, Offloads, TransmitError, TransmitReason,
};

use super::assembler;
use super::config::NetfrontConfig;
use super::counters::NetfrontCounters;
use super::keys::{BackendFeatures, QueueNumber};
use super::pages::{GrantedPages, Pages};
use super::receive::{Received, Receiver};
use super::transmit::{self, Transmitter};
use crate::abi::{DomainId, GrantReference, PortNumber};
use crate::event_channel::{EventChannels, EventError, EventPort};
use crate::grant_table::GrantError;
use crate::hypervisor::Hypervisor;

/// Pages that are posted before the backend is shown them, while frames are taken.
const POST_BATCH: u32 = 8;
/// Fewer free pages than these in the pool's general part are worth waking up for.
const SCARCE_PAGES: usize = 32;

/// What the backend is told of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Of a device with several. There is one.
    pub(super) queue: Option<QueueNumber>,
    pub(super) transmit_ring: GrantReference,
    pub(super) receive_ring: GrantReference,
    pub(super) port: PortNumber,
}

/// Why a connection can't be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfferError {
    /// The old backend still has pages that another one would get.
    Grant(GrantError),
    Event(EventError),
    /// Its rings' pages are not the lender's.
    OtherPool,
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
            Self::OtherPool => f.write_str("the rings' pages are of another pool than the grants"),
        }
    }
}

impl From<GrantError> for OfferError {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl From<EventError> for OfferError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

/// How the device stands with its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// There is none, or it doesn't serve the rings.
    Down,
    Up {
        carrier: bool,
    },
    /// There will be none any more.
    Gone,
}

/// The device's state.
pub(super) struct Link<H: Hypervisor> {
    channels: &'static EventChannels<H>,
    pages: GrantedPages<H>,
    config: NetfrontConfig,
    receiver: Receiver,
    transmitter: Transmitter,
    port: Option<EventPort<H>>,
    standing: Standing,
    mac: MacAddress,
    mtu: u16,
    features: BackendFeatures,
    /// What the stack was ever told that it may ask for: it may go on to.
    offered: OffloadFlags,
    /// The backend broke the protocol, and the handshake was not told.
    fault: bool,
    /// Whoever waits is to look.
    wake: bool,
    receive_waker: Option<Waker>,
    ready_waker: Option<Waker>,
    pub(super) counters: NetfrontCounters,
}

impl<H: Hypervisor> Link<H> {
    pub(super) fn new(
        channels: &'static EventChannels<H>,
        pages: GrantedPages<H>,
        config: NetfrontConfig,
        receiver: Receiver,
        transmitter: Transmitter,
    ) -> Self {
        Self {
            channels,
            pages,
            config,
            receiver,
            transmitter,
            port: None,
            standing: Standing::Down,
            mac: MacAddress::UNSPECIFIED,
            mtu: 0,
            features: BackendFeatures::default(),
            offered: OffloadFlags::empty(),
            fault: false,
            wake: false,
            receive_waker: None,
            ready_waker: None,
            counters: NetfrontCounters::default(),
        }
    }

    /// Pages of the receive reserve.
    pub(super) fn receive_pages(&self) -> usize {
        self.receiver.pages()
    }

    /// Makes the rings anew for this backend: with what is posted and what is in flight.
    // Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub(super) fn connect(
        &mut self,
        backend: DomainId,
        mac: MacAddress,
        mtu: u16,
        features: BackendFeatures,
    ) -> Result<Offer, OfferError> {
        self.disconnect();
        // From here on the new backend can reach what it is told of, and the old one can't.
        self.pages.lender.set_domain(backend)?;
        let reference = |block| self.pages.reference(block).ok_or(OfferError::OtherPool);
        let transmit_ring = self.transmitter.block().ok_or(OfferError::OtherPool)?;
        let receive_ring = self.receiver.block().ok_or(OfferError::OtherPool)?;
        let (transmit_ring, receive_ring) = (reference(transmit_ring)?, reference(receive_ring)?);
        // The old one closes first, so that there is room.
        self.port = None;
        let port = self.channels.offer(backend)?;
        let offer = Offer {
            queue: None,
            transmit_ring,
            receive_ring,
            port: port.number(),
        };
        self.port = Some(port);
        self.mac = mac;
        self.mtu = mtu;
        self.features = features;
        self.receiver.connect(&self.pages);
        self.transmitter.connect(features);
        // Nobody is there yet to be notified.
        let _ = self.receiver.publish();
        let _ = self.transmitter.publish();
        Ok(offer)
    }

    /// The backend serves the rings. Whether that is news.
    pub(super) fn up(&mut self, carrier: bool) {
        let before = self.standing;
        let current = self.port.as_ref().is_some_and(EventPort::is_current);
        if before == Standing::Gone || !current {
            return;
        }
        self.standing = Standing::Up { carrier };
        if before == Standing::Down {
            self.counters.connections += 1;
            self.offered |= self.offloads().flags;
            // It may have looked before it was ready to.
            self.notify();
        }
        if before != self.standing {
            self.wake();
        }
    }

    /// There is no backend any more. Nothing of the old one is used from here on. What is lent stays lent until there is
    /// another, and the port stays bound: its number is written in xenstore, where a backend that comes back reads it.
    pub(super) fn disconnect(&mut self) {
        if let Standing::Up { .. } = self.standing {
            self.receiver.disconnect();
            if !self.fault {
                // What was answered need not be sent again. A backend that breaks the protocol now does so in vain.
                let _ = self.transmitter.reap();
            }
            self.standing = Standing::Down;
            self.counters.disconnections += 1;
            self.wake();
        }
    }

    /// Whether the backend broke the protocol, and the handshake is to be told.
    pub(super) fn has_fault(&self) -> bool {
        self.fault
    }

    /// The handshake is told now.
    pub(super) fn take_fault(&mut self) -> bool {
        core::mem::take(&mut self.fault)
    }

    /// Who is to look now.
    pub(super) fn take_wakers(&mut self) -> [Option<Waker>; 2] {
        if core::mem::take(&mut self.wake) {
            [self.receive_waker.take(), self.ready_waker.take()]
        } else {
            [None, None]
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.standing == Standing::Gone
    }

    pub(super) fn posted(&self) -> usize {
        self.receiver.posted()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.transmitter.in_flight()
    }

    pub(super) fn mac(&self) -> MacAddress {
        self.mac
    }

    pub(super) fn mtu(&self) -> u16 {
        self.mtu
    }

    pub(super) fn is_up(&self) -> bool {
        self.standing == Standing::Up { carrier: true }
    }

    /// Whether a backend has served the rings, ever.
    pub(super) fn was_up(&self) -> bool {
        self.counters.connections > 0
    }

    pub(super) fn port(&self) -> Option<&EventPort<H>> {
        self.port.as_ref()
    }

    pub(super) fn counters(&self) -> NetfrontCounters {
        NetfrontCounters {
            receive: self.receiver.counters,
            transmit: self.transmitter.counters,
            ..self.counters
        }
    }

    /// What is offered to the stack, by what both ends have.
    pub(super) fn offloads(&self) -> Offloads {
        let mut flags = self.receive_flags();
        let features = self.features;
        if self.config.checksum_offload {
            flags.set(OffloadFlags::TRANSMIT_PARTIAL_V4, features.checksum_v4);
            flags.set(OffloadFlags::TRANSMIT_PARTIAL_V6, features.checksum_v6);
        }
        if self.config.segments() {
            let v4 = features.segmentation_v4 && features.checksum_v4 && features.scatter_gather;
            let v6 = features.segmentation_v6 && features.checksum_v6 && features.scatter_gather;
            flags.set(OffloadFlags::TRANSMIT_SEGMENTED_V4, v4);
            flags.set(OffloadFlags::TRANSMIT_SEGMENTED_V6, v6);
        }
        Offloads {
            flags,
            // Others are copied together.
            fragments: Frame::MAX_SEGMENTS as u8,
        }
    }

    fn receive_flags(&self) -> OffloadFlags {
        let mut flags = OffloadFlags::empty();
        if self.config.checksum_offload {
            flags |= OffloadFlags::RECEIVE_VERIFIED | OffloadFlags::RECEIVE_PARTIAL;
        }
        flags.set(
            OffloadFlags::RECEIVE_SEGMENTED_V4,
            self.config.takes_segments(self.receive_pages()),
        );
        flags
    }

    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        self.alive()?;
        let Standing::Up { .. } = self.standing else {
            keep(&mut self.receive_waker, cx);
            return Poll::Pending;
        };
        let limits = assembler::Limits {
            mtu: self.mtu,
            offloads: self.receive_flags(),
        };
        let received = self.receiver.poll(&self.pages, &limits);
        self.receiver.refill(&self.pages);
        match received {
            Ok(Received::Frame(frame)) => {
                if self.receiver.unpublished() >= POST_BATCH {
                    self.publish_receive();
                }
                Poll::Ready(Ok(frame))
            }
            Ok(ended @ (Received::Enough | Received::Nothing)) => {
                self.publish_receive();
                self.check_quarantine()?;
                if matches!(ended, Received::Enough) || self.receiver.final_check() {
                    // Others first: a backend that answers as fast as pages are posted would keep us here.
                    cx.waker().wake_by_ref();
                } else {
                    self.reap()?;
                    keep(&mut self.receive_waker, cx);
                }
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(self.fail())),
        }
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        self.alive()?;
        let Standing::Up { .. } = self.standing else {
            keep(&mut self.ready_waker, cx);
            return Poll::Pending;
        };
        if self.transmitter.has_room() {
            return Poll::Ready(Ok(()));
        }
        loop {
            self.reap()?;
            if self.transmitter.has_room() {
                return Poll::Ready(Ok(()));
            }
            // The backend doesn't answer what it was not shown.
            self.publish_transmit();
            if !self.transmitter.final_check() {
                keep(&mut self.ready_waker, cx);
                return Poll::Pending;
            }
        }
    }

    pub(super) fn transmit(&mut self, mut frame: Frame) -> Result<(), TransmitError> {
        let result = self.try_transmit(&mut frame);
        result.map_err(|reason| TransmitError { frame, reason })
    }

    fn try_transmit(&mut self, frame: &mut Frame) -> Result<(), TransmitReason> {
        match self.standing {
            Standing::Gone => return Err(NetifError::Gone.into()),
            Standing::Up { carrier: true } => {}
            Standing::Up { carrier: false } | Standing::Down => {
                return Err(NetifError::LinkDown.into());
            }
        }
        let limits = transmit::Limits {
            mtu: self.mtu,
            offloads: self.offered,
            features: self.features,
        };
        if !self.transmitter.has_room() {
            self.reap()?;
        }
        self.transmitter.transmit(frame, &self.pages, &limits)
    }

    pub(super) fn flush(&mut self) -> Result<(), NetifError> {
        if let Standing::Up { .. } = self.standing {
            let notify = self.transmitter.publish() | self.receiver.publish();
            if notify {
                self.notify();
            }
            self.reap()?;
        }
        Ok(())
    }

    /// Takes the responses that are there, and says when it's worth looking again.
    fn reap(&mut self) -> Result<(), NetifError> {
        loop {
            if self.transmitter.reap().is_err() {
                return Err(self.fail());
            }
            self.check_quarantine()?;
            let room = self.transmitter.has_room();
            if room && self.ready_waker.is_some() {
                // What was waited for is over, and no event will say so.
                self.wake();
            }
            let scarce = !room || self.pages.pool().free() < SCARCE_PAGES;
            if !self.transmitter.lazy_check(scarce) {
                return Ok(());
            }
        }
    }

    fn publish_receive(&mut self) {
        if self.receiver.publish() {
            self.notify();
        }
    }

    fn publish_transmit(&mut self) {
        if self.transmitter.publish() {
            self.notify();
        }
    }

    fn notify(&mut self) {
        let Some(port) = &self.port else {
            return;
        };
        match port.notify() {
            Ok(()) => self.counters.notifications += 1,
            // Of a domain that was resumed: the link is about to be taken down.
            Err(_) => self.counters.notify_errors += 1,
        }
    }

    /// The backend broke the protocol: the connection is over.
    fn fail(&mut self) -> NetifError {
        self.counters.faults += 1;
        // Its word counts for nothing from here on.
        self.fault = true;
        self.disconnect();
        NetifError::DeviceFault
    }

    fn check_quarantine(&mut self) -> Result<(), NetifError> {
        let pages = self.receiver.counters.quarantined + self.transmitter.counters.quarantined;
        if pages <= self.config.quarantine_limit {
            return Ok(());
        }
        self.disconnect();
        self.standing = Standing::Gone;
        self.fault = true;
        self.wake();
        Err(NetifError::Gone)
    }

    fn alive(&mut self) -> Result<(), NetifError> {
        match self.standing {
            Standing::Gone => Err(NetifError::Gone),
            Standing::Down | Standing::Up { .. } => Ok(()),
        }
    }

    /// Lets everybody look who waits for something.
    pub(super) fn wake(&mut self) {
        self.wake = true;
    }
}

/// Keeps the waker of this call.
fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}
