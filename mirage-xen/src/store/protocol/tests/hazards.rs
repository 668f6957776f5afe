//! What a xenstored that is wrong, or wicked, can send; and users who change their mind.

use super::*;
use crate::abi::XenError;
use alloc::string::ToString;

const READ: u32 = MessageType::Read as u32;
const ERROR: u32 = MessageType::Error as u32;
const WATCH: u32 = MessageType::Watch as u32;
const START: u32 = MessageType::TransactionStart as u32;

#[test]
fn a_reply_for_an_id_never_asked_is_dropped() {
    let mut machine = Machine::new();
    let (index, id) = machine.asked(MessageType::Read, b"a\0");
    // Nobody's, a free place's, a place that there is not, an id of watch events, one that is still to come.
    for wrong in [id + 1, 0x0000_0181, 0x0000_01BF, 0x0000_01FF, 0, id + 0x100] {
        machine.reply(READ, wrong, b"wrong");
    }
    assert!(machine.poll(index).is_pending());
    assert_eq!(machine.counters().unknown_replies, 6);
    machine.reply(READ, id, b"right");
    assert_eq!(machine.poll(index), Poll::Ready(Ok(b"right".to_vec())));
}

#[test]
fn a_reply_that_comes_twice_is_dropped_the_second_time() {
    let mut machine = Machine::new();
    let (index, id) = machine.asked(MessageType::Read, b"a\0");
    machine.reply(READ, id, b"first");
    machine.reply(READ, id, b"second");
    assert_eq!(machine.poll(index), Poll::Ready(Ok(b"first".to_vec())));
    machine.reply(READ, id, b"third");
    assert_eq!(machine.counters().duplicate_replies, 2);
    // The place's next request is another one.
    let (next, next_id) = machine.asked(MessageType::Read, b"b\0");
    assert_eq!(next, index);
    machine.reply(READ, id, b"fourth");
    assert!(machine.poll(next).is_pending());
    assert_eq!(machine.counters().unknown_replies, 1);
    machine.reply(READ, next_id, b"fifth");
    assert_eq!(machine.poll(next), Poll::Ready(Ok(b"fifth".to_vec())));
}

#[test]
fn a_reply_before_the_request_was_whole_is_dropped() {
    let mut machine = Machine::new();
    let index = machine.ask(MessageType::Read, b"a/long/name\0");
    let mut room = [0; 20];
    assert_eq!(machine.protocol.poll_transmit(&mut room), 20);
    machine.rest.extend_from_slice(&room);
    machine.reply(READ, 0x0000_0100, b"early");
    assert_eq!(machine.counters().unknown_replies, 1);
    assert!(machine.poll(index).is_pending());
    let sent = machine.sent();
    assert_eq!(sent[0].payload, b"a/long/name\0");
    machine.reply(READ, sent[0].id, b"in time");
    assert_eq!(machine.poll(index), Poll::Ready(Ok(b"in time".to_vec())));
}

#[test]
fn a_reply_of_another_type_fails_the_request_and_leaves_nobody_waiting() {
    let mut machine = Machine::new();
    for wrong in [MessageType::Write as u32, 20, 0xFFFF, u32::MAX] {
        let (index, id) = machine.asked(MessageType::Read, b"a\0");
        machine.reply(wrong, id, b"OK\0");
        assert_eq!(machine.poll(index), Poll::Ready(Err(StoreError::Malformed)));
    }
    assert_eq!(machine.counters().wrong_type, 4);
}

#[test]
fn errors_have_names_or_are_malformed() {
    let mut machine = Machine::new();
    for (payload, error) in [
        (&b"ENOENT\0"[..], StoreError::Refused(XenError::NotFound)),
        (b"E2BIG\0", StoreError::Refused(XenError::TooBig)),
        (b"EISCONN\0", StoreError::RefusedOtherwise),
        (b"ENOENT", StoreError::Malformed),
        (b"ENOENT\0EINVAL\0", StoreError::Malformed),
        (b"", StoreError::Malformed),
    ] {
        let (index, id) = machine.asked(MessageType::Read, b"a\0");
        machine.reply(ERROR, id, payload);
        assert_eq!(machine.poll(index), Poll::Ready(Err(error)));
    }
    let counters = machine.counters();
    assert_eq!((counters.errors, counters.malformed_replies), (6, 3));
}

