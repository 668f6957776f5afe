//! Xenstored: the tree of keys that domains and the toolstack share, and the domain's connection to it.

mod message;
mod server;
mod toolstack;
mod tree;

#[cfg(test)]
mod tests;

use std::borrow::ToOwned;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::format;
use std::string::String;
use std::vec::Vec;

pub use server::StoreQuota;
pub use tree::Permission;

use message::{
    Message, XENSTORE_PAYLOAD_MAX, XS_ERROR, XS_READ, XS_TRANSACTION_END, XS_TYPE_COUNT, XS_WATCH,
    XS_WATCH_EVENT,
};
use server::Server;

use super::backend::{Backend, BackendId};
use super::faults::Fault;
use super::machine::Machine;
use super::violations::Violation;
use crate::abi::{DomainId, XenError};

// `struct xenstore_domain_interface` (io/xs_wire.h), in offsets of its own.
const RING: usize = 1_024;
const REQ: usize = 0;
const RSP: usize = 1_024;
const REQ_CONS: usize = 2_048;
const REQ_PROD: usize = 2_052;
const RSP_CONS: usize = 2_056;
const RSP_PROD: usize = 2_060;
const SERVER_FEATURES: usize = 2_064;
const CONNECTION: usize = 2_068;
const ERROR: usize = 2_072;

/// `XENSTORE_SERVER_FEATURE_ERROR`, `XENSTORE_SERVER_FEATURE_WATCHDEPTH`.
const FEATURES: u32 = 2 | 4;
/// `XENSTORE_SERVER_FEATURE_RECONNECTION`.
const RECONNECTION: u32 = 1;
const XENSTORE_CONNECTED: u32 = 0;
const XENSTORE_RECONNECT: u32 = 1;
const XENSTORE_ERROR_RINGIDX: u32 = 2;
const XENSTORE_ERROR_PROTO: u32 = 3;

/// No more requests are taken while so many bytes wait to be sent.
const OUTBOUND: usize = 64 * 1_024;
/// How often a watch fires in a storm.
const STORM: usize = 100;

/// Xenstored, with its one unprivileged connection.
pub(super) struct StoreBackend {
    pub(super) id: Cell<BackendId>,
    server: RefCell<Server>,
    inbound: RefCell<Vec<u8>>,
    outbound: RefCell<VecDeque<u8>>,
    /// A reply that another will overtake.
    held: RefCell<Option<Message>>,
    /// Its own places in the rings.
    req_cons: Cell<u32>,
    rsp_prod: Cell<u32>,
    /// The domain broke the protocol: it is served no more.
    is_cut: Cell<bool>,
    stalled: Cell<bool>,
    requests: Cell<u64>,
    by_type: RefCell<[u64; XS_TYPE_COUNT as usize]>,
}

impl StoreBackend {
    pub(super) fn new(domain: DomainId, quota: StoreQuota) -> Self {
        Self {
            id: Cell::new(BackendId(0)),
            server: RefCell::new(Server::new(domain, quota)),
            inbound: RefCell::default(),
            outbound: RefCell::default(),
            held: RefCell::default(),
            req_cons: Cell::new(0),
            rsp_prod: Cell::new(0),
            is_cut: Cell::new(false),
            stalled: Cell::new(false),
            requests: Cell::new(0),
            by_type: RefCell::new([0; XS_TYPE_COUNT as usize]),
        }
    }

