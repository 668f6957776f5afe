use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::string::{String, ToString};
use std::vec::Vec;

use crate::doubles::{InjectedFailure, MemoryStore};
use crate::kv::{BatchError, Change, EntryKind, Key, Kv, KvError, KvMut, KvMutError};
use core::ops::ControlFlow;

/// Nothing here waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store in memory has nothing to wait for"),
    }
}

fn key(path: &str) -> Key<'_> {
    Key::new(path).unwrap()
}

fn names(store: &MemoryStore, path: &str) -> Result<Vec<String>, KvError<InjectedFailure>> {
    let mut names = Vec::new();
    now(store.list(key(path), |entry| {
        names.push(entry.name.to_string());
        ControlFlow::Continue(())
    }))?;
    Ok(names)
}

#[test]
fn what_is_set_is_read_and_dictionaries_come_and_go_with_what_lies_below() {
    let store = MemoryStore::new();
    assert_eq!(names(&store, ""), Ok(Vec::new()));
    now(store.set(key("a/b"), b"1")).unwrap();
    now(store.set(key("a/c/d"), b"2")).unwrap();
    now(store.set(key("a.b"), b"3")).unwrap();
    assert_eq!(names(&store, "").unwrap(), ["a.b", "a"]);
    assert_eq!(names(&store, "a").unwrap(), ["b", "c"]);
    assert_eq!(
        now(store.exists(key("a/c"))),
        Ok(Some(EntryKind::Dictionary))
    );
    assert_eq!(now(store.get(key("a/c"))), Err(KvError::IsDictionary));
    assert_eq!(
        now(store.set(key("a/c"), b"")),
        Err(KvMutError::IsDictionary)
    );
    assert_eq!(
        now(store.set(Key::ROOT, b"")),
        Err(KvMutError::IsDictionary)
    );
    assert_eq!(
        now(store.set(key("a/b/c"), b"")),
        Err(KvMutError::BelowValue)
    );
    assert_eq!(now(store.remove(key("a/c"))), Err(KvMutError::IsDictionary));
    now(store.remove(key("a/c/d"))).unwrap();
    assert_eq!(now(store.exists(key("a/c"))), Ok(None));
    assert_eq!(now(store.remove(key("a/c/d"))), Err(KvMutError::NotFound));
    assert_eq!(names(&store, "a/b"), Err(KvError::IsValue));
    assert_eq!(names(&store, "x"), Err(KvError::NotFound));
    assert_eq!(now(store.get_partial(key("a.b"), 1, 5)), Ok(Vec::new()));
}

#[test]
fn a_rename_replaces_and_leaves_nothing_behind() {
    let store = MemoryStore::new();
    now(store.set(key("a"), b"1")).unwrap();
    now(store.set(key("b"), b"2")).unwrap();
    now(store.rename(key("a"), key("b"))).unwrap();
    assert_eq!(now(store.get(key("b"))), Ok(b"1".to_vec()));
    assert_eq!(now(store.exists(key("a"))), Ok(None));
    assert_eq!(
        now(store.rename(key("a"), key("b"))),
        Err(KvMutError::NotFound)
    );
    // To itself, and to below itself.
    now(store.rename(key("b"), key("b"))).unwrap();
    now(store.rename(key("b"), key("b/c"))).unwrap();
    assert_eq!(now(store.get(key("b/c"))), Ok(b"1".to_vec()));
}

#[test]
fn a_batch_is_made_as_a_whole_or_not_at_all() {
    let store = MemoryStore::new();
    now(store.set(key("a"), b"1")).unwrap();
    let wrong = [
        Change::Set {
            key: key("b"),
            value: b"2",
        },
        Change::Remove { key: key("a") },
        Change::Remove { key: key("a") },
    ];
    let expected = BatchError {
        change: Some(2),
        error: KvMutError::NotFound,
    };
    assert_eq!(now(store.batch(&wrong)), Err(expected));
    assert_eq!(names(&store, "").unwrap(), ["a"]);
    now(store.batch(&wrong[..2])).unwrap();
    assert_eq!(names(&store, "").unwrap(), ["b"]);
    store.fail_after(0);
    let right = [Change::Set {
        key: key("c"),
        value: b"3",
    }];
    let failure = now(store.batch(&right)).unwrap_err();
    assert!(!failure.error.is_callers());
    assert_eq!(names(&store, "").unwrap(), ["b"]);
    store.mend();
    now(store.batch(&right)).unwrap();
    assert_eq!((names(&store, "").unwrap().len(), store.writes()), (2, 3));
}