#[test]
fn a_reply_longer_than_the_place_fails_the_request_and_nothing_else() {
    let mut machine = Machine::new();
    let (index, id) = machine.asked(MessageType::Read, b"a\0");
    let other = machine.ask(MessageType::Read, b"b\0");
    let other_id = machine.sent()[0].id;
    machine.reply(READ, id, &[7; REQUEST_BYTES + 1]);
    machine.reply(READ, other_id, &[8; REQUEST_BYTES]);
    let length = REQUEST_BYTES + 1;
    let too_long = StoreError::ReplyTooLong { length };
    assert_eq!(machine.poll(index), Poll::Ready(Err(too_long)));
    assert_eq!(machine.poll(other), Poll::Ready(Ok(vec![8; REQUEST_BYTES])));
    assert_eq!(machine.counters().too_long_replies, 1);
}

#[test]
fn a_payload_longer_than_the_protocol_permits_is_a_fault() {
    let mut machine = Machine::new();
    let (index, id) = machine.asked(MessageType::Read, b"a\0");
    let header = MessageHeader {
        kind: READ.into(),
        request: id.into(),
        transaction: 0.into(),
        length: (XENSTORE_PAYLOAD_MAX as u32 + 1).into(),
    };
    let fault = StoreFault::PayloadTooLong { length: 4_097 };
    assert_eq!(machine.protocol.handle_bytes(header.as_bytes()), Err(fault));
    assert!(!machine.protocol.handle_fault(fault, false));
    let broken = StoreError::Broken(fault);
    assert_eq!(machine.poll(index), Poll::Ready(Err(broken)));
    assert_eq!(
        machine
            .protocol
            .request(MessageType::Read, 0, &[b"a\0"], false),
        Err(broken)
    );
    assert_eq!(machine.protocol.watch(&[b"a"]), Err(broken));
    assert_eq!(machine.protocol.begin_transaction(), Err(broken));
    assert_eq!(machine.sent(), []);
    // A resumed domain's store works again.
    machine.protocol.handle_renewal(Tree::New);
    let (index, id) = machine.asked(MessageType::Read, b"a\0");
    machine.reply(READ, id, b"");
    assert_eq!(machine.poll(index), Poll::Ready(Ok(vec![])));
}

#[test]
fn the_longest_payload_comes_through_the_large_place() {
    let mut machine = Machine::new();
    let whole = vec![9; XENSTORE_PAYLOAD_MAX];
    assert!(machine.protocol.is_large(4_096, 0) && machine.protocol.is_large(0, 33));
    assert!(!machine.protocol.is_large(REQUEST_BYTES, REQUEST_BYTES));
    let index = machine
        .protocol
        .request(MessageType::Write, 0, &[&whole], true)
        .unwrap();
    let sent = machine.sent();
    assert_eq!(sent[0].payload, whole);
    machine.reply(MessageType::Write as u32, sent[0].id, &whole);
    assert_eq!(machine.poll(index), Poll::Ready(Ok(whole.clone())));
    assert_eq!(machine.freed(), (0, 1));
    let too_long = machine
        .protocol
        .request(MessageType::Write, 0, &[&whole, b"x"], true);
    assert_eq!(too_long, Err(StoreError::RequestTooLong { length: 4_097 }));
}

#[test]
fn a_request_that_is_given_up_keeps_its_place_until_the_reply_is_dropped() {
    let mut machine = Machine::new();
    let (index, id) = machine.asked(MessageType::Read, b"a\0");
    machine.protocol.abandon_request(index);
    assert_eq!(machine.freed(), (0, 0));
    // Its place is not another's.
    let others = [(); 2].map(|()| machine.ask(MessageType::Read, b"b\0"));
    assert!(!others.contains(&index));
    machine.reply(READ, id, b"late");
    assert_eq!(machine.freed(), (1, 0));
    assert_eq!(machine.counters().abandoned_replies, 1);
    // Answered and not taken.
    let ids: Vec<_> = machine.sent().iter().map(|sent| sent.id).collect();
    machine.reply(READ, ids[0], b"");
    machine.protocol.abandon_request(others[0]);
    assert_eq!(machine.freed(), (1, 0));
}

