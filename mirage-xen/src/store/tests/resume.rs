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
    }
}

#[test]
fn a_store_is_quiet_when_all_that_was_sent_is_answered_and_nothing_else_is_sent() {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| xenstored.silent = true);
    let mut sent = pin!(store.write("data/a", b"1"));
    assert!(rig.poll_once(sent.as_mut()).is_pending());
    rig.settle();
    let mut quiesce = pin!(store.quiesce());
    assert!(rig.poll_once(quiesce.as_mut()).is_pending());
    let mut later = pin!(store.write("data/a", b"2"));
    assert!(rig.poll_once(later.as_mut()).is_pending());
    rig.settle();
    assert!(rig.poll_once(quiesce.as_mut()).is_pending());
    rig.xenstored(|xenstored| {
        xenstored.silent = false;
        let asked = xenstored.asked[0].clone();
        assert_eq!(xenstored.asked.len(), 1);
        xenstored.answer(&asked);
    });
    let quiet = rig.run(quiesce);
    assert_eq!(rig.run(sent), Ok(()));
    rig.settle();
    assert!(rig.poll_once(later.as_mut()).is_pending());
    assert_eq!(rig.xenstored(|xenstored| xenstored.asked.len()), 1);
    // The suspension was cancelled, say.
    drop(quiet);
    assert_eq!(rig.run(later), Ok(()));
}

#[test]
fn a_wait_for_quiet_that_is_given_up_lets_requests_go_on() {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| xenstored.silent = true);
    let mut never = pin!(store.write("data/a", b"1"));
    assert!(rig.poll_once(never.as_mut()).is_pending());
    rig.settle();
    {
        let mut quiesce = pin!(store.quiesce());
        assert!(rig.poll_once(quiesce.as_mut()).is_pending());
    }
    rig.xenstored(|xenstored| xenstored.silent = false);
    assert_eq!(rig.run(store.write("data/b", b"1")), Ok(()));
    // Xenstored never answered, and the domain is suspended all the same: the new one's does.
    assert!(rig.poll_once(never.as_mut()).is_pending());
    rig.resume();
    assert_eq!(rig.run(never), Ok(()));
    assert_eq!(
        rig.xenstored(|xenstored| xenstored.get("data/a")),
        Some("1".into())
    );
}

#[test]
fn a_watch_that_is_refused_in_the_resumed_domain_says_so() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    rig.resume();
    rig.xenstored(|xenstored| xenstored.refuse_watches = true);
    let refused = StoreError::Refused(XenError::NoSpace);
    assert_eq!(rig.run(watch.changed()), Err(refused));
}

#[test]
fn a_cancelled_suspension_leaves_transactions_and_watches_as_they_were() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    let transaction = rig.run(store.transaction()).unwrap();
    rig.run(transaction.write("data/a", b"1")).unwrap();
    let requests = store.counters().requests;
    drop(rig.run(store.quiesce()));
    rig.settle();
    assert_eq!(store.counters().requests, requests);
    assert_eq!(rig.run(transaction.commit()), Ok(()));
    rig.run(watch.changed()).unwrap();
}

#[test]
fn an_event_of_the_old_domain_reaches_its_watcher_in_the_new_one() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data")).unwrap();
    rig.run(watch.changed()).unwrap();
    rig.xenstored(|xenstored| xenstored.set("data/a", "1"));
    rig.settle();
    rig.resume();
    let mut buffer = [0; 16];
    let event = rig.run(watch.next(&mut buffer)).unwrap();
    assert_eq!(event, WatchEvent::Changed("data/a"));
    let event = rig.run(watch.next(&mut buffer)).unwrap();
    assert_eq!(event, WatchEvent::Changed("data"));
}

#[test]
fn a_watch_dropped_while_the_domain_is_nowhere_is_not_set_again() {
    let rig = Rig::new();
    let store = rig.store;
    let watch = rig.run(store.watch("data")).unwrap();
    let quiet = rig.run(store.quiesce());
    drop(watch);
    rig.resume();
    drop(quiet);
    rig.settle();
    assert!(rig.xenstored(|xenstored| xenstored.asked.is_empty()));
}
