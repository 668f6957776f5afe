//! A tap device of Linux as a network interface.

mod config;
mod error;
mod merging;
mod open;
mod ring;
mod train;
mod transmit;
mod virtio_header;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::IoSliceMut;
use std::task::{Context, Poll};

use mirage_core::{
    Checksum, Frame, MacAddress, Netif, NetifError, OffloadFlags, Offloads, PageMut, Pool, Reserve,
    Segmentation, SegmentationKind, TransmitError,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::entropy::SystemRng;
use crate::platform::HostPlatform;
use crate::reactor::Source;

pub use config::{TapConfig, TapCounters};
pub use error::TapError;

use open::OpenTap;
use ring::{Queued, WriteRing};
use train::{Car, Train};
use virtio_header::{ChecksumState, SegmentationState, VirtioHeader};

/// An Ethernet header (IEEE 802.3, clause 3.1.1): two addresses and a type.
const ETHERNET_HEADER: usize = 14;
/// A tag of IEEE 802.1Q, which the MTU does not count either.
const VLAN_TAG: usize = 4;
/// How many frames one call may drop before it lets others run.
const DROP_BUDGET: usize = 64;

/// A tap device: an Ethernet between the host's kernel and us.
///
/// Frames are read straight into pages of the pool and written straight from them. Before each goes, unless the configuration does
/// without [`checksum_offload`](TapConfig::checksum_offload), a virtio header, in which the kernel says of a checksum that it has not computed it ([`Checksum::Partial`]) or has verified it
/// ([`Checksum::Verified`]), and we say the same to the kernel.
///
/// Each frame that comes is a system call. Those to be transmitted wait, where the kernel offers io_uring(7), for the next
/// [`flush`](Netif::flush), and go in their order by a call for up to 16; one that the kernel does not take then is lost, counted, and told of
/// by what flushed. Their pages are free when that returns. What still waits when the tap is dropped is not transmitted.
///
/// The link is up while the host's interface is. That it went down is noticed when a frame is transmitted; that it came up
/// again, at once.
///
/// A tap that was made here is taken away by the kernel when this is dropped, or when the process ends in whatever way.
///
/// ```no_run
/// use mirage_core::Pool;
/// use mirage_host::{HostPlatform, Tap, TapConfig};
///
/// let platform = HostPlatform::leak()?;
/// let pool = Pool::leak(256, 2048)?;
/// let mut config = TapConfig::new("mirage0");
/// config.host_address = Some(([10, 0, 0, 1].into(), 24));
/// let tap = Tap::open(platform, pool, config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tap {
    source: Source,
    name: String,
    made: bool,
    mac: MacAddress,
    mtu: u16,
    checksum_offload: bool,
    segmentation: Segmenting,
    merges: bool,
    /// Whether received segments are put together.
    merge_received: bool,
    /// What was read, and did not belong to what was handed up.
    carried: Option<Carried>,
    /// The kernel had no more when it was asked last.
    drained: bool,
    reserve: Reserve,
    headroom: usize,
    /// Pages for the next frame, each empty behind its headroom and expanded to the block's end.
    posted: Vec<PageMut>,
    /// By which frames go together; `None`: they go one by one.
    ring: Option<WriteRing>,
    /// Frames that go together, with room for as many as do.
    queued: Vec<Queued>,
    /// Pages that the longest frame needs.
    pages_a_frame: usize,
    /// Pages that a frame of the MTU needs.
    pages_an_mtu: usize,
    link_up: bool,
    counters: TapCounters,
}

