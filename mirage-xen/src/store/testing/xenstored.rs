//! A xenstored for tests: a small tree, watches and transactions, at the other end of the ring.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use std::borrow::ToOwned;
use std::format;

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::xs_wire::{
    MessageHeader, MessageType, StoreInterface, XENSTORE_CONNECTED, XENSTORE_PAYLOAD_MAX,
    XENSTORE_RING_SIZE,
};

/// The domain that asks: names that don't begin with a slash are below its directory.
const HOME: &str = "/local/domain/7";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) value: Vec<u8>,
    pub(crate) permissions: Vec<u8>,
    generation: u64,
}

pub(crate) type Tree = BTreeMap<String, Node>;

struct Transaction {
    tree: Tree,
    base: u64,
    changed: Vec<String>,
}

/// What it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) kind: MessageType,
    pub(crate) id: u32,
    pub(crate) transaction: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Xenstored {
    interface: &'static StoreInterface,
    input: Vec<u8>,
    pub(crate) output: VecDeque<u8>,
    pub(crate) tree: Tree,
    generation: u64,
    /// Path as it was given, and token.
    pub(crate) watches: Vec<(String, Vec<u8>)>,
    transactions: BTreeMap<u32, Transaction>,
    next_transaction: u32,
    pub(crate) asked: Vec<Asked>,
    /// Bytes that it moves at a time, either way.
    pub(crate) piece: usize,
    /// It takes requests, and answers none.
    pub(crate) silent: bool,
    /// Watches are refused.
    pub(crate) refuse_watches: bool,
    /// Called for each request; `true`: it is dealt with.
    pub(crate) script: Option<fn(&mut Xenstored, &Asked) -> bool>,
    /// Bytes of a list in one message.
    pub(crate) list_limit: usize,
    /// The domain is told, whatever it moves.
    pub(crate) notify: bool,
}

type Answer = Result<Vec<u8>, &'static str>;

impl Xenstored {
    pub(crate) fn new(interface: &'static StoreInterface) -> Self {
        let mut xenstored = Self {
            interface,
            input: Vec::new(),
            output: VecDeque::new(),
            tree: Tree::new(),
            generation: 1,
            watches: Vec::new(),
            transactions: BTreeMap::new(),
            next_transaction: 1,
            asked: Vec::new(),
            piece: usize::MAX,
            silent: false,
            refuse_watches: false,
            script: None,
            list_limit: XENSTORE_PAYLOAD_MAX,
            notify: false,
        };
        xenstored.set("/", "");
        xenstored.set(HOME, "");
        xenstored
    }

