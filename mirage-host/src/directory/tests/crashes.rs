//! A machine that stops before every single step, and what is there afterwards.

use std::collections::BTreeMap;

use mirage_core::doubles::SplitMix64;

use super::simulated::{Node, SimulatedDisk};
use crate::directory::journal;
use crate::directory::keeper::Keeper;
use crate::directory::worker::OwnedChange;

type Values = BTreeMap<String, Vec<u8>>;

fn set(key: &str, value: &[u8]) -> OwnedChange {
    OwnedChange::Set {
        key: key.into(),
        value: value.into(),
    }
}

fn remove(key: &str) -> OwnedChange {
    OwnedChange::Remove { key: key.into() }
}

fn rename(from: &str, to: &str) -> OwnedChange {
    OwnedChange::Rename {
        from: from.into(),
        to: to.into(),
    }
}

/// The values on a disk; the store's own files are none.
fn values(nodes: &BTreeMap<String, Node>) -> Values {
    nodes
        .iter()
        .filter_map(|(path, node)| match node {
            Node::File(content) => Some((path.clone(), content.clone())),
            Node::Directory => None,
        })
        .collect()
}

/// What right changes make of values.
fn model(values: &mut Values, changes: &[OwnedChange]) {
    for change in changes {
        match change.clone() {
            OwnedChange::Set { key, value } => {
                values.insert(key, value);
            }
            OwnedChange::Remove { key } => {
                values.remove(&key).expect("a value to remove");
            }
            OwnedChange::Rename { from, to } => {
                let value = values.remove(&from).expect("a value to rename");
                values.insert(to, value);
            }
        }
    }
}

/// Every kind of change, in every relation to what is there.
fn history() -> Vec<Vec<OwnedChange>> {
    vec![
        vec![set("a", b"first")],
        vec![set("a", b"second, which is longer")],
        vec![set("d/e/f", b"deep")],
        vec![set("d/g", b"")],
        vec![rename("a", "d/e/h")],
        vec![rename("d/e/h", "d/g")],
        vec![remove("d/e/f")],
        vec![
            set("x", b"1"),
            set("y/z", b"2"),
            rename("d/g", "w"),
            remove("x"),
            set("x/below", b"3"),
        ],
        // A dictionary becomes a value, and a value a dictionary.
        vec![remove("y/z"), set("y", b"4"), rename("w", "w/w")],
        vec![rename("y", "y/y")],
        vec![rename("y/y", "y")],
        vec![remove("x/below"), remove("y"), remove("w/w")],
        vec![set("leases/10.0.0.7", &[7; 105])],
    ]
}

/// Runs the history until the machine stops before step `stop`; gives the disk, how much was promised, and whether it got to the end.
fn run_until(stop: u64) -> (SimulatedDisk, usize, bool) {
    let disk = SimulatedDisk::default();
    disk.stop_after(stop);
    let mut promised = 0;
    if let Ok(mut keeper) = Keeper::open(&disk, 1 << 20) {
        for changes in history() {
            if keeper.change(&changes).is_err() {
                break;
            }
            promised += 1;
        }
    }
    (disk, promised, promised == history().len())
}

#[test]
fn a_crash_at_any_step_leaves_every_change_whole_and_what_was_promised_stays() {
    let mut states = vec![Values::new()];
    for changes in history() {
        let mut next = states.last().unwrap().clone();
        model(&mut next, &changes);
        states.push(next);
    }
    let mut stops = 0;
    for stop in 0.. {
        let (disk, promised, done) = run_until(stop);
        for seed in 0..40 {
            let mut rng = SplitMix64::new(seed * 7_919 + stop);
            let mut found = disk.after_crash(&mut rng);
            // Up to three crashes more, while it recovers.
            for again in 0..4 {
                let disk = SimulatedDisk::of(found);
                if again < 3 {
                    disk.stop_after(rng.below(12));
                }
                match Keeper::open(&disk, 1 << 20) {
                    Ok(keeper) => {
                        let found = values(&keeper.files().seen());
                        let allowed = &states[promised..states.len().min(promised + 2)];
                        assert!(
                            allowed.contains(&found),
                            "stopped before step {stop}, promised {promised}: {found:?}"
                        );
                        // And it goes on from there: what is seen now is there for good.
                        let found = values(&keeper.files().after_crash(&mut rng));
                        assert!(allowed.contains(&found), "what was seen went again");
                        break;
                    }
                    Err(error) => {
                        assert!(again < 3, "a sound disk doesn't open: {error}");
                        found = disk.after_crash(&mut rng);
                    }
                }
            }
        }
        stops += 1;
        if done {
            break;
        }
    }
    // Each change has several steps before which the machine stopped.
    assert!(stops > 100, "{stops}");
}

