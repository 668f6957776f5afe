//! A client that is nothing but bytes on the ring.

use std::vec;

use super::message::*;
use super::*;
use crate::Hypervisor;
use crate::simulated::{Simulation, SimulationConfig};

/// The domain's end of the ring, by hand.
struct Client {
    simulation: Simulation,
    received: Vec<u8>,
    next_id: u32,
}

impl Client {
    fn new(simulation: Simulation) -> Self {
        for word in &simulation.hypervisor().shared_info().event_mask {
            word.store(!0, std::sync::atomic::Ordering::Relaxed);
        }
        Self {
            simulation,
            received: Vec::new(),
            next_id: 0x100,
        }
    }

    /// Moves what can be moved.
    fn turn(&mut self) {
        let page = self.simulation.machine.memory.store_page;
        let (producer, consumer) = (page.read_u32(RSP_PROD), page.read_u32(RSP_CONS));
        let mut bytes = vec![0; producer.wrapping_sub(consumer) as usize];
        page.read_ring(RSP, RING, consumer, &mut bytes);
        self.received.extend(bytes);
        page.write_u32(RSP_CONS, producer);
        let port = self.simulation.machine.store_port.get();
        self.simulation.hypervisor().notify(port).unwrap();
        self.simulation
            .run_for(std::time::Duration::from_micros(60));
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let page = self.simulation.machine.memory.store_page;
            let (producer, consumer) = (page.read_u32(REQ_PROD), page.read_u32(REQ_CONS));
            let room = RING - producer.wrapping_sub(consumer) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            page.write_ring(REQ, RING, producer, now);
            page.write_u32(REQ_PROD, producer.wrapping_add(now.len() as u32));
            bytes = later;
            self.turn();
        }
    }

    fn next(&mut self) -> Message {
        for _ in 0..10_000 {
            if let Some((message, length)) = Message::parse(&self.received).unwrap() {
                self.received.drain(..length);
                return message;
            }
            self.turn();
        }
        panic!("no message");
    }

    fn post(&mut self, kind: u32, transaction: u32, payload: &[u8]) -> u32 {
        self.next_id += 1;
        let request = Message {
            kind,
            id: self.next_id,
            transaction,
            payload: payload.to_vec(),
        };
        self.put(&request.bytes());
        self.next_id
    }

    fn ask_in(&mut self, transaction: u32, kind: u32, payload: &[u8]) -> Result<String, String> {
        let id = self.post(kind, transaction, payload);
        let reply = self.next();
        assert_eq!((reply.id, reply.transaction), (id, transaction));
        let text = String::from_utf8(reply.payload).unwrap();
        match reply.kind {
            XS_ERROR => Err(text.trim_end_matches('\0').to_owned()),
            of => {
                assert_eq!(of, kind);
                Ok(text)
            }
        }
    }

    fn ask(&mut self, kind: u32, payload: &[u8]) -> Result<String, String> {
        self.ask_in(0, kind, payload)
    }

    fn event(&mut self) -> String {
        let event = self.next();
        assert_eq!((event.kind, event.id), (XS_WATCH_EVENT, 0));
        String::from_utf8(event.payload).unwrap()
    }

    /// Whether nothing more comes.
    fn is_quiet(&mut self) -> bool {
        (0..5).for_each(|_| self.turn());
        self.received.is_empty()
    }
}

fn err(name: &str) -> Result<String, String> {
    Err(name.to_owned())
}

fn fine() -> Result<String, String> {
    Ok("OK\0".to_owned())
}

