//! Bytes come and go in pieces of any length.

use super::*;
use proptest::prelude::*;

/// What xenstored does next.
#[derive(Clone, Debug)]
enum Step {
    /// Answers the oldest request that it has, by this type, with this payload.
    Answer { kind: u32, payload: Vec<u8> },
    /// Sends a message that nobody asked for.
    Stray {
        kind: u32,
        id: u32,
        payload: Vec<u8>,
    },
    /// An event for the watch, or nearly.
    Event { path: u8, right: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let payload = || proptest::collection::vec(any::<u8>(), 0..60);
    // An event is no answer: the place would stay taken.
    let other = (0_u32..30).prop_filter("an event", |kind| *kind != 15);
    let kind = prop_oneof![4 => Just(2_u32), 1 => Just(16), 1 => other];
    prop_oneof![
        4 => (kind.clone(), payload()).prop_map(|(kind, payload)| Step::Answer { kind, payload }),
        1 => (kind, 0_u32..0x800, payload()).prop_map(|(kind, id, payload)| Step::Stray { kind, id, payload }),
        2 => (0_u8..4, any::<bool>()).prop_map(|(path, right)| Step::Event { path, right }),
    ]
}

/// All that a user of the machine can see.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    replies: Vec<Result<Vec<u8>, StoreError>>,
    events: Vec<Option<Vec<u8>>>,
    counters: StoreCounters,
    sent: Vec<Sent>,
}

/// Runs the steps, in pieces of the given lengths; whole messages without.
fn run(steps: &[Step], pieces: &[usize]) -> Seen {
    let mut pieces = pieces.iter().copied().cycle();
    let mut piece = move |length: usize| pieces.next().map_or(length, |piece| piece.min(length));
    let mut machine = Machine::new();
    let (watch, token) = machine.watched("w");
    let mut replies = Vec::new();
    let mut all_sent = Vec::new();
    for step in steps {
        let bytes = match step {
            Step::Answer { kind, payload } => {
                let name = &[&b"some/key\0"[..]];
                let asked = machine.protocol.request(MessageType::Read, 0, name, false);
                // Events in place of answers leave no place free in the end.
                let Ok(index) = asked else {
                    continue;
                };
                let mut room = [0; 64];
                loop {
                    let length = machine.protocol.poll_transmit(&mut room[..piece(64)]);
                    if length == 0 {
                        break;
                    }
                    machine.rest.extend_from_slice(&room[..length]);
                }
                let sent = machine.sent();
                let bytes = message(*kind, sent[0].id, payload);
                all_sent.extend(sent);
                feed(&mut machine, &bytes, &mut piece);
                // Each is answered at once, rightly or wrongly.
                let Poll::Ready(reply) = machine.poll(index) else {
                    machine.protocol.abandon_request(index);
                    continue;
                };
                replies.push(reply);
                continue;
            }
            Step::Stray { kind, id, payload } => message(*kind, *id, payload),
            Step::Event { path, right } => {
                let token = if *right { &*token } else { b"0000ffff" };
                let payload = [b"w/", &[b'a' + path][..], b"\0", token, b"\0"].concat();
                message(MessageType::WatchEvent as u32, 0, &payload)
            }
        };
        feed(&mut machine, &bytes, &mut piece);
    }
    let mut events = Vec::new();
    while let Poll::Ready(event) = machine.poll_event(watch) {
        events.push(event.unwrap());
    }
    Seen {
        replies,
        events,
        counters: machine.counters(),
        sent: all_sent,
    }
}

fn feed(machine: &mut Machine, bytes: &[u8], piece: &mut impl FnMut(usize) -> usize) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece(rest.len()));
        machine.feed(now);
        rest = later;
    }
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_as_whole_messages(
        steps in proptest::collection::vec(step(), 0..40),
        pieces in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        prop_assert_eq!(run(&steps, &pieces), run(&steps, &[]));
    }
}
