mod property;
mod replay;

use alloc::vec;
use alloc::vec::Vec;

use mirage_core::{Checksum, OffloadFlags, Segmentation, SegmentationKind};

use super::*;
use crate::abi::netif::{ExtraInfo, NETIF_RSP_ERROR, SegmentationType};
use crate::netfront::testing::{
    Sent, TestPages, TransmitBack, attach, bytes_of, ethernet, take_frame, udp,
};

const EVERYTHING: BackendFeatures = BackendFeatures {
    scatter_gather: true,
    checksum_v4: true,
    checksum_v6: true,
    segmentation_v4: true,
    segmentation_v6: true,
};
/// What a backend has that offers nothing.
const NOTHING: BackendFeatures = BackendFeatures {
    scatter_gather: false,
    checksum_v4: false,
    checksum_v6: false,
    segmentation_v4: false,
    segmentation_v6: false,
};

/// A transmitter, and its backend.
struct Pair {
    pages: TestPages,
    transmitter: Transmitter,
    back: TransmitBack,
    limits: Limits,
}

impl Pair {
    fn new() -> Self {
        Self::with(64, EVERYTHING)
    }

    fn with(slots: usize, features: BackendFeatures) -> Self {
        let pages = TestPages::new(128);
        let page = pages.ring_page();
        let mut places = Vec::new();
        places.resize_with(slots, || TransmitSlot::FREE);
        let reserve = pages.pool.reserve(8).unwrap();
        let mut transmitter = Transmitter::new(page, reserve, places.leak());
        transmitter.connect(features);
        let back = attach(transmitter.block().unwrap());
        let offloads = OffloadFlags::TRANSMIT_PARTIAL_V4
            | OffloadFlags::TRANSMIT_SEGMENTED_V4
            | OffloadFlags::TRANSMIT_PARTIAL_V6;
        Self {
            pages,
            transmitter,
            back,
            limits: Limits {
                mtu: 1_500,
                offloads,
                features,
            },
        }
    }

    fn page(&self, bytes: &[u8]) -> mirage_core::PageMut {
        let mut page = self.pages.pool.alloc().unwrap();
        page.extend_from_slice(bytes).unwrap();
        page
    }

    /// A frame of these bytes, in pieces of these lengths and what is left.
    fn frame(&self, bytes: &[u8], cuts: &[usize]) -> Frame {
        let mut frame = Frame::new();
        let mut rest = bytes;
        for cut in cuts {
            let (piece, behind) = rest.split_at(*cut);
            frame.push(self.page(piece)).unwrap();
            rest = behind;
        }
        if !rest.is_empty() {
            frame.push(self.page(rest)).unwrap();
        }
        frame
    }

    fn send(&mut self, mut frame: Frame) -> Result<(), TransmitReason> {
        let bytes = bytes_of(&frame);
        let segments = frame.segments().len();
        let sent = self
            .transmitter
            .transmit(&mut frame, &self.pages, &self.limits);
        match sent {
            Ok(()) => assert!(frame.is_empty()),
            Err(_) => {
                assert_eq!(bytes_of(&frame), bytes);
                assert_eq!(frame.segments().len(), segments);
            }
        }
        sent
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), TransmitReason> {
        let frame = self.frame(bytes, &[]);
        self.send(frame)
    }

    fn take(&mut self) -> Option<Sent> {
        let _ = self.transmitter.publish();
        take_frame(&mut self.back, &self.pages)
    }

    fn respond(&mut self, id: u16, status: i16) {
        self.back.push(TransmitResponse { id, status }).unwrap();
        let _ = self.back.publish();
    }

    /// Answers a frame, as a backend does: its extra information with a null response.
    fn answer(&mut self, sent: &Sent, status: i16) {
        for (index, id) in sent.ids.iter().enumerate() {
            self.respond(*id, status);
            if index == 0 {
                for _ in &sent.extras {
                    self.respond(0xdead, NETIF_RSP_NULL);
                }
            }
        }
    }

    fn reap(&mut self) {
        self.transmitter.reap().unwrap();
    }