#[test]
fn every_operation_of_a_domain_is_answered_as_xenstored_answers() {
    let mut client = Client::new(Simulation::new(1));
    assert_eq!(client.ask(XS_READ, b"domid\0"), Ok("5".to_owned()));
    assert_eq!(client.ask(XS_READ, b"domid"), err("EINVAL"));
    assert_eq!(client.ask(XS_READ, b"nothing\0"), err("ENOENT"));
    assert_eq!(
        client.ask(XS_READ, b"/local/domain/0/name\0"),
        err("EACCES")
    );
    assert_eq!(client.ask(XS_WRITE, b"name\0mine"), err("EACCES"));
    assert_eq!(client.ask(XS_WRITE, b"data/a/b\0value\0x"), fine());
    assert_eq!(
        client.ask(XS_READ, b"data/a/b\0"),
        Ok("value\0x".to_owned())
    );
    assert_eq!(client.ask(XS_READ, b"data/a\0"), Ok(String::new()));
    assert_eq!(client.ask(XS_MKDIR, b"data/c\0"), fine());
    assert_eq!(client.ask(XS_MKDIR, b"data/a/b\0"), fine());
    assert_eq!(
        client.ask(XS_READ, b"data/a/b\0"),
        Ok("value\0x".to_owned())
    );
    assert_eq!(client.ask(XS_DIRECTORY, b"data\0"), Ok("a\0c\0".to_owned()));
    assert_eq!(client.ask(XS_RM, b"data/a\0"), fine());
    assert_eq!(client.ask(XS_RM, b"data/a\0"), fine());
    assert_eq!(client.ask(XS_RM, b"data/a/b\0"), err("ENOENT"));
    assert_eq!(client.ask(XS_DIRECTORY, b"data\0"), Ok("c\0".to_owned()));
    assert_eq!(client.ask(XS_GET_PERMS, b"data/c\0"), Ok("n5\0".to_owned()));
    assert_eq!(client.ask(XS_SET_PERMS, b"data/c\0n5\0r0\0"), fine());
    assert_eq!(
        client.ask(XS_GET_PERMS, b"data/c\0"),
        Ok("n5\0r0\0".to_owned())
    );
    assert_eq!(client.ask(XS_SET_PERMS, b"data/c\0n0\0"), err("EPERM"));
    assert_eq!(client.ask(XS_SET_PERMS, b"name\0n5\0"), err("EACCES"));
    assert_eq!(client.ask(XS_SET_PERMS, b"data/c\0q5\0"), err("EINVAL"));
    let path = client.ask(XS_GET_DOMAIN_PATH, b"7\0");
    assert_eq!(path, Ok("/local/domain/7\0".to_owned()));
    assert_eq!(
        client.ask(XS_IS_DOMAIN_INTRODUCED, b"5\0"),
        Ok("T\0".to_owned())
    );
    assert_eq!(
        client.ask(XS_IS_DOMAIN_INTRODUCED, b"6\0"),
        Ok("F\0".to_owned())
    );
    assert_eq!(client.ask(XS_INTRODUCE, b"5\x001\x002\0"), err("EACCES"));
    assert_eq!(client.ask(XS_CONTROL, b"check\0"), err("EACCES"));
    assert_eq!(client.ask(25, b"\0"), err("ENOSYS"));
    let value = [&b"data/big\0"[..], &[b'x'; 2_049]].concat();
    assert_eq!(client.ask(XS_WRITE, &value), err("ENOSPC"));
    assert_eq!(client.ask(XS_WRITE, &value[..value.len() - 1]), fine());
    assert_eq!(client.simulation.violations(), []);
    assert_eq!(client.simulation.store().requests_of(XS_RM), 3);
}

#[test]
fn watches_fire_once_at_first_and_at_each_change_by_their_own_names() {
    let mut client = Client::new(Simulation::new(1));
    let store = client.simulation.store();
    assert_eq!(client.ask(XS_WATCH, b"data\0one\0"), fine());
    assert_eq!(client.event(), "data\0one\0");
    assert_eq!(
        client.ask(XS_WATCH, b"/local/domain/5/data/x/y\0two\0"),
        fine()
    );
    assert_eq!(client.event(), "/local/domain/5/data/x/y\0two\0");
    assert_eq!(client.ask(XS_WATCH, b"data\0one\0"), err("EEXIST"));
    store.write("/local/domain/5/data/x/y", "1");
    assert_eq!(client.event(), "data/x/y\0one\0");
    assert_eq!(client.event(), "/local/domain/5/data/x/y\0two\0");
    // A parent that is removed: each watch is told the path that it watches, or what is below.
    store.remove("/local/domain/5/data/x");
    assert_eq!(client.event(), "data/x\0one\0");
    assert_eq!(client.event(), "/local/domain/5/data/x/y\0two\0");
    store.write("/local/domain/5/name", "other");
    assert!(client.is_quiet());
    assert_eq!(client.ask(XS_UNWATCH, b"data\0two\0"), err("ENOENT"));
    assert_eq!(client.ask(XS_UNWATCH, b"data\0one\0"), fine());
    store.write("/local/domain/5/data/z", "1");
    assert!(client.is_quiet());
    assert_eq!(store.watches(), 1);
    assert_eq!(client.ask(XS_RESET_WATCHES, b"\0"), fine());
    assert_eq!(store.watches(), 0);
    assert_eq!(client.ask(XS_WATCH, b"@introduceDomain\0t\0"), fine());
    assert_eq!(client.event(), "@introduceDomain\0t\0");
    assert_eq!(client.ask(XS_WATCH, b"data\0d\x000\0"), fine());
    assert_eq!(client.event(), "data\0d\0");
    store.write("/local/domain/5/data/z", "1");
    assert!(client.is_quiet(), "depth 0 is the key alone");
    store.write("/local/domain/5/data", "1");
    assert_eq!(client.event(), "data\0d\0");
}