#[test]
fn a_request_that_is_given_up_half_sent_is_sent_to_its_end() {
    let mut machine = Machine::new();
    let index = machine.ask(MessageType::Write, b"a/long/name\0value");
    let mut room = [0; 20];
    assert_eq!(machine.protocol.poll_transmit(&mut room), 20);
    machine.rest.extend_from_slice(&room);
    machine.protocol.abandon_request(index);
    machine.ask(MessageType::Read, b"b\0");
    let sent = machine.sent();
    assert_eq!(sent[0].payload, b"a/long/name\0value");
    assert_eq!(sent[1].payload, b"b\0");
}

#[test]
fn a_request_that_is_given_up_unsent_is_not_sent() {
    let mut machine = Machine::new();
    let index = machine.ask(MessageType::Write, b"a\0value");
    machine.ask(MessageType::Read, b"b\0");
    machine.protocol.abandon_request(index);
    assert_eq!(machine.freed(), (1, 0));
    let sent = machine.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].payload, b"b\0");
}

#[test]
fn an_event_before_the_reply_to_its_watch_is_kept() {
    let mut machine = Machine::new();
    let index = machine.protocol.watch(&[b"data"]).unwrap();
    let sent = machine.sent();
    machine.event("data", &token(&sent[0]));
    machine.event("data/a", &token(&sent[0]));
    assert!(machine.poll_watching(index).is_pending());
    machine.reply(WATCH, sent[0].id, b"OK\0");
    assert_eq!(machine.poll_watching(index), Poll::Ready(Ok(())));
    assert_eq!(
        machine.poll_event(index),
        Poll::Ready(Ok(Some(b"data".to_vec())))
    );
    assert_eq!(
        machine.poll_event(index),
        Poll::Ready(Ok(Some(b"data/a".to_vec())))
    );
    assert!(machine.poll_event(index).is_pending());
}

#[test]
fn a_watch_that_is_refused_says_why_and_has_no_place() {
    let mut machine = Machine::new();
    let index = machine.protocol.watch(&[b"data"]).unwrap();
    let sent = machine.sent();
    machine.reply(ERROR, sent[0].id, b"ENOSPC\0");
    let refused = StoreError::Refused(XenError::NoSpace);
    assert_eq!(machine.poll_watching(index), Poll::Ready(Err(refused)));
    machine.protocol.unwatch(index);
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.protocol.watch(&[b"data"]), Ok(index));
}

#[test]
fn events_of_watches_that_are_gone_or_never_were_are_dropped() {
    let mut machine = Machine::new();
    let (first, first_token) = machine.watched("data");
    machine.protocol.unwatch(first);
    machine.event("data", &first_token);
    let sent = machine.sent();
    assert_eq!(sent[0].kind, MessageType::Unwatch);
    machine.event("data", &first_token);
    machine.reply(MessageType::Unwatch as u32, sent[0].id, b"OK\0");
    let (second, second_token) = machine.watched("data");
    assert_eq!(second, first);
    assert_ne!(second_token, first_token);
    // The same place's, before.
    machine.event("data", &first_token);
    for token in [
        &b""[..],
        b"00000101",
        b"000002ff",
        b"0000020",
        b"00000200 ",
        b"\xFF",
        b"+0000200",
    ] {
        machine.event("data", token);
    }
    assert_eq!(machine.counters().unknown_tokens, 10);
    assert!(machine.poll_event(second).is_pending());
    machine.event("data", &second_token);
    assert!(machine.poll_event(second).is_ready());
}

