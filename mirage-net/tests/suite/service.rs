//! Services that answer in place.

use std::net::Ipv4Addr;

use mirage_core::{Instant, MacAddress, Pool};
use mirage_net::*;

use crate::common::*;

const NOW: Instant = Instant::from_secs(1_000);

/// Answers with as many bytes as the first two of the request say, and notes the room it had.
#[derive(Default)]
struct Long {
    room: std::rc::Rc<std::cell::Cell<usize>>,
}

impl UdpService for Long {
    fn respond(&mut self, request: &UdpRequest<'_>, answer: &mut [u8]) -> Option<usize> {
        self.room.set(answer.len());
        let length = request.payload.first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        for (index, byte) in answer.iter_mut().enumerate() {
            *byte = index as u8;
        }
        Some(length)
    }
}

fn serve(fragmentation: Fragmentation) -> (Stack<'static>, std::rc::Rc<std::cell::Cell<usize>>) {
    let pool = Pool::leak(64, 4096).unwrap();
    let mut stack = lone_stack(pool);
    let request = arp(
        1,
        MacAddress::BROADCAST,
        (mac(2), ip(2)),
        (MacAddress::UNSPECIFIED, ip(1)),
    );
    stack.handle_frame(NOW, frame(pool, &request, 4096));
    drain(&mut stack, NOW);
    let service = Box::leak(Box::new(Long::default()));
    let room = service.room.clone();
    let mut options = ServiceOptions::port(53);
    options.max_answer = 3_000;
    options.fragmentation = fragmentation;
    options.time_to_live = 7;
    stack.bind_service(options, service).unwrap();
    (stack, room)
}

fn ask(stack: &mut Stack<'_>, length: u16, segment: usize) -> Vec<Vec<u8>> {
    let mut question = length.to_be_bytes().to_vec();
    question.extend([0; 300]);
    let bytes = udp_frame(at(2, 999), at(1, 53), &question);
    let frame = frame(stack.pool(), &bytes, segment);
    stack.handle_frame(NOW, frame);
    drain(stack, NOW)
}

#[test]
fn an_answer_is_sent_from_its_page_with_right_headers() {
    let (mut stack, room) = serve(Fragmentation::Allowed);
    let sent = ask(&mut stack, 100, 4096);
    assert_eq!(room.get(), 3_000);
    let answer: Vec<u8> = (0..100).collect();
    let mut expected = udp_frame(at(1, 53), at(2, 999), &answer);
    expected[..6].copy_from_slice(&mac(2).0);
    expected[6..12].copy_from_slice(&mac(1).0);
    // The identification is nobody's to predict.
    expected[18..20].copy_from_slice(&sent[0][18..20]);
    expected[22] = 7;
    expected[24..26].fill(0);
    let sum = wire::checksum::checksum(&expected[14..34]);
    expected[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(sent, [expected]);
    assert_eq!(stack.counters().udp.answered, 1);
    assert_eq!(stack.counters().udp.service_copied, 0);
    assert_eq!(stack.counters().compacted, 0);
}

#[test]
fn no_page_is_held_but_the_answers() {
    let (mut stack, _) = serve(Fragmentation::Allowed);
    let pool = stack.pool();
    let free = pool.free();
    let bytes = udp_frame(at(2, 999), at(1, 53), &[0, 10]);
    stack.handle_frame(NOW, frame(pool, &bytes, 4096));
    assert_eq!(pool.free(), free - 1);
    drain(&mut stack, NOW);
    assert_eq!(pool.free(), free);
    // With no page left the question is dropped, and counted.
    let question = frame(pool, &bytes, 4096);
    let hoard: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    stack.handle_frame(NOW, question);
    assert_eq!(stack.counters().udp.service_no_pages, 1);
    drop(hoard);
}

#[test]
fn a_long_answer_is_fragmented_or_refused_as_the_service_says() {
    let (mut stack, _) = serve(Fragmentation::Allowed);
    assert_eq!(ask(&mut stack, 3_000, 4096).len(), 3);
    assert_eq!(stack.counters().send.fragmented, 1);
    let (mut stack, room) = serve(Fragmentation::Refused);
    let sent = ask(&mut stack, 1_472, 4096);
    assert_eq!((room.get(), sent.len()), (1_472, 1));
    assert_eq!(sent[0][20], 0x40, "Don't Fragment");
    assert_eq!(ask(&mut stack, 1_473, 4096).len(), 0);
    assert_eq!(stack.counters().udp.service_overrun, 1);
}

#[test]
fn a_question_in_many_segments_is_answered_after_one_copy() {
    let (mut stack, _) = serve(Fragmentation::Allowed);
    assert_eq!(ask(&mut stack, 100, 20).len(), 1);
    assert_eq!(stack.counters().udp.service_copied, 1);
}

#[test]
fn what_cannot_be_answered_is_not_asked() {
    let (mut stack, room) = serve(Fragmentation::Allowed);
    let pool = stack.pool();
    let from_nobody = udp_frame(at(2, 0), at(1, 53), &[0, 10]);
    stack.handle_frame(NOW, frame(pool, &from_nobody, 4096));
    assert_eq!(stack.counters().udp.unanswerable, 1);
    let silent = udp_frame(at(2, 9), at(1, 53), &[0]);
    stack.handle_frame(NOW, frame(pool, &silent, 4096));
    assert_eq!(stack.counters().udp.unanswered, 1);
    assert_eq!(room.get(), 3_000);
    assert_eq!(drain(&mut stack, NOW).len(), 0);
}

#[test]
fn a_service_and_a_socket_do_not_share_a_port() {
    let (mut stack, _) = serve(Fragmentation::Allowed);
    let local = (Ipv4Addr::UNSPECIFIED, 53).into();
    let refused = stack.udp_bind(UdpOptions::bind(local));
    assert_eq!(refused, Err(BindError::AddressInUse));
    let other = Box::leak(Box::new(Long::default()));
    let refused = stack.bind_service(ServiceOptions::port(53), other);
    assert_eq!(refused, Err(BindError::AddressInUse));
}
