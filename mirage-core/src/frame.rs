//! A frame: a short chain of page windows, and what the device said of it.

use core::ops::Deref;

use heapless::Vec;

use crate::pool::{NoRoom, Page, PageMut, StaticSlice};

/// A part of a frame: a window of a page, or read-only bytes of the program.
#[derive(Debug)]
pub enum Segment {
    /// A window that this frame alone reaches, and may write.
    Unique(PageMut),
    /// A frozen window, which others may read too.
    Frozen(Page),
    /// A part of a registered read-only range.
    Static(StaticSlice),
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Segment>() == 24);

impl Segment {
    /// The bytes to write to, if it is the only handle of them.
    #[inline]
    pub fn as_page_mut(&mut self) -> Option<&mut PageMut> {
        match self {
            Self::Unique(page) => Some(page),
            Self::Frozen(_) | Self::Static(_) => None,
        }
    }

    /// The writable page, which a frozen one becomes when it is the last handle of its block.
    ///
    /// # Errors
    ///
    /// The segment itself, when it is static or its block has other handles.
    #[inline]
    pub fn into_page_mut(self) -> Result<PageMut, Self> {
        match self {
            Self::Unique(page) => Ok(page),
            Self::Frozen(page) => page.try_unique().map_err(Self::Frozen),
            Self::Static(_) => Err(self),
        }
    }

    /// Gives up writing, so that [`share`](Self::share) gives clones.
    #[inline]
    pub fn freeze(self) -> Self {
        match self {
            Self::Unique(page) => Self::Frozen(page.freeze()),
            other => other,
        }
    }

    /// Another handle of the same bytes. `None` of a writable window, which has to be [frozen](Self::freeze) before.
    #[inline]
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Unique(_) => None,
            Self::Frozen(page) => Some(Self::Frozen(page.clone())),
            Self::Static(bytes) => Some(Self::Static(bytes.clone())),
        }
    }

    /// Charges the segment's page to the general part: see [`Page::keep`]. A static segment has no page.
    ///
    /// # Errors
    ///
    /// The segment itself, when the general part has none to exchange.
    #[inline]
    pub fn keep(self) -> Result<Self, Self> {
        match self {
            Self::Unique(page) => page.keep().map(Self::Unique).map_err(Self::Unique),
            Self::Frozen(page) => page.keep().map(Self::Frozen).map_err(Self::Frozen),
            Self::Static(_) => Ok(self),
        }
    }

    /// Cuts `count` bytes off the front.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when it is shorter; nothing changes.
    #[inline]
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        match self {
            Self::Unique(page) => page.advance(count),
            Self::Frozen(page) => page.advance(count),
            Self::Static(bytes) => bytes.advance(count),
        }
    }

    /// Makes it at most `len` bytes long.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Unique(page) => page.truncate(len),
            Self::Frozen(page) => page.truncate(len),
            Self::Static(bytes) => bytes.truncate(len),
        }
    }
}

impl Deref for Segment {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Unique(page) => page,
            Self::Frozen(page) => page,
            Self::Static(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<PageMut> for Segment {
    fn from(page: PageMut) -> Self {
        Self::Unique(page)
    }
}

impl From<Page> for Segment {
    fn from(page: Page) -> Self {
        Self::Frozen(page)
    }
}

impl From<StaticSlice> for Segment {
    fn from(bytes: StaticSlice) -> Self {
        Self::Static(bytes)
    }
}

/// An Ethernet frame without its frame check sequence: up to [`MAX_SEGMENTS`](Self::MAX_SEGMENTS) segments, in order, and
/// the device's word on it.
#[derive(Debug, Default)]
pub struct Frame {
    segments: Vec<Segment, { Frame::MAX_SEGMENTS }>,
    /// What the device said of a received frame, or is asked for when it transmits this one.
    pub metadata: FrameMetadata,
}

impl Frame {
    /// The most segments that a frame has. Xen's network ring takes 18 slots a frame in either direction
    /// (`XEN_NETIF_NR_SLOTS_MIN`, xen/include/public/io/netif.h).
    pub const MAX_SEGMENTS: usize = 18;

    /// A frame without bytes.
    pub const fn new() -> Self {
        Self {
            segments: Vec::new(),
            metadata: FrameMetadata::NONE,
        }
    }

    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        // At most 18 windows of 32 KiB and static slices below 4 GiB each.
        self.segments
            .iter()
            .fold(0, |sum: usize, segment| sum.saturating_add(segment.len()))
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.is_empty())
    }

