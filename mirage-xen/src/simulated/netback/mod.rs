//! Netback: the other end of the domain's network interfaces, and the wire behind it.

mod config;
mod connection;
mod handshake;
mod headers;
mod receive;
mod ring;
mod transmit;

#[cfg(test)]
mod tests;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::format;
use std::string::String;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::Vec;

use mirage_core::doubles::Packet;
use mirage_core::frame::SegmentationKind;
use mirage_core::pool::Reserve;
use mirage_core::{Checksum, Netif, OffloadFlags};

pub use config::{NetbackCounters, VifConfig};

use connection::Connection;
use handshake::{CLOSED, CLOSING, CONNECTED, INIT_WAIT, INITIALISING, Paths};
use ring::Broken;

use super::backend::{Backend, BackendId};
use super::faults::Fault;
use super::grants::Mapping;
use super::machine::Machine;
use super::violations::Violation;

/// How long a backend that stops does so.
const STOP: Duration = Duration::from_millis(5);
/// How long a state stands that there isn't.
const MOMENT: Duration = Duration::from_millis(1);
/// How soon a backend looks again that told the frontend a wrong index or threshold.
const AGAIN: Duration = Duration::from_micros(200);

/// One interface's backend.
pub(super) struct Netback {
    pub(super) index: usize,
    pub(super) state: NetbackState,
    /// What it says of itself.
    own: Cell<u32>,
    /// Where its keys were made last, for which domain.
    built: RefCell<Option<Paths>>,
    connection: RefCell<Option<Connection>>,
    /// Mappings that a fault kept from connections that are gone.
    kept: RefCell<Vec<Mapping>>,
    /// Until when it does nothing, in nanoseconds since the simulation's start.
    stopped_until: Cell<u64>,
    stopped: Cell<bool>,
    /// It closed or vanished, and comes back then.
    away_until: Cell<Option<u64>>,
    /// It stays away until it is told to come back.
    stays_away: Cell<bool>,
    /// The keys of the backend are gone.
    vanished: Cell<bool>,
    bridge: RefCell<Option<Bridge>>,
}

/// What the two directions share.
pub(super) struct NetbackState {
    id: Cell<BackendId>,
    config: RefCell<VifConfig>,
    counters: Cell<NetbackCounters>,
    /// Frames that the domain transmitted.
    from_domain: RefCell<VecDeque<Packet>>,
    /// Frames that wait for its pages.
    for_domain: RefCell<VecDeque<Packet>>,
}

/// An interface of another segment, between which and the domain's all frames go.
struct Bridge {
    netif: Box<dyn Netif>,
    reserve: Reserve,
}

