//! The task between a device and a stack, with devices that misbehave, in virtual time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mirage_core::doubles::VirtualPlatform;
use mirage_core::executor::{Executor, yield_now};
use mirage_core::{
    Frame, MacAddress, Netif, NetifError, Offloads, Pool, TransmitError, TransmitReason,
};
use mirage_net::{Cidr, ConflictConfig, Event, Stack, StackConfig, drive};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const OURS: [u8; 4] = [192, 0, 2, 2];

#[test]
fn a_flood_keeps_neither_timers_nor_other_tasks_from_running() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    netif.flood = true;
    let mut stack = stack(pool, executor);
    let turns = Rc::new(Cell::new(0));
    let counting = Rc::clone(&turns);
    let other = executor.spawn(async move {
        for _ in 0..50 {
            counting.set(counting.get() + 1);
            yield_now().await;
        }
    });
    let other = other.expect("a task");
    let flooded = executor.spawn(async move {
        drive(&mut netif, &mut stack, executor, |_| {}).await;
    });
    let flooded = flooded.expect("a task");
    executor.run_until(other).expect("its end");
    assert_eq!(turns.get(), 50);
    assert!(!flooded.is_finished());
    flooded.abort();
}

#[test]
fn a_frame_that_the_interface_refused_as_full_is_sent_later_and_once() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    netif.refusals = VecDeque::from([TransmitReason::Full, TransmitReason::Full]);
    let sent = Rc::clone(&netif.sent);
    run_for(executor, &mut netif, pool, Duration::from_secs(60));
    // Two announcements (RFC 5227 §2.3), neither lost nor doubled.
    assert_eq!(sent.borrow().len(), 2);
}

#[test]
fn errors_of_the_interface_pause_it_and_do_not_end_it() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    netif.receive = VecDeque::from([
        Err(NetifError::Os(5)),
        Err(NetifError::DeviceFault),
        Err(NetifError::LinkDown),
        Ok(arp_request(pool)),
    ]);
    let sent = Rc::clone(&netif.sent);
    let polls = Rc::clone(&netif.polls);
    run_for(executor, &mut netif, pool, Duration::from_secs(60));
    let replies = sent
        .borrow()
        .iter()
        .filter(|frame| frame[20..22] == [0, 2])
        .count();
    assert_eq!(replies, 1, "the request after the errors is answered");
    assert!(
        polls.get() < 100,
        "an error is no reason to spin: {} polls",
        polls.get()
    );
}

#[test]
fn a_link_that_comes_up_again_has_our_address_announced() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    let (link, sent, waker) = (
        Rc::clone(&netif.link),
        Rc::clone(&netif.sent),
        Rc::clone(&netif.waker),
    );
    let at_first = Rc::clone(&sent);
    let cable = executor.spawn(async move {
        for up in [false, true] {
            executor.sleep(Duration::from_secs(10)).await;
            assert_eq!(
                at_first.borrow().len(),
                2,
                "two announcements, at the very first"
            );
            link.set(up);
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    });
    cable.expect("a task").detach();
    run_for(executor, &mut netif, pool, Duration::from_secs(60));
    assert!(sent.borrow().len() >= 3, "announced again");
}

#[test]
fn an_interface_without_room_is_no_reason_to_spin() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    netif.has_room = false;
    let polls = Rc::clone(&netif.polls);
    run_for(executor, &mut netif, pool, Duration::from_secs(1));
    assert!(netif.sent.borrow().is_empty());
    // Once each pause of 10 ms, at most.
    assert!(polls.get() < 300, "{} polls", polls.get());
}

#[test]
fn an_interface_that_is_gone_ends_the_task() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    netif.receive = VecDeque::from([Err(NetifError::Gone)]);
    let mut stack = stack(pool, executor);
    let mut events = Vec::new();
    let error = executor.run_until(drive(&mut netif, &mut stack, executor, |event| {
        events.push(event);
    }));
    assert_eq!(error, NetifError::Gone);
}

#[test]
fn the_owner_is_told_of_events() {
    let executor = executor();
    let pool = pool();
    let mut netif = Script::new(pool);
    let mut stack = stack(pool, executor);
    let mut events = Vec::new();
    executor.run_until(async {
        let driving = drive(&mut netif, &mut stack, executor, |event| events.push(event));
        let _ = executor.timeout(Duration::from_secs(1), driving).await;
    });
    assert_eq!(events, [Event::AddressAcquired(IpAddr::from(OURS))]);
}

fn run_for(executor: &'static Executor, netif: &mut Script, pool: &'static Pool, time: Duration) {
    let mut stack = stack(pool, executor);
    executor.run_until(async {
        let driving = drive(netif, &mut stack, executor, |_| {});
        let _ = executor.timeout(time, driving).await;
    });
}

fn pool() -> &'static Pool {
    Pool::leak(64, 2048).expect("a pool")
}

fn executor() -> &'static Executor {
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    Executor::leak(platform)
}

fn stack(pool: &'static Pool, executor: &'static Executor) -> Stack<'static> {
    let mut stack = crate::common::stack(StackConfig::new(MAC, 1500, Offloads::NONE), pool, 1);
    let cidr = Cidr::new(OURS.into(), 24).expect("a prefix");
    stack
        .add_address(executor.now(), cidr, ConflictConfig::assigned())
        .expect("an address");
    stack
}

fn arp_request(pool: &'static Pool) -> Frame {
    let mut page = pool.alloc().expect("a page");
    let theirs = [2, 0, 0, 0, 0, 1];
    for part in [
        &[255; 6][..],
        &theirs,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &theirs,
        &[192, 0, 2, 1],
        &[0; 6],
        &OURS,
    ] {
        page.extend_from_slice(part).expect("room");
    }
    page.into()
}

/// An interface that does as it is told.
struct Script {
    pool: &'static Pool,
    flood: bool,
    has_room: bool,
    receive: VecDeque<Result<Frame, NetifError>>,
    refusals: VecDeque<TransmitReason>,
    link: Rc<Cell<bool>>,
    waker: Rc<RefCell<Option<Waker>>>,
    sent: Rc<RefCell<Vec<Vec<u8>>>>,
    polls: Rc<Cell<usize>>,
}

impl Script {
    fn new(pool: &'static Pool) -> Self {
        Self {
            pool,
            flood: false,
            has_room: true,
            receive: VecDeque::new(),
            refusals: VecDeque::new(),
            link: Rc::new(Cell::new(true)),
            waker: Rc::default(),
            sent: Rc::default(),
            polls: Rc::default(),
        }
    }
}

impl Netif for Script {
    fn mac(&self) -> MacAddress {
        MAC
    }

    fn mtu(&self) -> u16 {
        1500
    }

    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    fn link_up(&self) -> bool {
        self.link.get()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, NetifError>> {
        self.polls.set(self.polls.get() + 1);
        match self.receive.pop_front() {
            Some(result) => Poll::Ready(result),
            None if self.flood => Poll::Ready(Ok(arp_request(self.pool))),
            None => {
                self.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetifError>> {
        if self.link.get() && self.has_room {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn transmit(&mut self, frame: Frame) -> Result<(), TransmitError> {
        if let Some(reason) = self.refusals.pop_front() {
            return Err(TransmitError { frame, reason });
        }
        let mut bytes = vec![0; frame.len()];
        frame.copy_to_slice(0, &mut bytes);
        self.sent.borrow_mut().push(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NetifError> {
        Ok(())
    }
}
