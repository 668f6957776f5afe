//! Suspension, and the domain that goes on after it.

use super::*;
use crate::abi::XenError;
use core::pin::pin;

#[test]
fn watches_are_set_again_with_their_tokens_and_fire_once() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    let before = rig.xenstored(|xenstored| xenstored.watches.clone());
    rig.resume();
    rig.run(watch.changed()).unwrap();
    assert_eq!(rig.xenstored(|xenstored| xenstored.watches.clone()), before);
    rig.xenstored(|xenstored| xenstored.set("data/a", "1"));
    rig.run(watch.changed()).unwrap();
    let mut again = pin!(watch.changed());
    assert!(rig.poll_once(again.as_mut()).is_pending());
    rig.settle();
    assert!(rig.poll_once(again.as_mut()).is_pending());
}

#[test]
fn open_transactions_end_in_try_again_without_being_sent() {
    let rig = Rig::new();
    let store = rig.store;
    let (open, lost) = rig.run(join2(store.transaction(), store.transaction()));
    let (open, lost) = (open.unwrap(), lost.unwrap());
    rig.run(open.write("data/a", b"1")).unwrap();
    rig.resume();
    let again = StoreError::Refused(XenError::TryAgain);
    assert_eq!(rig.run(open.write("data/a", b"1")), Err(again));
    assert_eq!(rig.run(open.commit()), Err(again));
    drop(lost);
    rig.settle();
    assert!(rig.xenstored(|xenstored| xenstored.asked.is_empty()));
    // Their places are free again.
    for _ in 0..3 {
        let four = rig.run(join([(); 4].map(|()| store.transaction())));
        assert!(four.iter().all(Result::is_ok));
        drop(four);
        rig.settle();
    }
}
