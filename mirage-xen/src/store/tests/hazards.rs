//! What goes wrong elsewhere, and users who change their mind.

use super::*;
use crate::abi::xs_wire::{
    XENSTORE_ERROR_COMM, XENSTORE_PAYLOAD_MAX, XENSTORE_RECONNECT, XENSTORE_RING_SIZE,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::pin::pin;
use core::sync::atomic::Ordering;

#[test]
fn indices_need_not_begin_at_zero_and_wrap() {
    let rig = Rig::with_indices(u32::MAX - 7, u32::MAX - 100);
    let store = rig.store;
    rig.run(async {
        for value in 0..100 {
            store.write_decimal("data/a", value).await.unwrap();
            assert_eq!(store.read_decimal("data/a").await, Ok(value));
        }
    });
}

#[test]
fn a_producer_index_out_of_range_breaks_the_store_and_nothing_else() {
    let rig = Rig::new();
    let store = rig.store;
    rig.run(store.write("data/a", b"1")).unwrap();
    rig.xenstored(|xenstored| xenstored.silent = true);
    let interface = rig.interface();
    let consumer = interface.response_consumer.load(Ordering::Relaxed);
    let producer = consumer.wrapping_add(1_025);
    let fault = StoreFault::ResponseProducer { producer, consumer };
    let mut read = pin!(store.read_decimal("data/a"));
    assert!(rig.poll_once(read.as_mut()).is_pending());
    interface
        .response_producer
        .store(producer, Ordering::Relaxed);
    let broken = StoreError::Broken(fault);
    assert_eq!(rig.run(read), Err(broken));
    assert_eq!(store.counters().faults, 1);
    assert_eq!(rig.run(store.write("data/a", b"2")), Err(broken));
    assert_eq!(rig.run(store.transaction()).unwrap_err(), broken);
    // Not for ever: a resumed domain has another ring.
    rig.resume();
    assert_eq!(rig.run(store.write("data/a", b"2")), Ok(()));
}

#[test]
fn a_consumer_index_out_of_range_breaks_the_store() {
    let rig = Rig::new();
    let store = rig.store;
    let interface = rig.interface();
    interface.request_consumer.store(1, Ordering::Relaxed);
    let fault = StoreFault::RequestConsumer {
        consumer: 1,
        producer: 0,
    };
    let broken = StoreError::Broken(fault);
    assert_eq!(rig.run(store.write("data/a", b"1")), Err(broken));
    // Nothing was written over what xenstored may not have read.
    assert_eq!(interface.request_producer.load(Ordering::Relaxed), 0);
}

#[test]
fn a_watcher_of_a_broken_store_is_told() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    let mut changed = pin!(watch.changed());
    assert!(rig.poll_once(changed.as_mut()).is_pending());
    rig.interface()
        .request_consumer
        .store(9_999, Ordering::Relaxed);
    rig.run(store.write("data/a", b"1")).unwrap_err();
    assert!(matches!(rig.run(changed), Err(StoreError::Broken(_))));
}

#[test]
fn a_xenstored_that_ends_the_connection_says_why() {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| {
        let interface = xenstored.interface();
        let features = ServerFeatures::ERROR | ServerFeatures::WATCH_DEPTH;
        interface
            .server_features
            .store(features.bits(), Ordering::Relaxed);
        xenstored.script = Some(|xenstored, _| {
            let error = &xenstored.interface().error;
            error.store(XENSTORE_ERROR_COMM, Ordering::Relaxed);
            true
        });
    });
    let ended = StoreError::Broken(StoreFault::Ended(1));
    assert_eq!(rig.run(store.write("data/a", b"1")), Err(ended));
    assert!(store.features().contains(ServerFeatures::WATCH_DEPTH));
}