    /// The segments, in order.
    #[inline]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segments, in order, to be written where they are [`Segment::Unique`].
    #[inline]
    pub fn segments_mut(&mut self) -> &mut [Segment] {
        &mut self.segments
    }

    /// The first segment.
    #[inline]
    pub fn first(&self) -> Option<&Segment> {
        self.segments.first()
    }

    /// The first segment, to be written where it is [`Segment::Unique`].
    #[inline]
    pub fn first_mut(&mut self) -> Option<&mut Segment> {
        self.segments.first_mut()
    }

    /// The frame's bytes, if they lie in one piece (none at all are one).
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        match self.segments.as_slice() {
            [] => Some(&[]),
            [only] => Some(only),
            _ => None,
        }
    }

    /// Puts a segment at the end.
    ///
    /// # Errors
    ///
    /// The segment itself, when there are [`MAX_SEGMENTS`](Self::MAX_SEGMENTS) already.
    #[inline]
    pub fn push(&mut self, segment: impl Into<Segment>) -> Result<(), Segment> {
        self.segments.push(segment.into())
    }

    /// Puts a segment before all others: headers before a payload that lies where it lies.
    ///
    /// # Errors
    ///
    /// The segment itself, when there are [`MAX_SEGMENTS`](Self::MAX_SEGMENTS) already.
    #[inline]
    pub fn push_front(&mut self, segment: impl Into<Segment>) -> Result<(), Segment> {
        self.segments.insert(0, segment.into())
    }

    /// Cuts `count` bytes off the front; segments that are empty then are dropped, save the last. The metadata stay:
    /// [`Checksum::Partial`] counts from where the frame began at the device.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the frame is shorter; nothing changes.
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        if count > self.len() {
            return Err(NoRoom);
        }
        let mut rest = count;
        while self.segments.len() > 1 && rest >= self.segments[0].len() {
            rest -= self.segments.remove(0).len();
        }
        match self.segments.first_mut() {
            Some(first) => first.advance(rest),
            None => Ok(()),
        }
    }

    /// Makes the frame at most `len` bytes long; segments behind are dropped.
    pub fn truncate(&mut self, len: usize) {
        let mut rest = len;
        let mut kept = 0;
        for segment in self.segments.iter_mut() {
            if rest == 0 && kept > 0 {
                break;
            }
            segment.truncate(rest);
            rest -= segment.len();
            kept += 1;
        }
        self.segments.truncate(kept);
    }

    /// Copies the bytes from `offset` on into `to`, as many as both have; says how many.
    pub fn copy_to_slice(&self, offset: usize, to: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut copied = 0;
        for segment in &self.segments {
            let bytes = segment.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(segment.len());
            let room = &mut to[copied..];
            let count = bytes.len().min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            copied += count;
        }
        copied
    }

    /// Appends a copy of all bytes to `page`.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when its tailroom is less; nothing changes.
    pub fn copy_into(&self, page: &mut PageMut) -> Result<(), NoRoom> {
        let room = page.append(self.len()).ok_or(NoRoom)?;
        self.copy_to_slice(0, room);
        Ok(())
    }

    /// Charges all pages to the general part, so that a queue may hold on to the frame: see [`Page::keep`].
    ///
    /// # Errors
    ///
    /// The frame itself, when the general part has too few to exchange; to be dropped.
    #[expect(
        clippy::result_large_err,
        reason = "a refused frame goes back to its owner"
    )]
    pub fn keep(self) -> Result<Self, Self> {
        let mut kept = Self {
            segments: Vec::new(),
            metadata: self.metadata,
        };
        let mut refused = false;
        for segment in self.segments {
            let segment = if refused {
                Err(segment)
            } else {
                segment.keep()
            };
            let segment = segment.unwrap_or_else(|segment| {
                refused = true;
                segment
            });
            // There are as many as there were.
            let _ = kept.segments.push(segment);
        }
        if refused { Err(kept) } else { Ok(kept) }
    }

    /// The segments, one by one.
    pub fn into_segments(self) -> impl ExactSizeIterator<Item = Segment> {
        self.segments.into_iter()
    }

    /// The only segment.
    ///
    /// # Errors
    ///
    /// The frame itself, when it has none or more than one.
    #[expect(
        clippy::result_large_err,
        reason = "a refused frame goes back to its owner"
    )]
    #[inline]
    pub fn into_single(mut self) -> Result<Segment, Self> {
        if self.segments.len() != 1 {
            return Err(self);
        }
        self.segments.pop().ok_or(Self::new())
    }
}