#[test]
fn events_that_are_no_path_and_token_are_dropped() {
    let mut machine = Machine::new();
    let (index, token) = machine.watched("data");
    let token = core::str::from_utf8(&token).unwrap();
    for payload in [
        "".into(),
        std::format!("data\0{token}"),
        std::format!("data\0{token}\0more"),
        std::format!("data\0{token}\0\0"),
        std::format!("data{token}\0"),
        "\0".into(),
    ] {
        machine.reply(MessageType::WatchEvent as u32, 0, payload.as_bytes());
    }
    assert_eq!(machine.counters().malformed_events, 6);
    assert!(machine.poll_event(index).is_pending());
}

#[test]
fn too_many_events_become_one_mark_to_look_again() {
    let mut machine = Machine::new();
    let (index, token) = machine.watched("data");
    // 36 bytes of room, and 8 for each event.
    for number in 0..100 {
        machine.event(&std::format!("data/{}", number % 10), &token);
    }
    let counters = machine.counters();
    assert_eq!((counters.watch_events, counters.watch_overflows), (4, 1));
    assert_eq!(counters.watch_events_coalesced, 95);
    assert_eq!(machine.poll_event(index), Poll::Ready(Ok(None)));
    assert!(machine.poll_event(index).is_pending());
    // And after it, events as before.
    machine.event("data/x", &token);
    assert_eq!(
        machine.poll_event(index),
        Poll::Ready(Ok(Some(b"data/x".to_vec())))
    );
    // One that is longer than the room at all.
    machine.event(&"y".repeat(40), &token);
    assert_eq!(machine.poll_event(index), Poll::Ready(Ok(None)));
}

#[test]
fn a_storm_of_equal_events_is_one_event() {
    let mut machine = Machine::new();
    let (index, token) = machine.watched("data");
    for _ in 0..1_000 {
        machine.event("data/state", &token);
    }
    let event = Poll::Ready(Ok(Some(b"data/state".to_vec())));
    assert_eq!(machine.poll_event(index), event);
    assert!(machine.poll_event(index).is_pending());
    assert_eq!(machine.counters().watch_events_coalesced, 999);
    machine.event("data/state", &token);
    assert_eq!(machine.poll_event(index), event);
}

#[test]
fn an_event_longer_than_the_watchers_buffer_is_a_mark_to_look_again() {
    let mut machine = Machine::new();
    let (index, token) = machine.watched("data");
    machine.event("data/a", &token);
    machine.event("data/b", &token);
    let mut context = Context::from_waker(Waker::noop());
    let event = machine
        .protocol
        .poll_event(index, &mut [0; 5], &mut context);
    assert_eq!(event, Poll::Ready(Ok(TakenEvent::Resync)));
    assert_eq!(
        machine.poll_event(index),
        Poll::Ready(Ok(Some(b"data/b".to_vec())))
    );
}

#[test]
fn a_watch_given_up_before_its_reply_is_taken_back_at_xenstored() {
    let mut machine = Machine::new();
    let index = machine.protocol.watch(&[b"data"]).unwrap();
    let sent = machine.sent();
    machine.protocol.unwatch(index);
    assert_eq!(machine.sent(), []);
    // Its place is not free before: an event could be taken for the next one's.
    assert_ne!(machine.protocol.watch(&[b"other"]), Ok(index));
    machine.sent();
    machine.reply(WATCH, sent[0].id, b"OK\0");
    let unwatch = machine.sent();
    assert_eq!((unwatch.len(), unwatch[0].kind), (1, MessageType::Unwatch));
    assert_eq!(unwatch[0].payload, sent[0].payload);
    assert_eq!(
        machine.protocol.watch(&[b"third"]),
        Err(StoreError::TooManyWatches)
    );
    machine.reply(MessageType::Unwatch as u32, unwatch[0].id, b"OK\0");
    assert_eq!(machine.protocol.watch(&[b"third"]), Ok(index));
    let length = WATCH_BYTES + 1;
    machine.protocol.unwatch(index);
    let too_long = machine.protocol.watch(&[&[b'a'; WATCH_BYTES], b"b"]);
    assert_eq!(too_long, Err(StoreError::WatchTooLong { length }));
}