#[test]
fn a_ring_is_set_up_again_where_xenstored_offers_it() {
    let rig = Rig::new();
    let store = rig.store;
    let interface = rig.interface();
    let features = ServerFeatures::RECONNECTION.bits();
    interface.server_features.store(features, Ordering::Relaxed);
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    let transaction = rig.run(store.transaction()).unwrap();
    rig.xenstored(|xenstored| xenstored.silent = true);
    let mut read = Box::pin(store.read_decimal("data/a"));
    let mut write = Box::pin(store.write("data/a", b"2"));
    assert!(rig.poll_once(read.as_mut()).is_pending());
    assert!(rig.poll_once(write.as_mut()).is_pending());
    rig.settle();
    interface.response_producer.store(77_777, Ordering::Relaxed);
    rig.xenstored(|xenstored| xenstored.notify = true);
    rig.settle();
    assert_eq!(
        interface.connection.load(Ordering::Relaxed),
        XENSTORE_RECONNECT
    );
    assert!(rig.poll_once(read.as_mut()).is_pending());
    // Xenstored empties the ring, forgets what it knew, and says so.
    rig.xenstored(|xenstored| {
        xenstored.set("data/a", "7");
        xenstored.reconnect();
    });
    assert_eq!(rig.run(read), Ok(7));
    assert_eq!(rig.run(write), Err(StoreError::Interrupted));
    assert!(rig.run(transaction.commit()).unwrap_err().is_try_again());
    rig.run(watch.changed()).unwrap();
    rig.xenstored(|xenstored| xenstored.set("data/b", ""));
    rig.run(watch.changed()).unwrap();
    assert_eq!(store.counters().reconnections, 1);
}

#[test]
fn a_ring_that_somebody_else_is_setting_up_is_waited_for() {
    let rig = Rig::reconnecting();
    let store = rig.store;
    let mut write = pin!(store.write("data/a", b"1"));
    assert!(rig.poll_once(write.as_mut()).is_pending());
    rig.settle();
    assert_eq!(rig.interface().request_producer.load(Ordering::Relaxed), 0);
    rig.xenstored(|xenstored| xenstored.reconnect());
    assert_eq!(rig.run(write), Ok(()));
}

#[test]
fn what_lay_in_the_ring_before_us_is_dropped() {
    let rig = Rig::with_stale_bytes(100);
    let store = rig.store;
    assert_eq!(store.counters().stale_bytes, 100);
    assert_eq!(rig.run(store.write("data/a", b"1")), Ok(()));
}

#[test]
fn more_requests_than_places_wait_in_order() {
    let rig = Rig::new();
    let store = rig.store;
    let mut writes: Vec<_> = (0..100)
        .map(|value| Box::pin(store.write_decimal("data/a", value)))
        .collect();
    for write in &mut writes {
        assert!(rig.poll_once(write.as_mut()).is_pending());
    }
    // Later ones come first, if they can.
    while !writes.is_empty() {
        for index in (0..writes.len()).rev() {
            if rig.poll_once(writes[index].as_mut()).is_ready() {
                drop(writes.remove(index));
            }
        }
        rig.settle();
    }
    let values: Vec<_> = rig.xenstored(|xenstored| {
        let asked = xenstored.asked.iter();
        asked
            .map(|asked| parse_decimal(&asked.payload[7..]).unwrap())
            .collect()
    });
    // As many as there are places at a time, the first first; among these, as they are polled.
    let turns = values.iter().map(|value| value / 16);
    assert!(turns.eq((0..100).map(|place| place / 16)), "{values:?}");
}

#[test]
fn requests_that_are_given_up_give_their_places_back() {
    let rig = Rig::new();
    let store = rig.store;
    let mut buffer = [0; 16];
    for _ in 0..50 {
        // Waiting for a place, queued, sent, answered.
        for settle in [false, true] {
            let mut reads: Vec<_> = (0..30)
                .map(|_| Box::pin(store.read_decimal("data/a")))
                .collect();
            for read in &mut reads {
                assert!(rig.poll_once(read.as_mut()).is_pending());
            }
            if settle {
                rig.settle();
            }
            drop(reads);
        }
        let mut large = [0; 1_000];
        let mut read = Box::pin(store.read("data/a", &mut large));
        assert!(rig.poll_once(read.as_mut()).is_pending());
    }
    rig.run(store.write("data/a", b"1")).unwrap();
    assert_eq!(rig.run(store.read("data/a", &mut buffer)), Ok(&b"1"[..]));
    let all = rig.run(join([(); 16].map(|()| store.read_decimal("data/a"))));
    assert!(all.iter().all(|value| *value == Ok(1)));
    let counters = store.counters();
    assert_eq!(counters.unknown_replies + counters.duplicate_replies, 0);
}

