//! Each operation, as it should go.

use super::*;
use crate::abi::xs_wire::MessageType;
use crate::abi::{DomainId, XenError};
use alloc::vec::Vec;
use std::format;
use std::string::{String, ToString};

#[test]
fn a_value_is_written_and_read() {
    let rig = Rig::new();
    let store = rig.store;
    rig.run(async {
        store.write("data/a", b"one").await.unwrap();
        store.write_decimal(("data", "b"), 17).await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(store.read("data/a", &mut buffer).await, Ok(&b"one"[..]));
        assert_eq!(store.read_decimal("data/b").await, Ok(17));
        assert_eq!(&*store.read_string::<8>("data/a").await.unwrap(), "one");
        let absolute = store.read("/local/domain/7/data/a", &mut buffer).await;
        assert_eq!(absolute, Ok(&b"one"[..]));
    });
    assert_eq!(
        rig.xenstored(|xenstored| xenstored.get("data/b")),
        Some("17".to_string())
    );
}

#[test]
fn errors_come_back_by_their_name() {
    let rig = Rig::new();
    let store = rig.store;
    let error = rig.run(store.read_decimal("missing")).unwrap_err();
    assert_eq!(error, StoreError::Refused(XenError::NotFound));
    assert!(error.is_not_found());
    assert_eq!(store.counters().errors, 1);
}

#[test]
fn keys_are_made_and_removed_and_listed() {
    let rig = Rig::new();
    let store = rig.store;
    rig.run(async {
        store.make_directory("data/x/y").await.unwrap();
        store.write("data/x/z", b"").await.unwrap();
        let mut buffer = [0; 64];
        let names: Vec<String> = store
            .directory("data/x", &mut buffer)
            .await
            .unwrap()
            .map(str::to_string)
            .collect();
        assert_eq!(names, ["y", "z"]);
        store.remove("data/x").await.unwrap();
        let gone = store.directory("data/x", &mut buffer).await;
        assert!(gone.unwrap_err().is_not_found());
        let empty = store.directory("data", &mut buffer).await.unwrap();
        assert_eq!(empty.count(), 0);
    });
}

#[test]
fn permissions_are_set_and_read() {
    let rig = Rig::new();
    let store = rig.store;
    let of = |domain, access| Permission {
        domain: DomainId(domain),
        access,
    };
    rig.run(async {
        let permissions = [
            of(7, Access::None),
            of(0, Access::Read),
            of(65_535, Access::Both),
        ];
        store.write("data/a", b"").await.unwrap();
        store.set_permissions("data/a", &permissions).await.unwrap();
        let mut buffer = [0; 32];
        let read = store.permissions("data/a", &mut buffer).await.unwrap();
        assert_eq!(read.collect::<Vec<_>>(), permissions);
        let many = [of(1, Access::Read); 33];
        let mut error = store.set_permissions("data/a", &many[..32]).await;
        assert_eq!(error, Ok(()));
        error = store
            .set_permissions("data/a", &[of(65_535, Access::Read); 33])
            .await;
        assert_eq!(error, Err(StoreError::RequestTooLong { length: 231 }));
    });
}

#[test]
fn domains_are_asked_about() {
    let rig = Rig::new();
    let store = rig.store;
    rig.run(async {
        let path = store.domain_path::<32>(DomainId(12)).await.unwrap();
        assert_eq!(path, "/local/domain/12");
        assert_eq!(store.is_introduced(DomainId::DOM0).await, Ok(true));
        assert_eq!(store.is_introduced(DomainId(3)).await, Ok(false));
        let short = store.domain_path::<16>(DomainId(12)).await;
        assert_eq!(short, Err(StoreError::ReplyTooLong { length: 17 }));
    });
}

