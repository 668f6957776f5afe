//! The console's other end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use super::backend::{Backend, BackendId};
use super::faults::Fault;
use super::machine::Machine;
use super::violations::Violation;

// `struct xencons_interface` (io/console.h), in offsets of its own: what the frontend's module says of it is under test.
const IN: usize = 0;
const IN_SIZE: usize = 1_024;
const OUT: usize = 1_024;
const OUT_SIZE: usize = 2_048;
const IN_CONS: usize = 3_072;
const IN_PROD: usize = 3_076;
const OUT_CONS: usize = 3_080;
const OUT_PROD: usize = 3_084;

/// How long a console that takes nothing does so.
const STALL: Duration = Duration::from_millis(5);

/// Xenconsoled: collects what the domain writes and gives it what is typed.
pub(super) struct ConsoleBackend {
    pub(super) id: Cell<BackendId>,
    output: RefCell<Vec<u8>>,
    input: RefCell<VecDeque<u8>>,
    stalled: Cell<bool>,
    /// Until when it takes nothing, in nanoseconds since the simulation's start.
    stalled_until: Cell<u64>,
    /// Its own places in the rings; what stands in the page may be the domain's doing.
    out_cons: Cell<u32>,
    in_prod: Cell<u32>,
}

impl ConsoleBackend {
    pub(super) fn new() -> Self {
        Self {
            id: Cell::new(BackendId(0)),
            output: RefCell::default(),
            input: RefCell::default(),
            stalled: Cell::new(false),
            stalled_until: Cell::new(0),
            out_cons: Cell::new(0),
            in_prod: Cell::new(0),
        }
    }

    /// The domain of a new simulation finds indices that needn't be zero.
    pub(super) fn start_at(&self, machine: &Machine, index: u32) {
        for offset in [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD] {
            machine.memory.console_page.write_u32(offset, index);
        }
        self.out_cons.set(index);
        self.in_prod.set(index);
    }

    fn take_output(&self, machine: &Machine) -> bool {
        let page = machine.memory.console_page;
        let producer = page.read_u32(OUT_PROD);
        let consumer = self.out_cons.get();
        let count = producer.wrapping_sub(consumer);
        if count as usize > OUT_SIZE {
            machine.violations.add(Violation::ConsoleIndices {
                domain: producer,
                console: consumer,
            });
            return false;
        }
        let mut bytes = [0; OUT_SIZE];
        let bytes = &mut bytes[..count as usize];
        page.read_ring(OUT, OUT_SIZE, consumer, bytes);
        self.output.borrow_mut().extend_from_slice(bytes);
        self.out_cons.set(producer);
        page.write_u32(OUT_CONS, producer);
        count > 0
    }

    fn give_input(&self, machine: &Machine) -> bool {
        let page = machine.memory.console_page;
        let consumer = page.read_u32(IN_CONS);
        let producer = self.in_prod.get();
        let waiting = producer.wrapping_sub(consumer);
        if waiting as usize > IN_SIZE {
            machine.violations.add(Violation::ConsoleIndices {
                domain: consumer,
                console: producer,
            });
            return false;
        }
        let mut input = self.input.borrow_mut();
        let count = input.len().min(IN_SIZE - waiting as usize);
        let bytes: Vec<u8> = input.drain(..count).collect();
        page.write_ring(IN, IN_SIZE, producer, &bytes);
        let producer = producer.wrapping_add(count as u32);
        self.in_prod.set(producer);
        page.write_u32(IN_PROD, producer);
        count > 0
    }
}

impl Backend for ConsoleBackend {
    fn run(&self, machine: &'static Machine) {
        if self.stalled.get() {
            return;
        }
        let page = machine.memory.console_page;
        let now = machine.time.now();
        if now < self.stalled_until.get() {
            let left = Duration::from_nanos(self.stalled_until.get() - now);
            machine.wake_after(self.id.get(), left);
            return;
        }
        if machine.happens(Fault::ConsoleStalled) {
            self.stalled_until
                .set(now.saturating_add(STALL.as_nanos() as u64));
            machine.wake_after(self.id.get(), STALL);
            return;
        }
        if machine.happens(Fault::ConsoleIndices) {
            // Both of its own indices, anywhere. They are right again at its next run.
            page.write_u32(OUT_CONS, machine.draw_u64() as u32);
            page.write_u32(IN_PROD, machine.draw_u64() as u32);
            machine.send(machine.console_port.get());
            machine.wake(self.id.get());
            return;
        }
        page.write_u32(OUT_CONS, self.out_cons.get());
        page.write_u32(IN_PROD, self.in_prod.get());
        let (took, gave) = (self.take_output(machine), self.give_input(machine));
        if took || gave {
            machine.send(machine.console_port.get());
        }
    }

    fn reset(&self, machine: &'static Machine) {
        self.out_cons.set(0);
        self.in_prod.set(0);
        self.stalled_until.set(0);
        machine.wake(self.id.get());
    }
}

/// A test's hand on the domain's console.
#[derive(Clone, Copy)]
pub struct SimulatedConsole(pub(super) &'static Machine);

impl SimulatedConsole {
    /// All that the domain has written so far.
    pub fn output(self) -> String {
        String::from_utf8_lossy(&self.0.console.output.borrow()).into_owned()
    }

    /// Types something. It arrives as the ring has room.
    pub fn type_in(self, text: &str) {
        self.0.console.input.borrow_mut().extend(text.bytes());
        self.0.wake(self.0.console.id.get());
    }

    /// A stalled console takes and gives nothing.
    pub fn set_stalled(self, stalled: bool) {
        self.0.console.stalled.set(stalled);
        self.0.wake(self.0.console.id.get());
    }
}
