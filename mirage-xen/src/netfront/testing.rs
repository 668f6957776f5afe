//! The other end of the rings, for the tests of each half.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use mirage_core::doubles::CheckedLender;
use mirage_core::pool::{BlockId, Lender, StaticSlice};
use mirage_core::{Frame, Pool};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pages::Pages;
use crate::abi::netif::{
    ExtraInfoSlot, ReceiveRequest, ReceiveResponse, TransmitFlags, TransmitRequest,
    TransmitResponse,
};
use crate::abi::{GrantReference, PAGE_SIZE};
use crate::hypervisor::SharedPage;
use crate::ring::{BackRing, RingPage};

/// References of blocks begin here, those of read-only pages there.
const BLOCKS: u32 = 8;
const STATICS: u32 = 0x1_0000;

/// A pool whose pages are lent to a peer that is stopped where it has no right to.
pub(super) struct TestPages {
    pub(super) pool: &'static Pool,
    pub(super) peer: &'static CheckedLender,
    /// Addresses of read-only pages that have a reference.
    statics: RefCell<Vec<usize>>,
    pub(super) no_statics: Cell<bool>,
}

impl TestPages {
    pub(super) fn new(blocks: usize) -> Self {
        let pool = Pool::leak(blocks, PAGE_SIZE).unwrap();
        Self {
            pool,
            peer: CheckedLender::leak(pool, blocks),
            statics: RefCell::default(),
            no_statics: Cell::new(false),
        }
    }

    pub(super) fn ring_page(&self) -> RingPage {
        let page = self.pool.alloc().unwrap();
        RingPage::lend(page, self.peer).unwrap()
    }

    /// A page of the program's own bytes: what the peer reads there.
    fn read_static(&self, reference: u32, offset: usize, length: usize) -> Vec<u8> {
        let page = self.statics.borrow()[(reference - STATICS) as usize];
        let page = core::ptr::with_exposed_provenance::<u8>(page);
        assert!(offset + length <= PAGE_SIZE);
        // SAFETY: `static_reference` exposed a pointer to the whole slice that has these bytes, which the program never writes.
        unsafe { core::slice::from_raw_parts(page.add(offset), length) }.to_vec()
    }

    pub(super) fn block(reference: u32) -> usize {
        (reference - BLOCKS) as usize
    }

    /// What the peer reads by a reference.
    pub(super) fn read(&self, reference: u32, offset: u16, length: usize) -> Vec<u8> {
        if reference >= STATICS {
            return self.read_static(reference, offset.into(), length);
        }
        let mut bytes = vec![0; length];
        let block = Self::block(reference);
        let read = self.peer.read(block, offset.into(), &mut bytes);
        read.unwrap_or_else(|violation| panic!("block {block}: {violation}"));
        bytes
    }
}

impl Pages for TestPages {
    fn pool(&self) -> &'static Pool {
        self.pool
    }

    fn lender(&self) -> &'static dyn Lender {
        self.peer
    }

    fn reference(&self, block: BlockId) -> Option<GrantReference> {
        core::ptr::eq(block.pool(), self.pool)
            .then(|| GrantReference(BLOCKS + block.index() as u32))
    }

    fn static_reference(
        &self,
        slice: &StaticSlice,
        offset: usize,
    ) -> Option<(GrantReference, u16)> {
        if self.no_statics.get() || !slice.is_of(self.pool) {
            return None;
        }
        let address = slice.bytes().as_ptr().expose_provenance() + offset;
        let page = address - address % PAGE_SIZE;
        let mut statics = self.statics.borrow_mut();
        let index = statics.iter().position(|known| *known == page);
        let index = index.unwrap_or_else(|| {
            statics.push(page);
            statics.len() - 1
        });
        let reference = GrantReference(STATICS + index as u32);
        Some((reference, (address % PAGE_SIZE) as u16))
    }
}

