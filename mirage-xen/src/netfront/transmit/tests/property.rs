//! Any frames, any answers.

use alloc::vec::Vec;

use mirage_core::Frame;
use proptest::prelude::*;

use super::{EVERYTHING, PAGES, Pair, Sent, attach, bytes_of, ethernet};

/// A frame's segments: (kind, length).
type Cut = Vec<(u8, usize)>;

#[derive(Clone, Debug)]
enum Step {
    Send(Cut),
    Take,
    /// Answers one of the frames that were taken.
    Answer(usize),
    Reap,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let cut = prop::collection::vec((0..3_u8, 0..200_usize), 1..=18);
    prop_oneof![
        6 => cut.prop_map(Step::Send),
        6 => Just(Step::Take),
        6 => any::<usize>().prop_map(Step::Answer),
        4 => Just(Step::Reap),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever frames go in, the same come out, in order; after a reconnection those that were not answered do again.
    #[test]
    fn frames_that_go_in_come_out(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::with(48, EVERYTHING);
        pair.limits.mtu = 3_600;
        let range = pair.pages.pool.register_static(&PAGES).unwrap();
        let whole = pair.pages.pool.free_in_all();
        let mut queued: Vec<Vec<u8>> = Vec::new();
        let mut taken: Vec<Sent> = Vec::new();
        let mut seed = 0_u8;
        for step in steps {
            match step {
                Step::Send(cut) => {
                    let mut frame = Frame::new();
                    let mut pushed = true;
                    for (kind, length) in cut {
                        seed = seed.wrapping_add(1);
                        let segment = if kind == 2 {
                            range.slice(usize::from(seed) * 10..usize::from(seed) * 10 + length).unwrap()
                        } else if let Some(mut page) = pair.pages.pool.alloc() {
                            page.reset(usize::from(seed)).unwrap();
                            page.append(length).unwrap().fill(seed);
                            if kind == 0 { page.into() } else { page.freeze().into() }
                        } else {
                            pushed = false;
                            break;
                        };
                        pushed &= frame.push(segment).is_ok();
                    }
                    let bytes = bytes_of(&frame);
                    if pushed && pair.send(frame).is_ok() {
                        queued.push(bytes);
                    }
                }
                Step::Take => {
                    if let Some(sent) = pair.take() {
                        let expected = queued.remove(0);
                        prop_assert_eq!(&sent.bytes, &expected);
                        taken.push(sent);
                    }
                }
                Step::Answer(which) => {
                    if !taken.is_empty() {
                        let sent = taken.remove(which % taken.len());
                        pair.answer(&sent, 0);
                    }
                }
                Step::Reap => pair.reap(),
                Step::Reconnect => {
                    pair.reap();
                    pair.transmitter.connect(EVERYTHING);
                    pair.back = attach(pair.transmitter.block().unwrap());
                    let again = taken.drain(..).map(|sent| sent.bytes);
                    let mut all: Vec<_> = again.collect();
                    all.append(&mut queued);
                    queued = all;
                }
            }
        }
        while let Some(sent) = pair.take() {
            prop_assert_eq!(&sent.bytes, &queued.remove(0));
            taken.push(sent);
        }
        prop_assert!(queued.is_empty());
        for sent in taken {
            pair.answer(&sent, 0);
        }
        pair.reap();
        prop_assert_eq!(pair.transmitter.in_flight(), 0);
        prop_assert_eq!(pair.pages.pool.free_in_all(), whole);
        prop_assert_eq!(pair.pages.peer.lent(), 1);
        prop_assert_eq!(pair.counters().bad_responses, 0);
        prop_assert_eq!(pair.pages.peer.violations(), 0);
    }

    #[test]
    fn whatever_is_answered_no_page_is_lost(responses in prop::collection::vec((0..80_u16, -3..3_i16), 0..60)) {
        let mut pair = Pair::new();
        let whole = pair.pages.pool.free_in_all();
        for _ in 0..responses.len() {
            pair.send_bytes(&ethernet(1, 60)).unwrap();
        }
        while pair.take().is_some() {}
        for (id, status) in responses {
            pair.respond(id, status);
        }
        let _ = pair.transmitter.reap();
        let in_flight = pair.transmitter.in_flight();
        prop_assert_eq!(pair.pages.pool.free_in_all() + in_flight, whole);
        let again = pair.reconnect(EVERYTHING);
        prop_assert_eq!(again.len(), in_flight);
    }
}