#[test]
fn a_store_whose_disk_fails_for_a_moment_finishes_its_batch_before_the_next_change() {
    for stop in 0..30 {
        let disk = SimulatedDisk::default();
        let mut keeper = Keeper::open(disk, 1 << 20).unwrap();
        keeper.change(&[set("a", b"0"), set("b", b"0")]).unwrap();
        keeper.files().stop_after(stop);
        let failed = keeper.change(&[set("a", b"1"), set("b", b"1")]).is_err();
        keeper.files().stop_after(u64::MAX);
        keeper.change(&[set("c", b"2")]).unwrap();
        let values = values(&keeper.files().seen());
        let get = |key: &str| values.get(key).map(|value| &value[..]);
        assert_eq!(get("a"), get("b"), "half a batch after {stop}");
        assert!(failed || get("a") == Some(b"1"));
        assert_eq!(get("c"), Some(&b"2"[..]));
        assert!(values.len() == 3, "{values:?}");
    }
}

#[test]
fn a_callers_mistake_changes_nothing_and_says_which_change_was_wrong() {
    use mirage_core::kv::KvMutError as E;
    let mut keeper = Keeper::open(SimulatedDisk::default(), 8).unwrap();
    keeper.change(&[set("v", b"1"), set("d/w", b"2")]).unwrap();
    let before = keeper.files().seen();
    let long = "x".repeat(256);
    let mut refused = |changes: &[OwnedChange], at: usize, expected: fn(&E<_>) -> bool| {
        let error = keeper.change(changes).unwrap_err();
        assert!(expected(&error.error), "{changes:?}: {error}");
        assert!(error.error.is_callers());
        assert_eq!(error.change, Some(at), "{changes:?}");
        assert_eq!(keeper.files().seen(), before);
    };
    refused(&[remove("x")], 0, |e| matches!(e, E::NotFound));
    refused(&[remove("d")], 0, |e| matches!(e, E::IsDictionary));
    refused(&[remove("")], 0, |e| matches!(e, E::IsDictionary));
    refused(&[set("", b"")], 0, |e| matches!(e, E::IsDictionary));
    refused(&[set("d", b"")], 0, |e| matches!(e, E::IsDictionary));
    refused(&[set("v/x", b"")], 0, |e| matches!(e, E::BelowValue));
    refused(&[set("v", b"123456789")], 0, |e| matches!(e, E::TooLarge));
    refused(&[set(".~journal", b"")], 0, |e| matches!(e, E::UnfitKey));
    refused(&[set("d/.~new", b"")], 0, |e| matches!(e, E::UnfitKey));
    refused(&[set(&long, b"")], 0, |e| matches!(e, E::UnfitKey));
    refused(&[rename("x", "y")], 0, |e| matches!(e, E::NotFound));
    refused(&[rename("v", "d")], 0, |e| matches!(e, E::IsDictionary));
    refused(&[rename("d", "e")], 0, |e| matches!(e, E::IsDictionary));
    refused(&[set("n", b""), remove("v"), remove("v")], 2, |e| {
        matches!(e, E::NotFound)
    });
    refused(&[set("n/m", b""), set("n", b"")], 1, |e| {
        matches!(e, E::IsDictionary)
    });
    refused(&[set("n", b""), set("n/m", b"")], 1, |e| {
        matches!(e, E::BelowValue)
    });
    refused(&[rename("v", "u"), rename("v", "t")], 1, |e| {
        matches!(e, E::NotFound)
    });
}

