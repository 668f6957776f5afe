//! A queue of an interface, taken from Linux by AF_XDP: frames go past the kernel's network stack, into the pool's pages.

mod checksum;
mod error;
mod gathering;
mod lending;
mod link;
mod program;
mod ring;
mod socket;

#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::{
    Checksum, Clock, Frame, MacAddress, Netif, NetifError, OffloadFlags, Offloads, PageMut, Pool,
    Reserve, Segment, TransmitError, TransmitReason,
};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::interface::{LinkState, RouteSocket};
use crate::platform::HostPlatform;
use crate::reactor::Source;

pub use error::XdpError;

use gathering::Gathering;
use lending::{Posted, Sent};
use link::LinkWatch;
use program::{Attachment, Link, SocketMap};
use ring::Descriptor;
use socket::{Rings, SocketOptions, TRANSMIT_BUDGET, XdpSocket};

/// An Ethernet header (IEEE 802.3, clause 3.1.1): two addresses and a type.
const ETHERNET_HEADER: usize = 14;
/// A tag of IEEE 802.1Q, which the MTU does not count either.
const VLAN_TAG: usize = 4;
/// What the kernel keeps free before each received frame (`XDP_PACKET_HEADROOM` of linux/bpf.h).
const KERNEL_HEADROOM: usize = 256;
/// How many frames one call may drop before it lets others run.
const DROP_BUDGET: usize = 64;
/// How many pages are missing in the fill ring before they are put there together.
const REFILL: usize = 16;
/// The most descriptors that one frame has: the kernel's own limit is its `MAX_SKB_FRAGS`, 17 where nobody changed it.
const MOST_DESCRIPTORS: usize = 17;
/// The kernel's limits of a page that it is given (`XDP_UMEM_MIN_CHUNK_SIZE` of net/xdp/xdp_umem.c, and its own page).
const PAGE_SIZES: [usize; 2] = [2_048, 4_096];
/// From how many frames with a checksum that their sender left out that is told.
const TELL_PARTIAL: u64 = 16;

/// How an XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// By the driver, before the kernel makes a packet of a frame.
    Native,
    /// By the kernel's own receive path, for drivers that can't. Slower.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// How an [`Xdp`] is opened. Start from [`XdpConfig::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct XdpConfig {
    /// The interface, which has to be there and up.
    pub name: String,
    /// How the program is attached. `None`: natively if the driver can, else generically.
    pub mode: Option<XdpMode>,
    /// Pages of the receive reserve: what the kernel has to receive into, at most; 16 to 32,768. By default 256.
    pub receive_pages: usize,
    /// Frames that may wait to be transmitted; as many more may wait for the kernel's answer. A power of two from 32 to 16,384.
    /// By default 256.
    pub transmit_slots: usize,
    /// Bytes that stay free in front of a received frame, beside the 256 that the kernel leaves. By default none.
    pub receive_headroom: usize,
    /// Whether a checksum that the sender left to its device is taken for [`Checksum::Partial`], that is, not verified. Right
    /// only where every sender is this machine's own kernel, behind a veth pair: such a frame never crossed a wire. By default
    /// not: it is [`Checksum::Unverified`], so that whoever verifies it drops the frame.
    pub accept_partial_checksums: bool,
    /// How long frames that come in quick succession are let gather before they are looked at together, as a network card's
    /// interrupt moderation does (`ethtool -C`, rx-usecs): fewer wake-ups, and fewer system calls for the answers, for so much more
    /// delay at most. Only while frames come at least that often. By default none.
    pub gather: Duration,
}

impl XdpConfig {
    /// The default configuration for the interface `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mode: None,
            receive_pages: 256,
            transmit_slots: 256,
            receive_headroom: 0,
            accept_partial_checksums: false,
            gather: Duration::ZERO,
        }
    }
}

