//! A frame: a short chain of page windows, and what the device said of it.

mod segments;

#[cfg(test)]
mod tests;

use core::ops::Deref;

use segments::{IntoSegments, Segments};

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

    /// How many bytes it is of: as of the slice, without finding out where they lie.
    #[inline(always)]
    pub fn len(&self) -> usize {
        match self {
            Self::Unique(page) => page.window_len(),
            Self::Frozen(page) => page.window_len(),
            Self::Static(bytes) => bytes.window_len(),
        }
    }

    /// Whether it is of no bytes.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// As [`freeze`](Self::freeze), in place.
    #[inline]
    fn freeze_in_place(&mut self) {
        if let Self::Unique(page) = self {
            let frozen = page.frozen();
            // The writable handle falls here, before anybody reads the frozen one.
            *self = Self::Frozen(frozen);
        }
    }

    /// Another handle of the same bytes. `None` of a writable window, which has to be [frozen](Self::freeze) before.
    #[inline(always)]
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
        if self.try_keep() { Ok(self) } else { Err(self) }
    }

    #[inline(always)]
    fn try_keep(&self) -> bool {
        match self {
            Self::Unique(page) => page.try_keep(),
            Self::Frozen(page) => page.try_keep(),
            Self::Static(_) => true,
        }
    }

    /// Cuts `count` bytes off the front.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when it is shorter; nothing changes.
    #[inline(always)]
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        match self {
            Self::Unique(page) => page.advance(count),
            Self::Frozen(page) => page.advance(count),
            Self::Static(bytes) => bytes.advance(count),
        }
    }

    /// Makes it at most `len` bytes long.
    #[inline(always)]
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
///
/// Frames are moved from hand to hand, so they are small: up to [`INLINE_SEGMENTS`](Self::INLINE_SEGMENTS) segments lie in
/// the frame. A frame of more takes room in its pool's metadata, which has it for as many frames at a time as its `CHAINS`
/// says ([`PoolMetadata`](crate::pool::PoolMetadata)); where all of that is taken the frame stays as short as it is.
#[derive(Debug, Default)]
pub struct Frame {
    segments: Segments,
    /// What the device said of a received frame, or is asked for when it transmits this one.
    pub metadata: FrameMetadata,
}

impl Frame {
    /// The most segments that a frame has. Xen's network ring takes 18 slots a frame in either direction
    /// (`XEN_NETIF_NR_SLOTS_MIN`, xen/include/public/io/netif.h).
    pub const MAX_SEGMENTS: usize = 18;
    /// How many segments lie in the frame itself: headers and a payload that crosses from one page to the next.
    pub const INLINE_SEGMENTS: usize = Segments::INLINE;

    /// A frame without bytes.
    pub const fn new() -> Self {
        Self {
            segments: Segments::new(),
            metadata: FrameMetadata::NONE,
        }
    }

    /// Bytes in all.
    #[inline(always)]
    pub fn len(&self) -> usize {
        match self.segments() {
            [only] => only.len(),
            segments => len_of_all(segments),
        }
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.segments().iter().all(Segment::is_empty)
    }

    /// The segments, in order.
    #[inline(always)]
    pub fn segments(&self) -> &[Segment] {
        self.segments.as_slice()
    }

    /// The segments, in order, to be written where they are [`Segment::Unique`].
    #[inline(always)]
    pub fn segments_mut(&mut self) -> &mut [Segment] {
        self.segments.as_mut_slice()
    }

    /// The first segment.
    #[inline(always)]
    pub fn first(&self) -> Option<&Segment> {
        self.segments().first()
    }

    /// The first segment, to be written where it is [`Segment::Unique`].
    #[inline(always)]
    pub fn first_mut(&mut self) -> Option<&mut Segment> {
        self.segments_mut().first_mut()
    }