impl Tap {
    /// Opens a tap, and makes it if it is missing.
    ///
    /// # Errors
    ///
    /// See [`TapError`]; its text says what to do.
    pub fn open(
        platform: &'static HostPlatform,
        pool: &'static Pool,
        config: TapConfig,
    ) -> Result<Self, TapError> {
        let mac = match config.mac {
            Some(mac) if !mac.is_unicast() => {
                return Err(TapError::Config(
                    "a MAC address can't be a multicast one or zero",
                ));
            }
            Some(mac) => mac,
            None => random_mac()?,
        };
        if config.host_address.is_some_and(|(_, prefix)| prefix > 32) {
            return Err(TapError::Config("a prefix of IPv4 has at most 32 bits"));
        }
        if config.mtu.is_some_and(|mtu| mtu < 68) {
            return Err(TapError::Config("IPv4 needs an MTU of 68 bytes (RFC 791)"));
        }
        let longest = pages_a_frame(u16::MAX, pool.block_size(), config.receive_headroom);
        let segmentation = Segmenting {
            transmit: config.checksum_offload && config.segmentation_offload,
            receive: config.checksum_offload
                && config.segmentation_offload
                && matches!(longest, Ok(pages) if pages <= config.receive_pages),
        };
        let mut offload = 0;
        // All that a virtio header could say without it is that a device has verified a checksum.
        let header = config.checksum_offload;
        if config.checksum_offload {
            offload |= libc::TUN_F_CSUM;
        }
        if segmentation.receive {
            offload |= libc::TUN_F_TSO4;
        }
        let OpenTap {
            descriptor,
            interface,
            made,
            merges,
        } = open::open(
            &config.name,
            config.host_address,
            config.mtu,
            header,
            offload,
            config.merge_transmitted && !segmentation.transmit,
        )?;
        let mtu = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        let pages_an_mtu = pages_a_frame(mtu, pool.block_size(), config.receive_headroom)?;
        let pages_a_frame = if segmentation.receive {
            longest?
        } else {
            pages_an_mtu
        };
        if config.receive_pages < pages_an_mtu {
            return Err(TapError::Config(
                "the receive pages don't hold one frame of the MTU",
            ));
        }
        let reserve = pool.reserve(config.receive_pages).map_err(TapError::Pool)?;
        let source = platform
            .source(descriptor)
            .map_err(|_| TapError::TooManySources)?;
        Ok(Self {
            source,
            name: config.name,
            made,
            mac,
            mtu,
            checksum_offload: config.checksum_offload,
            segmentation,
            merges,
            merge_received: config.merge_received && !config.checksum_offload && pages_a_frame == 1,
            carried: None,
            drained: false,
            reserve,
            headroom: config.receive_headroom,
            posted: Vec::with_capacity(pages_a_frame),
            ring: config.io_uring.then(open_ring).flatten(),
            queued: Vec::with_capacity(ring::MOST),
            pages_a_frame,
            pages_an_mtu,
            link_up: true,
            counters: TapCounters::default(),
        })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the interface was made here, and so will be taken away.
    pub fn was_made(&self) -> bool {
        self.made
    }

    /// Whether Linux merges segments that it receives from us: see [`TapConfig::merge_transmitted`].
    pub fn merges(&self) -> bool {
        self.merges
    }

    /// Whether frames that are transmitted together go to the kernel by one system call: see [`TapConfig::io_uring`].
    pub fn uses_io_uring(&self) -> bool {
        self.ring.is_some()
    }

    /// What was counted so far.
    pub fn counters(&self) -> TapCounters {
        self.counters
    }

    /// Gets the pages for one frame together; `false`: there are not enough for one of the MTU.
    fn post(&mut self) -> bool {
        while self.posted.len() < self.pages_a_frame {
            // The reserve is empty when somebody holds on to received pages without `keep`. Then the general part has
            // to do: what matters is that the kernel's queue goes on moving.
            let page = self.reserve.alloc().or_else(|| self.reserve.pool().alloc());
            let Some(mut page) = page else {
                break;
            };
            page.expand();
            if page.advance(self.headroom).is_err() {
                break;
            }
            self.posted.push(page);
        }
        self.posted.len() >= self.pages_an_mtu
    }

    /// Bytes that the kernel puts before each frame, and we before each of ours.
    const fn header_length(&self) -> usize {
        if self.checksum_offload {
            virtio_header::LENGTH
        } else {
            0
        }
    }

    /// Reads one frame; its pages are taken from those posted.
    fn read(&mut self) -> Result<Frame, NoFrame> {
        let mut header = [0; virtio_header::LENGTH];
        let header_length = self.header_length();
        let have_pages = self.post();
        let result = match &mut self.posted[..] {
            // The usual ones, apart, for so many empty slices cost as much as the rest.
            [page] if have_pages && header_length == 0 => {
                rustix::io::read(&self.source, &mut page[..])
            }
            [page] if have_pages => {
                let mut slices = [IoSliceMut::new(&mut header), IoSliceMut::new(page)];
                rustix::io::readv(&self.source, &mut slices)
            }
            posted => {
                let mut parts = [const { Part::Empty }; 1 + Frame::MAX_SEGMENTS];
                let mut count = 1;
                // Without a page there is a place all the same: a read of no bytes takes nothing from the queue.
                let place = if have_pages {
                    header_length
                } else {
                    header.len()
                };
                parts[0] = Part::Header(header.get_mut(..place).unwrap_or_default());
                // With no page the frame is still taken from the kernel's queue, and its bytes are cut off.
                if have_pages {
                    for (part, page) in parts[1..].iter_mut().zip(posted) {
                        *part = Part::Page(page);
                        count += 1;
                    }
                }
                let mut slices = parts.map(Part::into_slice);
                rustix::io::readv(&self.source, &mut slices[..count])
            }
        };
        let length = match result {
            Ok(length) => length,
            Err(errno) => return Err(NoFrame::Failed(errno)),
        };
        let Some(length) = length.checked_sub(header_length) else {
            self.counters.dropped_short_read += 1;
            return Err(NoFrame::Dropped);
        };
        if !have_pages {
            self.counters.dropped_no_page += 1;
            return Err(NoFrame::Dropped);
        }
        let room: usize = self.posted.iter().map(|page| page.len()).sum();
        let header = VirtioHeader::parse(&header);
        let segmentation = match header.segmentation {
            SegmentationState::None => None,
            SegmentationState::TcpV4 { size, .. } if size > 0 && self.segmentation.receive => {
                Some(Segmentation {
                    size,
                    kind: SegmentationKind::TcpV4,
                    // `hdr_len` of Linux is what lies in the first piece of its memory: a hint, not the headers' length.
                    header_len: 0,
                })
            }
            _ => {
                self.counters.dropped_segmented += 1;
                return Err(NoFrame::Dropped);
            }
        };
        let longest = match segmentation {
            Some(_) => usize::from(u16::MAX),
            None => usize::from(self.mtu),
        };
        // The pages have room for one byte more than the longest frame, so a full read was cut off.
        if length >= room && self.posted.len() < self.pages_a_frame {
            self.counters.dropped_no_page += 1;
            return Err(NoFrame::Dropped);
        }
        if length >= room || length > longest + ETHERNET_HEADER + VLAN_TAG {
            self.counters.dropped_too_long += 1;
            return Err(NoFrame::Dropped);
        }
        let Some(mut frame) = self.take_posted(length) else {
            self.counters.dropped_no_page += 1;
            return Err(NoFrame::Dropped);
        };
        frame.metadata.segmentation = segmentation;
        frame.metadata.checksum = match header.checksum {
            ChecksumState::Unknown => Checksum::Unverified,
            ChecksumState::Valid => Checksum::Verified,
            ChecksumState::Needed { start, offset } => {
                self.counters.received_partial += 1;
                Checksum::Partial { start, offset }
            }
        };
        self.counters.received += 1;
        self.counters.received_segmented += u64::from(segmentation.is_some());
        self.counters.received_bytes += length as u64;
        Ok(frame)
    }

    /// Makes a frame of the first `length` bytes of what was posted. None: the pool has no room for another long one.
    fn take_posted(&mut self, length: usize) -> Option<Frame> {
        if self.posted.len() == 1 {
            let mut page = self.posted.pop()?;
            page.truncate(length);
            return Some(page.into());
        }
        let mut frame = Frame::new();
        let mut left = length;
        let used = self
            .posted
            .iter()
            .scan(0, |sum, page| {
                let before = *sum;
                *sum += page.len();
                Some(before)
            })
            .take_while(|before| *before < length)
            .count();
        for mut page in self.posted.drain(..used) {
            let here = left.min(page.len());
            left -= here;
            page.truncate(here);
            // `pages_a_frame` is at most MAX_SEGMENTS.
            frame.push(page).ok()?;
        }
        Some(frame)
    }

    /// The next frame, as it came.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        for _ in 0..DROP_BUDGET {
            match self.read() {
                Ok(frame) => return Poll::Ready(Ok(frame)),
                Err(NoFrame::Dropped | NoFrame::Failed(Errno::INTR)) => {}
                Err(NoFrame::Failed(Errno::AGAIN)) => {
                    self.source.wake_when_readable(cx);
                    return Poll::Pending;
                }
                Err(NoFrame::Failed(errno)) => {
                    self.counters.receive_errors += 1;
                    return Poll::Ready(Err(netif_error(errno)));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next frame, or as many segments as follow each other.
    fn poll_train(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        if std::mem::take(&mut self.drained) {
            self.source.wake_when_readable(cx);
            return Poll::Pending;
        }
        let mut train: Option<Train> = None;
        for _ in 0..DROP_BUDGET {
            let carried = match self.carried.take() {
                Some(carried) => carried,
                None => match self.read().map(Car::new) {
                    Ok(Ok(car)) => Carried::Car(car),
                    Ok(Err(frame)) => Carried::Frame(frame),
                    Err(NoFrame::Dropped | NoFrame::Failed(Errno::INTR)) => continue,
                    Err(NoFrame::Failed(errno)) => Carried::Failed(errno),
                },
            };
            let refused = match (&mut train, carried) {
                (None, Carried::Car(car)) => {
                    train = Some(Train::new(car));
                    None
                }
                (Some(train), Carried::Car(car)) => {
                    let refused = train.push(car).err();
                    self.counters.received_merged += u64::from(refused.is_none());
                    refused.map(Carried::Car)
                }
                (None, Carried::Frame(frame)) => return Poll::Ready(Ok(frame)),
                (None, Carried::Failed(Errno::AGAIN)) => {
                    self.source.wake_when_readable(cx);
                    return Poll::Pending;
                }
                (None, Carried::Failed(errno)) => {
                    self.counters.receive_errors += 1;
                    return Poll::Ready(Err(netif_error(errno)));
                }
                (Some(_), Carried::Failed(Errno::AGAIN)) => {
                    self.drained = true;
                    break;
                }
                (Some(_), other) => Some(other),
            };
            if refused.is_some() {
                self.carried = refused;
                break;
            }
            if train.as_ref().is_some_and(Train::is_complete) {
                break;
            }
        }
        let Some(train) = train else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let frame = train.into_frame();
        self.counters.received_segmented += u64::from(frame.metadata.segmentation.is_some());
        Poll::Ready(Ok(frame))
    }

    /// Whether the kernel takes frames: its interface is up and its queue has room.
    fn is_writable(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.source, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut descriptors, Some(&now)), Ok(count) if count > 0)
            && descriptors[0].revents().contains(PollFlags::OUT)
    }
}

impl Netif for Tap {
    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        let mut flags = OffloadFlags::empty();
        if self.checksum_offload {
            // The kernel marks checksums as verified where a device of its own had done it.
            flags |= OffloadFlags::RECEIVE_VERIFIED
                | OffloadFlags::RECEIVE_PARTIAL
                | OffloadFlags::TRANSMIT_PARTIAL_V4
                | OffloadFlags::TRANSMIT_PARTIAL_V6;
        }
        if self.segmentation.transmit {
            flags |= OffloadFlags::TRANSMIT_SEGMENTED_V4;
        }
        if self.segmentation.receive {
            flags |= OffloadFlags::RECEIVE_SEGMENTED_V4;
        }
        if self.merge_received {
            flags |= OffloadFlags::RECEIVE_VERIFIED | OffloadFlags::RECEIVE_SEGMENTED_V4;
        }
        Offloads {
            flags,
            fragments: Frame::MAX_SEGMENTS as u8,
        }
    }