/// What an [`Xdp`] counted, and what the kernel counted for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct XdpCounters {
    /// Frames received and handed up.
    pub received: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Received UDP and TCP frames over IPv4 whose sender left the checksum to its device, by their looks.
    pub received_partial: u64,
    /// Received and dropped: its page could not be replaced, and the kernel has too few left to receive into.
    pub dropped_no_page: u64,
    /// Received and dropped: longer than the MTU and its headers.
    pub dropped_too_long: u64,
    /// Received and dropped: shorter than an Ethernet header.
    pub dropped_too_short: u64,
    /// Received and dropped: in several pieces, which was not asked for.
    pub dropped_scattered: u64,
    /// What the kernel gave back and does not have, or that lies outside of its page: its fault, or ours.
    pub bad_descriptors: u64,
    /// Frames put into the transmit ring.
    pub transmitted: u64,
    /// Bytes of them.
    pub transmitted_bytes: u64,
    /// Of these, frames that were copied into a page first: bytes outside of the pool, several pieces where the kernel takes
    /// one, or a page that somebody else may write.
    pub transmit_copied: u64,
    /// Frames refused since the ring was full, or no page was free to copy into.
    pub transmit_full: u64,
    /// Frames refused since the link is down.
    pub transmit_link_down: u64,
    /// Frames refused for another reason.
    pub transmit_refused: u64,
    /// System calls that told the kernel of frames to transmit.
    pub kicks: u64,
    /// Of these, those after which frames were left, for the next one or for poll(2).
    pub kicks_unfinished: u64,
    /// The kernel: frames that it dropped, as they did not fit into a page for example.
    pub kernel_dropped: u64,
    /// The kernel: frames that it dropped as the receive ring was full.
    pub kernel_ring_full: u64,
    /// The kernel: frames that came while it had no page to receive into.
    pub kernel_no_page: u64,
    /// The kernel: descriptors of ours that it refused.
    pub kernel_invalid: u64,
}

/// An interface's only queue, by AF_XDP.
///
/// *All* that the interface receives comes here and nothing of it to the kernel's own stack, as with a tap: the interface is
/// ours for as long as this lives, and the kernel has it back when this is dropped, or when the process ends in whatever way.
/// So it should have no address of the kernel's.
///
/// The pool's region is the socket's UMEM: the kernel, or the device itself where the driver can ([`zero_copy`](Self::zero_copy)),
/// writes received frames into the pool's pages and reads transmitted ones from them. Pages have 2,048 or 4,096 bytes. A page
/// that the kernel has is lent: nothing here reaches its bytes. The kernel always has a quarter of the receive pages at least:
/// a frame whose page would go below that, and can't be replaced, is dropped, and its page posted again.
///
/// # Checksums
///
/// None is verified by the device, none is computed by it. Between the two ends of a veth pair a sender's kernel leaves UDP's and TCP's
/// checksums out by default, and what XDP sees is the pseudo-header's sum; AF_XDP has no word on it. Such frames fail
/// verification. The sender's offload has to be off: `ethtool -K PEER tx off` on the other end of the pair. Frames that look so
/// are counted ([`XdpCounters::received_partial`]) and told of once in the log. See also
/// [`XdpConfig::accept_partial_checksums`].
///
/// # Queues
///
/// An interface with several receive queues is refused, for frames of all but one would silently go to the kernel:
/// `ethtool -L IF combined 1` leaves it one.
///
/// # The link
///
/// The link is up while the interface is up and has a carrier. When the interface is deleted, or moved to another
/// network namespace, the next poll says [`NetifError::Gone`].
///
/// ```no_run
/// use mirage_core::Pool;
/// use mirage_host::{HostPlatform, Xdp, XdpConfig};
///
/// let platform = HostPlatform::leak()?;
/// let pool = Pool::leak(1024, 2048)?;
/// let xdp = Xdp::open(platform, pool, XdpConfig::new("eth1"))?;
/// println!("{}, {} mode, zero-copy: {}", xdp.name(), xdp.mode(), xdp.zero_copy());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Xdp {
    // Dropped in this order: first nothing new comes, then the socket closes, as nothing refers to it any more, then the
    // pages that were with it are ours again. `lending` relies on it.
    /// Attached once all is ready to receive.
    attached: Option<(Link, SocketMap)>,
    source: Source,
    rings: Rings,
    posted: Posted,
    sent: Sent,

    watch: LinkWatch,
    state: LinkState,
    /// Who is to be told that the link came up, or is gone.
    receiver: Option<Waker>,
    sender: Option<Waker>,

    name: String,
    mode: XdpMode,
    zero_copy: bool,
    scattered: bool,
    mac: MacAddress,
    mtu: u16,
    reserve: Reserve,
    /// How many pages the kernel is to have, and how many it always has.
    target: usize,
    least: usize,
    /// A frame in several pieces is being dropped.
    dropping: bool,
    accept_partial: bool,
    told_partial: bool,
    told_broken: bool,
    gathering: Gathering,
    platform: &'static HostPlatform,
    counters: XdpCounters,
}