#[test]
fn a_transaction_sees_itself_and_fails_where_somebody_came_between() {
    let mut client = Client::new(Simulation::new(1));
    let store = client.simulation.store();
    assert_eq!(client.ask(XS_WATCH, b"data\0w\0"), fine());
    assert_eq!(client.event(), "data\0w\0");
    let start = |client: &mut Client| -> u32 {
        let id = client.ask(XS_TRANSACTION_START, b"\0").unwrap();
        id.trim_end_matches('\0').parse().unwrap()
    };
    let first = start(&mut client);
    assert_eq!(client.ask_in(first, XS_WRITE, b"data/k\0in"), fine());
    assert_eq!(
        client.ask_in(first, XS_READ, b"data/k\0"),
        Ok("in".to_owned())
    );
    assert_eq!(client.ask(XS_READ, b"data/k\0"), err("ENOENT"));
    assert!(client.is_quiet(), "changes fire when they are committed");
    assert_eq!(client.ask_in(first, XS_TRANSACTION_END, b"T\0"), fine());
    assert_eq!(client.event(), "data/k\0w\0");
    assert_eq!(client.ask(XS_READ, b"data/k\0"), Ok("in".to_owned()));

    let second = start(&mut client);
    assert_eq!(
        client.ask_in(second, XS_READ, b"data/k\0"),
        Ok("in".to_owned())
    );
    store.write("/local/domain/5/data/k", "between");
    assert_eq!(client.event(), "data/k\0w\0");
    assert_eq!(
        client.ask_in(second, XS_READ, b"data/k\0"),
        Ok("in".to_owned())
    );
    assert_eq!(client.ask_in(second, XS_WRITE, b"data/other\0x"), fine());
    assert_eq!(
        client.ask_in(second, XS_TRANSACTION_END, b"T\0"),
        err("EAGAIN")
    );
    assert_eq!(client.ask(XS_READ, b"data/other\0"), err("ENOENT"));

    // What it has not looked at is no conflict; what is thrown away neither.
    let third = start(&mut client);
    assert_eq!(
        client.ask_in(third, XS_READ, b"data/k\0"),
        Ok("between".to_owned())
    );
    store.write("/local/domain/5/name", "elsewhere");
    assert_eq!(client.ask_in(third, XS_TRANSACTION_END, b"T\0"), fine());
    let fourth = start(&mut client);
    assert_eq!(client.ask_in(fourth, XS_RM, b"data/k\0"), fine());
    assert_eq!(client.ask_in(fourth, XS_TRANSACTION_END, b"F\0"), fine());
    assert_eq!(client.ask(XS_READ, b"data/k\0"), Ok("between".to_owned()));
    assert_eq!(
        client.ask_in(fourth, XS_TRANSACTION_END, b"T\0"),
        err("ENOENT")
    );
    assert_eq!(client.ask_in(99, XS_READ, b"data/k\0"), err("ENOENT"));
    client.simulation.force(Fault::StoreConflict);
    let fifth = start(&mut client);
    assert_eq!(
        client.ask_in(fifth, XS_TRANSACTION_END, b"T\0"),
        err("EAGAIN")
    );
    assert_eq!(store.transactions(), 0);
    assert!(client.is_quiet());
}