    fn link_up(&self) -> bool {
        self.link_up || self.is_writable()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        if self.merge_received {
            self.poll_train(cx)
        } else {
            self.poll_frame(cx)
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        // Where no page is free, theirs may be all that there is for the next.
        if self.is_queue_full() || self.reserve.pool().free() == 0 {
            self.transmit_queued()?;
        }
        if !self.link_up {
            if !self.is_writable() {
                self.source.wake_when_writable(cx);
                return Poll::Pending;
            }
            self.link_up = true;
        }
        Poll::Ready(Ok(()))
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        if let Some(reason) = self.refuse(&frame) {
            self.counters.transmit_refused += 1;
            return Err(TransmitError { frame, reason });
        }
        self.take(frame)
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        self.transmit_queued()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("name", &self.name)
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .field("made", &self.made)
            .field("merges", &self.merges)
            .field("link_up", &self.link_up)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// A ring, where the kernel offers it.
fn open_ring() -> Option<WriteRing> {
    WriteRing::new()
        .inspect_err(|error| log::debug!("no io_uring for the tap ({error}): frames go one by one"))
        .ok()
}

/// Which way frames may stand for several segments.
#[derive(Clone, Copy)]
struct Segmenting {
    transmit: bool,
    receive: bool,
}

/// What a read gave.
enum Carried {
    /// A segment that may be put together with others.
    Car(Car),
    /// Another frame.
    Frame(Frame),
    Failed(Errno),
}

/// Why a read gave no frame.
enum NoFrame {
    /// There was one, and it was dropped and counted.
    Dropped,
    Failed(Errno),
}

/// One buffer of a scattered read.
enum Part<'a> {
    Empty,
    Header(&'a mut [u8]),
    Page(&'a mut PageMut),
}

impl<'a> Part<'a> {
    fn into_slice(self) -> IoSliceMut<'a> {
        match self {
            Self::Empty => IoSliceMut::new(&mut []),
            Self::Header(bytes) => IoSliceMut::new(bytes),
            Self::Page(page) => IoSliceMut::new(page),
        }
    }
}

/// How many pages a frame of this MTU takes, with a byte to spare.
fn pages_a_frame(mtu: u16, block_size: usize, headroom: usize) -> Result<usize, TapError> {
    let room = block_size.saturating_sub(headroom);
    if room == 0 {
        return Err(TapError::Config("the headroom leaves nothing of a page"));
    }
    let pages = (usize::from(mtu) + ETHERNET_HEADER + VLAN_TAG + 1).div_ceil(room);
    if pages > Frame::MAX_SEGMENTS {
        return Err(TapError::Config(
            "a frame of this MTU takes more of the pool's pages than a frame may have",
        ));
    }
    Ok(pages)
}

/// A unicast address that is locally administered (IEEE 802, clause 8.4).
fn random_mac() -> Result<MacAddress, TapError> {
    let mut rng =
        SystemRng::new().map_err(|_| TapError::Config("the system gives no randomness"))?;
    let mut octets: [u8; 6] = rng.seed();
    octets[0] = octets[0] & 0xfc | 0x02;
    Ok(MacAddress(octets))
}

fn netif_error(errno: Errno) -> NetifError {
    match errno {
        // The interface was taken away: read(2) says EBADFD, or EFAULT if it went while the read was under way.
        Errno::BADFD | Errno::NODEV | Errno::FAULT => NetifError::Gone,
        Errno::IO | Errno::NETDOWN => NetifError::LinkDown,
        errno => NetifError::Os(errno.raw_os_error()),
    }
}
