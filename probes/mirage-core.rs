//! Pool, frames, lending and the executor with static tasks; with `alloc` the constructors that use a heap.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use mirage_core::executor::{Executor, ExecutorMemory, Platform, TaskArena, Unpark};
use mirage_core::kv::{CompiledEntry, CompiledStore, Key};
use mirage_core::pool::{Access, BlockId, LendError, Lender, PoolStorage, StillInUse};
use mirage_core::{Clock, Frame, Instant, Pool};

static STORAGE: PoolStorage<16, 2048> = PoolStorage::new();
static EXECUTOR: ExecutorMemory = ExecutorMemory::new();
static TASKS: TaskArena<8192> = TaskArena::new();
static STORE: CompiledStore =
    CompiledStore::new_const(&[CompiledEntry::new("a/b", b"compiled in")]);
static MACHINE: VirtualMachine = VirtualMachine(AtomicU64::new(0));

/// A machine whose time passes only while it is parked.
struct VirtualMachine(AtomicU64);

impl Clock for VirtualMachine {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

impl Platform for VirtualMachine {
    fn park(&self, until: Option<Instant>) {
        if let Some(until) = until {
            self.0.fetch_max(until.as_nanos(), Ordering::Relaxed);
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        &MACHINE
    }
}

impl Unpark for VirtualMachine {
    fn unpark(&self) {}
}

/// Lends to nobody, and counts.
struct Nobody(AtomicUsize);

static NOBODY: Nobody = Nobody(AtomicUsize::new(0));

// SAFETY: no other agent exists: nothing ever reaches a lent block.
unsafe impl Lender for Nobody {
    unsafe fn lend(&self, _: BlockId, _: Access) -> Result<(), LendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    unsafe fn end(&self, _: BlockId, _: Access) -> Result<(), StillInUse> {
        self.0.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether all of it works.
pub fn run() -> bool {
    let Ok(pool) = STORAGE.init() else {
        return false;
    };
    pages(pool) && lending(pool) && values(pool) && tasks() && with_a_heap() && with_doubles()
}

fn pages(pool: &'static Pool) -> bool {
    let free = pool.free();
    let Ok(reserve) = pool.reserve(4) else {
        return false;
    };
    let Some(mut page) = pool.alloc() else {
        return false;
    };
    if page.reset(64).is_err() || page.extend_from_slice(b"payload").is_err() {
        return false;
    }
    match page.prepend(7) {
        Some(header) => header.copy_from_slice(b"header "),
        None => return false,
    }
    let shared = page.freeze();
    let (Some(head), Some(tail)) = (shared.slice(..7), shared.slice(7..)) else {
        return false;
    };
    drop(shared);
    let mut frame = Frame::new();
    if frame.push(head).is_err() || frame.push(tail).is_err() {
        return false;
    }
    let mut copy = [0; 14];
    let copied = frame.copy_to_slice(0, &mut copy);
    drop(frame);
    copied == 14 && &copy == b"header payload" && reserve.free() == 4 && pool.free() == free - 4
}

fn lending(pool: &'static Pool) -> bool {
    let Some(page) = pool.alloc() else {
        return false;
    };
    let Ok(lent) = page.lend(&NOBODY) else {
        return false;
    };
    let was_lent = NOBODY.0.load(Ordering::Relaxed) == 1;
    let Ok(page) = lent.reclaim() else {
        return false;
    };
    drop(page);
    was_lent && NOBODY.0.load(Ordering::Relaxed) == 0
}

fn values(pool: &'static Pool) -> bool {
    let Ok(key) = Key::new("/a/b") else {
        return false;
    };
    let Some(value) = STORE.value(key) else {
        return false;
    };
    let registered = pool.register_static(value).is_ok();
    let Some(segment) = pool.static_segment(&value[9..]) else {
        return false;
    };
    registered && &segment[..] == b"in" && Key::new("a/../b").is_err()
}

fn tasks() -> bool {
    let Some(executor) = Executor::new(&EXECUTOR, &MACHINE) else {
        return false;
    };
    let begun = executor.now();
    let task = executor.spawn_in(&TASKS, async move {
        executor.sleep(Duration::from_secs(3)).await;
        executor.now()
    });
    let Ok(task) = task else {
        return false;
    };
    let Ok(woken) = executor.run_until(task) else {
        return false;
    };
    woken.saturating_duration_since(begun) == Duration::from_secs(3)
}

#[cfg(not(feature = "alloc"))]
fn with_a_heap() -> bool {
    true
}

#[cfg(feature = "alloc")]
fn with_a_heap() -> bool {
    let Ok(pool) = Pool::leak(8, 4096) else {
        return false;
    };
    let executor = Executor::leak(&MACHINE);
    let Ok(task) = executor.spawn(async move { pool.alloc().map(|page| page.tailroom()) }) else {
        return false;
    };
    executor.run_until(task).is_ok_and(|room| room.is_some())
}

#[cfg(not(feature = "doubles"))]
fn with_doubles() -> bool {
    true
}

#[cfg(feature = "doubles")]
fn with_doubles() -> bool {
    use core::task::{Context, Poll, Waker};

    use mirage_core::doubles::{Capture, PortConfig, VirtualClock, VirtualEthernet};
    use mirage_core::{MacAddress, Netif};

    let Ok(pool) = Pool::leak(8, 2048) else {
        return false;
    };
    let (Ok(first), Ok(second)) = (pool.reserve(2), pool.reserve(2)) else {
        return false;
    };
    let ethernet = VirtualEthernet::new(1);
    let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
    let clock = VirtualClock::new();
    let sink: &mut dyn mirage_core::doubles::CaptureSink<Error = core::convert::Infallible> =
        &mut Counting(0);
    let mut a = Capture::new(
        ethernet.attach(PortConfig::new(mac(1)), first),
        sink,
        &clock,
    );
    let mut b = ethernet.attach(PortConfig::new(mac(2)), second);
    let Some(mut page) = pool.alloc() else {
        return false;
    };
    let frame = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 2, 3];
    if page.extend_from_slice(&frame).is_err()
        || a.transmit(page.into()).is_err()
        || a.flush().is_err()
    {
        return false;
    }
    ethernet.deliver(clock.now());
    match b.poll_receive(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(received)) => {
            received.contiguous() == Some(&frame[..]) && a.counters().captured == 1
        }
        _ => false,
    }
}

/// Counts the bytes of a capture.
#[cfg(feature = "doubles")]
struct Counting(usize);

#[cfg(feature = "doubles")]
impl mirage_core::doubles::CaptureSink for Counting {
    type Error = core::convert::Infallible;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}