    fn counters(&self) -> TransmitCounters {
        self.transmitter.counters
    }

    /// Another backend, and what it gets.
    fn reconnect(&mut self, features: BackendFeatures) -> Vec<Vec<u8>> {
        self.limits.features = features;
        self.transmitter.connect(features);
        self.back = attach(self.transmitter.block().unwrap());
        core::iter::from_fn(|| self.take())
            .map(|sent| sent.bytes)
            .collect()
    }
}

#[test]
fn a_frame_is_sent_from_where_it_lies_and_returns_with_the_response() {
    let mut pair = Pair::new();
    let free = pair.pages.pool.free_in_all();
    let mut page = pair.pages.pool.alloc().unwrap();
    page.reset(100).unwrap();
    page.extend_from_slice(&ethernet(1, 60)).unwrap();
    let block = page.block().index();
    pair.send(page.into()).unwrap();
    let _ = pair.transmitter.publish();
    let request = pair.back.take_request().unwrap().unwrap();
    assert_eq!(TestPages::block(request.reference), block);
    assert_eq!((request.offset, request.size, request.flags), (100, 60, 0));
    let access = pair.pages.peer.access(block);
    assert_eq!(access, Some(mirage_core::pool::Access::Read));
    pair.respond(request.id, NETIF_RSP_OKAY);
    pair.reap();
    assert_eq!(pair.pages.peer.access(block), None);
    assert_eq!(pair.pages.pool.free_in_all(), free);
    assert_eq!(pair.counters().coalesced, 0);
}

#[test]
fn of_a_frame_in_pieces_the_first_has_the_whole_length() {
    let mut pair = Pair::new();
    let bytes = ethernet(1, 500);
    let frame = pair.frame(&bytes, &[14, 100, 30]);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!((sent.bytes, sent.pieces), (bytes, 4));
    assert_eq!(pair.counters().coalesced, 0);
}

#[test]
fn frozen_pages_are_shared_with_the_backend_and_with_whoever_sends_them_again() {
    let mut pair = Pair::new();
    let bytes = ethernet(1, 60);
    let page = pair.page(&bytes).freeze();
    for _ in 0..2 {
        pair.send(page.clone().into()).unwrap();
    }
    let first = pair.take().unwrap();
    let second = pair.take().unwrap();
    assert_eq!((&first.bytes, &second.bytes), (&bytes, &bytes));
    pair.answer(&first, 0);
    pair.reap();
    let page = page.try_unique().unwrap_err();
    pair.answer(&second, 0);
    pair.reap();
    assert!(page.try_unique().is_ok());
}

static PAGES: [u8; 5_000] = [0x5a; 5_000];

#[test]
fn read_only_bytes_are_sent_from_where_they_lie_in_pieces_that_cross_no_page() {
    let mut pair = Pair::new();
    pair.limits.mtu = 9_000;
    let range = pair.pages.pool.register_static(&PAGES).unwrap();
    let header = ethernet(1, 14);
    let mut frame = pair.frame(&header, &[]);
    frame.push(range.slice(..).unwrap()).unwrap();
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!(sent.bytes, [&header[..], &PAGES].concat());
    assert!((3..=4).contains(&sent.pieces), "{}", sent.pieces);
    assert_eq!(pair.counters().coalesced, 0);
    pair.answer(&sent, 0);
    pair.reap();
    assert_eq!(pair.transmitter.in_flight(), 0);
    // Of a range that has no references, a copy.
    pair.pages.no_statics.set(true);
    let mut frame = pair.frame(&header, &[]);
    frame.push(range.slice(..100).unwrap()).unwrap();
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!(sent.bytes, [&header[..], &PAGES[..100]].concat());
    assert_eq!((sent.pieces, pair.counters().coalesced), (1, 1));
}