impl NetbackState {
    fn count(&self, change: impl FnOnce(&mut NetbackCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    fn put_on_wire(&self, packet: Packet) {
        if !self.link_is_up()
            || self.from_domain.borrow().len() >= self.config.borrow().transmit_queue
        {
            self.count(|counters| counters.transmit_dropped += 1);
        } else {
            self.count(|counters| counters.transmitted += 1);
            self.from_domain.borrow_mut().push_back(packet);
        }
    }

    fn put_for_domain(&self, packet: Packet) {
        let full = self.for_domain.borrow().len() >= self.config.borrow().receive_queue;
        if full || !self.link_is_up() {
            self.count(|counters| counters.receive_dropped += 1);
        } else {
            self.for_domain.borrow_mut().push_back(packet);
        }
    }
}

impl Netback {
    pub(super) fn leak(
        machine: &'static Machine,
        index: usize,
        config: VifConfig,
    ) -> &'static Self {
        let netback: &'static Self = Box::leak(Box::new(Self {
            index,
            state: NetbackState {
                id: Cell::new(BackendId(0)),
                config: RefCell::new(config),
                counters: Cell::default(),
                from_domain: RefCell::default(),
                for_domain: RefCell::default(),
            },
            own: Cell::new(INITIALISING),
            built: RefCell::default(),
            connection: RefCell::default(),
            kept: RefCell::default(),
            stopped_until: Cell::new(0),
            stopped: Cell::new(false),
            away_until: Cell::new(None),
            stays_away: Cell::new(false),
            vanished: Cell::new(false),
            bridge: RefCell::default(),
        }));
        netback.state.id.set(machine.add_backend(netback));
        handshake::build(machine, netback);
        // It says what it offers without being asked.
        machine.wake(netback.state.id.get());
        netback
    }

    pub(super) fn id(&self) -> BackendId {
        self.state.id.get()
    }

    fn wake_after(&self, machine: &Machine, delay: Duration) {
        machine.wake_after(self.state.id.get(), delay);
    }

    /// Lets go of the frontend.
    fn disconnect(&self, machine: &Machine) {
        if let Some(connection) = self.connection.take() {
            let kept = connection.close(machine, &self.state, self.state.id.get());
            self.kept.borrow_mut().extend(kept);
        }
        let lost = core::mem::take(&mut *self.state.for_domain.borrow_mut()).len() as u64;
        self.state
            .count(|counters| counters.receive_dropped += lost);
    }

    /// Goes away for as long as its configuration says.
    fn leave(&self, machine: &Machine, vanish: bool) {
        self.disconnect(machine);
        let absence = self.state.config.borrow().absence;
        let until = machine.time.now().saturating_add(absence.as_nanos() as u64);
        self.away_until.set(Some(until));
        if vanish {
            self.vanished.set(true);
            let path = Paths::of(machine, self).backend;
            machine.store.remove(machine, &path);
            self.own.set(0);
        } else {
            handshake::say(machine, self, CLOSING);
        }
        self.wake_after(machine, absence);
    }

    /// What becomes of the states of both ends.
    fn shake_hands(&self, machine: &Machine) {
        if let Some(until) = self.away_until.get() {
            let is_closed = self.own.get() != CLOSING;
            if self.own.get() == CLOSING && handshake::frontend_state(machine, self) == CLOSED {
                handshake::say(machine, self, CLOSED);
            }
            if self.stays_away.get() {
                return;
            }
            let left = until.saturating_sub(machine.time.now());
            if left > 0 {
                self.wake_after(machine, Duration::from_nanos(left));
                return;
            }
            // What a frontend offers that has not seen that this backend went is not for the next one.
            let unseen = handshake::frontend_state(machine, self) == CONNECTED;
            if unseen && !self.vanished.get() {
                return;
            }
            self.away_until.set(None);
            if self.vanished.replace(false) {
                // The toolstack attaches it again: both ends begin from the beginning.
                handshake::build(machine, self);
            } else {
                if !is_closed {
                    handshake::say(machine, self, CLOSED);
                }
                handshake::say(machine, self, INITIALISING);
            }
        }
        let frontend = handshake::frontend_state(machine, self);
        match (self.own.get(), frontend) {
            (INITIALISING, _) => {
                handshake::offer(machine, self);
                // The frontend may be waiting for this already.
                machine.wake(self.state.id.get());
            }
            (INIT_WAIT, CONNECTED) => match handshake::connect(machine, self) {
                Ok(connection) => {
                    *self.connection.borrow_mut() = Some(connection);
                    self.state.count(|counters| counters.connections += 1);
                    handshake::say(machine, self, CONNECTED);
                }
                Err(violation) => {
                    machine.violations.add(violation);
                    handshake::say(machine, self, CLOSING);
                }
            },
            (CONNECTED, CLOSING) => {
                self.disconnect(machine);
                handshake::say(machine, self, CLOSING);
            }
            (CONNECTED | CLOSING, CLOSED) => {
                self.disconnect(machine);
                handshake::say(machine, self, CLOSED);
            }
            (CONNECTED | CLOSING | CLOSED, INITIALISING) => {
                self.disconnect(machine);
                handshake::offer(machine, self);
            }
            (CONNECTED, 0) => {
                self.disconnect(machine);
                handshake::say(machine, self, CLOSED);
            }
            _ => {}
        }
    }

    /// Moves frames between the rings and the wire.
    fn move_frames(&self, machine: &Machine) {
        self.take_from_bridge();
        let mut place = self.connection.borrow_mut();
        let Some(connection) = &mut *place else {
            let lost = core::mem::take(&mut *self.state.for_domain.borrow_mut()).len() as u64;
            self.state
                .count(|counters| counters.receive_dropped += lost);
            return;
        };
        if connection.is_off {
            return;
        }
        let moved = self.turn(machine, connection);
        match moved {
            Ok(again) => {
                if again {
                    machine.wake(self.state.id.get());
                }
            }
            Err(Broken::Producer { producer, consumer }) => {
                let violation = Violation::RingIndex { producer, consumer };
                machine.violations.add(violation);
                connection.is_off = true;
            }
            Err(Broken::Gone) => connection.is_off = true,
            Err(Broken::Reset) => {
                // It begins anew.
                drop(place);
                self.leave(machine, false);
            }
        }
        self.put_on_bridge();
    }

    fn turn(&self, machine: &Machine, connection: &mut Connection) -> Result<bool, Broken> {
        // Either ring, whether or not there is something for it.
        connection.rx.waiting(machine.reach())?;
        let more = transmit::run(machine, &self.state, connection)?;
        connection.change_slots(machine);
        connection.answer(machine, &self.state);
        receive::run(machine, &self.state, connection)?;
        connection.publish(machine, &self.state)?;
        let reach = machine.reach();
        // Both rings, always: a threshold that isn't set is an event that doesn't come.
        let (tx, rx) = (connection.tx.arm(reach), connection.rx.arm(reach));
        if connection.arm(machine) {
            self.wake_after(machine, AGAIN);
        }
        let waits = !self.state.for_domain.borrow().is_empty();
        Ok(more || tx || (rx && waits))
    }

    fn take_from_bridge(&self) {
        let mut bridge = self.bridge.borrow_mut();
        let Some(bridge) = &mut *bridge else {
            return;
        };
        // Whoever delivers to the segment wakes this backend.
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Ok(frame)) = bridge.netif.poll_receive(&mut context) {
            self.state.put_for_domain(Packet::of(&frame));
        }
    }

    fn put_on_bridge(&self) {
        let mut bridge = self.bridge.borrow_mut();
        let Some(Bridge { netif, reserve }) = &mut *bridge else {
            return;
        };
        let flags = netif.offloads().flags;
        loop {
            let Some(mut packet) = self.state.from_domain.borrow_mut().pop_front() else {
                break;
            };
            let segments = packet.metadata.segmentation.map(|of| of.kind);
            let takes_segments = match segments {
                None => true,
                Some(SegmentationKind::TcpV4) => {
                    flags.contains(OffloadFlags::TRANSMIT_SEGMENTED_V4)
                }
                Some(SegmentationKind::TcpV6) => {
                    flags.contains(OffloadFlags::TRANSMIT_SEGMENTED_V6)
                }
                Some(_) => false,
            };
            let takes_blank = flags.contains(OffloadFlags::TRANSMIT_PARTIAL_V4);
            if !takes_blank && matches!(packet.metadata.checksum, Checksum::Partial { .. }) {
                packet.complete_checksum();
            }
            let frame = packet.into_frame(reserve, 0, usize::MAX);
            let sent = takes_segments && frame.is_some_and(|frame| netif.transmit(frame).is_ok());
            if !sent {
                self.state.count(|counters| {
                    counters.transmitted -= 1;
                    counters.transmit_dropped += 1;
                });
            }
        }
        // What went wrong is the segment's business.
        let _ = netif.flush();
    }

    /// Whether a fault has it do something else than its work.
    fn misbehaves(&self, machine: &Machine) -> bool {
        if self.connection.borrow().is_none() {
            return false;
        }
        if machine.happens(Fault::BackendStops) {
            let until = machine.time.now().saturating_add(STOP.as_nanos() as u64);
            self.stopped_until.set(until);
            self.wake_after(machine, STOP);
            return true;
        }
        if machine.happens(Fault::BackendCloses) {
            self.leave(machine, false);
            return true;
        }
        if machine.happens(Fault::BackendVanishes) {
            self.leave(machine, true);
            return true;
        }
        if machine.happens(Fault::BackendState) {
            const JUNK: [&str; 8] = ["", "0", "9", "-4", "4294967300", "four", "3", "1"];
            let junk = JUNK[machine.draw(JUNK.len() as u64) as usize];
            let path = format!("{}/state", Paths::of(machine, self).backend);
            machine.store.write(machine, &path, junk);
            self.wake_after(machine, MOMENT);
            // Until then it does nothing, and then says again what is true.
            let until = machine.time.now().saturating_add(MOMENT.as_nanos() as u64);
            self.stopped_until.set(until);
            return true;
        }
        false
    }
}

