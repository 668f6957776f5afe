//! The machine alone, with a scripted peer.

mod hazards;
mod pieces;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use zerocopy::FromBytes;

use super::*;
use crate::store::error::StoreError;

const REQUESTS: usize = 3;
const REQUEST_BYTES: usize = 32;
const WATCHES: usize = 2;
const WATCH_BYTES: usize = 40;

/// A machine with little room.
struct Machine {
    protocol: Protocol<'static>,
    /// Bytes sent that are no whole message yet.
    rest: Vec<u8>,
}

/// A message that the machine sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    kind: MessageType,
    id: u32,
    transaction: u32,
    payload: Vec<u8>,
}

impl Machine {
    fn new() -> Self {
        let requests: Vec<_> = (0..REQUESTS).map(|_| RequestSlot::new()).collect();
        let watches: Vec<_> = (0..WATCHES).map(|_| WatchSlot::new()).collect();
        let transactions: Vec<_> = (0..2).map(|_| TransactionSlot::new()).collect();
        let mut protocol = Protocol::new(Memory {
            requests: requests.leak(),
            request_bytes: vec![0; REQUESTS * REQUEST_BYTES].leak(),
            large_bytes: Box::leak(Box::new([0; XENSTORE_PAYLOAD_MAX])),
            receive_bytes: Box::leak(Box::new([0; XENSTORE_PAYLOAD_MAX])),
            watches: watches.leak(),
            watch_bytes: vec![0; WATCHES * WATCH_BYTES].leak(),
            transactions: transactions.leak(),
        });
        protocol.handle_renewal(Tree::New);
        Self {
            protocol,
            rest: Vec::new(),
        }
    }

    fn ask(&mut self, kind: MessageType, payload: &[u8]) -> usize {
        self.protocol.request(kind, 0, &[payload], false).unwrap()
    }

    /// Asks, and sends it: the place and the id.
    fn asked(&mut self, kind: MessageType, payload: &[u8]) -> (usize, u32) {
        let index = self.ask(kind, payload);
        let sent = self.sent();
        assert_eq!(sent.len(), 1);
        (index, sent[0].id)
    }

    /// All that it has to send, in pieces of 7.
    fn sent(&mut self) -> Vec<Sent> {
        let mut room = [0; 7];
        loop {
            let length = self.protocol.poll_transmit(&mut room);
            if length == 0 {
                break;
            }
            self.rest.extend_from_slice(&room[..length]);
        }
        let mut sent = Vec::new();
        while let Ok((header, rest)) = MessageHeader::read_from_prefix(&self.rest) {
            let Some(payload) = rest.get(..header.length.get() as usize) else {
                break;
            };
            sent.push(Sent {
                kind: MessageType::from_number(header.kind.get()).unwrap(),
                id: header.request.get(),
                transaction: header.transaction.get(),
                payload: payload.to_vec(),
            });
            let length = MessageHeader::LENGTH + payload.len();
            self.rest.drain(..length);
        }
        sent
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.protocol.handle_bytes(rest).unwrap();
            assert_ne!(taken, 0);
            rest = &rest[taken..];
        }
    }

    fn reply(&mut self, kind: u32, id: u32, payload: &[u8]) {
        self.feed(&message(kind, id, payload));
    }

    fn event(&mut self, path: &str, token: &[u8]) {
        let payload = [path.as_bytes(), b"\0", token, b"\0"].concat();
        self.reply(MessageType::WatchEvent as u32, 0, &payload);
    }

    fn poll(&mut self, index: usize) -> Poll<Result<Vec<u8>, StoreError>> {
        let mut buffer = [0; XENSTORE_PAYLOAD_MAX];
        let mut context = Context::from_waker(Waker::noop());
        let reply = self.protocol.poll_reply(index, &mut buffer, &mut context);
        reply.map_ok(|length| buffer[..length].to_vec())
    }

    fn poll_event(&mut self, index: usize) -> Poll<Result<Option<Vec<u8>>, StoreError>> {
        let mut buffer = [0; 64];
        let mut context = Context::from_waker(Waker::noop());
        let event = self.protocol.poll_event(index, &mut buffer, &mut context);
        event.map_ok(|event| match event {
            TakenEvent::Path(length) => Some(buffer[..length].to_vec()),
            TakenEvent::Resync => None,
        })
    }

    fn poll_watching(&mut self, index: usize) -> Poll<Result<(), StoreError>> {
        let mut context = Context::from_waker(Waker::noop());
        self.protocol.poll_watching(index, &mut context)
    }

    /// A watch that xenstored has taken: its place and token.
    fn watched(&mut self, path: &str) -> (usize, Vec<u8>) {
        let index = self.protocol.watch(&[path.as_bytes()]).unwrap();
        let sent = self.sent();
        self.reply(MessageType::Watch as u32, sent[0].id, b"OK\0");
        assert_eq!(self.poll_watching(index), Poll::Ready(Ok(())));
        (index, token(&sent[0]))
    }

    fn freed(&mut self) -> (usize, usize) {
        let freed = self.protocol.poll_freed();
        (freed.small, freed.large)
    }

    fn counters(&self) -> StoreCounters {
        self.protocol.counters()
    }
}

