//! What tests of the store, and of what is built on it, run on: a store, a xenstored, and an executor between them.

mod xenstored;

use alloc::boxed::Box;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Poll;
use core::time::Duration;

use mirage_core::executor::{Executor, Platform, Unpark};
use mirage_core::time::{Clock, Instant};

pub(crate) use xenstored::Xenstored;

use super::Store;
use crate::abi::xs_wire::{StoreInterface, XENSTORE_RECONNECT};
use crate::abi::{PAGE_SIZE, PortNumber};
use crate::event_channel::EventChannels;
use crate::hypervisor::SharedPage;
use crate::suspend::Resume;
use crate::testing::{Call, TestHypervisor};

/// The store's first port.
const PORT: u32 = 5;

#[repr(C, align(4096))]
struct Page([u8; PAGE_SIZE]);

/// Where time passes only when everybody waits for it, and xenstored runs only when it was told to, or has something
/// to say that fits.
pub(crate) struct Bench {
    hypervisor: &'static TestHypervisor,
    channels: &'static EventChannels<TestHypervisor>,
    port: Cell<u32>,
    xenstored: RefCell<Xenstored>,
    /// Xenstored has been told since it looked last.
    told: Cell<bool>,
    now: Cell<Instant>,
    /// How often it was told.
    pub(crate) notified: Cell<u64>,
}

struct Nobody;

impl Unpark for Nobody {
    fn unpark(&self) {}
}

pub(crate) struct Rig {
    pub(crate) bench: &'static Bench,
    pub(crate) executor: &'static Executor,
    pub(crate) store: &'static Store<TestHypervisor>,
}

fn new_page() -> (SharedPage, &'static StoreInterface) {
    let page = Box::leak(Box::new(Page([0; PAGE_SIZE])));
    // SAFETY: a page that lives on, and that nothing refers to any more but this.
    let page = unsafe { SharedPage::new(NonNull::from(page).cast()) };
    // SAFETY: `StoreInterface` consists of atomics.
    (page, unsafe { page.cast() })
}

impl Rig {
    pub(crate) fn new() -> Self {
        let (page, interface) = new_page();
        Self::with(page, interface)
    }

    /// On a ring whose indices are somewhere.
    pub(crate) fn with_indices(request: u32, response: u32) -> Self {
        let (page, interface) = new_page();
        interface.request_consumer.store(request, Relaxed);
        interface.request_producer.store(request, Relaxed);
        interface.response_consumer.store(response, Relaxed);
        interface.response_producer.store(response, Relaxed);
        Self::with(page, interface)
    }

    /// On a ring that is being set up again.
    pub(crate) fn reconnecting() -> Self {
        let (page, interface) = new_page();
        interface.connection.store(XENSTORE_RECONNECT, Relaxed);
        Self::with(page, interface)
    }

    /// On a ring in which bytes lie for somebody before us.
    pub(crate) fn with_stale_bytes(count: u32) -> Self {
        let (page, interface) = new_page();
        interface.response_producer.store(count, Relaxed);
        Self::with(page, interface)
    }

    fn with(page: SharedPage, interface: &'static StoreInterface) -> Self {
        let hypervisor = TestHypervisor::leak();
        let channels = EventChannels::leak(hypervisor);
        hypervisor.store.set(Some((page, PORT)));
        let bench: &'static Bench = Box::leak(Box::new(Bench {
            hypervisor,
            channels,
            port: Cell::new(PORT),
            xenstored: RefCell::new(Xenstored::new(interface)),
            told: Cell::new(false),
            now: Cell::new(Instant::ZERO),
            notified: Cell::new(0),
        }));
        let store = Store::leak(channels).unwrap();
        let executor: &'static Executor = Executor::leak(bench);
        executor.spawn(store.run()).unwrap().detach();
        Self {
            bench,
            executor,
            store,
        }
    }

    /// Runs until the future is ready. Panics if nothing goes on before.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.executor.run_until(future)
    }

    /// Polls a future once.
    pub(crate) fn poll_once<F: Future>(&self, mut future: Pin<&mut F>) -> Poll<F::Output> {
        self.run(poll_fn(|context| {
            Poll::Ready(future.as_mut().poll(context))
        }))
    }

    /// Runs until nothing goes on.
    pub(crate) fn settle(&self) {
        loop {
            self.executor.run_until_idle();
            if !self.bench.serve() {
                break;
            }
        }
    }

    pub(crate) fn xenstored<T>(&self, f: impl FnOnce(&mut Xenstored) -> T) -> T {
        self.bench.with_xenstored(f)
    }

    pub(crate) fn interface(&self) -> &'static StoreInterface {
        self.bench.xenstored.borrow().interface()
    }

    /// The domain goes on elsewhere: another xenstored, another port, a cleared page.
    pub(crate) fn resume(&self) {
        let bench = self.bench;
        let (page, interface) = new_page();
        bench.hypervisor.take_calls();
        bench.told.set(false);
        bench.xenstored.replace(Xenstored::new(interface));
        bench.port.set(bench.port.get() + 4);
        bench.hypervisor.store.set(Some((page, bench.port.get())));
        bench.channels.restored();
        self.store.resumed().unwrap();
    }
}

impl Bench {
    pub(crate) fn with_xenstored<T>(&self, f: impl FnOnce(&mut Xenstored) -> T) -> T {
        self.told.set(true);
        f(&mut self.xenstored.borrow_mut())
    }

    fn look_at_calls(&self) {
        let port = PortNumber(self.port.get());
        for call in self.hypervisor.take_calls() {
            if call == Call::Notify(port) {
                self.told.set(true);
                self.notified.set(self.notified.get() + 1);
            }
        }
    }

    /// Lets xenstored run; whether it did anything.
    fn serve(&self) -> bool {
        self.look_at_calls();
        let mut any = false;
        if self.told.replace(false) {
            while self.xenstored.borrow_mut().step() {
                any = true;
                if self.xenstored.borrow().piece != usize::MAX {
                    // In small pieces: the domain looks between them.
                    self.told.set(true);
                    break;
                }
            }
        }
        if any {
            self.hypervisor.raise(self.port.get());
        }
        self.channels.scan() != 0 || any
    }
}

impl Clock for Bench {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

impl Platform for Bench {
    fn park(&self, until: Option<Instant>) {
        if self.serve() {
            return;
        }
        match until {
            Some(until) => self.now.set(until.max(self.now.get())),
            None => panic!("every task waits, and xenstored has nothing to say"),
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        &Nobody
    }
}