#[test]
fn what_is_polled_together_costs_one_round_trip_and_one_notification() {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| {
        for index in 0..10 {
            xenstored.set(&format!("data/{index}"), &index.to_string());
        }
    });
    let keys: Vec<_> = (0..10).map(|index| format!("data/{index}")).collect();
    let keys: [&str; 10] = core::array::from_fn(|index| &*keys[index]);
    let values = rig.run(join(keys.map(|key| store.read_decimal(key))));
    assert_eq!(values, core::array::from_fn(|index| Ok(index as u64)));
    let counters = store.counters();
    assert_eq!((counters.requests, counters.replies), (10, 10));
    assert_eq!((counters.round_trips, counters.notifications), (1, 1));
    rig.run(async {
        store.read_decimal("data/1").await.unwrap();
        store.read_decimal("data/2").await.unwrap();
    });
    assert_eq!(store.counters().round_trips, 3);
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let rig = Rig::new();
    let store = rig.store;
    rig.run(async {
        let transaction = store.transaction().await.unwrap();
        transaction.write("data/a", b"1").await.unwrap();
        transaction.write("data/b", b"2").await.unwrap();
        assert_eq!(transaction.read_decimal("data/a").await, Ok(1));
        let outside = store.read_decimal("data/a").await;
        assert!(outside.unwrap_err().is_not_found());
        transaction.commit().await.unwrap();
        assert_eq!(store.read_decimal("data/b").await, Ok(2));

        let transaction = store.transaction().await.unwrap();
        transaction.write("data/a", b"9").await.unwrap();
        drop(transaction);
        assert_eq!(store.read_decimal("data/a").await, Ok(1));
    });
    rig.settle();
    let ends = rig.xenstored(|xenstored| xenstored.count(MessageType::TransactionEnd));
    assert_eq!(ends, 2);
}

#[test]
fn a_watch_is_told_at_once_and_of_each_change() {
    let rig = Rig::new();
    let store = rig.store;
    let mut watch = rig.run(store.watch("data/a")).unwrap();
    let mut buffer = [0; 64];
    let event = rig.run(watch.next(&mut buffer)).unwrap();
    assert_eq!(event, WatchEvent::Changed("data/a"));
    rig.xenstored(|xenstored| xenstored.set("data/a/b", "1"));
    let event = rig.run(watch.next(&mut buffer)).unwrap();
    assert_eq!(event, WatchEvent::Changed("data/a/b"));
    rig.xenstored(|xenstored| xenstored.set("data/a", "2"));
    rig.run(watch.changed()).unwrap();
    drop(watch);
    rig.settle();
    assert!(rig.xenstored(|xenstored| xenstored.watches.is_empty()));
}

#[test]
fn each_operation_has_the_payload_of_the_specification() {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| {
        xenstored.script = Some(|xenstored, asked| {
            // An error for all, so that nothing else is asked.
            xenstored.send(MessageType::Error as u32, asked.id, 0, b"EINVAL\0");
            true
        });
    });
    let mut buffer = [0; 64];
    let permissions = [
        Permission {
            domain: DomainId(7),
            access: Access::None,
        },
        Permission {
            domain: DomainId(0),
            access: Access::Read,
        },
    ];
    rig.run(async {
        store.read("a", &mut buffer).await.unwrap_err();
        store.write(("a", "b"), b"x\0y").await.unwrap_err();
        store.make_directory("a").await.unwrap_err();
        store.remove("a").await.unwrap_err();
        store.directory("a", &mut buffer).await.unwrap_err();
        store.permissions("a", &mut buffer).await.unwrap_err();
        store.set_permissions("a", &permissions).await.unwrap_err();
        store.domain_path::<32>(DomainId(3)).await.unwrap_err();
        store.is_introduced(DomainId(3)).await.unwrap_err();
        store.watch("@releaseDomain").await.unwrap_err();
        store.transaction().await.unwrap_err();
        store.reset_watches().await.unwrap_err();
    });
    let asked = rig.xenstored(|xenstored| core::mem::take(&mut xenstored.asked));
    let asked: Vec<_> = asked
        .iter()
        .map(|asked| (asked.kind as u32, &*asked.payload))
        .collect();
    let golden: [(u32, &[u8]); 12] = [
        (2, b"a\0"),
        (11, b"a/b\0x\0y"),
        (12, b"a\0"),
        (13, b"a\0"),
        (1, b"a\0"),
        (3, b"a\0"),
        (14, b"a\0n7\0r0\0"),
        (10, b"3\0"),
        (17, b"3\0"),
        (4, b"@releaseDomain\x0000000100\0"),
        (6, b"\0"),
        (21, b"\0"),
    ];
    assert_eq!(asked, golden);
}