#[test]
fn changes_of_every_kind_in_any_order_are_those_of_a_map() {
    const KEYS: [&str; 7] = ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"];
    for seed in 0..200 {
        let mut rng = SplitMix64::new(seed);
        let mut keeper = Keeper::open(SimulatedDisk::default(), 1 << 20).unwrap();
        let store = mirage_core::doubles::MemoryStore::new();
        for step in 0..60 {
            let mut key = || KEYS[rng.below(7) as usize].to_owned();
            let changes: Vec<OwnedChange> = (0..=step % 3)
                .map(|number| match (step + number) % 4 {
                    0 | 1 => OwnedChange::Set {
                        key: key(),
                        value: vec![step as u8; step],
                    },
                    2 => OwnedChange::Remove { key: key() },
                    _ => OwnedChange::Rename {
                        from: key(),
                        to: key(),
                    },
                })
                .collect();
            let ours = keeper.change(&changes).map_err(|error| {
                assert!(error.error.is_callers(), "{changes:?}: {error}");
                error.change
            });
            let theirs = apply(&store, &changes);
            assert_eq!(ours, theirs, "{changes:?}");
            let found = values(&keeper.files().seen());
            assert_eq!(found, all(&store), "{changes:?}");
        }
    }
}

/// The same to a store in memory.
fn apply(
    store: &mirage_core::doubles::MemoryStore,
    changes: &[OwnedChange],
) -> Result<(), Option<usize>> {
    use mirage_core::kv::{Change, Key, KvMut};
    let key = |key: &'_ str| Key::new(key).unwrap().as_str().to_owned();
    let checked: Vec<(String, String)> = changes
        .iter()
        .map(|change| match change {
            OwnedChange::Set { key: k, .. } | OwnedChange::Remove { key: k } => (key(k), key(k)),
            OwnedChange::Rename { from, to } => (key(from), key(to)),
        })
        .collect();
    let borrowed: Vec<Change<'_>> = changes
        .iter()
        .zip(&checked)
        .map(|(change, (one, other))| {
            let (one, other) = (Key::new(one).unwrap(), Key::new(other).unwrap());
            match change {
                OwnedChange::Set { value, .. } => Change::Set { key: one, value },
                OwnedChange::Remove { .. } => Change::Remove { key: one },
                OwnedChange::Rename { .. } => Change::Rename {
                    from: one,
                    to: other,
                },
            }
        })
        .collect();
    now(store.batch(&borrowed)).map_err(|error| error.change)
}

fn all(store: &mirage_core::doubles::MemoryStore) -> Values {
    use mirage_core::kv::{Key, Kv};
    let mut values = Values::new();
    for path in ["a", "a/b", "a/b/c", "a/d", "e", "e/f", "g"] {
        if let Ok(value) = now(store.get(Key::new(path).unwrap())) {
            values.insert(path.to_owned(), value);
        }
    }
    values
}

fn now<T>(future: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store in memory has nothing to wait for"),
    }
}

#[test]
fn a_value_costs_a_file_and_a_directory_flush_and_a_batch_one_record_more() {
    let mut keeper = Keeper::open(SimulatedDisk::default(), 1 << 20).unwrap();
    keeper.change(&[set("a", b"1")]).unwrap();
    let before = keeper.files().flushes();
    keeper.change(&[set("a", b"2")]).unwrap();
    assert_eq!(keeper.files().flushes() - before, 1);
    let before = keeper.files().steps();
    keeper.change(&[set("a", b"3"), set("b", b"3")]).unwrap();
    // Journal: create, rename, flush. Two values: the same each. The end of the journal: remove, flush.
    assert_eq!(keeper.files().steps() - before, 3 + 3 + 3 + 2);
}

#[test]
fn a_journal_that_is_damaged_is_not_believed() {
    let mut outcome = journal::Outcome::new();
    outcome.insert("a/b".into(), Some(b"value".to_vec()));
    outcome.insert("c".into(), None);
    let bytes = journal::to_bytes(&outcome);
    assert_eq!(journal::from_bytes(&bytes), Some(outcome));
    for at in 0..bytes.len() {
        assert_eq!(journal::from_bytes(&bytes[..at]), None);
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert_eq!(journal::from_bytes(&damaged), None);
    }
    let nodes = [(".~journal".to_owned(), Node::File(bytes[1..].to_vec()))].into();
    let opened = Keeper::open(SimulatedDisk::of(nodes), 1 << 20);
    assert!(matches!(
        opened.unwrap_err(),
        crate::DirectoryError::DamagedJournal
    ));
}