#[test]
fn what_a_backend_would_not_take_is_copied_together_and_counted() {
    let mut pair = Pair::new();
    let bytes = ethernet(1, 300);
    // The Ethernet header in two pieces.
    let frame = pair.frame(&bytes, &[13]);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!((&sent.bytes, sent.pieces), (&bytes, 1));
    // Too many pieces: 18 segments, one of which crosses a page.
    pair.limits.mtu = 9_000;
    let range = pair.pages.pool.register_static(&PAGES).unwrap();
    let mut frame = pair.frame(&bytes, &[15; 16]);
    assert_eq!(frame.segments().len(), 17);
    frame.push(range.slice(..).unwrap()).unwrap();
    let whole = bytes_of(&frame);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!((&sent.bytes, sent.pieces), (&whole, 2));
    // A page of which somebody else may still write a part.
    let mut page = pair.page(&bytes);
    page.append(8).unwrap();
    let (page, writable) = page.split_at(300).unwrap();
    pair.send(page.into()).unwrap();
    assert_eq!(pair.take().unwrap().bytes, bytes);
    drop(writable);
    assert_eq!(pair.counters().coalesced, 3);
    assert_eq!(pair.transmitter.in_flight(), 4);
}

#[test]
fn a_backend_without_scatter_gather_gets_every_frame_in_one_piece() {
    let mut pair = Pair::with(64, NOTHING);
    let bytes = ethernet(1, 300);
    let frame = pair.frame(&bytes, &[14]);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!((sent.bytes, sent.pieces), (bytes, 1));
    assert_eq!(pair.counters().coalesced, 1);
    // But not what doesn't fit into a page.
    pair.limits.mtu = 9_000;
    let bytes = ethernet(1, 5_000);
    let frame = pair.frame(&bytes, &[4_000]);
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
}

#[test]
fn frames_that_can_not_be_are_refused_and_returned() {
    let mut pair = Pair::new();
    assert_eq!(pair.send(Frame::new()), Err(TransmitReason::TooShort));
    let short = pair.send_bytes(&ethernet(1, 14)[..13]);
    assert_eq!(short, Err(TransmitReason::TooShort));
    let long = pair.send_bytes(&ethernet(1, 1_519));
    assert_eq!(long, Err(TransmitReason::TooLong));
    pair.send_bytes(&ethernet(1, 1_518)).unwrap();
    assert_eq!((pair.counters().refused, pair.counters().frames), (3, 1));
}

fn partial(pair: &Pair, bytes: &[u8], start: u16, offset: u16) -> Frame {
    let mut frame = pair.frame(bytes, &[]);
    frame.metadata.checksum = Checksum::Partial { start, offset };
    frame
}

#[test]
fn a_partial_checksum_is_left_to_the_backend() {
    let mut pair = Pair::new();
    let frame = partial(&pair, &udp(b"payload"), 34, 6);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!(sent.bytes, udp(b"payload"));
    let flags = TransmitFlags::CSUM_BLANK | TransmitFlags::DATA_VALIDATED;
    assert_eq!(sent.flags, flags);
    assert_eq!((pair.counters().partial, pair.counters().completed), (1, 0));
    // Where the backend would look for it elsewhere, or nobody offered it.
    for (start, offset) in [(34, 16), (33, 6), (60_000, 60_000)] {
        let frame = partial(&pair, &udp(b"payload"), start, offset);
        assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
    }
    let frame = partial(&pair, &ethernet(1, 60), 34, 6);
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
    pair.limits.offloads = OffloadFlags::empty();
    let frame = partial(&pair, &udp(b"payload"), 34, 6);
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
}

#[test]
fn a_partial_checksum_is_completed_here_where_the_next_backend_does_not() {
    // Worked out by hand: the pseudo-header 10.0.0.1, 10.0.0.2, 17, 13 and the datagram 0035 0063 000d, "hello".
    let sum: u32 = [
        0x0a00, 1, 0x0a00, 2, 17, 13, 0x0035, 0x0063, 0x000d, 0x6865, 0x6c6c, 0x6f00,
    ]
    .iter()
    .sum();
    let expected = !((sum & 0xffff) as u16 + (sum >> 16) as u16);
    let mut pair = Pair::with(64, NOTHING);
    let frame = partial(&pair, &udp(b"hello"), 34, 6);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert!(sent.flags.is_empty());
    assert_eq!(sent.bytes[40..42], expected.to_be_bytes());
    assert_eq!(sent.bytes[..40], udp(b"hello")[..40]);
    assert_eq!(sent.bytes[42..], udp(b"hello")[42..]);
    assert_eq!((pair.counters().partial, pair.counters().completed), (0, 1));
}

