//! What the tests of TCP's parts share.

use std::vec::Vec;

use managed::ManagedSlice;
use mirage_core::{Frame, Pool, Segment};

use super::{SegmentSlot, SegmentTable, SequenceNumber};
use crate::wire::tcp::SackBlock;

/// A table of so many slots, for ever.
pub(super) fn table(slots: usize) -> SegmentTable<'static> {
    let slots: Vec<SegmentSlot> = (0..slots).map(|_| SegmentSlot::EMPTY).collect();
    SegmentTable::new(ManagedSlice::Borrowed(slots.leak()))
}

/// A page with these bytes, behind `headroom` bytes.
pub(super) fn page(pool: &'static Pool, headroom: usize, bytes: &[u8]) -> Segment {
    let mut page = pool.alloc().expect("a free page");
    page.reset(headroom).expect("room for headers");
    page.extend_from_slice(bytes).expect("room for the bytes");
    page.into()
}

/// All bytes of a frame.
pub(super) fn bytes(frame: &Frame) -> Vec<u8> {
    let segments = frame.segments().iter();
    segments
        .flat_map(|segment| segment.iter().copied())
        .collect()
}

/// The octet that a stream has at a sequence number: it says where it is from.
pub(super) fn octet(at: SequenceNumber) -> u8 {
    let at = at.get();
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// A part of that stream.
pub(super) fn stream(from: SequenceNumber, length: u32) -> Vec<u8> {
    (0..length).map(|offset| octet(from + offset)).collect()
}

pub(super) fn block(left: u32, right: u32) -> SackBlock {
    SackBlock {
        left: SequenceNumber::new(left),
        right: SequenceNumber::new(right),
    }
}
