//! Both rings of a device with a backend that does whatever some bytes say: for fuzz targets and property tests.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use mirage_core::pool::BlockId;
use mirage_core::{Checksum, Frame, OffloadFlags, Segmentation, SegmentationKind};

use super::assembler;
use super::keys::BackendFeatures;
use super::receive::{Received, Receiver};
use super::testing::{ReceiveBack, Sent, TestPages, TransmitBack, attach, bytes_of, take_frame_by};
use super::transmit::{self, TransmitSlot, Transmitter};
use crate::abi::PAGE_SIZE;
use crate::abi::netif::{ReceiveResponse, TransmitResponse};

/// Pages to receive into, and requests to transmit.
const RECEIVE: usize = 32;
const TRANSMIT: usize = 32;
/// The most bytes that one run looks at.
const INPUT: usize = 4_096;
/// What a backend has that does everything.
const FEATURES: BackendFeatures = BackendFeatures {
    scatter_gather: true,
    checksum_v4: true,
    checksum_v6: true,
    segmentation_v4: true,
    segmentation_v6: true,
};

/// A device's rings, and their other end. Used again from run to run.
pub struct Rings {
    pages: TestPages,
    receiver: Receiver,
    transmitter: Transmitter,
    /// Pages that are free when nothing is in flight.
    whole: usize,
}

/// Both rings' other ends.
struct Ends {
    receive: ReceiveBack,
    transmit: TransmitBack,
    /// The requests that were taken and not answered.
    taken: Vec<u16>,
    /// A request was answered that was not taken: its page is the frontend's again, though the ring still names it.
    lied: bool,
}

impl Ends {
    fn take_frame(&mut self, pages: &TestPages) -> Option<Sent> {
        let lied = self.lied;
        let sent = take_frame_by(&mut self.transmit, |reference, offset, length| match lied {
            true => Vec::new(),
            false => pages.read(reference, offset, length),
        })?;
        self.taken.extend(&sent.ids);
        Some(sent)
    }
}

impl Rings {
    /// Rings that nobody has touched.
    ///
    /// # Panics
    ///
    /// Without memory.
    pub fn new() -> Self {
        let pages = TestPages::new(2 + RECEIVE + 96);
        let (receive_page, transmit_page) = (pages.ring_page(), pages.ring_page());
        let mut posted = Vec::new();
        posted.resize_with(RECEIVE, || None);
        let mut slots = Vec::new();
        slots.resize_with(TRANSMIT, || TransmitSlot::FREE);
        let reserve = pages.pool.reserve(RECEIVE).expect("there are enough pages");
        let receiver = Receiver::new(receive_page, reserve, posted.leak());
        let reserve = pages.pool.reserve(4).expect("there are enough pages");
        let transmitter = Transmitter::new(transmit_page, reserve, slots.leak());
        let mut rings = Self {
            pages,
            receiver,
            transmitter,
            whole: 0,
        };
        rings.connect();
        rings.whole = rings.pages.pool.free_in_all();
        rings
    }

    /// Has the backend do what `input` says, and the frontend what it does.
    ///
    /// Each step is a byte that says what happens, and what that takes: see the source. What is missing is zero.
    ///
    /// # Panics
    ///
    /// When a page is missing at the end, a frame is none, or the backend is told something that no backend may be: what
    /// this is to find.
    pub fn feed(&mut self, input: &[u8]) {
        let mut input = Input(&input[..input.len().min(INPUT)]);
        let mut ends = self.connect();
        let mut held = Vec::new();
        while let Some(step) = input.next() {
            self.step(step, &mut input, &mut ends, &mut held);
            assert_eq!(self.receiver.pages(), RECEIVE);
            assert!(self.receiver.posted() >= RECEIVE / 2);
        }
        drop(held);
        self.settle();
    }

    fn step(&mut self, step: u8, input: &mut Input<'_>, ends: &mut Ends, held: &mut Vec<Frame>) {
        match step % 12 {
            // A piece of a received frame, as it should be but for its flags.
            0 | 1 => {
                if let Ok(Some(request)) = ends.receive.take_request() {
                    let (flags, length) = (input.word(), usize::from(input.word()) % PAGE_SIZE);
                    let mut bytes = [0; 64];
                    bytes.fill_with(|| input.byte());
                    let block = TestPages::block(request.reference);
                    let written = self.pages.peer.write(block, 0, &bytes);
                    written.expect("a page that is posted can be written");
                    let response = ReceiveResponse {
                        id: request.id,
                        offset: 0,
                        flags,
                        status: length as i16,
                    };
                    let _ = ends.receive.push(response);
                    let _ = ends.receive.publish();
                }
            }
            // Any response.
            2 => {
                let _ = ends.receive.take_request();
                let response = ReceiveResponse {
                    id: input.word(),
                    offset: input.word(),
                    flags: input.word(),
                    status: input.word() as i16,
                };
                let _ = ends.receive.push(response);
                let _ = ends.receive.publish();
            }
            3 | 4 => self.receive(held),
            5 => held.clear(),
            6 | 7 => self.send(input),
            8 => {
                // What a frontend pushes is what a backend takes, whatever happened before.
                let _ = self.transmitter.publish();
                if let Some(sent) = ends.take_frame(&self.pages) {
                    for id in sent.ids {
                        let id = id ^ input.word();
                        let status = input.byte() as i8;
                        self.answer(ends, id, status.into());
                    }
                }
            }
            9 => {
                let (id, status) = (input.word(), input.word());
                self.answer(ends, id, status as i16);
            }
            10 => {
                if self.transmitter.reap().is_err() {
                    *ends = self.connect();
                }
            }
            // An index that is anything, then another connection.
            _ => {
                let claim = u32::from(input.word()) << 16 | u32::from(input.word());
                let rings = [self.receiver.block(), self.transmitter.block()];
                for block in rings.into_iter().flatten() {
                    set_response_producer(block, claim);
                }
                self.receive(held);
                let _ = self.transmitter.reap();
                held.clear();
                *ends = self.connect();
            }
        }
    }