impl Xdp {
    /// Takes an interface.
    ///
    /// # Errors
    ///
    /// See [`XdpError`]; its text says what to do.
    pub fn open(
        platform: &'static HostPlatform,
        pool: &'static Pool,
        config: XdpConfig,
    ) -> Result<Self, XdpError> {
        let options = check(pool, &config)?;
        let os = |step| move |errno| XdpError::Os { step, errno };
        let watch = LinkWatch::socket().map_err(os("open a netlink socket"))?;
        let interface = RouteSocket::open()
            .and_then(|mut route| route.interface(&config.name))
            .map_err(|errno| match errno {
                Errno::NODEV | Errno::RANGE => XdpError::NoInterface(config.name.clone()),
                errno => os("look the interface up")(errno),
            })?;
        if !interface.up {
            return Err(XdpError::Down(config.name));
        }
        let queues = link::receive_queues(&config.name, interface.receive_queues)
            .map_err(os("look how many queues the interface has"))?;
        if queues > 1 {
            return Err(XdpError::ManyQueues {
                name: config.name,
                queues,
            });
        }
        let most = most_of_a_page(pool.block_size(), config.receive_headroom);
        if interface.mtu as usize > most {
            return Err(XdpError::Mtu {
                name: config.name,
                mtu: interface.mtu,
                most: most as u32,
            });
        }
        let watch = LinkWatch::new(platform, watch, interface.index)?;
        let reserve = pool.reserve(config.receive_pages).map_err(XdpError::Pool)?;
        let options = SocketOptions {
            interface: interface.index,
            ..options
        };
        let socket = XdpSocket::open(&config.name, pool, options)?;
        let source = platform
            .source(socket.descriptor)
            .map_err(|_| XdpError::TooManySources)?;
        let mut xdp = Self {
            attached: None,
            source,
            rings: socket.rings,
            posted: Posted::new(pool, socket.zero_copy),
            sent: Sent::new(pool, options.transmit_slots * 2),
            watch,
            state: if interface.running {
                LinkState::Up
            } else {
                LinkState::Down
            },
            receiver: None,
            sender: None,
            name: config.name.clone(),
            mode: XdpMode::Native,
            zero_copy: socket.zero_copy,
            scattered: socket.scattered,
            mac: MacAddress(interface.mac),
            mtu: u16::try_from(interface.mtu).unwrap_or(u16::MAX),
            reserve,
            target: config.receive_pages,
            least: config.receive_pages / 4,
            dropping: false,
            accept_partial: config.accept_partial_checksums,
            gathering: Gathering::new(config.gather),
            platform,
            told_partial: false,
            told_broken: false,
            counters: XdpCounters::default(),
        };
        xdp.refill();
        let (link, map, mode) = attach(&config, interface.index, xdp.source.as_fd())?;
        xdp.attached = Some((link, map));
        xdp.mode = mode;
        log::info!(
            "AF_XDP on {}: {mode} mode, {}, frames to transmit {}",
            xdp.name,
            if xdp.zero_copy {
                "zero-copy"
            } else {
                "copied by the kernel"
            },
            if xdp.scattered {
                "in several pieces"
            } else {
                "in one piece"
            },
        );
        Ok(xdp)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the program is attached.
    pub fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Whether the device itself reads and writes the pages; else the kernel copies.
    pub fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// What was counted so far; asks the kernel for its part.
    pub fn counters(&self) -> XdpCounters {
        let mut counters = self.counters;
        if let Ok(kernel) = sockopt::xdp_statistics(&self.source) {
            counters.kernel_dropped = kernel.rx_dropped;
            counters.kernel_invalid = kernel.rx_invalid_descs + kernel.tx_invalid_descs;
            counters.kernel_ring_full = kernel.rx_ring_full.unwrap_or(0);
            counters.kernel_no_page = kernel.rx_fill_ring_empty_descs.unwrap_or(0);
        }
        counters
    }

    /// Pages that the kernel has: to receive into, and to transmit.
    pub fn lent(&self) -> (usize, usize) {
        (self.posted.count(), self.sent.count())
    }

    fn pool(&self) -> &'static Pool {
        self.reserve.pool()
    }