    /// A backend's, or the toolstack's, look at a key.
    pub(super) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let server = self.server.borrow();
        server.tree.get(path).map(|node| node.value.clone())
    }

    pub(super) fn read_text(&self, path: &str) -> Option<String> {
        self.read(path)
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    pub(super) fn write(&self, machine: &Machine, path: &str, value: impl AsRef<[u8]>) {
        self.server
            .borrow_mut()
            .write_privileged(path, value.as_ref());
        self.tell(machine);
    }

    pub(super) fn remove(&self, machine: &Machine, path: &str) {
        self.server.borrow_mut().remove_privileged(path);
        self.tell(machine);
    }

    pub(super) fn set_permissions(&self, machine: &Machine, path: &str, list: &[Permission]) {
        self.server
            .borrow_mut()
            .set_permissions_privileged(path, list);
        self.tell(machine);
    }

    /// Wakes a backend when `path` or something below it changes, or vanishes.
    pub(super) fn observe(&self, path: &str, backend: BackendId) {
        self.server.borrow_mut().observe(path, backend);
    }

    pub(super) fn forget(&self, backend: BackendId) {
        self.server.borrow_mut().forget(backend);
    }

    /// The toolstack makes a domain's keys.
    pub(super) fn build(&self, machine: &Machine) {
        let domain = machine.domain.get();
        toolstack::build_domain(
            &mut self.server.borrow_mut(),
            domain,
            machine.config.console,
        );
        let page = machine.memory.store_page;
        let reconnection = if machine.config.store_reconnection {
            RECONNECTION
        } else {
            0
        };
        page.write_u32(SERVER_FEATURES, FEATURES | reconnection);
        self.tell(machine);
    }

    /// The domain of a new simulation finds indices that needn't be zero.
    pub(super) fn start_at(&self, machine: &Machine, index: u32) {
        let page = machine.memory.store_page;
        for offset in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
            page.write_u32(offset, index);
        }
        self.req_cons.set(index);
        self.rsp_prod.set(index);
    }

    /// The domain asks for the connection to be set up again (docs/misc/xenstore-ring.txt): whether it does.
    fn set_up_again(&self, machine: &'static Machine) -> bool {
        let page = machine.memory.store_page;
        if !machine.config.store_reconnection || page.read_u32(CONNECTION) != XENSTORE_RECONNECT {
            return false;
        }
        self.reset(machine);
        let domain = machine.domain.get();
        self.server.borrow_mut().disconnect(domain);
        for offset in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, ERROR] {
            page.write_u32(offset, 0);
        }
        page.write_u32(CONNECTION, XENSTORE_CONNECTED);
        machine.send(machine.store_port.get());
        true
    }

    /// Sends what watches have to say.
    fn tell(&self, machine: &Machine) {
        let (events, woken) = {
            let mut server = self.server.borrow_mut();
            let events = core::mem::take(&mut server.events);
            (events, core::mem::take(&mut server.woken))
        };
        if !events.is_empty() {
            for event in events {
                self.send_event(machine, &event);
            }
            machine.wake(self.id.get());
        }
        for backend in woken {
            machine.wake(backend);
        }
    }

    fn send(&self, message: &Message) {
        self.outbound.borrow_mut().extend(message.bytes());
    }

    fn send_event(&self, machine: &Machine, event: &Message) {
        let times = if machine.happens(Fault::StoreStorm) {
            STORM
        } else {
            1
        };
        for _ in 0..times {
            self.send(event);
        }
        if machine.happens(Fault::StoreUnknownToken) {
            let mut stranger = event.clone();
            let token = format!("{:x}\0", machine.draw_u64());
            let path = stranger.payload.iter().position(|byte| *byte == 0);
            stranger.payload.truncate(path.unwrap_or(0) + 1);
            stranger.payload.extend_from_slice(token.as_bytes());
            self.send(&stranger);
        }
    }

    /// Moves bytes out of the requests' ring. Says whether any.
    fn take(&self, machine: &Machine) -> bool {
        let page = machine.memory.store_page;
        let producer = page.read_u32(REQ_PROD);
        let consumer = self.req_cons.get();
        let waiting = producer.wrapping_sub(consumer) as usize;
        if waiting > RING {
            self.cut(machine, XENSTORE_ERROR_RINGIDX);
            machine.violations.add(Violation::StoreIndices {
                domain: producer,
                store: consumer,
            });
            return false;
        }
        if self.outbound.borrow().len() > OUTBOUND {
            return false;
        }
        let count = self.portion(machine, waiting);
        let mut bytes = [0; RING];
        let bytes = &mut bytes[..count];
        page.read_ring(REQ, RING, consumer, bytes);
        self.inbound.borrow_mut().extend_from_slice(bytes);
        let consumer = consumer.wrapping_add(count as u32);
        self.req_cons.set(consumer);
        page.write_u32(REQ_CONS, consumer);
        count > 0
    }

    /// Moves bytes into the replies' ring. Says whether any.
    fn give(&self, machine: &Machine) -> bool {
        let page = machine.memory.store_page;
        let consumer = page.read_u32(RSP_CONS);
        let producer = self.rsp_prod.get();
        let waiting = producer.wrapping_sub(consumer) as usize;
        if waiting > RING {
            self.cut(machine, XENSTORE_ERROR_RINGIDX);
            machine.violations.add(Violation::StoreIndices {
                domain: consumer,
                store: producer,
            });
            return false;
        }
        let mut outbound = self.outbound.borrow_mut();
        let count = self.portion(machine, outbound.len().min(RING - waiting));
        let bytes: Vec<u8> = outbound.drain(..count).collect();
        page.write_ring(RSP, RING, producer, &bytes);
        let producer = producer.wrapping_add(count as u32);
        self.rsp_prod.set(producer);
        page.write_u32(RSP_PROD, producer);
        count > 0
    }

    /// How much of what could be moved is, this time.
    fn portion(&self, machine: &Machine, all: usize) -> usize {
        if all > 1 && machine.happens(Fault::StoreFragments) {
            1 + machine.draw(all.min(7) as u64) as usize
        } else {
            all
        }
    }

    fn cut(&self, machine: &Machine, error: u32) {
        self.is_cut.set(true);
        machine.memory.store_page.write_u32(ERROR, error);
    }

    /// Answers all requests that are here in whole.
    fn serve(&self, machine: &Machine) {
        while !self.is_cut.get() && self.outbound.borrow().len() <= OUTBOUND {
            let parsed = Message::parse(&self.inbound.borrow());
            match parsed {
                Ok(None) => return,
                Ok(Some((request, length))) => {
                    self.inbound.borrow_mut().drain(..length);
                    self.answer(machine, &request);
                }
                Err(length) => {
                    self.cut(machine, XENSTORE_ERROR_PROTO);
                    let violation = Violation::StoreMessageLength(length);
                    machine.violations.add(violation);
                }
            }
        }
    }

    fn answer(&self, machine: &Machine, request: &Message) {
        self.requests.set(self.requests.get() + 1);
        match self.by_type.borrow_mut().get_mut(request.kind as usize) {
            Some(count) if ![XS_WATCH_EVENT, XS_ERROR].contains(&request.kind) => *count += 1,
            _ => machine
                .violations
                .add(Violation::StoreMessageType(request.kind)),
        }
        let commits = request.kind == XS_TRANSACTION_END && request.payload == b"T\0";
        let abort = || Message {
            payload: b"F\0".to_vec(),
            ..request.clone()
        };
        let reply = if machine.happens(Fault::StoreError) {
            if request.kind == XS_TRANSACTION_END {
                // It is over in any case: xenstored doesn't keep what it couldn't end.
                self.server.borrow_mut().handle(&abort());
            }
            let mut refusal = request.error(XenError::InputOutput);
            if machine.draw(2) == 0 {
                refusal.payload = b"EWHATEVER\0".to_vec();
            }
            refusal
        } else if commits && machine.happens(Fault::StoreConflict) {
            match self.server.borrow_mut().handle(&abort()) {
                refusal if refusal.kind == XS_ERROR => refusal,
                _ => request.error(XenError::TryAgain),
            }
        } else {
            self.server.borrow_mut().handle(request)
        };
        let early = request.kind == XS_WATCH
            && reply.kind != XS_ERROR
            && machine.happens(Fault::StoreEarlyWatch);
        if early {
            self.tell(machine);
        }
        self.reply(machine, request, reply);
        self.tell(machine);
    }

    fn reply(&self, machine: &Machine, request: &Message, mut reply: Message) {
        let is_number = || reply.payload.first().is_some_and(u8::is_ascii_digit);
        if request.kind == XS_READ
            && reply.kind == XS_READ
            && is_number()
            && machine.happens(Fault::StoreNotANumber)
        {
            reply.payload = not_a_number(machine);
        }
        if machine.happens(Fault::StoreUnknownId) {
            let mut stranger = reply.clone();
            stranger.id = machine.draw_u64() as u32;
            self.send(&stranger);
        }
        if machine.happens(Fault::StoreWrongType) {
            reply.kind = machine.draw(u64::from(XS_TYPE_COUNT) + 9) as u32;
            if reply.kind == XS_WATCH_EVENT {
                // That would be an event, and no reply at all.
                reply.kind = XS_ERROR;
            }
        }
        let repeated = machine.happens(Fault::StoreRepeated);
        if machine.happens(Fault::StoreWrongLength) {
            let mut bytes = reply.bytes();
            let length = XENSTORE_PAYLOAD_MAX as u64 + 1 + machine.draw(1 << 31);
            bytes[12..16].copy_from_slice(&(length as u32).to_le_bytes());
            self.outbound.borrow_mut().extend(bytes);
        } else if machine.happens(Fault::StoreReordered) {
            let before = self.held.borrow_mut().replace(reply);
            if let Some(before) = before {
                self.send(&before);
            }
        } else {
            self.send(&reply);
            if repeated {
                self.send(&reply);
            }
            if let Some(held) = self.held.take() {
                self.send(&held);
            }
        }
    }
}