/// The other end of a ring that is in this block.
pub(super) fn attach<Request, Response>(block: BlockId) -> BackRing<Request, Response>
where
    Request: FromBytes + Copy,
    Response: IntoBytes + Immutable + Copy,
{
    // SAFETY: the block is a ring's page, lent for as long as the ring is there, which in these tests outlives this: its
    // bytes are reached by atomics and volatile copies alone, on either end.
    let page = unsafe { SharedPage::new(block.address()) };
    BackRing::attach(page.into())
}

pub(super) type ReceiveBack = BackRing<ReceiveRequest, ReceiveResponse>;
pub(super) type TransmitBack = BackRing<TransmitRequest, TransmitResponse>;

/// What a backend made of the slots of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    pub(super) flags: TransmitFlags,
    pub(super) pieces: usize,
    pub(super) extras: Vec<ExtraInfoSlot>,
    /// Of the pieces.
    pub(super) ids: Vec<u16>,
}

/// Takes a frame off the transmit ring, as a backend does that checks everything.
#[cfg(test)]
pub(super) fn take_frame(back: &mut TransmitBack, pages: &TestPages) -> Option<Sent> {
    take_frame_by(back, |reference, offset, length| {
        pages.read(reference, offset, length)
    })
}

/// Takes a frame off the transmit ring, as a backend does that checks everything. `read` gives so many bytes of a page.
pub(super) fn take_frame_by(
    back: &mut TransmitBack,
    read: impl Fn(u32, u16, usize) -> Vec<u8>,
) -> Option<Sent> {
    let first = back.take_request().unwrap()?;
    let flags = TransmitFlags::from_bits(first.flags).expect("no unknown flags");
    let mut extras = Vec::new();
    let mut more = flags.contains(TransmitFlags::EXTRA_INFO);
    while more {
        let request = back.take_request().unwrap().expect("extra information");
        let slot = ExtraInfoSlot::from_request(request);
        extras.push(slot);
        more = slot.decode().1;
    }
    let mut requests = vec![first];
    while requests.last().unwrap().flags & TransmitFlags::MORE_DATA.bits() != 0 {
        let request = back.take_request().unwrap().expect("more data");
        let only = TransmitFlags::MORE_DATA.bits();
        assert_eq!(request.flags & !only, 0);
        requests.push(request);
    }
    // The first one's size is the whole frame's.
    let others: usize = requests[1..]
        .iter()
        .map(|request| usize::from(request.size))
        .sum();
    let whole = usize::from(first.size);
    let mut bytes = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let length = match index {
            0 => whole
                .checked_sub(others)
                .expect("the first has the whole frame's size"),
            _ => request.size.into(),
        };
        assert!(length > 0, "no piece is empty");
        assert!(
            usize::from(request.offset) + length <= PAGE_SIZE,
            "no piece crosses a page"
        );
        if index == 0 {
            assert!(length >= 14, "the first piece has the Ethernet header");
        }
        bytes.extend(read(request.reference, request.offset, length));
    }
    assert!(requests.len() <= 18, "no frame has more pieces");
    Some(Sent {
        bytes,
        flags,
        pieces: requests.len(),
        extras,
        ids: requests.iter().map(|request| request.id).collect(),
    })
}

pub(super) fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.len()];
    frame.copy_to_slice(0, &mut bytes);
    bytes
}

/// An Ethernet frame of so many bytes, that differ by `seed`.
#[cfg(test)]
pub(super) fn ethernet(seed: u8, length: usize) -> Vec<u8> {
    let header = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    let body = (0..length.saturating_sub(14)).map(|at| seed.wrapping_add(at as u8));
    header.into_iter().chain(body).collect()
}

/// A UDP datagram in IPv4, whose checksum has the pseudo-header's sum alone.
#[cfg(test)]
pub(super) fn udp(payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut frame = ethernet(0, 14);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame.extend([0x45, 0]);
    frame.extend((20 + length).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 53, 0, 99]);
    frame.extend(length.to_be_bytes());
    let sum = 0x0a00 + 1 + 0x0a00 + 2 + 17 + u32::from(length);
    frame.extend(((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
    frame.extend(payload);
    frame
}
