//! Operations at random give what a tree gives.

use super::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;
use std::string::{String, ToString};

const KEYS: [&str; 7] = [
    "data",
    "data/a",
    "data/a/b",
    "data/a/b/c",
    "data/d",
    "data/d/e",
    "data/f",
];

#[derive(Clone, Debug)]
enum Operation {
    Read(usize),
    Write(usize, Vec<u8>),
    Make(usize),
    Remove(usize),
    List(usize),
    /// Several at once, then committed or not.
    Transaction(Vec<(usize, Vec<u8>)>, bool),
    /// Asked, and given up after so many turns.
    GiveUp(usize, usize),
    /// As the suspended domain, or as a resumed one.
    Suspend(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || 0..KEYS.len();
    let value = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => key().prop_map(Operation::Read),
        4 => (key(), value()).prop_map(|(key, value)| Operation::Write(key, value)),
        2 => key().prop_map(Operation::Make),
        2 => key().prop_map(Operation::Remove),
        2 => key().prop_map(Operation::List),
        2 => (proptest::collection::vec((key(), value()), 0..4), any::<bool>())
            .prop_map(|(writes, commit)| Operation::Transaction(writes, commit)),
        2 => (key(), 0_usize..3).prop_map(|(key, turns)| Operation::GiveUp(key, turns)),
        1 => any::<bool>().prop_map(Operation::Suspend),
    ]
}

/// What xenstore is: keys and values, with all that is above a key.
#[derive(Default)]
struct Model(BTreeMap<String, Vec<u8>>);

impl Model {
    fn make(&mut self, key: &str) {
        if let Some((parent, _)) = key.rsplit_once('/') {
            self.make(parent);
        }
        self.0.entry(key.to_string()).or_default();
    }

    fn write(&mut self, key: &str, value: &[u8]) {
        self.make(key);
        self.0.insert(key.to_string(), value.to_vec());
    }

    /// Whether it can be removed: what is above it exists. The domain's directory does.
    fn remove(&mut self, key: &str) -> bool {
        let below = std::format!("{key}/");
        self.0
            .retain(|other, _| other != key && !other.starts_with(&below));
        key.rsplit_once('/')
            .is_none_or(|(parent, _)| self.0.contains_key(parent))
    }

    fn list(&self, key: &str) -> Option<Vec<String>> {
        self.0.get(key)?;
        let below = std::format!("{key}/");
        let names = self.0.keys().filter_map(|other| other.strip_prefix(&below));
        Some(
            names
                .filter(|name| !name.contains('/'))
                .map(str::to_string)
                .collect(),
        )
    }
}

fn run(operations: &[Operation], piece: usize) {
    let rig = Rig::new();
    let store = rig.store;
    rig.xenstored(|xenstored| xenstored.piece = piece);
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Read(key) => {
                let mut buffer = [0; 64];
                let value = rig.run(store.read(KEYS[*key], &mut buffer));
                match model.0.get(KEYS[*key]) {
                    Some(expected) => assert_eq!(value, Ok(&**expected)),
                    None => assert!(value.unwrap_err().is_not_found()),
                }
            }
            Operation::Write(key, value) => {
                rig.run(store.write(KEYS[*key], value)).unwrap();
                model.write(KEYS[*key], value);
            }
            Operation::Make(key) => {
                rig.run(store.make_directory(KEYS[*key])).unwrap();
                model.make(KEYS[*key]);
            }
            Operation::Remove(key) => {
                let removed = rig.run(store.remove(KEYS[*key]));
                assert_eq!(removed.is_ok(), model.remove(KEYS[*key]));
            }
            Operation::List(key) => {
                let mut buffer = [0; 64];
                let names = rig.run(store.directory(KEYS[*key], &mut buffer));
                let names = names.map(|names| names.map(str::to_string).collect::<Vec<_>>());
                match model.list(KEYS[*key]) {
                    Some(expected) => assert_eq!(names, Ok(expected)),
                    None => assert!(names.unwrap_err().is_not_found()),
                }
            }
            Operation::Transaction(writes, commit) => {
                let transaction = rig.run(store.transaction()).unwrap();
                for (key, value) in writes {
                    rig.run(transaction.write(KEYS[*key], value)).unwrap();
                }
                if *commit {
                    rig.run(transaction.commit()).unwrap();
                    for (key, value) in writes {
                        model.write(KEYS[*key], value);
                    }
                }
            }
            Operation::GiveUp(key, turns) => {
                let mut read = core::pin::pin!(store.read_decimal(KEYS[*key]));
                for _ in 0..*turns {
                    let _ = rig.poll_once(read.as_mut());
                    rig.executor.run_until_idle();
                }
            }
            Operation::Suspend(resumed) => {
                let quiet = rig.run(store.quiesce());
                if *resumed {
                    rig.resume();
                    rig.xenstored(|xenstored| xenstored.piece = piece);
                    model = Model::default();
                }
                drop(quiet);
            }
        }
    }
    rig.settle();
    let counters = store.counters();
    assert_eq!(counters.unknown_replies + counters.duplicate_replies, 0);
    assert_eq!(counters.wrong_type + counters.malformed_replies, 0);
    assert_eq!(counters.faults, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn operations_give_what_a_tree_gives(
        operations in proptest::collection::vec(operation(), 0..60),
        piece in prop_oneof![Just(usize::MAX), 1_usize..100],
    ) {
        run(&operations, piece);
    }
}
