//! The store on this machine's file system.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;

use mirage_core::executor::Executor;
use mirage_core::kv::{Change, EntryKind, Key, Kv, KvError, KvMut, KvMutError};

use crate::{DirectoryError, DirectoryStore, HostPlatform};

fn executor() -> &'static Executor {
    Executor::leak(HostPlatform::leak().unwrap())
}

fn key(path: &str) -> Key<'_> {
    Key::new(path).unwrap()
}

async fn names(store: &DirectoryStore, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let listed = store.list(key(path), |entry| {
        names.push(entry.name.to_owned());
        ControlFlow::Continue(())
    });
    listed.await.unwrap();
    names.sort();
    names
}

#[test]
fn values_outlive_the_store_and_dictionaries_are_what_lies_below_them() {
    let folder = tempfile::tempdir().unwrap();
    executor().run_until(async {
        let store = DirectoryStore::open(&folder).unwrap();
        store.set(key("a/b/c"), b"1").await.unwrap();
        store.set(key("a/b/d"), b"2").await.unwrap();
        store.set(key("e"), b"3").await.unwrap();
        store.rename(key("a/b/d"), key("f/g")).await.unwrap();
        store.remove(key("a/b/c")).await.unwrap();
        assert_eq!(store.exists(key("a")).await.unwrap(), None);
        store
            .batch(&[
                Change::Set {
                    key: key("e"),
                    value: b"4",
                },
                Change::Remove { key: key("f/g") },
                Change::Set {
                    key: key("f"),
                    value: b"5",
                },
            ])
            .await
            .unwrap();
        drop(store);
        let store = DirectoryStore::open(&folder).unwrap();
        assert_eq!(names(&store, "").await, ["e", "f"]);
        assert_eq!(store.get(key("e")).await.unwrap(), b"4");
        assert_eq!(store.get(key("f")).await.unwrap(), b"5");
        assert_eq!(store.size(key("f")).await.unwrap(), 1);
        assert_eq!(store.get_partial(key("e"), 1, 9).await.unwrap(), b"");
        assert_eq!(
            store.exists(key("f")).await.unwrap(),
            Some(EntryKind::Value)
        );
        assert!(store.last_modified(key("f")).await.unwrap().is_some());
        let digest = store.digest(key("f")).await.unwrap();
        store.set(key("f"), b"6").await.unwrap();
        assert_ne!(store.digest(key("f")).await.unwrap(), digest);
        let missing = store.remove(key("nothing")).await;
        assert!(matches!(missing, Err(KvMutError::NotFound)));
    });
}

#[test]
fn no_key_leads_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "theirs").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path();
    fs::create_dir(inside.join("d")).unwrap();
    fs::write(inside.join("d/own"), "ours").unwrap();
    symlink(outside.path(), inside.join("link")).unwrap();
    symlink(outside.path().join("secret"), inside.join("file")).unwrap();
    symlink(outside.path().join("secret"), inside.join("d/file")).unwrap();
    symlink("/nowhere", inside.join("dangling")).unwrap();
    executor().run_until(async {
        let store = DirectoryStore::open(&folder).unwrap();
        for path in [
            "link/secret",
            "file",
            "d/file",
            "link",
            "dangling",
            "file/x",
        ] {
            let read = store.get(key(path)).await;
            assert!(matches!(read, Err(KvError::NotFound)), "{path}: {read:?}");
            let written = store.set(key(path), b"mine").await;
            assert!(
                matches!(written, Err(KvMutError::UnfitKey)),
                "{path}: {written:?}"
            );
            let removed = store.remove(key(path)).await;
            assert!(
                matches!(removed, Err(KvMutError::NotFound)),
                "{path}: {removed:?}"
            );
            let renamed = store.rename(key("d/own"), key(path)).await;
            assert!(
                matches!(renamed, Err(KvMutError::UnfitKey)),
                "{path}: {renamed:?}"
            );
        }
        assert_eq!(names(&store, "").await, ["d"]);
        assert_eq!(names(&store, "d").await, ["own"]);
        assert_eq!(store.get(key("d/own")).await.unwrap(), b"ours");
        // `Key` has no `..`; what only looks like it is a name.
        assert!(Key::new("../secret").is_err() && Key::new("d/../../secret").is_err());
        store.set(key("..%2fsecret"), b"a name").await.unwrap();
        // The store's own files are no values.
        let own = store.get(key(".~lock")).await;
        assert!(matches!(own, Err(KvError::NotFound)));
        let own = store.set(key(".~lock"), b"").await;
        assert!(matches!(own, Err(KvMutError::UnfitKey)));
    });
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn what_a_crash_left_is_cleared_away_and_an_empty_directory_is_no_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".~new"), "half a val").unwrap();
    fs::create_dir_all(folder.path().join("x/y/z")).unwrap();
    executor().run_until(async {
        let store = DirectoryStore::open(&folder).unwrap();
        assert!(names(&store, "").await.is_empty());
        assert!(!folder.path().join(".~new").exists());
        assert!(!folder.path().join("x").exists());
        // One that somebody makes meanwhile is in nobody's way.
        fs::create_dir_all(folder.path().join("v/w")).unwrap();
        store.set(key("v"), b"value").await.unwrap();
        assert_eq!(store.get(key("v")).await.unwrap(), b"value");
    });
}

#[test]
fn one_store_at_a_time_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(&folder).unwrap();
    let second = DirectoryStore::open(&folder).unwrap_err();
    assert!(matches!(second, DirectoryError::InUse));
    drop(store);
    DirectoryStore::open(&folder).unwrap();
    let missing = DirectoryStore::open(Path::new("/nonexistent/store")).unwrap_err();
    assert!(matches!(missing, DirectoryError::System { .. }));
}

#[test]
fn a_change_that_nobody_waits_for_any_more_is_made_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let executor = executor();
    let store = DirectoryStore::open(&folder).unwrap();
    executor.run_until(async {
        use std::task::Poll;
        let mut change = std::pin::pin!(store.set(key("a"), b"value"));
        std::future::poll_fn(|context| {
            let _ = change.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    });
    drop(store);
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"value");
}

#[test]
fn a_value_above_the_bound_is_refused_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large"), [7; 100]).unwrap();
    executor().run_until(async {
        let store = DirectoryStore::open_with(&folder, 10).unwrap();
        let read = store.get(key("large")).await;
        assert!(matches!(read, Err(KvError::TooLarge)));
        assert_eq!(
            store.get_partial(key("large"), 95, 99).await.unwrap(),
            [7; 5]
        );
        let written = store.set(key("x"), &[0; 11]).await;
        assert!(matches!(written, Err(KvMutError::TooLarge)));
    });
}