#[test]
fn the_callers_mistakes_do_not_reach_xenstored() {
    let rig = Rig::new();
    let store = rig.store;
    let mut buffer = [0; 8];
    let nul = StoreError::Key(KeyError::Character(0));
    rig.run(async {
        assert_eq!(store.read("a\0b", &mut buffer).await, Err(nul));
        assert_eq!(store.write("a\0b", b"").await, Err(nul));
        assert_eq!(store.watch("a\0b").await.unwrap_err(), nul);
        let long = [0; 4_095];
        let too_long = StoreError::RequestTooLong { length: 4_097 };
        assert_eq!(store.write("a", &long).await, Err(too_long));
        store.write("a", &long[1..]).await.unwrap();
    });
    assert_eq!(store.counters().requests, 1);
}

#[test]
fn values_longer_than_a_small_place_go_through_the_large_one() {
    let rig = Rig::new();
    let store = rig.store;
    let long: Vec<u8> = (0..4_000).map(|index| b'a' + (index % 26) as u8).collect();
    rig.run(async {
        store.write("data/long", &long).await.unwrap();
        let mut buffer = [0; 4_096];
        assert_eq!(store.read("data/long", &mut buffer).await, Ok(&*long));
        let mut short = [0; 300];
        let too_long = StoreError::ReplyTooLong { length: 4_000 };
        assert_eq!(store.read("data/long", &mut short).await, Err(too_long));
        assert_eq!(
            store.read("data/long", &mut short[..16]).await,
            Err(too_long)
        );
    });
    assert_eq!(store.counters().too_long_replies, 2);
}

#[test]
fn values_that_are_not_of_the_kind_are_whoever_wrote_them_s_fault() {
    let rig = Rig::new();
    let store = rig.store;
    for value in [
        "",
        "x",
        "-1",
        " 1",
        "1 ",
        "99999999999999999999",
        "111111111111111111111",
    ] {
        rig.xenstored(|xenstored| xenstored.set("data/a", value));
        assert_eq!(
            rig.run(store.read_decimal("data/a")),
            Err(StoreError::Value),
            "{value}"
        );
    }
    rig.run(store.write("data/a", b"\xFF")).unwrap();
    let text = rig.run(store.read_string::<8>("data/a"));
    assert_eq!(text, Err(StoreError::Value));
}

#[test]
fn a_conflict_is_tried_again_as_often_as_the_caller_says() {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| xenstored.set("data/count", "5"));
    let conflicts = core::cell::Cell::new(2);
    let add = async |transaction: &Transaction<'_, _>| {
        let count = transaction.read_decimal("data/count").await?;
        if conflicts.get() != 0 {
            conflicts.set(conflicts.get() - 1);
            rig.xenstored(|xenstored| xenstored.set("data/count", &(count + 10).to_string()));
        }
        transaction.write_decimal("data/count", count + 1).await?;
        Ok(count + 1)
    };
    assert_eq!(rig.run(store.transact(3, add)), Ok(26));
    assert_eq!(
        rig.xenstored(|xenstored| xenstored.get("data/count")),
        Some("26".into())
    );
    conflicts.set(9);
    let error = rig.run(store.transact(3, add)).unwrap_err();
    assert!(error.is_try_again());
    assert_eq!(conflicts.get(), 6);
    // Another error is not tried again, and the transaction is aborted.
    let failed = rig.run(store.transact(3, async |transaction| {
        transaction.read_decimal("data/missing").await
    }));
    assert!(failed.unwrap_err().is_not_found());
    rig.settle();
    let (starts, ends) = rig.xenstored(|xenstored| {
        let starts = xenstored.count(MessageType::TransactionStart);
        (starts, xenstored.count(MessageType::TransactionEnd))
    });
    assert_eq!((starts, ends), (7, 7));
}