impl Backend for Netback {
    fn run(&self, machine: &'static Machine) {
        self.state.count(|counters| counters.turns += 1);
        let now = machine.time.now();
        if self.stopped.get() {
            return;
        }
        if now < self.stopped_until.get() {
            let left = Duration::from_nanos(self.stopped_until.get() - now);
            self.wake_after(machine, left);
            return;
        }
        if self.away_until.get().is_none() {
            // What a fault wrote there.
            let path = format!("{}/state", Paths::of(machine, self).backend);
            let own = format!("{}", self.own.get());
            if machine.store.read_text(&path).is_some_and(|is| is != own) {
                machine.store.write(machine, &path, own);
            }
        }
        self.shake_hands(machine);
        if !self.misbehaves(machine) {
            self.move_frames(machine);
        }
    }

    fn meddle(&self, machine: &'static Machine) {
        if let Ok(mut connection) = self.connection.try_borrow_mut()
            && let Some(connection) = &mut *connection
            && !connection.late.is_empty()
        {
            connection.meddle(machine);
        }
    }

    fn reset(&self, machine: &'static Machine) {
        self.disconnect(machine);
        // The old domain's memory goes, and with it what was mapped of it.
        self.kept.borrow_mut().clear();
        self.stopped_until.set(0);
        self.away_until.set(None);
        self.vanished.set(false);
    }

