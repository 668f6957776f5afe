//! A console, and xenconsoled's end of its ring.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::pin::pin;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use core::task::Waker;
use std::string::String;

use super::*;
use crate::abi::PAGE_SIZE;
use crate::abi::console::{INPUT_SIZE, OUTPUT_SIZE};
use crate::testing::{Call, TestHypervisor};

#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

struct Rig {
    hypervisor: &'static TestHypervisor,
    channels: &'static EventChannels<TestHypervisor>,
    interface: Cell<&'static ConsoleInterface>,
    console: &'static Console<TestHypervisor>,
}

fn new_page(hypervisor: &TestHypervisor, port: u32) -> &'static ConsoleInterface {
    let page = Box::leak(Box::new(Page([0; PAGE_SIZE])));
    // SAFETY: a page that lives on, and that nothing refers to any more but this.
    let page = unsafe { SharedPage::new(NonNull::from(page).cast()) };
    hypervisor.console.set(Some((page, port)));
    // SAFETY: `ConsoleInterface` consists of atomics.
    unsafe { page.cast() }
}

impl Rig {
    fn new() -> Self {
        let hypervisor = TestHypervisor::leak();
        let channels = EventChannels::leak(hypervisor);
        let interface = new_page(hypervisor, 3);
        Self {
            hypervisor,
            channels,
            interface: Cell::new(interface),
            console: Console::leak(channels).unwrap(),
        }
    }

    fn say(&self, line: &str) {
        self.console.line(format_args!("{line}"));
    }

    /// Xenconsoled takes up to `most` bytes.
    fn taken(&self, most: usize) -> String {
        let interface = self.interface.get();
        let producer = interface.output_producer.load(Ordering::Acquire);
        let mut consumer = interface.output_consumer.load(Ordering::Relaxed);
        let mut bytes = Vec::new();
        while consumer != producer && bytes.len() < most {
            bytes.push(interface.output[consumer as usize % OUTPUT_SIZE].load(Ordering::Relaxed));
            consumer = consumer.wrapping_add(1);
        }
        interface.output_consumer.store(consumer, Ordering::Release);
        String::from_utf8(bytes).unwrap()
    }

    /// Somebody types.
    fn typed(&self, text: &[u8]) {
        let interface = self.interface.get();
        let mut producer = interface.input_producer.load(Ordering::Relaxed);
        for byte in text {
            interface.input[producer as usize % INPUT_SIZE].store(*byte, Ordering::Relaxed);
            producer = producer.wrapping_add(1);
        }
        interface.input_producer.store(producer, Ordering::Release);
    }

    /// An event comes, and the task runs.
    fn turn(&self, run: core::pin::Pin<&mut impl Future>) {
        self.hypervisor
            .raise(self.hypervisor.console.get().unwrap().1);
        self.channels.scan();
        let mut context = Context::from_waker(Waker::noop());
        let _ = run.poll(&mut context);
    }
}

#[test]
fn a_line_is_in_the_ring_at_once_and_the_console_is_told_once() {
    let rig = Rig::new();
    rig.console.line(format_args!("mirage: {} {}", "ready", 7));
    let notified = rig.hypervisor.take_calls();
    assert_eq!(notified, [Call::Notify(crate::abi::PortNumber(3))]);
    assert_eq!(rig.taken(99), "mirage: ready 7\r\n");
    let counters = rig.console.counters();
    assert_eq!((counters.lines, counters.bytes), (1, 17));
}

#[test]
fn a_console_that_nobody_serves_costs_its_buffer_and_drops_the_newest_lines_whole() {
    let rig = Rig::new();
    let line = "x".repeat(98);
    for _ in 0..100 {
        rig.say(&line);
    }
    // 100 bytes each: 2,048 in the ring and 4,096 in the buffer.
    let counters = rig.console.counters();
    assert_eq!((counters.lines, counters.dropped_full), (61, 39));
    let mut run = pin!(rig.console.run());
    let mut taken = String::new();
    for _ in 0..9 {
        taken += &rig.taken(1_000);
        rig.turn(run.as_mut());
    }
    rig.say("last");
    taken += &rig.taken(9_999);
    let mut lines = taken.lines();
    assert!(lines.by_ref().take(61).all(|whole| whole == line));
    assert_eq!(lines.collect::<Vec<_>>(), ["[lines dropped: 39]", "last"]);
}

#[test]
fn an_index_that_can_not_be_moves_nothing_and_is_forgiven() {
    let rig = Rig::new();
    let interface = rig.interface.get();
    interface.output_consumer.store(7, Ordering::Relaxed);
    rig.say("one");
    assert_eq!(rig.console.counters().faults, 1);
    assert_eq!(interface.output_producer.load(Ordering::Relaxed), 0);
    interface.output_consumer.store(0, Ordering::Relaxed);
    rig.say("two");
    assert_eq!(rig.taken(99), "one\r\ntwo\r\n");

    interface
        .input_producer
        .store(INPUT_SIZE as u32 + 1, Ordering::Relaxed);
    let mut buffer = [0; 16];
    let mut context = Context::from_waker(Waker::noop());
    assert!(
        pin!(rig.console.read_line(&mut buffer))
            .poll(&mut context)
            .is_pending()
    );
    assert_eq!(rig.console.counters().faults, 2);
}