#[test]
fn quotas_hold() {
    let mut config = SimulationConfig::new(1);
    config.store_quota.watches = 2;
    config.store_quota.transactions = 1;
    // The toolstack gave the domain ten of its own.
    config.store_quota.nodes = 12;
    let mut client = Client::new(Simulation::with_config(config));
    for token in [&b"data\0a\0"[..], b"data\0b\0"] {
        assert_eq!(client.ask(XS_WATCH, token), fine());
        client.event();
    }
    assert_eq!(client.ask(XS_WATCH, b"data\0c\0"), err("E2BIG"));
    client.ask(XS_TRANSACTION_START, b"\0").unwrap();
    assert_eq!(client.ask(XS_TRANSACTION_START, b"\0"), err("ENOSPC"));
    client.ask(XS_RESET_WATCHES, b"\0").unwrap();
    assert_eq!(client.ask(XS_WRITE, b"data/1\0"), fine());
    assert_eq!(client.ask(XS_WRITE, b"data/2\0"), fine());
    assert_eq!(client.ask(XS_WRITE, b"data/3\0"), err("ENOSPC"));
    assert_eq!(client.ask(XS_WRITE, b"data/2\0again"), fine());
    let many = b"data/1\0n5\0r0\0r1\0r2\0r3\0r4\0";
    assert_eq!(client.ask(XS_SET_PERMS, many), err("ENOSPC"));
}

#[test]
fn a_directory_too_large_for_one_message_comes_in_parts() {
    let mut client = Client::new(Simulation::new(1));
    let store = client.simulation.store();
    let names: Vec<String> = (0..700)
        .map(|number| format!("child-{number:05}"))
        .collect();
    for name in &names {
        store.write(&format!("/local/domain/5/data/{name}"), "");
    }
    assert_eq!(client.ask(XS_DIRECTORY, b"data\0"), err("E2BIG"));
    let mut list = String::new();
    let mut generation = None;
    loop {
        let request = format!("data\0{}\0", list.len());
        let part = client.ask(XS_DIRECTORY_PART, request.as_bytes()).unwrap();
        assert!(part.len() <= XENSTORE_PAYLOAD_MAX);
        let (of, rest) = part.split_once('\0').unwrap();
        assert_eq!(*generation.get_or_insert(of.to_owned()), of);
        if let Some(rest) = rest.strip_suffix("\0\0") {
            list.push_str(rest);
            break;
        }
        list.push_str(rest);
    }
    assert_eq!(list.split('\0').collect::<Vec<_>>(), names);
    let beyond = client.ask(XS_DIRECTORY_PART, b"data\x00999999\0").unwrap();
    assert!(beyond.ends_with("\0\0"));
}

#[test]
fn faults_of_the_connection_are_as_asked() {
    let mut client = Client::new(Simulation::new(1));
    let simulation = client.simulation;
    simulation.force(Fault::StoreUnknownId);
    let id = client.post(XS_READ, 0, b"domid\0");
    assert_ne!(client.next().id, id);
    assert_eq!(client.next().id, id);
    simulation.force(Fault::StoreRepeated);
    let id = client.post(XS_READ, 0, b"domid\0");
    assert_eq!((client.next().id, client.next().id), (id, id));
    simulation.force(Fault::StoreNotANumber);
    assert_ne!(client.ask(XS_READ, b"domid\0"), Ok("5".to_owned()));
    simulation.force(Fault::StoreEarlyWatch);
    let id = client.post(XS_WATCH, 0, b"data\0t\0");
    assert_eq!(client.event(), "data\0t\0");
    assert_eq!(client.next().id, id);
    simulation.force(Fault::StoreStorm);
    simulation.store().write("/local/domain/5/data", "");
    (0..100).for_each(|_| assert_eq!(client.event(), "data\0t\0"));
    simulation.force(Fault::StoreUnknownToken);
    simulation.store().write("/local/domain/5/data", "");
    assert_eq!(client.event(), "data\0t\0");
    assert!(client.event() != "data\0t\0");
    simulation.force(Fault::StoreReordered);
    let request = |id| Message {
        kind: XS_READ,
        id,
        transaction: 0,
        payload: b"domid\0".to_vec(),
    };
    client.put(&[request(1).bytes(), request(2).bytes()].concat());
    assert_eq!((client.next().id, client.next().id), (2, 1));
    // One that nothing overtakes comes, too.
    simulation.force(Fault::StoreReordered);
    assert_eq!(client.ask(XS_READ, b"domid\0"), Ok("5".to_owned()));
    simulation.force(Fault::StoreSpuriousWatch);
    assert_eq!(client.event(), "data\0t\0");
    simulation.force(Fault::StoreError);
    assert!(
        client
            .ask(XS_READ, b"domid\0")
            .unwrap_err()
            .starts_with('E')
    );
    simulation.force(Fault::StoreWrongLength);
    client.post(XS_READ, 0, b"domid\0");
    (0..3).for_each(|_| client.turn());
    assert!(Message::parse(&client.received).is_err());
    assert_eq!(simulation.violations(), []);
}