    /// Checks a descriptor of the receive ring, and gives its frame; `None`: it was dropped and counted.
    #[inline]
    fn receive(&mut self, descriptor: Descriptor) -> Option<Frame> {
        let block_size = self.pool().block_size();
        let (block, offset) = place(descriptor.address, block_size);
        let Some(mut page) = self.posted.take(block) else {
            self.counters.bad_descriptors += 1;
            return None;
        };
        let goes_on = descriptor.options & libc::XDP_PKT_CONTD != 0;
        if self.dropping || goes_on {
            self.counters.dropped_scattered += u64::from(!self.dropping);
            self.dropping = goes_on;
            self.repost(page);
            return None;
        }
        let length = descriptor.length as usize;
        // Of the page, `reset` and `set_len` are bounded by the block.
        if page.reset(offset).is_err() || page.set_len(length).is_err() {
            self.counters.bad_descriptors += 1;
            self.repost(page);
            return None;
        }
        if length < ETHERNET_HEADER || length > usize::from(self.mtu) + ETHERNET_HEADER + VLAN_TAG {
            let too_short = length < ETHERNET_HEADER;
            self.counters.dropped_too_short += u64::from(too_short);
            self.counters.dropped_too_long += u64::from(!too_short);
            self.repost(page);
            return None;
        }
        if self.posted.count() < self.least {
            self.refill();
            if self.posted.count() < self.least {
                self.counters.dropped_no_page += 1;
                self.repost(page);
                return None;
            }
        }
        self.counters.received += 1;
        self.counters.received_bytes += length as u64;
        let partial = checksum::left_to_the_device(&page);
        let mut frame = Frame::from(page);
        if let Some(partial) = partial {
            self.partial(&mut frame, partial);
        }
        Some(frame)
    }

    #[cold]
    fn partial(&mut self, frame: &mut Frame, partial: Checksum) {
        self.counters.received_partial += 1;
        if self.accept_partial {
            frame.metadata.checksum = partial;
            return;
        }
        let (these, all) = (self.counters.received_partial, self.counters.received);
        if !self.told_partial && these >= TELL_PARTIAL && these > all / 64 {
            self.told_partial = true;
            log::warn!(
                "{these} of {all} frames on {} came with a checksum that their sender left to its device: they can't be verified, \
                 so they are dropped. On the other end of a veth pair `ethtool -K PEER tx off` has it computed",
                self.name
            );
        }
    }

    /// Gives a page to the kernel again, that it just gave back.
    fn repost(&mut self, page: PageMut) {
        self.post(page);
        self.rings.fill.publish();
    }

    /// `false`: it is the caller's no longer, and not the kernel's either: it returned to the pool.
    fn post(&mut self, page: PageMut) -> bool {
        if !self.rings.fill.has_room(1) {
            return false;
        }
        let shift = self.pool().block_size().trailing_zeros();
        match self.posted.lend(page) {
            Some(block) => self.rings.fill.push((block as u64) << shift),
            None => false,
        }
    }

    /// Takes back what was transmitted, and gives the kernel pages to receive into.
    fn refill(&mut self) {
        self.reap();
        self.rings.receive.release();
        while self.posted.count() < self.target {
            let page = self.reserve.alloc().or_else(|| {
                // Somebody holds on to received pages without `keep`. From the general part only what is needed.
                let few = self.posted.count() < self.target / 2;
                if few {
                    self.reserve.pool().alloc()
                } else {
                    None
                }
            });
            let Some(page) = page else { break };
            if !self.post(page) {
                break;
            }
        }
        self.rings.fill.publish();
    }

    /// Takes back what was transmitted.
    fn reap(&mut self) {
        let block_size = self.pool().block_size();
        while let Some(address) = self.rings.completion.pop() {
            let (block, _) = place(address, block_size);
            if !self.sent.end(block) {
                self.counters.bad_descriptors += 1;
            }
        }
        self.rings.completion.release();
    }