fn segmented(pair: &Pair, bytes: &[u8]) -> Frame {
    let mut frame = pair.frame(bytes, &[54, 3_000]);
    frame.metadata.checksum = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    frame.metadata.segmentation = Some(Segmentation {
        size: 1_448,
        kind: SegmentationKind::TcpV4,
        header_len: 54,
    });
    frame
}

/// A TCP segment in IPv4.
fn tcp(payload: usize) -> Vec<u8> {
    let mut bytes = udp(&vec![7; payload + 12]);
    bytes[23] = 6;
    bytes
}

#[test]
fn a_segmented_frame_has_its_extra_information_behind_the_first_piece() {
    let mut pair = Pair::new();
    let bytes = tcp(6_000);
    let frame = segmented(&pair, &bytes);
    pair.send(frame).unwrap();
    let sent = pair.take().unwrap();
    assert_eq!((&sent.bytes, sent.pieces), (&bytes, 3));
    assert!(sent.flags.contains(TransmitFlags::EXTRA_INFO));
    let expected = ExtraInfo::Segmentation {
        size: 1_448,
        kind: SegmentationType::TcpV4,
        features: 0,
    };
    let slots: Vec<_> = sent.extras.iter().map(|slot| slot.decode()).collect();
    assert_eq!(slots, [(expected, false)]);
    assert_eq!(pair.counters().slots, 4);
    pair.answer(&sent, 0);
    pair.reap();
    assert_eq!(pair.counters().bad_responses, 0);
    assert_eq!(pair.transmitter.ring.in_flight(), 0);

    // Without a partial checksum, of no size, or where nobody offered it.
    let mut frame = segmented(&pair, &bytes);
    frame.metadata.checksum = Checksum::Unverified;
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
    let mut frame = segmented(&pair, &bytes);
    frame.metadata.segmentation.as_mut().unwrap().size = 0;
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
    let mut frame = segmented(&pair, &bytes);
    frame.metadata.segmentation.as_mut().unwrap().kind = SegmentationKind::TcpV6;
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
    pair.limits.features.segmentation_v4 = false;
    let frame = segmented(&pair, &bytes);
    assert_eq!(pair.send(frame), Err(TransmitReason::Unsupported));
}

#[test]
fn a_full_ring_refuses_until_responses_come() {
    let mut pair = Pair::with(32, EVERYTHING);
    let mut sent = Vec::new();
    while pair.transmitter.has_room() {
        pair.send_bytes(&ethernet(1, 60)).unwrap();
        sent.push(pair.take().unwrap());
    }
    // A small one fits still, as it is.
    for _ in sent.len()..32 {
        pair.send_bytes(&ethernet(1, 60)).unwrap();
    }
    let full = pair.send_bytes(&ethernet(1, 60));
    assert_eq!(full, Err(TransmitReason::Full));
    assert!(!pair.transmitter.final_check());
    let first = sent.remove(0);
    pair.back
        .push(TransmitResponse {
            id: first.ids[0],
            status: 0,
        })
        .unwrap();
    assert!(pair.back.publish(), "the check asked for an event");
    assert!(pair.transmitter.final_check());
    pair.reap();
    pair.send_bytes(&ethernet(1, 60)).unwrap();
    assert_eq!(pair.counters().refused_full, 1);
}

