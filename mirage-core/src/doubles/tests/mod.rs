//! The doubles as a stack and a driver see them.

use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use super::*;
use crate::MacAddress;
use crate::frame::Frame;
use crate::netif::{Netif, NetifError, OffloadFlags, Offloads, TransmitReason};
use crate::pool::Pool;
use crate::time::{Clock, Instant};

mod capture;
mod ethernet;
mod injector;
mod store;

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

fn frame(pool: &'static Pool, to: MacAddress, from: MacAddress, payload: &[u8]) -> Frame {
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(&to.0).unwrap();
    page.extend_from_slice(&from.0).unwrap();
    page.extend_from_slice(&[0x88, 0xb5]).unwrap();
    page.extend_from_slice(payload).unwrap();
    page.into()
}

fn send(netif: &mut impl Netif, frame: Frame) {
    netif.transmit(frame).unwrap();
    netif.flush().unwrap();
}

fn receive(netif: &mut impl Netif) -> Poll<Result<Frame, NetifError>> {
    netif.poll_receive(&mut Context::from_waker(Waker::noop()))
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = alloc::vec![0; frame.len()];
    assert_eq!(frame.copy_to_slice(0, &mut bytes), bytes.len());
    bytes
}

fn received(netif: &mut impl Netif) -> Option<Vec<u8>> {
    match receive(netif) {
        Poll::Ready(Ok(frame)) => Some(bytes(&frame)),
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => None,
    }
}

fn settle(ethernet: &VirtualEthernet, clock: &VirtualClock) {
    while let Some(next) = ethernet.next_event() {
        clock.advance_to(next);
        ethernet.deliver(clock.now());
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Net {
    pool: &'static Pool,
    ethernet: VirtualEthernet,
    clock: VirtualClock,
}

impl Net {
    fn new() -> Self {
        let pool = Pool::leak(64, 512).unwrap();
        Self {
            pool,
            ethernet: VirtualEthernet::new(7),
            clock: VirtualClock::new(),
        }
    }

    fn attach(&self, last: u8, change: impl FnOnce(&mut PortConfig)) -> VirtualNetif {
        let mut config = PortConfig::new(mac(last));
        change(&mut config);
        self.ethernet.attach(config, self.pool.reserve(8).unwrap())
    }

    fn frame(&self, to: u8, from: u8, payload: &[u8]) -> Frame {
        frame(self.pool, mac(to), mac(from), payload)
    }
}

#[test]
fn the_other_domain_reaches_only_what_is_lent() {
    let pool = Pool::leak(4, 256).unwrap();
    let peer = CheckedLender::leak(pool, 2);
    let mut buffer = [0; 4];
    assert_eq!(peer.read(0, 0, &mut buffer), Err(Violation::NotLent));
    assert_eq!(
        peer.read(usize::MAX, 0, &mut buffer),
        Err(Violation::NotLent)
    );
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(b"read only").unwrap();
    let page = page.freeze();
    let lent = page.lend(peer).unwrap();
    let block = lent.block().index();
    peer.read(block, 5, &mut buffer).unwrap();
    assert_eq!(&buffer, b"only");
    assert_eq!(peer.write(block, 0, b"x"), Err(Violation::ReadOnly));
    assert_eq!(
        peer.read(block, 253, &mut buffer),
        Err(Violation::OutOfBounds)
    );
    assert_eq!(
        peer.read(block, usize::MAX, &mut buffer),
        Err(Violation::OutOfBounds)
    );
    assert_eq!(&page[..], b"read only");
    drop(lent.end().unwrap());
    assert_eq!(peer.read(block, 0, &mut buffer), Err(Violation::NotLent));
    assert_eq!((peer.violations(), peer.lent()), (6, 0));
}

#[cfg(all(feature = "alloc", not(loom)))]
#[test]
fn waiting_takes_no_time_on_a_virtual_platform() {
    let net = Net::new();
    let platform: &'static VirtualPlatform = alloc::boxed::Box::leak(alloc::boxed::Box::default());
    platform.connect(&net.ethernet);
    let executor = crate::executor::Executor::leak(platform);
    let mut a = net.attach(1, |_| ());
    let mut b = net.attach(2, |config| config.faults.delay = Duration::from_secs(40));
    let received = executor.spawn(async move {
        let frame = core::future::poll_fn(|cx| b.poll_receive(cx))
            .await
            .unwrap();
        (executor.now(), frame.len())
    });
    send(&mut a, net.frame(2, 1, b"slow"));
    executor.run_until(executor.sleep(Duration::from_secs(30)));
    assert_eq!(executor.now(), Instant::from_secs(30));
    assert_eq!(
        executor.run_until(received.unwrap()).unwrap(),
        (Instant::from_secs(40), 18)
    );
}

#[cfg(all(feature = "alloc", not(loom)))]
#[test]
#[should_panic(expected = "nothing will happen")]
fn a_deadlock_on_a_virtual_platform_says_so() {
    let platform: &'static VirtualPlatform = alloc::boxed::Box::leak(alloc::boxed::Box::default());
    crate::executor::Executor::leak(platform).run_until(core::future::pending::<()>());
}