    /// Looks whether the link changed, if there may be news.
    fn look_at_link(&mut self) {
        let Some(state) = self.watch.look() else {
            return;
        };
        if state != self.state {
            log::info!("the interface {} is {state:?}", self.name);
            self.state = state;
            for waker in [self.receiver.take(), self.sender.take()] {
                waker.inspect(Waker::wake_by_ref);
            }
        }
    }

    /// A ring broke the protocol: told once, as a fault of the device.
    fn fault(&mut self) -> Option<NetifError> {
        let broken = self.rings.receive.is_broken()
            || self.rings.completion.is_broken()
            || self.rings.fill.is_broken()
            || self.rings.transmit.is_broken();
        (broken && !std::mem::replace(&mut self.told_broken, true))
            .then_some(NetifError::DeviceFault)
    }

    /// Has the kernel take what the transmit ring holds, if it has to be told.
    fn kick(&mut self) -> Result<(), NetifError> {
        if !self.rings.transmit.publish() || !self.rings.transmit.needs_wakeup() {
            return Ok(());
        }
        let mut left = self.rings.transmit.pending();
        loop {
            self.counters.kicks += 1;
            match socket::kick(self.source.as_fd()) {
                Ok(()) => return Ok(()),
                // Its budget is spent, or its memory: what is left it takes at the next call, or in poll(2).
                Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::NOMEM) => {
                    self.counters.kicks_unfinished += 1;
                    let before = std::mem::replace(&mut left, self.rings.transmit.pending());
                    if left == 0 || before - before.min(left) < TRANSMIT_BUDGET {
                        return Ok(());
                    }
                }
                Err(Errno::NETDOWN | Errno::NXIO | Errno::NODEV | Errno::BADF) => {
                    self.look_at_link();
                    return Err(match self.state {
                        LinkState::Gone => NetifError::Gone,
                        LinkState::Up | LinkState::Down => NetifError::LinkDown,
                    });
                }
                Err(errno) => return Err(NetifError::Os(errno.raw_os_error())),
            }
        }
    }

    /// Checks what can be checked of a frame to transmit.
    fn refuse(&self, frame: &Frame, length: usize) -> Option<TransmitReason> {
        if length < ETHERNET_HEADER {
            return Some(TransmitReason::TooShort);
        }
        if length > usize::from(self.mtu) + ETHERNET_HEADER + VLAN_TAG {
            return Some(TransmitReason::TooLong);
        }
        let partial = matches!(frame.metadata.checksum, Checksum::Partial { .. });
        if frame.metadata.segmentation.is_some() || partial {
            return Some(TransmitReason::Unsupported);
        }
        if frame.segments().len() > usize::from(self.offloads().fragments) {
            return Some(TransmitReason::TooManySegments);
        }
        None
    }

    /// Puts a frame into the ring, whose room was looked at, from where it lies; `false`: it has to be copied.
    #[inline]
    fn send_in_place(&mut self, frame: &mut Frame) -> bool {
        let is_one = frame.segments().len() == 1;
        if !is_one && !self.scattered {
            return false;
        }
        let pool = self.pool();
        frame.freeze();
        let ours = |segment: &Segment| matches!(segment, Segment::Frozen(page) if std::ptr::eq(page.pool(), pool));
        if !frame
            .segments()
            .iter()
            .all(|segment| ours(segment) || segment.is_empty())
        {
            return false;
        }
        // The kernel takes no empty descriptor, and the last one ends the frame.
        let Some(last) = frame
            .segments()
            .iter()
            .rposition(|segment| !segment.is_empty())
        else {
            return false;
        };
        let lent = frame.segments().iter().position(|segment| match segment {
            Segment::Frozen(page) if !page.is_empty() => !self.sent.lend(page),
            _ => false,
        });
        if let Some(not_lent) = lent {
            for segment in &frame.segments()[..not_lent] {
                if let Segment::Frozen(page) = segment
                    && !page.is_empty()
                {
                    self.sent.end(page.block().index());
                }
            }
            return false;
        }
        let shift = pool.block_size().trailing_zeros();
        for (at, segment) in frame.segments().iter().enumerate() {
            if let Segment::Frozen(page) = segment
                && !page.is_empty()
            {
                let start = (page.block().index() as u64) << shift;
                let pushed = self.rings.transmit.push(Descriptor {
                    address: start + page.offset() as u64,
                    // At most a block.
                    length: page.len() as u32,
                    options: if at == last { 0 } else { libc::XDP_PKT_CONTD },
                });
                debug_assert!(pushed, "the room was looked at");
            }
        }
        true
    }

    /// The same by copying; `false`: no page is free, or none is large enough.
    fn send_copy(&mut self, frame: &Frame) -> bool {
        let Some(mut page) = self.pool().alloc() else {
            return false;
        };
        if frame.copy_into(&mut page).is_err() {
            return false;
        }
        self.counters.transmit_copied += 1;
        self.send_in_place(&mut Frame::from(page))
    }

    /// Whether the rings have room for one more frame of so many pieces.
    fn has_room(&mut self, pieces: usize) -> bool {
        // At most 18.
        self.rings.transmit.has_room(pieces as u32) && self.sent.has_room(pieces)
    }

    fn most_pieces(&self) -> usize {
        if self.scattered { MOST_DESCRIPTORS } else { 1 }
    }
}