    /// The frame's bytes, if they lie in one piece (none at all are one).
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        match self.segments() {
            [] => Some(&[]),
            [only] => Some(only),
            _ => None,
        }
    }

    /// Gives up writing, in all segments: what a device does that lends them to another agent, to be read from where they
    /// lie.
    #[inline]
    pub fn freeze(&mut self) {
        for segment in self.segments_mut() {
            segment.freeze_in_place();
        }
    }

    /// Puts a segment at the end.
    ///
    /// # Errors
    ///
    /// The segment itself, when there are [`MAX_SEGMENTS`](Self::MAX_SEGMENTS) already, or
    /// [`INLINE_SEGMENTS`](Self::INLINE_SEGMENTS) and the pool has no room for more: counted there, as
    /// [`chains_exhausted`](crate::pool::PoolCounters::chains_exhausted).
    #[inline]
    pub fn push(&mut self, segment: impl Into<Segment>) -> Result<(), Segment> {
        self.segments.push(segment.into())
    }

    /// Puts a segment before all others: headers before a payload that lies where it lies.
    ///
    /// # Errors
    ///
    /// The segment itself, when there are [`MAX_SEGMENTS`](Self::MAX_SEGMENTS) already, or
    /// [`INLINE_SEGMENTS`](Self::INLINE_SEGMENTS) and the pool has no room for more: counted there, as
    /// [`chains_exhausted`](crate::pool::PoolCounters::chains_exhausted).
    #[inline]
    pub fn push_front(&mut self, segment: impl Into<Segment>) -> Result<(), Segment> {
        self.segments.push_front(segment.into())
    }

    /// Cuts `count` bytes off the front; segments that are empty then are dropped, save the last. The metadata stay:
    /// [`Checksum::Partial`] counts from where the frame began at the device.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] when the frame is shorter; nothing changes.
    #[inline]
    pub fn advance(&mut self, count: usize) -> Result<(), NoRoom> {
        if let [only] = self.segments_mut() {
            return only.advance(count);
        }
        self.advance_many(count)
    }

    fn advance_many(&mut self, count: usize) -> Result<(), NoRoom> {
        if count > self.len() {
            return Err(NoRoom);
        }
        let mut rest = count;
        while let [first, _, ..] = self.segments()
            && rest >= first.len()
        {
            rest -= first.len();
            self.segments.remove_first();
        }
        match self.segments_mut().first_mut() {
            Some(first) => first.advance(rest),
            None => Ok(()),
        }
    }

    /// Makes the frame at most `len` bytes long; segments behind are dropped.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if let [only] = self.segments_mut() {
            return only.truncate(len);
        }
        self.truncate_many(len);
    }

    fn truncate_many(&mut self, len: usize) {
        let mut rest = len;
        let mut kept = 0;
        for segment in self.segments_mut() {
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
        for segment in self.segments() {
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
    #[inline]
    pub fn keep(self) -> Result<Self, Self> {
        if self.segments().iter().all(Segment::try_keep) {
            Ok(self)
        } else {
            Err(self)
        }
    }

    /// The segments, one by one.
    pub fn into_segments(self) -> impl ExactSizeIterator<Item = Segment> {
        IntoSegments(self.segments)
    }

    /// The only segment.
    ///
    /// # Errors
    ///
    /// The frame itself, when it has none or more than one.
    #[inline]
    pub fn into_single(mut self) -> Result<Segment, Self> {
        if self.segments().len() != 1 {
            return Err(self);
        }
        self.segments.remove_first().ok_or(Self::new())
    }
}

/// Bytes in all segments.
// Apart from the ask for the length of a frame, which is in every place where that is: most frames have one segment.
#[inline(never)]
fn len_of_all(segments: &[Segment]) -> usize {
    // At most 18 windows of 32 KiB and static slices below 4 GiB each.
    let lengths = segments.iter().map(Segment::len);
    lengths.fold(0, usize::saturating_add)
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Frame>() == 104 && size_of::<Option<Frame>>() == 104);

impl From<Segment> for Frame {
    #[inline]
    fn from(segment: Segment) -> Self {
        Self {
            segments: Segments::of(segment),
            metadata: FrameMetadata::NONE,
        }
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