struct Nested(&'static Console<TestHypervisor>);

impl fmt::Display for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.line(format_args!("inside"));
        f.write_str("outside")
    }
}

struct Failing;

impl fmt::Display for Failing {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

#[test]
fn a_line_said_by_what_a_line_shows_is_dropped_and_counted() {
    let rig = Rig::new();
    rig.console.line(format_args!("{}", Nested(rig.console)));
    rig.console.line(format_args!("half {}", Failing));
    assert_eq!(rig.taken(99), "outside\r\n");
    let counters = rig.console.counters();
    assert_eq!((counters.dropped_nested, counters.dropped_format), (1, 1));
}

#[test]
fn lines_are_read_as_they_are_typed() {
    let rig = Rig::new();
    let mut run = pin!(rig.console.run());
    let mut context = Context::from_waker(Waker::noop());
    let mut buffer = [0; 16];
    {
        let mut line = pin!(rig.console.read_line(&mut buffer));
        rig.typed(b"he");
        assert!(line.as_mut().poll(&mut context).is_pending());
        // Given up: what was typed is not lost.
    }
    let mut line = pin!(rig.console.read_line(&mut buffer));
    rig.typed(b"llo\rsecond");
    assert_eq!(line.as_mut().poll(&mut context), Poll::Ready(Ok("hello")));
    let mut buffer = [0; 4];
    let mut line = pin!(rig.console.read_line(&mut buffer));
    assert!(line.as_mut().poll(&mut context).is_pending());
    rig.typed(b"\n");
    rig.turn(run.as_mut());
    let too_long = Poll::Ready(Err(LineError::TooLong));
    assert_eq!(line.as_mut().poll(&mut context), too_long);
    let mut buffer = [0; 16];
    rig.typed(b"\xFF\n");
    let line = pin!(rig.console.read_line(&mut buffer)).poll(&mut context);
    assert_eq!(line, Poll::Ready(Err(LineError::NotText)));
    let counters = rig.console.counters();
    assert_eq!((counters.input_lines, counters.input_errors), (1, 2));
}

#[test]
fn what_waits_is_said_in_the_resumed_domain() {
    let rig = Rig::new();
    for _ in 0..30 {
        rig.say(&"x".repeat(98));
    }
    rig.console.prepare();
    rig.channels.restored();
    rig.interface.set(new_page(rig.hypervisor, 9));
    rig.console.resumed().unwrap();
    rig.say("after");
    // What was in the old ring went with it, in the middle of a line.
    let taken = rig.taken(9_999);
    assert_eq!(taken.len(), 30 * 100 - OUTPUT_SIZE + 7);
    assert!(taken.ends_with("x\r\nafter\r\n"));
    assert_eq!(rig.console.counters().lost_bytes, OUTPUT_SIZE as u64);
    // Events come on the new port.
    let mut run = pin!(rig.console.run());
    rig.turn(run.as_mut());
    rig.say("again");
    assert_eq!(rig.taken(99), "again\r\n");
}

#[test]
fn what_is_said_during_a_suspension_does_not_touch_the_ring() {
    let rig = Rig::new();
    rig.say("before");
    assert_eq!(rig.taken(99), "before\r\n");
    rig.console.prepare();
    rig.say("prepared");
    assert_eq!(rig.taken(99), "");
    rig.console.cancelled();
    assert_eq!(rig.taken(99), "prepared\r\n");

    rig.console.prepare();
    rig.channels.restored();
    rig.interface.set(new_page(rig.hypervisor, 9));
    // Other parts have their turn before the console; an index of the old ring would show zeros of the new one.
    rig.say("between");
    assert_eq!(rig.taken(99), "");
    rig.console.resumed().unwrap();
    assert_eq!(rig.taken(99), "between\r\n");
}

#[test]
fn a_drain_ends_when_the_console_has_taken_all() {
    let rig = Rig::new();
    let mut run = pin!(rig.console.run());
    let mut drain = pin!(rig.console.drain());
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..30 {
        rig.say(&"x".repeat(98));
    }
    for _ in 0..3 {
        assert!(drain.as_mut().poll(&mut context).is_pending());
        rig.taken(1_000);
        rig.turn(run.as_mut());
    }
    assert!(drain.as_mut().poll(&mut context).is_ready());
}

#[test]
fn the_emergency_console_takes_lines_of_any_length() {
    let hypervisor = TestHypervisor::leak();
    let emergency = EmergencyConsole::new(hypervisor);
    emergency.line(format_args!("{}\u{1b}end", "y".repeat(300)));
    let written = hypervisor.emergency.take();
    let expected = "y".repeat(300) + "\\u{1b}end\n";
    assert_eq!(String::from_utf8(written).unwrap(), expected);
}

#[test]
fn a_domain_without_a_console_is_told_so() {
    let hypervisor = TestHypervisor::leak();
    let channels = EventChannels::leak(hypervisor);
    let error = Console::leak(channels).unwrap_err();
    assert_eq!(error, ConnectError::Xen(crate::abi::XenError::NotFound));
}
