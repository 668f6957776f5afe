//! Pool, frames, lending and the executor with static tasks; with `alloc` the constructors that use a heap.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use mirage_core::executor::{Executor, ExecutorMemory, Platform, TaskArena, Unpark};
use mirage_core::pool::{Access, BlockId, LendError, Lender, PoolStorage, StillInUse};
use mirage_core::{Clock, Frame, Instant, Pool};

static STORAGE: PoolStorage<16, 2048> = PoolStorage::new();
static EXECUTOR: ExecutorMemory = ExecutorMemory::new();
static TASKS: TaskArena<8192> = TaskArena::new();
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
    fn lend(&self, _: BlockId, _: Access) -> Result<(), LendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn end(&self, _: BlockId, _: Access) -> Result<(), StillInUse> {
        self.0.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether all of it works.
pub fn run() -> bool {
    let Ok(pool) = STORAGE.init() else {
        return false;
    };
    pages(pool) && lending(pool) && tasks() && with_a_heap()
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