fn message(kind: u32, id: u32, payload: &[u8]) -> Vec<u8> {
    let header = MessageHeader {
        kind: kind.into(),
        request: id.into(),
        transaction: 0.into(),
        length: (payload.len() as u32).into(),
    };
    [header.as_bytes(), payload].concat()
}

/// The token in an `XS_WATCH`.
fn token(sent: &Sent) -> Vec<u8> {
    assert_eq!(sent.kind, MessageType::Watch);
    let mut parts = sent.payload.split(|byte| *byte == 0);
    parts.nth(1).unwrap().to_vec()
}

#[test]
fn a_request_has_the_header_and_bytes_of_the_specification() {
    let mut machine = Machine::new();
    machine
        .protocol
        .request(MessageType::Read, 0x0102_0304, &[b"a/", b"b", b"\0"], false)
        .unwrap();
    let mut room = [0xEE; 64];
    let length = machine.protocol.poll_transmit(&mut room);
    let golden = [
        2, 0, 0, 0, // type: XS_READ
        0, 1, 0, 0, // req_id: the first of place 0
        4, 3, 2, 1, // tx_id
        4, 0, 0, 0, // len
        b'a', b'/', b'b', 0,
    ];
    assert_eq!(room[..length], golden);
    assert_eq!(room[length..], [0xEE; 44]);
}

#[test]
fn a_watch_and_its_end_have_the_bytes_of_the_specification() {
    let mut machine = Machine::new();
    machine.protocol.watch(&[b"data"]).unwrap();
    let mut room = [0; 64];
    let length = machine.protocol.poll_transmit(&mut room);
    let golden = *b"\x04\0\0\0\x80\x01\0\0\0\0\0\0\x0E\0\0\0data\x0000000100\0";
    assert_eq!(room[..length], golden);
    machine.feed(b"\x04\0\0\0\x80\x01\0\0\0\0\0\0\x03\0\0\0OK\0");
    machine.protocol.unwatch(0);
    let length = machine.protocol.poll_transmit(&mut room);
    let golden = *b"\x05\0\0\0\x80\x02\0\0\0\0\0\0\x0E\0\0\0data\x0000000100\0";
    assert_eq!(room[..length], golden);
}

#[test]
fn a_transaction_has_the_bytes_of_the_specification() {
    let mut machine = Machine::new();
    machine.protocol.begin_transaction().unwrap();
    let mut room = [0; 64];
    let length = machine.protocol.poll_transmit(&mut room);
    assert_eq!(
        room[..length],
        *b"\x06\0\0\0\xC0\x01\0\0\0\0\0\0\x01\0\0\0\0"
    );
    machine.feed(b"\x06\0\0\0\xC0\x01\0\0\0\0\0\0\x04\0\0\x00256\0");
    assert_eq!(machine.protocol.transaction_number(0), Ok(256));
    machine.protocol.end_transaction(0, true);
    let length = machine.protocol.poll_transmit(&mut room);
    assert_eq!(
        room[..length],
        *b"\x07\0\0\0\xC0\x02\0\0\0\x01\0\0\x02\0\0\0T\0"
    );
    machine.feed(b"\x10\0\0\0\xC0\x02\0\0\0\x01\0\0\x07\0\0\0EAGAIN\0");
    let mut context = Context::from_waker(Waker::noop());
    let ended = machine.protocol.poll_ended(0, &mut context);
    assert!(matches!(ended, Poll::Ready(Err(error)) if error.is_try_again()));
}

#[test]
fn replies_come_in_any_order() {
    let mut machine = Machine::new();
    let places: Vec<_> = (0..3)
        .map(|_| machine.ask(MessageType::Read, b"a\0"))
        .collect();
    let ids: Vec<_> = machine.sent().iter().map(|sent| sent.id).collect();
    for index in [2, 0, 1] {
        machine.reply(2, ids[index], &[b'0' + index as u8]);
    }
    for (place, expected) in places.into_iter().zip([b"0", b"1", b"2"]) {
        assert_eq!(machine.poll(place), Poll::Ready(Ok(expected.to_vec())));
    }
    assert_eq!(machine.counters().round_trips, 1);
}