#[test]
fn a_transaction_given_up_before_it_began_is_aborted_when_it_has() {
    let mut machine = Machine::new();
    let index = machine.protocol.begin_transaction().unwrap();
    let sent = machine.sent();
    machine.protocol.abandon_transaction(index);
    machine.reply(START, sent[0].id, b"5\0");
    let end = machine.sent();
    assert_eq!(
        (end[0].kind, end[0].transaction),
        (MessageType::TransactionEnd, 5)
    );
    assert_eq!(end[0].payload, b"F\0");
    machine.reply(MessageType::TransactionEnd as u32, end[0].id, b"OK\0");
    assert_eq!(machine.protocol.begin_transaction(), Ok(index));
    // Unsent: nothing is.
    machine.protocol.abandon_transaction(index);
    assert_eq!(machine.sent(), []);
}

#[test]
fn a_transaction_has_a_number_that_can_be_one() {
    let mut machine = Machine::new();
    let mut context = Context::from_waker(Waker::noop());
    for payload in [
        &b"0\0"[..],
        b"4294967296\0",
        b"-1\0",
        b"",
        b"7",
        b"seven\0",
        b"7\0\0",
    ] {
        let index = machine.protocol.begin_transaction().unwrap();
        let id = machine.sent()[0].id;
        machine.reply(START, id, payload);
        let begun = machine.protocol.poll_begun(index, &mut context);
        assert_eq!(
            begun,
            Poll::Ready(Err(StoreError::Malformed)),
            "{payload:?}"
        );
        machine.protocol.abandon_transaction(index);
        assert_eq!(machine.sent(), []);
    }
    let index = machine.protocol.begin_transaction().unwrap();
    let id = machine.sent()[0].id;
    machine.reply(START, id, b"4294967295\0");
    assert_eq!(machine.protocol.transaction_number(index), Ok(u32::MAX));
}

#[test]
fn places_are_as_many_as_the_storage_has() {
    let mut machine = Machine::new();
    for _ in 0..2 {
        machine.protocol.begin_transaction().unwrap();
    }
    let error = StoreError::TooManyTransactions;
    assert_eq!(machine.protocol.begin_transaction(), Err(error));
    assert_eq!(
        error.to_string(),
        "there is no room for another transaction"
    );
}

#[test]
fn what_was_in_flight_is_sent_again_to_a_new_tree_in_its_order() {
    let mut machine = Machine::new();
    let (watch, watch_token) = machine.watched("data");
    let first = machine.ask(MessageType::Write, b"a\x001");
    let second = machine.ask(MessageType::Write, b"a\x002");
    let before = machine.sent();
    let unsent = machine.ask(MessageType::Read, b"a\0");
    // Half a reply is lost with the ring.
    let half = message(MessageType::Write as u32, before[0].id, b"OK\0");
    machine.feed(&half[..17]);
    machine.protocol.handle_renewal(Tree::New);
    let sent = machine.sent();
    let payloads: Vec<_> = sent.iter().map(|sent| &*sent.payload).collect();
    let rewatched = [b"data\0", &*watch_token, b"\0"].concat();
    assert_eq!(payloads, [&*rewatched, b"a\x001", b"a\x002", b"a\0"]);
    // Under new ids: an answer to the old ones would not be taken for theirs.
    machine.reply(MessageType::Write as u32, before[0].id, b"OK\0");
    assert!(machine.poll(first).is_pending());
    for (place, sent) in [first, second, unsent].into_iter().zip(&sent[1..]) {
        machine.reply(sent.kind as u32, sent.id, b"OK\0");
        assert_eq!(machine.poll(place), Poll::Ready(Ok(b"OK\0".to_vec())));
    }
    machine.reply(WATCH, sent[0].id, b"OK\0");
    machine.event("data", &watch_token);
    assert!(machine.poll_event(watch).is_ready());
}