impl From<Segment> for Frame {
    #[inline]
    fn from(segment: Segment) -> Self {
        let mut frame = Self::new();
        // There is room for 18.
        let _ = frame.segments.push(segment);
        frame
    }
}

impl From<PageMut> for Frame {
    #[inline]
    fn from(page: PageMut) -> Self {
        Segment::Unique(page).into()
    }
}

impl From<Page> for Frame {
    #[inline]
    fn from(page: Page) -> Self {
        Segment::Frozen(page).into()
    }
}

/// What a device says of a frame that it received, or is asked to do with one that it transmits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMetadata {
    /// The state of the transport's checksum.
    pub checksum: Checksum,
    /// The frame stands for several segments of TCP.
    pub segmentation: Option<Segmentation>,
}

impl FrameMetadata {
    /// An ordinary frame: every checksum is in it, nobody vouches for them.
    pub const NONE: Self = Self {
        checksum: Checksum::Unverified,
        segmentation: None,
    };
}

/// The state of the checksum of the frame's TCP or UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The checksum is in the frame, and nobody looked at it: the receiver verifies it. On transmit: it is in the frame.
    #[default]
    Unverified,
    /// The device has verified it. On transmit as `Unverified`.
    Verified,
    /// The checksum is not in the frame, only the pseudo-header's sum is, as the frame never crossed a wire: Xen's
    /// `NETRXF_csum_blank`, virtio's `VIRTIO_NET_HDR_F_NEEDS_CSUM` (virtio 1.2, 5.1.6). To be taken from a device that
    /// [offered](crate::Offloads) it, and completed when the frame is forwarded to one that doesn't. On transmit: the device
    /// completes it.
    Partial {
        /// Where the bytes that are summed begin, in bytes from the frame's beginning.
        start: u16,
        /// Where in those the checksum is, in bytes from `start`.
        offset: u16,
    },
}

/// A frame that is cut into segments by the device (on transmit), or that the device put together (received).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Bytes of payload in each segment but the last: the MSS.
    pub size: u16,
    /// Which transport.
    pub kind: SegmentationKind,
    /// Bytes of all headers, up to the payload: they are repeated in each segment. Zero: the device didn't say.
    pub header_len: u16,
}