    fn rebuild(&self, machine: &'static Machine) {
        handshake::build(machine, self);
    }
}

/// A test's hand on a network interface's backend, and on the wire behind it.
///
/// What the domain transmits waits to be [taken](Self::take), and what is [sent](Self::send) to it waits for its pages; or
/// all of it goes over another interface that the backend is [bridged](Self::bridge) to.
#[derive(Clone, Copy)]
pub struct SimulatedNetback {
    pub(super) machine: &'static Machine,
    pub(super) netback: &'static Netback,
}

impl SimulatedNetback {
    /// The next frame that the domain has transmitted.
    pub fn take(self) -> Option<Packet> {
        self.netback.state.from_domain.borrow_mut().pop_front()
    }

    /// A frame for the domain.
    pub fn send(self, packet: Packet) {
        self.netback.state.put_for_domain(packet);
        self.wake();
    }

    /// Frames for the domain that wait for its pages.
    pub fn waiting(self) -> usize {
        self.netback.state.for_domain.borrow().len()
    }

    /// Lets all frames go to `netif` and come from it, in pages of `reserve`. The simulation must be
    /// [connected](super::Simulation::connect) to the Ethernet that it is on.
    pub fn bridge(self, netif: impl Netif + 'static, reserve: Reserve) {
        let netif = Box::new(netif);
        *self.netback.bridge.borrow_mut() = Some(Bridge { netif, reserve });
        self.wake();
    }

    /// What it did so far.
    pub fn counters(self) -> NetbackCounters {
        self.netback.state.counters.get()
    }

    /// Whether it is connected to the domain's frontend.
    pub fn is_connected(self) -> bool {
        self.netback.connection.borrow().is_some()
    }

    /// The path of the frontend's keys.
    pub fn frontend_path(self) -> String {
        Paths::of(self.machine, self.netback).frontend
    }

    /// The path of its own keys.
    pub fn backend_path(self) -> String {
        Paths::of(self.machine, self.netback).backend
    }

    /// Changes what it is like. What a frontend was told already holds until the next connection.
    pub fn configure(self, change: impl FnOnce(&mut VifConfig)) {
        change(&mut self.netback.state.config.borrow_mut());
    }

    /// Plugs the cable in, or pulls it: the key `carrier`. While it is down frames are lost both ways.
    pub fn set_carrier(self, up: bool) {
        self.configure(|config| config.carrier = Some(up));
        let path = format!("{}/carrier", self.backend_path());
        let value = if up { "1" } else { "0" };
        self.machine.store.write(self.machine, &path, value);
    }

    /// A stopped backend does nothing, whatever it is told.
    pub fn set_stopped(self, stopped: bool) {
        self.netback.stopped.set(stopped);
        self.wake();
    }

    /// Closes it, as at the end of a driver domain. It comes back after its [absence](VifConfig::absence), unless it is told to
    /// [stay away](Self::set_away).
    pub fn close(self) {
        self.netback.leave(self.machine, false);
    }

    /// Takes it away with all its keys. It comes back as one that was [closed](Self::close) does.
    pub fn vanish(self) {
        self.netback.leave(self.machine, true);
    }

    /// Whether a backend that closes or vanishes stays away for good.
    pub fn set_away(self, away: bool) {
        self.netback.stays_away.set(away);
        self.wake();
    }

    fn wake(self) {
        self.machine.wake(self.netback.state.id.get());
    }
}

impl fmt::Debug for SimulatedNetback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedNetback")
            .field("index", &self.netback.index)
            .field("connected", &self.is_connected())
            .field("counters", &self.counters())
            .finish()
    }
}
