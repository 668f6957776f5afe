//! The pieces of a frame to transmit: none crosses a page, the first holds the Ethernet header, and they are few.

use mirage_core::{Frame, Segment};

use super::headers::ETHERNET_HEADER;
use crate::abi::PAGE_SIZE;
use crate::abi::netif::XEN_NETIF_NR_SLOTS_MIN;

/// What a frame takes on the ring, sent from where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Slots with data.
    pub(super) slots: usize,
    /// Bytes in the first.
    first: usize,
}

impl Shape {
    pub(super) fn of(frame: &Frame) -> Self {
        let mut shape = Self { slots: 0, first: 0 };
        for segment in frame.segments() {
            for (_, length) in pieces(segment) {
                if shape.slots == 0 {
                    shape.first = length;
                }
                shape.slots += 1;
            }
        }
        shape
    }

    /// Whether a backend takes it so, or it has to be copied together. `scattered`: it takes frames in several pieces.
    pub(super) fn fits(self, scattered: bool) -> bool {
        let most = if scattered { XEN_NETIF_NR_SLOTS_MIN } else { 1 };
        self.first >= ETHERNET_HEADER && self.slots <= most
    }
}

/// The pieces of a segment that each lie in one page: (offset in the segment, length), none of them empty.
///
/// A window of a pool's page is in one page; only read-only ranges cross.
pub(super) fn pieces(segment: &Segment) -> impl Iterator<Item = (usize, usize)> {
    let address = match segment {
        Segment::Static(bytes) => bytes.bytes().as_ptr().addr(),
        Segment::Unique(_) | Segment::Frozen(_) => 0,
    };
    cut(address, segment.len())
}

fn cut(address: usize, length: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut offset = 0;
    core::iter::from_fn(move || {
        let room = PAGE_SIZE - (address.wrapping_add(offset)) % PAGE_SIZE;
        let piece = room.min(length - offset);
        let at = offset;
        offset += piece;
        (piece > 0).then_some((at, piece))
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use mirage_core::Pool;
    use proptest::prelude::*;

    use super::*;

    fn frame(pool: &'static Pool, lengths: &[usize]) -> Frame {
        let mut frame = Frame::new();
        for length in lengths {
            let mut page = pool.alloc().unwrap();
            page.set_len(*length).unwrap();
            frame.push(page).unwrap();
        }
        frame
    }

    #[test]
    fn a_short_header_piece_or_a_nineteenth_piece_has_to_be_copied() {
        let pool = Pool::leak(64, 4096).unwrap();
        let shape = |lengths: &[usize]| Shape::of(&frame(pool, lengths));
        assert!(shape(&[14]).fits(false));
        assert!(!shape(&[13, 50]).fits(true));
        assert!(shape(&[14, 50]).fits(true));
        assert!(!shape(&[14, 50]).fits(false));
        // Empty segments take no slot.
        assert_eq!(
            shape(&[0, 14, 0, 3]),
            Shape {
                slots: 2,
                first: 14
            }
        );
        assert!(shape(&[0, 4096, 0]).fits(false));
        assert!(!shape(&[]).fits(true));
        assert!(shape(&[14; 18]).fits(true));
        let most = Shape {
            slots: 19,
            first: 14,
        };
        assert!(!most.fits(true));
    }

    #[test]
    fn a_read_only_range_is_cut_at_its_pages_ends() {
        let pieces = |address, length| cut(address, length).collect::<Vec<_>>();
        assert_eq!(pieces(0x5000, 4_096), [(0, 4_096)]);
        assert_eq!(pieces(0x5001, 4_096), [(0, 4_095), (4_095, 1)]);
        assert_eq!(pieces(0x5fff, 2), [(0, 1), (1, 1)]);
        assert_eq!(pieces(0x5fff, 5_000), [(0, 1), (1, 4_096), (4_097, 903)]);
        assert_eq!(pieces(0x5fff, 0), []);
    }

    proptest! {
        #[test]
        fn no_piece_crosses_a_page_and_none_is_lost(address in any::<u32>(), length in 0_usize..70_000) {
            let address = address as usize;
            let mut next = 0;
            for (offset, piece) in cut(address, length) {
                prop_assert_eq!(offset, next);
                prop_assert!(piece > 0);
                let (first, last) = (address + offset, address + offset + piece - 1);
                prop_assert_eq!(first / PAGE_SIZE, last / PAGE_SIZE);
                next += piece;
            }
            prop_assert_eq!(next, length);
        }
    }
}
