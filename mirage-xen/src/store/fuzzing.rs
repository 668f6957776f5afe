//! The machine under users and a xenstored that do what the input says.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use zerocopy::FromBytes;

use super::protocol::{Memory, Protocol, RequestSlot, TransactionSlot, Tree, WatchSlot};
use crate::abi::xs_wire::{MessageHeader, MessageType, XENSTORE_PAYLOAD_MAX};
use crate::fuzzing::Input;

const REQUESTS: usize = 3;
const REQUEST_BYTES: usize = 24;
const WATCHES: usize = 2;
const WATCH_BYTES: usize = 40;
const TRANSACTIONS: usize = 2;

/// Runs a client's half of xenstore's protocol as the input says: what its users ask and give up, in which pieces bytes
/// go, and what xenstored sends: any bytes, replies that are nearly right, events.
///
/// # Panics
///
/// When what is sent isn't a row of whole messages, or has an id twice; when a request's place is given to two, or
/// isn't given back; when somebody waits for ever though xenstored answers.
pub fn store(input: &[u8]) {
    let mut requests: Vec<_> = (0..REQUESTS).map(|_| RequestSlot::new()).collect();
    let mut watches: Vec<_> = (0..WATCHES).map(|_| WatchSlot::new()).collect();
    let mut transactions: Vec<_> = (0..TRANSACTIONS).map(|_| TransactionSlot::new()).collect();
    let (mut large_bytes, mut receive_bytes) =
        ([0; XENSTORE_PAYLOAD_MAX], [0; XENSTORE_PAYLOAD_MAX]);
    let mut request_bytes = vec![0; REQUESTS * REQUEST_BYTES];
    let mut watch_bytes = vec![0; WATCHES * WATCH_BYTES];
    let mut run = Run {
        protocol: Protocol::new(Memory {
            requests: &mut requests,
            request_bytes: &mut request_bytes,
            large_bytes: &mut large_bytes,
            receive_bytes: &mut receive_bytes,
            watches: &mut watches,
            watch_bytes: &mut watch_bytes,
            transactions: &mut transactions,
        }),
        small: 0,
        large: 0,
        requests: BTreeSet::new(),
        watches: BTreeSet::new(),
        transactions: BTreeMap::new(),
        holds: 0,
        stream: Vec::new(),
        in_flight: Vec::new(),
    };
    run.renew(Tree::New);
    let mut input = Input(input);
    while run.step(&mut input).is_some() {
        run.drain();
    }
    run.finish();
}

/// A message that xenstored has, or will have.
#[derive(Clone, Copy)]
struct InFlight {
    kind: u32,
    id: u32,
}

struct Run<'m> {
    protocol: Protocol<'m>,
    /// Places that are taken, as the store's permits count them.
    small: usize,
    large: usize,
    /// Somebody waits for these.
    requests: BTreeSet<usize>,
    watches: BTreeSet<usize>,
    /// Whether their end was asked for.
    transactions: BTreeMap<usize, bool>,
    holds: usize,
    stream: Vec<u8>,
    in_flight: Vec<InFlight>,
}

