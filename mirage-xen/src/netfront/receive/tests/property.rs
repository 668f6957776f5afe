//! Any responses.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// What a backend may do with the next slot.
#[derive(Clone, Debug)]
enum Step {
    /// A piece, as it should be.
    Piece {
        length: u16,
        flags: u16,
    },
    /// Anything.
    Anything(ReceiveResponse),
    /// It holds on to the page that it answers, or lets go of it.
    Hold,
    Poll,
    /// Somebody drops the frames that are held.
    Drop,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let anything = (any::<u16>(), any::<u16>(), any::<u16>(), any::<i16>());
    prop_oneof![
        6 => (0..=1_500_u16, 0..16_u16).prop_map(|(length, flags)| Step::Piece { length, flags }),
        3 => anything.prop_map(|(id, offset, flags, status)| {
            Step::Anything(ReceiveResponse { id: id % 300, offset, flags, status })
        }),
        1 => Just(Step::Hold),
        6 => Just(Step::Poll),
        2 => Just(Step::Drop),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_backend_does_no_page_is_lost_and_none_is_reached_twice(steps in prop::collection::vec(step(), 1..200)) {
        let mut pair = Pair::with(24, 64, ALL | OffloadFlags::RECEIVE_SEGMENTED_V4);
        let mut held = Vec::new();
        let mut contents: Vec<Vec<u8>> = Vec::new();
        for step in steps {
            match step {
                Step::Piece { length, flags } => {
                    if let Ok(Some(request)) = pair.back.take_request() {
                        let block = TestPages::block(request.reference);
                        let bytes = vec![length as u8; length.into()];
                        pair.pages.peer.write(block, 0, &bytes).unwrap();
                        let response = ReceiveResponse { id: request.id, offset: 0, flags, status: length as i16 };
                        pair.answer(response);
                    }
                }
                Step::Anything(response) => {
                    if let Ok(Some(_)) = pair.back.take_request() {
                        pair.answer(response);
                    }
                }
                Step::Hold => {
                    if let Ok(Some(request)) = pair.back.take_request() {
                        pair.pages.peer.hold(TestPages::block(request.reference), true).unwrap();
                        pair.answer(ReceiveResponse { id: request.id, offset: 0, flags: 0, status: 60 });
                    }
                }
                Step::Poll => {
                    let received = pair.receiver.poll(&pair.pages, &pair.limits).unwrap();
                    pair.receiver.refill(&pair.pages);
                    let _ = pair.receiver.publish();
                    if let Received::Frame(frame) = received {
                        prop_assert!(frame.len() >= 14);
                        prop_assert!(frame.segments().len() <= Frame::MAX_SEGMENTS);
                        contents.push(bytes_of(&frame));
                        held.push(frame);
                    }
                }
                Step::Drop => {
                    for (frame, bytes) in held.drain(..).zip(contents.drain(..)) {
                        prop_assert_eq!(bytes_of(&frame), bytes);
                    }
                }
                Step::Reconnect => {
                    pair.receiver.connect(&pair.pages);
                    let _ = pair.receiver.publish();
                    pair.back = attach(pair.receiver.block().unwrap());
                }
            }
            pair.check();
            prop_assert_eq!(pair.receiver.pages() as u64 + pair.counters().quarantined, 24);
            if pair.counters().quarantined < 20 {
                prop_assert!(pair.receiver.posted() > 0);
            }
        }
        prop_assert_eq!(pair.pages.peer.violations(), 0);
        drop(held);
        // What is not with the backend is free, or in the frame in the making.
        pair.receiver.disconnect();
        let lent = pair.receiver.posted() as u64 + 1 + pair.counters().quarantined;
        prop_assert_eq!(pair.pages.pool.free_in_all() as u64, pair.pages.pool.blocks() as u64 - lent);
    }
}