#[test]
fn a_stream_in_small_pieces_is_the_same_stream() {
    use mirage_core::doubles::Chance;

    let mut client = Client::new(Simulation::new(7));
    let faults = super::super::Faults::NONE.with(Fault::StoreFragments, Chance::ALWAYS);
    client.simulation.set_faults(faults);
    let value = "v".repeat(1_500);
    let write = format!("data/long\0{value}");
    assert_eq!(client.ask(XS_WRITE, write.as_bytes()), fine());
    assert_eq!(client.ask(XS_READ, b"data/long\0"), Ok(value));
    assert!(client.simulation.happened(Fault::StoreFragments) > 100);
}

#[test]
fn a_domain_that_breaks_the_protocol_is_cut_off() {
    let mut client = Client::new(Simulation::new(1));
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&5_000_u32.to_le_bytes());
    client.put(&bytes);
    assert!(client.simulation.store().is_cut());
    let violation = Violation::StoreMessageLength(5_000);
    assert_eq!(client.simulation.violations(), [violation]);

    let client = Client::new(Simulation::new(1));
    let page = client.simulation.machine.memory.store_page;
    page.write_u32(REQ_PROD, 1_025);
    let port = client.simulation.machine.store_port.get();
    client.simulation.hypervisor().notify(port).unwrap();
    client
        .simulation
        .run_for(std::time::Duration::from_millis(1));
    assert_eq!(page.read_u32(ERROR), XENSTORE_ERROR_RINGIDX);
    assert!(client.simulation.store().is_cut());
}

#[test]
fn a_resumed_domain_has_another_path_and_no_watches() {
    let simulation = Simulation::new(1);
    let mut client = Client::new(simulation);
    assert_eq!(client.ask(XS_WATCH, b"data\0t\0"), fine());
    client.event();
    client.ask(XS_TRANSACTION_START, b"\0").unwrap();
    let port = simulation.machine.store_port.get();
    simulation.hypervisor().suspend().unwrap();
    simulation.hypervisor().restore().unwrap();
    let store = simulation.store();
    assert_eq!((store.watches(), store.transactions()), (0, 0));
    assert_ne!(simulation.machine.store_port.get(), port);
    assert_eq!(store.read("/local/domain/5"), None);
    let mut client = Client::new(simulation);
    assert_eq!(client.ask(XS_READ, b"domid\0"), Ok("6".to_owned()));
    assert_eq!(simulation.violations(), []);
}

#[test]
fn a_connection_is_set_up_again_when_the_domain_asks_for_it() {
    let mut config = SimulationConfig::new(1);
    config.ring_start = 0xFFFF_FFF0;
    config.store_reconnection = true;
    let mut client = Client::new(Simulation::with_config(config));
    let simulation = client.simulation;
    let page = simulation.machine.memory.store_page;
    assert_eq!(page.read_u32(SERVER_FEATURES), 7);
    assert_eq!(client.ask(XS_WATCH, b"data\0t\0"), fine());
    assert_eq!(client.event(), "data\0t\0");
    // Half a message, and an index that can't be.
    client.put(&[0; 9]);
    page.write_u32(REQ_PROD, page.read_u32(REQ_CONS).wrapping_add(1_025));
    simulation
        .hypervisor()
        .notify(simulation.machine.store_port.get())
        .unwrap();
    simulation.run_for(std::time::Duration::from_millis(1));
    assert!(simulation.store().is_cut());
    page.write_u32(CONNECTION, 1);
    simulation
        .hypervisor()
        .notify(simulation.machine.store_port.get())
        .unwrap();
    simulation.run_for(std::time::Duration::from_millis(1));
    assert_eq!(page.read_u32(CONNECTION), 0);
    assert_eq!(page.read_u32(ERROR), 0);
    client.received.clear();
    assert_eq!(client.ask(XS_READ, b"domid\0"), Ok("5".to_owned()));
    assert_eq!(simulation.store().watches(), 0);
}