impl Netif for Xdp {
    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        let flags = if self.accept_partial {
            OffloadFlags::RECEIVE_PARTIAL
        } else {
            OffloadFlags::empty()
        };
        Offloads {
            flags,
            // What the kernel doesn't take in pieces is put together here.
            fragments: MOST_DESCRIPTORS as u8,
        }
    }

    fn link_up(&self) -> bool {
        self.state == LinkState::Up
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        if self.watch.may_have_news() {
            self.look_at_link();
        }
        if self.state == LinkState::Gone {
            return Poll::Ready(Err(NetifError::Gone));
        }
        if self.posted.count() + REFILL <= self.target {
            self.refill();
        }
        for _ in 0..DROP_BUDGET {
            let Some(descriptor) = self.rings.receive.pop() else {
                self.refill();
                if let Some(fault) = self.fault() {
                    return Poll::Ready(Err(fault));
                }
                let platform = self.platform;
                let looked = self
                    .gathering
                    .look_again(self.counters.received, || platform.now());
                match looked {
                    Some(at) => self.source.wake_at(cx, at),
                    // What comes from here on the next poll(2) finds.
                    None => self.source.wake_when_readable(cx),
                }
                self.watch.wait(cx);
                remember(&mut self.receiver, cx);
                return Poll::Pending;
            };
            if let Some(frame) = self.receive(descriptor) {
                return Poll::Ready(Ok(frame));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        match self.state {
            LinkState::Up => {}
            LinkState::Gone => return Poll::Ready(Err(NetifError::Gone)),
            LinkState::Down => {
                self.look_at_link();
                if self.state != LinkState::Up {
                    self.watch.wait(cx);
                    remember(&mut self.sender, cx);
                    return Poll::Pending;
                }
            }
        }
        let most = self.most_pieces();
        if self.has_room(most) {
            return Poll::Ready(Ok(()));
        }
        // Nobody else tells the kernel of what fills the ring.
        let kicked = self.kick();
        self.reap();
        if let Err(error) = kicked {
            return Poll::Ready(Err(error));
        }
        if self.has_room(most) {
            return Poll::Ready(Ok(()));
        }
        self.source.wake_when_writable(cx);
        Poll::Pending
    }

    fn transmit(&mut self, mut frame: Frame) -> Result<(), TransmitError> {
        if self.state != LinkState::Up {
            self.counters.transmit_link_down += 1;
            let error = match self.state {
                LinkState::Gone => NetifError::Gone,
                LinkState::Up | LinkState::Down => NetifError::LinkDown,
            };
            let reason = TransmitReason::Netif(error);
            return Err(TransmitError { frame, reason });
        }
        let length = frame.len();
        if let Some(reason) = self.refuse(&frame, length) {
            self.counters.transmit_refused += 1;
            return Err(TransmitError { frame, reason });
        }
        let pieces = frame.segments().len().max(1);
        if !self.has_room(pieces) || !(self.send_in_place(&mut frame) || self.send_copy(&frame)) {
            self.counters.transmit_full += 1;
            let reason = TransmitReason::Full;
            return Err(TransmitError { frame, reason });
        }
        self.counters.transmitted += 1;
        self.counters.transmitted_bytes += length as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        self.kick()
    }
}

impl Drop for Xdp {
    fn drop(&mut self) {
        self.attached = None;
        // What the kernel has answered returns; what it has not is put out of use.
        self.reap();
    }
}

impl fmt::Debug for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Xdp")
            .field("name", &self.name)
            .field("mode", &self.mode)
            .field("zero_copy", &self.zero_copy)
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .field("state", &self.state)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Checks what can be checked without the kernel.
fn check(pool: &'static Pool, config: &XdpConfig) -> Result<SocketOptions, XdpError> {
    if !PAGE_SIZES.contains(&pool.block_size()) {
        return Err(XdpError::Config(
            "the pool's pages have to have 2,048 or 4,096 bytes",
        ));
    }
    if !pool.base().addr().get().is_multiple_of(4_096) {
        return Err(XdpError::Config(
            "the pool's region has to begin at a multiple of 4,096",
        ));
    }
    if !(16..=32_768).contains(&config.receive_pages) {
        return Err(XdpError::Config("the receive pages are 16 to 32,768"));
    }
    let slots = config.transmit_slots;
    if !(32..=16_384).contains(&slots) || !slots.is_power_of_two() {
        return Err(XdpError::Config(
            "the transmit slots are a power of two from 32 to 16,384",
        ));
    }
    if most_of_a_page(pool.block_size(), config.receive_headroom) < 68 {
        return Err(XdpError::Config(
            "the headroom leaves a page less than an MTU of 68 bytes (RFC 791)",
        ));
    }
    Ok(SocketOptions {
        interface: 0,
        receive_slots: config.receive_pages.next_power_of_two() as u32,
        transmit_slots: slots as u32,
        headroom: config.receive_headroom as u32,
    })
}

/// The largest MTU whose frames fit into a page.
fn most_of_a_page(block_size: usize, headroom: usize) -> usize {
    block_size
        .saturating_sub(headroom)
        .saturating_sub(KERNEL_HEADROOM + ETHERNET_HEADER + VLAN_TAG)
}

/// The block of an address of the region, and the place in it. Its number may be any.
#[inline]
fn place(address: u64, block_size: usize) -> (usize, usize) {
    let block = address >> block_size.trailing_zeros();
    let offset = address & (block_size as u64 - 1);
    (
        usize::try_from(block).unwrap_or(usize::MAX),
        offset as usize,
    )
}

/// Loads the program and attaches it, natively if the driver can.
fn attach(
    config: &XdpConfig,
    interface: u32,
    socket: BorrowedFd<'_>,
) -> Result<(Link, SocketMap, XdpMode), XdpError> {
    let name = || config.name.clone();
    let refused = XdpError::of_the_program;
    let map = SocketMap::new().map_err(refused)?;
    map.set(socket).map_err(|errno| XdpError::Os {
        step: "put the socket into the map",
        errno,
    })?;
    let modes: &[XdpMode] = match config.mode {
        Some(XdpMode::Native) => &[XdpMode::Native],
        Some(XdpMode::Generic) => &[XdpMode::Generic],
        None => &[XdpMode::Native, XdpMode::Generic],
    };
    let mut last = Errno::OPNOTSUPP;
    for &mode in modes {
        let attachment = match mode {
            XdpMode::Native => Attachment::Native,
            XdpMode::Generic => Attachment::Generic,
        };
        match Link::attach(&map, interface, attachment) {
            Ok(link) => return Ok((link, map, mode)),
            // One of somebody else's, of the same kind or of the other one.
            Err(Errno::BUSY | Errno::EXIST) => return Err(XdpError::Busy(name())),
            Err(Errno::NODEV) => return Err(XdpError::NoInterface(name())),
            Err(errno @ (Errno::PERM | Errno::ACCESS | Errno::NOSYS)) => {
                return Err(refused(errno));
            }
            Err(errno) => {
                log::debug!("{} takes no program in {mode} mode: {errno}", config.name);
                last = errno;
            }
        }
    }
    Err(XdpError::NoDriverSupport {
        name: name(),
        errno: last,
    })
}

fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}