    fn answer(&mut self, ends: &mut Ends, id: u16, status: i16) {
        match ends.taken.iter().position(|taken| *taken == id) {
            Some(index) => drop(ends.taken.swap_remove(index)),
            None => ends.lied = true,
        }
        let _ = ends.transmit.push(TransmitResponse { id, status });
        let _ = ends.transmit.publish();
    }

    fn receive(&mut self, held: &mut Vec<Frame>) {
        let limits = assembler::Limits {
            mtu: 1_500,
            offloads: OffloadFlags::RECEIVE_VERIFIED
                | OffloadFlags::RECEIVE_PARTIAL
                | OffloadFlags::RECEIVE_SEGMENTED_V4,
        };
        let received = self.receiver.poll(&self.pages, &limits);
        self.receiver.refill(&self.pages);
        let _ = self.receiver.publish();
        if let Ok(Received::Frame(frame)) = received {
            check(&frame);
            held.push(frame);
        }
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let mut frame = Frame::new();
        for _ in 0..=input.byte() % 20 {
            let Some(mut page) = self.pages.pool.alloc() else {
                break;
            };
            let length = usize::from(input.byte()) * 4;
            let placed = page.reset(usize::from(input.byte()));
            assert!(placed.is_ok() && page.append(length).is_some());
            for at in 0..length.min(16) {
                page[at] = input.byte();
            }
            if frame.push(page).is_err() {
                break;
            }
        }
        if input.byte() % 2 == 1 {
            let (start, offset) = (input.byte().into(), input.byte().into());
            frame.metadata.checksum = Checksum::Partial { start, offset };
        }
        if input.byte() % 4 == 1 {
            frame.metadata.segmentation = Some(Segmentation {
                size: input.word(),
                kind: SegmentationKind::TcpV4,
                header_len: 0,
            });
        }
        let limits = transmit::Limits {
            mtu: 4_000,
            offloads: OffloadFlags::TRANSMIT_PARTIAL_V4 | OffloadFlags::TRANSMIT_SEGMENTED_V4,
            features: FEATURES,
        };
        let before = bytes_of(&frame);
        if self
            .transmitter
            .transmit(&mut frame, &self.pages, &limits)
            .is_err()
        {
            assert_eq!(bytes_of(&frame), before);
        }
    }

    fn connect(&mut self) -> Ends {
        self.receiver.connect(&self.pages);
        self.transmitter.connect(FEATURES);
        let _ = self.receiver.publish();
        let _ = self.transmitter.publish();
        Ends {
            receive: attach(self.receiver.block().expect("a lent page")),
            transmit: attach(self.transmitter.block().expect("a lent page")),
            taken: Vec::new(),
            lied: false,
        }
    }

    /// A backend that is as it should be serves what is left: then every page is back.
    fn settle(&mut self) {
        let mut ends = self.connect();
        while let Some(sent) = ends.take_frame(&self.pages) {
            for id in sent.ids {
                self.answer(&mut ends, id, 0);
            }
            for _ in sent.extras {
                self.answer(&mut ends, 0, crate::abi::netif::NETIF_RSP_NULL);
            }
        }
        assert!(self.transmitter.reap().is_ok());
        assert_eq!(self.transmitter.in_flight(), 0);
        assert_eq!(self.receiver.posted(), RECEIVE);
        assert_eq!(self.pages.pool.free_in_all(), self.whole);
        assert_eq!(self.pages.peer.violations(), 0);
    }
}

impl Default for Rings {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Rings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Rings")
            .field("receiver", &self.receiver)
            .field("transmitter", &self.transmitter)
            .finish_non_exhaustive()
    }
}

/// What every received frame is.
fn check(frame: &Frame) {
    let length = frame.len();
    assert!(length >= 14);
    assert!(length <= 1_518 || frame.metadata.segmentation.is_some());
    if let Checksum::Partial { start, offset } = frame.metadata.checksum {
        assert!(usize::from(start) + usize::from(offset) + 2 <= length);
    }
}

/// The backend's producer index, in a ring's page: its third word (io/ring.h).
fn set_response_producer(block: BlockId, claim: u32) {
    let producer = block.address().cast::<AtomicU32>();
    // SAFETY: the block is a ring's page, lent for as long as the ring is there: it is reached by atomics and volatile
    // copies alone. The third word is in it, and aligned.
    let producer = unsafe { producer.add(2).as_ref() };
    producer.store(claim, Ordering::Relaxed);
}

/// Bytes that never end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    std::thread_local! {
        static RINGS: core::cell::RefCell<Rings> = core::cell::RefCell::new(Rings::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_backend_that_is_survived(input in prop::collection::vec(any::<u8>(), 0..1_500)) {
            RINGS.with_borrow_mut(|rings| rings.feed(&input));
        }
    }

    #[test]
    fn a_run_leaves_the_rings_as_they_were() {
        let mut rings = Rings::new();
        for input in [
            &b""[..],
            &[6; 64],
            &[11; 9],
            &[0; 700],
            &[2; 99],
            &[8, 6, 8, 10],
        ] {
            rings.feed(input);
        }
    }
}