#[test]
fn few_answers_are_no_reason_to_be_woken_unless_pages_are_scarce() {
    let mut pair = Pair::new();
    let answer = |pair: &mut Pair| {
        pair.send_bytes(&ethernet(1, 60)).unwrap();
        let sent = pair.take().unwrap();
        let response = TransmitResponse {
            id: sent.ids[0],
            status: 0,
        };
        pair.back.push(response).unwrap();
        pair.back.publish()
    };
    assert!(!pair.transmitter.lazy_check(false));
    for _ in 1..LAZY_RESPONSES {
        assert!(!answer(&mut pair));
    }
    assert!(answer(&mut pair));
    assert!(pair.transmitter.lazy_check(false));
    pair.reap();
    assert!(!pair.transmitter.lazy_check(true));
    assert!(answer(&mut pair));
}

#[test]
fn one_notification_serves_a_batch() {
    let mut pair = Pair::new();
    assert!(!pair.transmitter.publish());
    for _ in 0..5 {
        pair.send_bytes(&ethernet(1, 60)).unwrap();
    }
    assert!(pair.transmitter.publish());
    assert!(!pair.transmitter.publish());
    // A backend that is awake isn't notified.
    pair.send_bytes(&ethernet(1, 60)).unwrap();
    assert!(!pair.transmitter.publish());
}

#[test]
fn a_response_to_nothing_frees_nothing_and_many_end_the_connection() {
    let mut pair = Pair::new();
    for _ in 0..64 {
        pair.send_bytes(&ethernet(1, 60)).unwrap();
    }
    let sent: Vec<_> = core::iter::from_fn(|| pair.take()).collect();
    pair.respond(sent[0].ids[0], 0);
    pair.respond(sent[0].ids[0], 0);
    pair.respond(64, 0);
    pair.respond(u16::MAX, 0);
    pair.respond(0, NETIF_RSP_NULL);
    pair.reap();
    assert_eq!(pair.counters().bad_responses, 4);
    assert_eq!(pair.transmitter.in_flight(), 63);
    for _ in 4..MISSING_RESPONSES_TOLERATED {
        pair.respond(sent[0].ids[0], 0);
    }
    pair.reap();
    pair.respond(sent[0].ids[0], 0);
    assert_eq!(pair.transmitter.reap(), Err(TransmitFault::Missing));
    // The next backend gets those that were not answered, each once.
    assert_eq!(pair.reconnect(EVERYTHING).len(), 63);
    pair.reap();
}

#[test]
fn a_second_response_does_not_free_the_next_request_in_the_same_place() {
    let mut pair = Pair::new();
    pair.send_bytes(&ethernet(1, 60)).unwrap();
    let first = pair.take().unwrap().ids[0];
    pair.respond(first, 0);
    pair.reap();
    pair.send_bytes(&ethernet(2, 60)).unwrap();
    let second = pair.take().unwrap().ids[0];
    assert_eq!(first & 0xff, second & 0xff);
    pair.respond(first, 0);
    pair.reap();
    assert_eq!(pair.counters().bad_responses, 1);
    assert_eq!(pair.transmitter.in_flight(), 1);
}

#[test]
fn the_backends_word_on_a_frame_is_counted() {
    let mut pair = Pair::new();
    for status in [NETIF_RSP_OKAY, NETIF_RSP_DROPPED, NETIF_RSP_ERROR, i16::MIN] {
        let frame = pair.frame(&ethernet(1, 60), &[20]);
        pair.send(frame).unwrap();
        let sent = pair.take().unwrap();
        pair.answer(&sent, status);
    }
    pair.reap();
    assert_eq!(pair.counters().backend_dropped, 1);
    assert_eq!(pair.counters().backend_errors, 2);
}

#[test]
fn a_page_that_the_backend_does_not_let_go_is_out_of_use_and_counted() {
    let mut pair = Pair::new();
    pair.send_bytes(&ethernet(1, 60)).unwrap();
    let _ = pair.transmitter.publish();
    let request = pair.back.take_request().unwrap().unwrap();
    let block = TestPages::block(request.reference);
    pair.pages.peer.hold(block, true).unwrap();
    pair.respond(request.id, 0);
    pair.reap();
    assert_eq!(pair.counters().quarantined, 1);
    assert_eq!(pair.pages.pool.counters().quarantined, 1);
}