impl Run<'_> {
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let context = &mut Context::from_waker(Waker::noop());
        match input.byte()? % 16 {
            0..=2 => self.ask(input, false)?,
            3 => self.ask(input, true)?,
            4 => {
                let path = input.bytes(48)?;
                if let Ok(index) = self.protocol.watch(&[path]) {
                    assert!(self.watches.insert(index), "a watch's place is given twice");
                }
            }
            5 => {
                if let Some(index) = self.watches.pop_first() {
                    self.protocol.unwatch(index);
                }
            }
            6 => {
                if let Ok(index) = self.protocol.begin_transaction() {
                    let before = self.transactions.insert(index, false);
                    assert!(before.is_none(), "a transaction's place is given twice");
                }
            }
            7 => {
                let commit = input.byte()? % 2 == 0;
                let begun = self.transactions.iter_mut().find(|(index, ended)| {
                    !**ended && self.protocol.transaction_number(**index).is_ok()
                });
                if let Some((index, ended)) = begun {
                    *ended = true;
                    self.protocol.end_transaction(*index, commit);
                }
            }
            8 => {
                if let Some(index) = self.requests.pop_last() {
                    self.protocol.abandon_request(index);
                }
                if input.byte()? % 4 == 0
                    && let Some((index, _)) = self.transactions.pop_first()
                {
                    self.protocol.abandon_transaction(index);
                }
            }
            9 => {
                let length = input.byte()?.into();
                self.transmit(length);
            }
            10 => {
                let bytes = input.bytes(64)?;
                self.feed(bytes, input.byte()? % 2 == 0);
            }
            11 | 12 => {
                let choice = usize::from(input.byte()?);
                let length = self.in_flight.len();
                let kind = input.byte()?;
                let payload = input.bytes(48)?;
                if length != 0 {
                    let asked = self.in_flight[choice % length];
                    let kind = match kind {
                        0..200 => asked.kind,
                        200..230 => MessageType::Error as u32,
                        other => other.into(),
                    };
                    self.feed(&message(kind, asked.id, payload), false);
                }
            }
            13 => {
                let (generation, index) = (input.byte()? % 4, input.byte()? % 4);
                let token = std::format!("{generation:06x}{index:02x}");
                let path = input.bytes(48)?;
                let payload = [path, b"\0", token.as_bytes(), b"\0"].concat();
                self.feed(&message(MessageType::WatchEvent as u32, 0, &payload), false);
            }
            14 => match input.byte()? % 8 {
                0 => self.renew(Tree::New),
                1 if self.protocol.reconnecting().is_some() => self.renew(Tree::Same),
                2 => {
                    self.protocol.hold();
                    self.holds += 1;
                }
                _ if self.holds != 0 => {
                    self.protocol.release();
                    self.holds -= 1;
                }
                _ => {}
            },
            _ => {
                self.look(context);
            }
        }
        Some(())
    }

    fn ask(&mut self, input: &mut Input<'_>, large: bool) -> Option<()> {
        let taken = if large {
            &mut self.large
        } else {
            &mut self.small
        };
        let places = if large { 1 } else { REQUESTS };
        let kind = [
            MessageType::Read,
            MessageType::Write,
            MessageType::Directory,
            MessageType::ResetWatches,
        ][usize::from(input.byte()? % 4)];
        let payload = input.bytes(if large { 200 } else { REQUEST_BYTES })?;
        if *taken == places {
            return Some(());
        }
        let numbers = self.transactions.keys();
        let number = numbers
            .filter_map(|index| self.protocol.transaction_number(*index).ok())
            .next();
        let number = number.filter(|number| number % 2 == 0).unwrap_or(0);
        if let Ok(index) = self.protocol.request(kind, number, &[payload], large) {
            *taken += 1;
            assert!(
                self.requests.insert(index),
                "a request's place is given twice"
            );
        }
        Some(())
    }

    /// Whatever is there is looked at.
    fn look(&mut self, context: &mut Context<'_>) {
        let mut buffer = [0; XENSTORE_PAYLOAD_MAX];
        let protocol = &mut self.protocol;
        self.requests.retain(|index| {
            protocol
                .poll_reply(*index, &mut buffer, context)
                .is_pending()
        });
        for index in &self.watches {
            let _ = protocol.poll_watching(*index, context);
            let _ = protocol.poll_event(*index, &mut buffer[..16], context);
        }
        for (index, ended) in &self.transactions {
            if *ended {
                let _ = protocol.poll_ended(*index, context);
            } else {
                let _ = protocol.poll_begun(*index, context);
            }
        }
        let _ = protocol.poll_quiet(context);
    }

    fn transmit(&mut self, length: usize) {
        let mut room = vec![0; length];
        let filled = self.protocol.poll_transmit(&mut room);
        assert!(filled <= length);
        self.stream.extend_from_slice(&room[..filled]);
        while let Ok((header, rest)) = MessageHeader::read_from_prefix(&self.stream) {
            let length = header.length.get() as usize;
            assert!(length <= XENSTORE_PAYLOAD_MAX, "the connection is ended");
            if rest.len() < length {
                break;
            }
            let sent = InFlight {
                kind: header.kind.get(),
                id: header.request.get(),
            };
            assert!(MessageType::from_number(sent.kind).is_some());
            let known = self.in_flight.iter().any(|other| other.id == sent.id);
            assert!(!known && sent.id != 0, "an id is used twice");
            self.in_flight.push(sent);
            self.stream.drain(..MessageHeader::LENGTH + length);
        }
    }

    /// Bytes from xenstored.
    fn feed(&mut self, bytes: &[u8], offered: bool) {
        let mut rest = bytes;
        while !rest.is_empty() && self.protocol.is_up() {
            match self.protocol.handle_bytes(rest) {
                Ok(taken) => {
                    assert_ne!(taken, 0, "bytes are not taken");
                    rest = &rest[taken..];
                }
                Err(fault) => {
                    self.protocol.handle_fault(fault, offered);
                    self.stream.clear();
                    self.in_flight.clear();
                }
            }
        }
    }

    fn renew(&mut self, tree: Tree) {
        self.protocol.handle_renewal(tree);
        self.stream.clear();
        self.in_flight.clear();
    }

    fn drain(&mut self) {
        while self.protocol.poll_wake().is_some() {}
        let freed = self.protocol.poll_freed();
        self.small = self
            .small
            .checked_sub(freed.small)
            .expect("more are free than were taken");
        self.large = self
            .large
            .checked_sub(freed.large)
            .expect("more are free than were taken");
    }

    /// Everything is answered, and nobody waits.
    fn finish(&mut self) {
        while self.holds != 0 {
            self.protocol.release();
            self.holds -= 1;
        }
        self.renew(Tree::New);
        while self.protocol.has_output() {
            self.transmit(1_000);
            for asked in core::mem::take(&mut self.in_flight) {
                let payload: &[u8] = if asked.kind == MessageType::TransactionStart as u32 {
                    b"2\0"
                } else {
                    b"OK\0"
                };
                self.feed(&message(asked.kind, asked.id, payload), false);
            }
            self.drain();
        }
        let context = &mut Context::from_waker(Waker::noop());
        for index in core::mem::take(&mut self.watches) {
            let set = self.protocol.poll_watching(index, context);
            assert!(set.is_ready(), "a watcher waits for ever");
        }
        for (index, ended) in core::mem::take(&mut self.transactions) {
            let poll = if ended {
                self.protocol.poll_ended(index, context)
            } else {
                self.protocol.poll_begun(index, context)
            };
            assert_ne!(poll, Poll::Pending, "a transaction's user waits for ever");
        }
        self.look(context);
        assert!(self.requests.is_empty(), "a request's user waits for ever");
        self.drain();
        assert_eq!(
            (self.small, self.large),
            (0, 0),
            "a place is not given back"
        );
    }
}

fn message(kind: u32, id: u32, payload: &[u8]) -> Vec<u8> {
    let header = MessageHeader {
        kind: kind.into(),
        request: id.into(),
        transaction: 0.into(),
        length: (payload.len() as u32).into(),
    };
    [zerocopy::IntoBytes::as_bytes(&header), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hostile_xenstored_gets_errors_alone(
            input in proptest::collection::vec(any::<u8>(), 0..1_500)
        ) {
            store(&input);
        }
    }
}