#[test]
fn a_flood_of_events_does_not_keep_others_from_running() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    let token = rig.xenstored(|xenstored| xenstored.watches[0].1.clone());
    // As much as there is in the ring, again and again.
    rig.xenstored(|xenstored| {
        for index in 0..10_000 {
            xenstored.send_event(&std::format!("data/{index}"), &token);
        }
    });
    assert_eq!(rig.run(store.write("data/x", b"1")), Ok(()));
    rig.run(watch.changed()).unwrap();
    let counters = store.counters();
    let events = counters.watch_events + counters.watch_events_coalesced;
    assert!(events + counters.watch_overflows >= 10_000);
}

#[test]
fn the_longest_messages_go_through_a_ring_that_is_shorter() {
    const { assert!(XENSTORE_PAYLOAD_MAX > XENSTORE_RING_SIZE) };
    for piece in [1, 7, 1_000] {
        let rig = Rig::new();
        rig.xenstored(|xenstored| xenstored.piece = piece);
        let store = rig.store;
        let value: Vec<u8> = (0..4_080_u32).map(|index| (index % 251) as u8).collect();
        let mut buffer = [0; 4_096];
        rig.run(async {
            store.write("data/a", &value).await.unwrap();
            assert_eq!(store.read("data/a", &mut buffer).await, Ok(&*value));
        });
    }
}

#[test]
fn watches_are_as_many_as_the_storage_has() {
    let rig = Rig::new();
    let store = rig.store;
    let watches = rig.run(join([(); 16].map(|()| store.watch("data"))));
    assert!(watches.iter().all(Result::is_ok));
    let error = rig.run(store.watch("data")).unwrap_err();
    assert_eq!(error, StoreError::TooManyWatches);
    // Those that are given up make room, soon.
    drop(watches);
    let watches = rig.run(join([(); 16].map(|()| store.watch("data"))));
    assert!(watches.iter().all(Result::is_ok));
    drop(watches);
    let watches = rig.run(join([(); 17].map(|()| store.watch("data"))));
    assert_eq!(watches.iter().filter(|watch| watch.is_ok()).count(), 16);
    drop(watches);
    let long = "a".repeat(257);
    let error = rig.run(store.watch(&*long)).unwrap_err();
    assert_eq!(error, StoreError::WatchTooLong { length: 257 });
}

#[test]
fn after_a_reset_our_watches_are_set_again_and_open_transactions_are_lost() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    let transaction = rig.run(store.transaction()).unwrap();
    rig.run(store.reset_watches()).unwrap();
    rig.run(watch.changed()).unwrap();
    assert_eq!(rig.xenstored(|xenstored| xenstored.watches.len()), 1);
    assert!(rig.run(transaction.commit()).unwrap_err().is_try_again());
}

#[test]
fn transactions_that_are_given_up_make_room() {
    let rig = Rig::new();
    let store = rig.store;
    for _ in 0..10 {
        let four = rig.run(join([(); 4].map(|()| store.transaction())));
        assert!(four.iter().all(Result::is_ok));
        let error = rig.run(store.transaction()).unwrap_err();
        assert_eq!(error, StoreError::TooManyTransactions);
    }
    // Given up while it waits, and while it begins.
    let four = rig.run(join([(); 4].map(|()| store.transaction())));
    drop(four);
    for _ in 0..3 {
        let mut waits = pin!(store.transaction());
        assert!(rig.poll_once(waits.as_mut()).is_pending());
    }
    let four = rig.run(join([(); 4].map(|()| store.transaction())));
    assert!(four.iter().all(Result::is_ok));
}