/// What a key may hold that should hold a number.
fn not_a_number(machine: &Machine) -> Vec<u8> {
    const JUNK: [&[u8]; 12] = [
        b"",
        b"-1",
        b" 7",
        b"7 ",
        b"0x10",
        b"4294967296",
        b"18446744073709551616",
        b"99999999999999999999999999999999999999999999",
        b"one",
        b"\xFF\xFE\x00\x01",
        b"7\x00",
        b"+3",
    ];
    JUNK[machine.draw(JUNK.len() as u64) as usize].to_vec()
}

impl Backend for StoreBackend {
    fn run(&self, machine: &'static Machine) {
        if self.stalled.get() || self.set_up_again(machine) || self.is_cut.get() {
            return;
        }
        let (page, port) = (machine.memory.store_page, machine.store_port.get());
        if machine.happens(Fault::StoreIndices) {
            // Further than the ring is long, whatever the domain's indices are.
            let far = |from| page.read_u32(from).wrapping_add(RING as u32 + 1);
            page.write_u32(
                RSP_PROD,
                far(RSP_CONS).wrapping_add(machine.draw(1 << 31) as u32),
            );
            page.write_u32(REQ_CONS, far(REQ_PROD));
            machine.send(port);
            machine.wake(self.id.get());
            return;
        }
        page.write_u32(RSP_PROD, self.rsp_prod.get());
        page.write_u32(REQ_CONS, self.req_cons.get());
        let watches = self.server.borrow().watches.len() as u64;
        if watches > 0 && machine.happens(Fault::StoreSpuriousWatch) {
            let index = machine.draw(watches) as usize;
            if let Some(event) = self.server.borrow().event_of(index) {
                self.send(&event);
            }
        }
        let took = self.take(machine);
        self.serve(machine);
        if !took && let Some(held) = self.held.take() {
            self.send(&held);
        }
        let gave = self.give(machine);
        if took || gave {
            machine.send(port);
        }
        // What is left for the next turn; a full ring waits for the domain's word.
        let unread = page.read_u32(REQ_PROD) != self.req_cons.get();
        let unsent = !self.outbound.borrow().is_empty() && gave;
        let full = self.outbound.borrow().len() > OUTBOUND;
        if (unread && !full) || unsent || self.held.borrow().is_some() {
            machine.wake(self.id.get());
        }
    }