/// Which transport a segmented frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentationKind {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::pool::Pool;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    static ZONE: [u8; 64] = [b'z'; 64];

    /// A frame of these segments: (kind, length), and its bytes.
    fn build(pool: &'static Pool, segments: &[(u8, usize)]) -> (Frame, Vec<u8>) {
        let range = pool.register_static(&ZONE).unwrap();
        let mut frame = Frame::new();
        let mut bytes = Vec::new();
        for (number, &(kind, len)) in (1..).zip(segments) {
            let segment = if kind == 2 {
                bytes.extend_from_slice(&ZONE[..len]);
                range.slice(..len).unwrap()
            } else {
                let mut page = pool.alloc().unwrap();
                page.append(len).unwrap().fill(number);
                bytes.extend(core::iter::repeat_n(number, len));
                if kind == 0 {
                    page.into()
                } else {
                    page.freeze().into()
                }
            };
            frame.push(segment).unwrap();
        }
        (frame, bytes)
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        frame
            .segments()
            .iter()
            .flat_map(|segment| segment.iter().copied())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_frame_is_its_bytes_however_it_is_cut(
            segments in proptest::collection::vec((0..3u8, 0..=64usize), 0..=Frame::MAX_SEGMENTS),
            front in 0..1_200usize,
            back in 0..1_200usize,
            offset in 0..1_200usize,
            room in 0..1_200usize,
        ) {
            let pool = Pool::leak(20, 64).unwrap();
            let (mut frame, mut expected) = build(pool, &segments);
            prop_assert_eq!(bytes(&frame), expected.clone());
            prop_assert_eq!(frame.len(), expected.len());
            prop_assert_eq!(frame.is_empty(), expected.is_empty());

            let mut copied = vec![0; room];
            let count = frame.copy_to_slice(offset, &mut copied);
            let from = expected.get(offset..).unwrap_or_default();
            prop_assert_eq!(&copied[..count], &from[..from.len().min(room)]);

            frame.truncate(back);
            expected.truncate(back);
            prop_assert_eq!(bytes(&frame), expected.clone());
            prop_assert_eq!(frame.advance(front).is_ok(), front <= expected.len());
            if front <= expected.len() {
                expected.drain(..front);
            }
            prop_assert_eq!(bytes(&frame), expected);

            drop(frame);
            prop_assert_eq!(pool.free(), 20);
        }
    }

    #[test]
    fn pieces_that_are_cut_off_return_at_once() {
        let pool = Pool::leak(20, 64).unwrap();
        let (mut frame, _) = build(pool, &[(0, 10), (1, 10), (0, 10), (1, 10)]);
        assert_eq!(pool.free(), 16);
        frame.advance(10).unwrap();
        assert_eq!((frame.segments().len(), pool.free()), (3, 17));
        frame.truncate(10);
        assert_eq!((frame.segments().len(), pool.free()), (1, 19));
        // The last one stays, empty, with its room.
        frame.advance(10).unwrap();
        assert_eq!(
            (frame.segments().len(), frame.len(), pool.free()),
            (1, 0, 19)
        );
        assert_eq!(frame.advance(1), Err(NoRoom));
    }

    #[test]
    fn a_frame_takes_eighteen_segments_and_gives_the_next_back() {
        let pool = Pool::leak(20, 64).unwrap();
        let (mut frame, _) = build(pool, &[(0, 1); Frame::MAX_SEGMENTS]);
        let Err(Segment::Unique(page)) = frame.push(pool.alloc().unwrap()) else {
            panic!("taken")
        };
        let Err(Segment::Frozen(_)) = frame.push_front(page.freeze()) else {
            panic!("taken")
        };
        let frame = frame.into_single().unwrap_err();
        assert_eq!(
            (frame.segments().len(), frame.into_segments().len()),
            (18, 18)
        );
        assert_eq!(pool.free(), 20);
    }

    #[test]
    fn headers_go_before_a_payload_that_stays_where_it_is() {
        let pool = Pool::leak(2, 64).unwrap();
        let payload = pool.register_static(&ZONE).unwrap().slice(..).unwrap();
        let mut frame = Frame::from(payload);
        let mut header = pool.alloc().unwrap();
        header.extend_from_slice(b"header").unwrap();
        frame.push_front(header).unwrap();
        let at = frame.segments()[1].as_ptr();
        assert!(core::ptr::eq(at, ZONE.as_ptr()));
        assert_eq!(frame.contiguous(), None);
        let mut whole = pool.alloc().unwrap();
        assert_eq!(frame.copy_into(&mut whole), Err(NoRoom));
        frame.truncate(20);
        frame.copy_into(&mut whole).unwrap();
        assert_eq!(&whole[..], b"headerzzzzzzzzzzzzzz");
    }

    #[test]
    fn a_frame_is_kept_whole_or_given_back() {
        let pool = Pool::leak(5, 64).unwrap();
        let ring = pool.reserve(3).unwrap();
        let receive = || {
            let mut frame = Frame::new();
            frame.metadata.checksum = Checksum::Verified;
            for _ in 0..3 {
                frame.push(ring.alloc().unwrap()).unwrap();
            }
            frame
        };
        // One page in the general part, three to exchange: back it goes, nothing more is tried, and all are the ring's.
        let taken = pool.alloc();
        let refused = receive().keep().unwrap_err();
        assert_eq!(refused.segments().len(), 3);
        assert_eq!((pool.counters().kept, pool.counters().keep_refused), (1, 1));
        drop(refused);
        assert_eq!((pool.free(), ring.free()), (1, 3));
        drop(taken);
        let mut frame = receive();
        frame.truncate(0);
        let frame = frame.keep().unwrap();
        assert_eq!(frame.metadata.checksum, Checksum::Verified);
        assert_eq!((pool.free(), ring.free()), (1, 3));
    }

    #[test]
    fn only_frozen_and_static_segments_are_shared() {
        let pool = Pool::leak(2, 64).unwrap();
        let mut page = pool.alloc().unwrap();
        page.extend_from_slice(b"data").unwrap();
        let segment = Segment::from(page);
        assert!(segment.share().is_none());
        let segment = segment.freeze();
        let shared = segment.share().unwrap();
        let segment = segment.into_page_mut().unwrap_err();
        drop(shared);
        assert_eq!(&segment.into_page_mut().unwrap()[..], b"data");
    }
}
