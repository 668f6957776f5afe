//! What goes wrong elsewhere.

use super::*;
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
    let read = rig.run(read);
    assert_eq!(read, Err(StoreError::Broken(fault)));
    assert_eq!(store.counters().faults, 1);
    assert_eq!(
        rig.run(store.write("data/a", b"2")),
        Err(StoreError::Broken(fault))
    );
}