#[test]
fn in_the_same_tree_what_may_have_been_carried_out_is_not_sent_again() {
    let mut machine = Machine::new();
    let write = machine.ask(MessageType::Write, b"a\x001");
    let read = machine.ask(MessageType::Read, b"a\0");
    machine.sent();
    let unsent = machine.ask(MessageType::Write, b"b\x001");
    let fault = StoreFault::Ended(1);
    assert!(machine.protocol.handle_fault(fault, true));
    assert_eq!(machine.protocol.reconnecting(), Some(Tree::Same));
    assert_eq!(machine.sent(), []);
    machine.protocol.handle_renewal(Tree::Same);
    assert_eq!(
        machine.poll(write),
        Poll::Ready(Err(StoreError::Interrupted))
    );
    let sent = machine.sent();
    let payloads: Vec<_> = sent.iter().map(|sent| &*sent.payload).collect();
    assert_eq!(payloads, [&b"a\0"[..], b"b\x001"]);
    for place in [read, unsent] {
        assert!(machine.poll(place).is_pending());
    }
}

#[test]
fn a_ring_that_breaks_again_and_again_is_not_set_up_for_ever() {
    let mut machine = Machine::new();
    let read = machine.ask(MessageType::Read, b"a\0");
    let fault = StoreFault::Ended(1);
    for _ in 0..3 {
        machine.sent();
        assert!(machine.protocol.handle_fault(fault, true));
        machine.protocol.handle_renewal(Tree::Same);
    }
    // A reply is a sign of life.
    let id = machine.sent()[0].id;
    machine.reply(READ, id, b"");
    assert!(machine.poll(read).is_ready());
    for _ in 0..3 {
        assert!(machine.protocol.handle_fault(fault, true));
        machine.protocol.handle_renewal(Tree::Same);
    }
    assert!(!machine.protocol.handle_fault(fault, true));
    assert_eq!(machine.counters().reconnections, 6);
    assert_eq!(machine.counters().faults, 7);
}

#[test]
fn what_was_asked_in_a_transaction_that_is_lost_ends_in_try_again() {
    let mut machine = Machine::new();
    let index = machine.protocol.begin_transaction().unwrap();
    let id = machine.sent()[0].id;
    machine.reply(START, id, b"5\0");
    let sent = machine
        .protocol
        .request(MessageType::Read, 5, &[b"a\0"], false)
        .unwrap();
    machine.sent();
    let queued = machine
        .protocol
        .request(MessageType::Read, 5, &[b"b\0"], false)
        .unwrap();
    machine.protocol.handle_renewal(Tree::New);
    for place in [sent, queued] {
        let again = machine.poll(place);
        assert!(matches!(again, Poll::Ready(Err(error)) if error.is_try_again()));
    }
    let again = StoreError::Refused(XenError::TryAgain);
    assert_eq!(machine.protocol.transaction_number(index), Err(again));
    assert_eq!(machine.sent(), []);
    // An end that is under way is lost, too.
    let other = machine.protocol.begin_transaction().unwrap();
    let id = machine.sent()[0].id;
    machine.reply(START, id, b"6\0");
    machine.protocol.end_transaction(other, true);
    machine.sent();
    machine.protocol.handle_renewal(Tree::New);
    let mut context = Context::from_waker(Waker::noop());
    let ended = machine.protocol.poll_ended(other, &mut context);
    assert_eq!(ended, Poll::Ready(Err(again)));
    assert_eq!(machine.sent(), []);
}

#[test]
fn a_machine_that_is_held_finishes_what_it_began_and_begins_nothing() {
    let mut machine = Machine::new();
    let mut context = Context::from_waker(Waker::noop());
    let first = machine.ask(MessageType::Write, b"a/long/name\0value");
    machine.ask(MessageType::Read, b"b\0");
    let mut room = [0; 20];
    assert_eq!(machine.protocol.poll_transmit(&mut room), 20);
    machine.rest.extend_from_slice(&room);
    machine.protocol.hold();
    assert!(machine.protocol.poll_quiet(&mut context).is_pending());
    let sent = machine.sent();
    assert_eq!(sent.len(), 1);
    assert!(machine.protocol.poll_quiet(&mut context).is_pending());
    machine.reply(MessageType::Write as u32, sent[0].id, b"OK\0");
    assert!(machine.protocol.poll_quiet(&mut context).is_ready());
    assert!(machine.poll(first).is_ready());
    machine.protocol.release();
    assert_eq!(machine.sent()[0].payload, b"b\0");
}