    pub(crate) fn interface(&self) -> &'static StoreInterface {
        self.interface
    }

    /// Somebody else writes a key.
    pub(crate) fn set(&mut self, path: &str, value: &str) {
        let path = absolute(path);
        self.generation += 1;
        write(
            &mut self.tree,
            &path,
            value.as_bytes().to_vec(),
            self.generation,
        );
        self.fire(&path);
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let node = self.tree.get(&absolute(path))?;
        Some(String::from_utf8(node.value.clone()).unwrap())
    }

    /// It is asked to set the ring up again, and does.
    pub(crate) fn reconnect(&mut self) {
        self.input.clear();
        self.output.clear();
        self.watches.clear();
        self.transactions.clear();
        self.silent = false;
        let interface = self.interface;
        for index in [
            &interface.request_consumer,
            &interface.request_producer,
            &interface.response_consumer,
            &interface.response_producer,
        ] {
            index.store(0, Ordering::Relaxed);
        }
        interface
            .connection
            .store(XENSTORE_CONNECTED, Ordering::Release);
        self.notify = true;
    }

    /// How often it was asked that.
    pub(crate) fn count(&self, kind: MessageType) -> usize {
        self.asked.iter().filter(|asked| asked.kind == kind).count()
    }

    pub(crate) fn send(&mut self, kind: u32, id: u32, transaction: u32, payload: &[u8]) {
        let header = MessageHeader {
            kind: kind.into(),
            request: id.into(),
            transaction: transaction.into(),
            length: (payload.len() as u32).into(),
        };
        self.output.extend(header.as_bytes());
        self.output.extend(payload);
    }

    /// Moves bytes, and answers. Whether it moved any.
    pub(crate) fn step(&mut self) -> bool {
        let notify = core::mem::take(&mut self.notify);
        if self.interface.connection.load(Ordering::Relaxed) != XENSTORE_CONNECTED {
            return notify;
        }
        let read = self.read();
        while let Some(asked) = self.next_request() {
            self.asked.push(asked.clone());
            let dealt_with = self.script.is_some_and(|script| script(self, &asked));
            if !dealt_with && !self.silent {
                self.answer(&asked);
            }
        }
        read | self.write() | notify
    }

    fn read(&mut self) -> bool {
        let producer = self.interface.request_producer.load(Ordering::Acquire);
        let mut consumer = self.interface.request_consumer.load(Ordering::Relaxed);
        assert!(producer.wrapping_sub(consumer) <= XENSTORE_RING_SIZE as u32);
        let mut moved = 0;
        while consumer != producer && moved < self.piece {
            let byte = &self.interface.request[consumer as usize % XENSTORE_RING_SIZE];
            self.input.push(byte.load(Ordering::Relaxed));
            consumer = consumer.wrapping_add(1);
            moved += 1;
        }
        self.interface
            .request_consumer
            .store(consumer, Ordering::Release);
        moved != 0
    }

    fn write(&mut self) -> bool {
        let consumer = self.interface.response_consumer.load(Ordering::Acquire);
        let mut producer = self.interface.response_producer.load(Ordering::Relaxed);
        let mut moved = 0;
        while producer.wrapping_sub(consumer) < XENSTORE_RING_SIZE as u32 && moved < self.piece {
            let Some(byte) = self.output.pop_front() else {
                break;
            };
            let place = &self.interface.response[producer as usize % XENSTORE_RING_SIZE];
            place.store(byte, Ordering::Relaxed);
            producer = producer.wrapping_add(1);
            moved += 1;
        }
        self.interface
            .response_producer
            .store(producer, Ordering::Release);
        moved != 0
    }

    fn next_request(&mut self) -> Option<Asked> {
        let (header, rest) = MessageHeader::read_from_prefix(&self.input).ok()?;
        let length = header.length.get() as usize;
        assert!(length <= XENSTORE_PAYLOAD_MAX, "the connection is ended");
        let payload = rest.get(..length)?.to_vec();
        self.input.drain(..MessageHeader::LENGTH + length);
        Some(Asked {
            kind: MessageType::from_number(header.kind.get()).expect("a type that exists"),
            id: header.request.get(),
            transaction: header.transaction.get(),
            payload,
        })
    }

    pub(crate) fn answer(&mut self, asked: &Asked) {
        let answer = self.carry_out(asked);
        let (kind, payload) = match answer {
            Ok(payload) => (asked.kind, payload),
            Err(name) => (MessageType::Error, format!("{name}\0").into_bytes()),
        };
        self.send(kind as u32, asked.id, asked.transaction, &payload);
        if asked.kind == MessageType::Watch && kind == MessageType::Watch {
            let (path, token) = self.watches.last().unwrap().clone();
            self.send_event(&path, &token);
        }
    }

    fn carry_out(&mut self, asked: &Asked) -> Answer {
        let done = Ok(b"OK\0".to_vec());
        let mut strings = asked.payload.split(|byte| *byte == 0);
        let first = String::from_utf8(strings.next().unwrap().to_vec()).unwrap();
        let path = absolute(&first);
        self.generation += 1;
        let generation = self.generation;
        match asked.kind {
            MessageType::TransactionStart => {
                assert_eq!((asked.transaction, &*asked.payload), (0, &b"\0"[..]));
                let number = self.next_transaction;
                self.next_transaction += 1;
                let transaction = Transaction {
                    tree: self.tree.clone(),
                    base: generation,
                    changed: Vec::new(),
                };
                self.transactions.insert(number, transaction);
                return Ok(format!("{number}\0").into_bytes());
            }
            MessageType::TransactionEnd => {
                let transaction = self
                    .transactions
                    .remove(&asked.transaction)
                    .ok_or("ENOENT")?;
                if first == "T" {
                    if self
                        .tree
                        .values()
                        .any(|node| node.generation > transaction.base)
                    {
                        return Err("EAGAIN");
                    }
                    self.tree = transaction.tree;
                    for path in &transaction.changed {
                        self.fire(path);
                    }
                }
                return done;
            }
            MessageType::Watch => {
                if self.refuse_watches {
                    return Err("ENOSPC");
                }
                let token = strings.next().unwrap().to_vec();
                if self.watches.contains(&(first.clone(), token.clone())) {
                    return Err("EEXIST");
                }
                self.watches.push((first, token));
                return done;
            }
            MessageType::Unwatch => {
                let token = strings.next().unwrap().to_vec();
                let before = self.watches.len();
                self.watches
                    .retain(|watch| *watch != (first.clone(), token.clone()));
                return if self.watches.len() < before {
                    done
                } else {
                    Err("ENOENT")
                };
            }
            MessageType::ResetWatches => {
                self.watches.clear();
                self.transactions.clear();
                return done;
            }
            MessageType::GetDomainPath => {
                return Ok(format!("/local/domain/{first}\0").into_bytes());
            }
            MessageType::IsDomainIntroduced => {
                return Ok(if first == "0" { b"T\0" } else { b"F\0" }.to_vec());
            }
            _ => {}
        }
        let (tree, base, mut changed) = match asked.transaction {
            0 => (&mut self.tree, generation, Vec::new()),
            number => {
                let transaction = self.transactions.get_mut(&number).ok_or("ENOENT")?;
                // Older than what anybody else writes meanwhile.
                let base = transaction.base;
                (&mut transaction.tree, base, Vec::new())
            }
        };
        let exists = tree.get(&path).ok_or("ENOENT");
        let answer = match asked.kind {
            MessageType::Read => Ok(exists?.value.clone()),
            MessageType::GetPermissions => Ok(exists?.permissions.clone()),
            MessageType::Directory => {
                exists?;
                let list = children(tree, &path);
                if list.len() > self.list_limit {
                    return Err("E2BIG");
                }
                Ok(list)
            }
            MessageType::DirectoryPart => {
                let offset = String::from_utf8(strings.next().unwrap().to_vec()).unwrap();
                Ok(part(
                    tree,
                    &path,
                    offset.parse().unwrap(),
                    exists?.generation,
                    self.list_limit,
                ))
            }
            MessageType::Write => {
                let value = asked.payload[first.len() + 1..].to_vec();
                write(tree, &path, value, base);
                changed.push(path);
                done
            }
            MessageType::MakeDirectory => {
                if !tree.contains_key(&path) {
                    write(tree, &path, Vec::new(), base);
                    changed.push(path);
                }
                done
            }
            MessageType::Remove => {
                if exists.is_err() {
                    let parent = parent(&path).unwrap_or("/");
                    return tree.get(parent).map(|_| b"OK\0".to_vec()).ok_or("ENOENT");
                }
                let below = format!("{path}/");
                tree.retain(|other, _| *other != path && !other.starts_with(&below));
                if let Some(node) = parent(&path).and_then(|parent| tree.get_mut(parent)) {
                    node.generation = base;
                }
                changed.push(path);
                done
            }
            MessageType::SetPermissions => {
                exists?;
                let node = tree.get_mut(&path).unwrap();
                node.permissions = asked.payload[first.len() + 1..].to_vec();
                node.generation = base;
                changed.push(path);
                done
            }
            _ => Err("ENOSYS"),
        };
        match asked.transaction {
            0 => changed.iter().for_each(|path| self.fire(path)),
            number => {
                let transaction = self.transactions.get_mut(&number).unwrap();
                transaction.changed.append(&mut changed);
            }
        }
        answer
    }

    pub(crate) fn fire(&mut self, path: &str) {
        for (watched, token) in self.watches.clone() {
            let whole = absolute(&watched);
            if path == whole || path.starts_with(&format!("{whole}/")) {
                let reported = if watched.starts_with('/') {
                    path
                } else {
                    &path[HOME.len() + 1..]
                };
                self.send_event(reported, &token);
            }
        }
    }

    pub(crate) fn send_event(&mut self, path: &str, token: &[u8]) {
        let payload = [path.as_bytes(), b"\0", token, b"\0"].concat();
        self.send(MessageType::WatchEvent as u32, 0, 0, &payload);
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with(['/', '@']) {
        path.to_owned()
    } else {
        format!("{HOME}/{path}")
    }
}