    fn reset(&self, machine: &'static Machine) {
        self.inbound.borrow_mut().clear();
        self.outbound.borrow_mut().clear();
        self.held.take();
        self.req_cons.set(0);
        self.rsp_prod.set(0);
        self.is_cut.set(false);
        machine.wake(self.id.get());
    }
}

impl StoreBackend {
    /// The domain `before` is gone; another has its connection.
    pub(super) fn reconnect(&self, machine: &Machine, before: DomainId) {
        let mut server = self.server.borrow_mut();
        server.disconnect(machine.domain.get());
        server.remove_privileged(&format!("/local/domain/{}", before.0));
        server.events.clear();
    }
}

/// A test's hand on xenstore, with dom0's rights.
///
/// # Panics
///
/// All methods that take a path: where it isn't absolute.
#[derive(Clone, Copy)]
pub struct SimulatedStore(pub(super) &'static Machine);

impl SimulatedStore {
    /// A key's value, as text (what isn't UTF-8 in it replaced). `None`: there is no such key.
    pub fn read(self, path: &str) -> Option<String> {
        self.0.store.read_text(checked(path))
    }

    /// A key's value.
    pub fn read_bytes(self, path: &str) -> Option<Vec<u8>> {
        self.0.store.read(checked(path))
    }

    /// Sets a key, and makes it where there is none.
    pub fn write(self, path: &str, value: impl AsRef<[u8]>) {
        self.0.store.write(self.0, checked(path), value);
    }

    /// Removes a key and all below it.
    pub fn remove(self, path: &str) {
        self.0.store.remove(self.0, checked(path));
    }

    /// The names of a key's children.
    pub fn list(self, path: &str) -> Vec<String> {
        self.0.store.server.borrow().tree.children(checked(path))
    }

    /// Who may do what with a key: its owner first.
    pub fn permissions(self, path: &str) -> Option<Vec<Permission>> {
        let server = self.0.store.server.borrow();
        let node = server.tree.get(checked(path))?;
        Some(node.permissions.clone())
    }

    /// Says who may. The first is the owner.
    ///
    /// # Panics
    ///
    /// Where the list is empty.
    pub fn set_permissions(self, path: &str, list: &[Permission]) {
        assert!(!list.is_empty(), "a key has an owner");
        self.0.store.set_permissions(self.0, checked(path), list);
    }

    /// The domain's own path: `/local/domain/` and its number.
    pub fn domain_path(self) -> String {
        format!("/local/domain/{}", self.0.domain.get().0)
    }

    /// How many requests the domain has made.
    pub fn requests(self) -> u64 {
        self.0.store.requests.get()
    }

    /// How many of a type (`XS_*`, io/xs_wire.h).
    pub fn requests_of(self, kind: u32) -> u64 {
        let counts = self.0.store.by_type.borrow();
        counts.get(kind as usize).copied().unwrap_or(0)
    }

    /// How many watches the domain has.
    pub fn watches(self) -> usize {
        self.0.store.server.borrow().watches.len()
    }

    /// How many transactions the domain has open.
    pub fn transactions(self) -> usize {
        self.0.store.server.borrow().transactions.len()
    }

    /// A stalled xenstored takes and answers nothing.
    pub fn set_stalled(self, stalled: bool) {
        self.0.store.stalled.set(stalled);
        self.0.wake(self.0.store.id.get());
    }

    /// Whether the domain broke the protocol so that it is served no more.
    pub fn is_cut(self) -> bool {
        self.0.store.is_cut.get()
    }
}

fn checked(path: &str) -> &str {
    assert!(path.starts_with('/'), "{path} is not an absolute path");
    path
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStore")
            .field("requests", &self.requests())
            .field("watches", &self.watches())
            .field("transactions", &self.transactions())
            .finish()
    }
}

/// `/local/domain/N/…`
pub(super) fn of_domain(domain: DomainId, path: &str) -> String {
    format!("/local/domain/{}/{path}", domain.0).to_owned()
}