fn parent(path: &str) -> Option<&str> {
    let (parent, name) = path.rsplit_once('/')?;
    if parent.is_empty() {
        (!name.is_empty()).then_some("/")
    } else {
        Some(parent)
    }
}

fn write(tree: &mut Tree, path: &str, value: Vec<u8>, generation: u64) {
    if let Some(parent) = parent(path) {
        if !tree.contains_key(parent) {
            write(tree, parent, Vec::new(), generation);
        }
        if !tree.contains_key(path) {
            tree.get_mut(parent).unwrap().generation = generation;
        }
    }
    let permissions = tree
        .get(path)
        .map_or(b"n7\0".to_vec(), |node| node.permissions.clone());
    let node = Node {
        value,
        permissions,
        generation,
    };
    tree.insert(path.to_owned(), node);
}

/// The names right below a key, with a NUL behind each.
fn children(tree: &Tree, path: &str) -> Vec<u8> {
    let below = if path == "/" {
        "/"
    } else {
        &*format!("{path}/")
    };
    let names = tree.keys().filter_map(|key| key.strip_prefix(below));
    let names = names.filter(|name| !name.is_empty() && !name.contains('/'));
    names
        .flat_map(|name| format!("{name}\0").into_bytes())
        .collect()
}

fn part(tree: &Tree, path: &str, offset: usize, generation: u64, limit: usize) -> Vec<u8> {
    let list = children(tree, path);
    let mut reply = format!("{generation}\0").into_bytes();
    let mut rest = list.get(offset..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        if reply.len() + end + 2 > limit {
            return reply;
        }
        reply.extend_from_slice(&rest[..=end]);
        rest = &rest[end + 1..];
    }
    reply.push(0);
    reply
}
