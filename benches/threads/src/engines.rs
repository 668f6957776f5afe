//! The program that is measured, once for each executor. It runs in a process of its own, for a heap of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use mirage_core::executor::{Executor, Platform, Unpark, yield_now};
use mirage_core::time::{Clock, Instant};
use mirage_host::{HostPlatform, HostPlatformConfig};
use serde::{Deserialize, Serialize};

use crate::memory;

/// Who makes the tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Engine {
    /// `mirage_core::executor`; tasks are queued and polled later, as the peer's are.
    Mirage,
    /// `mirage_core::executor`; each task is polled as it's made, as MirageOS's threads are.
    MirageStart,
    /// `tokio`'s current-thread runtime with a `LocalSet`.
    Tokio,
    /// No tasks: a loop over the sorted deadlines that only reads the clock. For wake-ups.
    ClockLoop,
}

/// What making tasks took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Creation {
    /// Nanoseconds for all calls of spawn.
    pub(crate) spawned_ns: u64,
    /// Nanoseconds from the first call of spawn until every task has been polled and its timer registered.
    pub(crate) asleep_ns: u64,
    /// As `asleep_ns`, in processor time of the process: not disturbed by what else runs on the machine.
    pub(crate) asleep_cpu_ns: u64,
    /// Bytes that the heap handed out for them.
    pub(crate) heap_bytes: usize,
    /// Bytes by which the process grew in memory meanwhile.
    pub(crate) resident_bytes: usize,
}

/// Far enough that no timer is due before the measurement is over.
const FAR: Duration = Duration::from_secs(3600);

/// A fixed sequence of numbers (SplitMix64), the same for each engine.
pub(crate) struct Sequence(pub(crate) u64);

impl Sequence {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 1 + U(0, 2) s.
    pub(crate) fn sleep(&mut self) -> Duration {
        Duration::from_nanos(1_000_000_000 + self.next() % 2_000_000_000)
    }
}

/// Makes `count` tasks that sleep an hour and more, and ends the process's work there: they are not waited for.
pub(crate) fn create(engine: Engine, count: usize) -> Creation {
    match engine {
        Engine::Mirage => create_mirage::<false>(count),
        Engine::MirageStart => create_mirage::<true>(count),
        Engine::Tokio => create_tokio(count),
        Engine::ClockLoop => unreachable!("the clock loop makes no tasks"),
    }
}

fn create_mirage<const AT_ONCE: bool>(count: usize) -> Creation {
    let executor = mirage(Duration::ZERO);
    let asleep = Rc::new(Cell::new(0));
    let mut sequence = Sequence(1);
    executor.run_until(async {
        let begin = Begin::now();
        let start = begin.time;
        let base = executor.now() + FAR;
        for _ in 0..count {
            let deadline = base + sequence.sleep();
            let asleep = asleep.clone();
            let task = async move {
                asleep.set(asleep.get() + 1);
                executor.sleep_until(deadline).await;
            };
            let task = if AT_ONCE {
                executor.start(task)
            } else {
                executor.spawn(task)
            };
            drop(task.expect("no limit is set"));
        }
        let spawned = start.elapsed();
        while asleep.get() < count {
            yield_now().await;
        }
        begin.creation(spawned)
    })
}

fn create_tokio(count: usize) -> Creation {
    let runtime = tokio();
    let asleep = Rc::new(Cell::new(0));
    let mut sequence = Sequence(1);
    let local = tokio::task::LocalSet::new();
    let creation = local.block_on(&runtime, async {
        let begin = Begin::now();
        let start = begin.time;
        let base = tokio::time::Instant::now() + FAR;
        for _ in 0..count {
            let deadline = base + sequence.sleep();
            let asleep = asleep.clone();
            let task = async move {
                asleep.set(asleep.get() + 1);
                tokio::time::sleep_until(deadline).await;
            };
            drop(tokio::task::spawn_local(task));
        }
        let spawned = start.elapsed();
        while asleep.get() < count {
            tokio::task::yield_now().await;
        }
        begin.creation(spawned)
    });
    // Dropping millions of tasks takes long, and is no part of this.
    std::mem::forget((local, runtime));
    creation
}

/// What was there before.
struct Begin {
    heap: usize,
    resident: usize,
    cpu_ns: u64,
    time: std::time::Instant,
}

impl Begin {
    fn now() -> Self {
        Self {
            heap: memory::heap_bytes(),
            resident: memory::resident_bytes(),
            cpu_ns: memory::processor_ns(),
            time: std::time::Instant::now(),
        }
    }

    fn creation(&self, spawned: Duration) -> Creation {
        Creation {
            spawned_ns: nanos(spawned),
            asleep_ns: nanos(self.time.elapsed()),
            asleep_cpu_ns: memory::processor_ns().saturating_sub(self.cpu_ns),
            heap_bytes: memory::heap_bytes().saturating_sub(self.heap),
            resident_bytes: memory::resident_bytes().saturating_sub(self.resident),
        }
    }
}

/// How late each of `count` tasks that sleep 1 + U(0, 2) s woke, in nanoseconds, in the order of their wake-ups.
pub(crate) fn wake(engine: Engine, count: usize, seed: u64) -> Vec<u64> {
    match engine {
        Engine::Mirage | Engine::MirageStart => wake_mirage(count, seed),
        Engine::Tokio => wake_tokio(count, seed),
        Engine::ClockLoop => wake_clock_loop(count, seed),
    }
}

/// The end of each wait that is spent on the clock, in the host platform's `park`: what the kernel takes to schedule.
pub(crate) const SPIN: Duration = Duration::from_micros(200);

fn wake_mirage(count: usize, seed: u64) -> Vec<u64> {
    let executor = mirage(SPIN);
    let late = Rc::new(RefCell::new(touched(count)));
    let mut sequence = Sequence(seed);
    for _ in 0..count {
        let deadline = executor.now() + sequence.sleep();
        let late = late.clone();
        let task = async move {
            executor.sleep_until(deadline).await;
            let now = executor.now();
            assert!(now >= deadline, "woken too early");
            late.borrow_mut().push(nanos(now - deadline));
        };
        drop(executor.spawn(task).expect("no limit is set"));
    }
    executor.run();
    late.take()
}

fn wake_tokio(count: usize, seed: u64) -> Vec<u64> {
    let runtime = tokio();
    let late = Rc::new(RefCell::new(touched(count)));
    let mut sequence = Sequence(seed);
    let local = tokio::task::LocalSet::new();
    let ended = Rc::new(Cell::new(0));
    let notify = Rc::new(tokio::sync::Notify::new());
    local.block_on(&runtime, async {
        for _ in 0..count {
            let deadline = tokio::time::Instant::now() + sequence.sleep();
            let (late, ended, notify) = (late.clone(), ended.clone(), notify.clone());
            let task = async move {
                tokio::time::sleep_until(deadline).await;
                let now = tokio::time::Instant::now();
                assert!(now >= deadline, "woken too early");
                late.borrow_mut().push(nanos(now - deadline));
                ended.set(ended.get() + 1);
                if ended.get() == count {
                    notify.notify_one();
                }
            };
            drop(tokio::task::spawn_local(task));
        }
        notify.notified().await;
    });
    late.take()
}

fn wake_clock_loop(count: usize, seed: u64) -> Vec<u64> {
    let platform = platform(Duration::ZERO);
    let mut sequence = Sequence(seed);
    let start = platform.now();
    let mut deadlines: Vec<Instant> = (0..count).map(|_| start + sequence.sleep()).collect();
    deadlines.sort_unstable();
    let mut late = touched(count);
    for deadline in deadlines {
        let mut now = platform.now();
        while now < deadline {
            now = platform.now();
        }
        late.push(nanos(now - deadline));
    }
    late
}

/// The same tasks under a clock that moves only when the executor waits. Returns the greatest lateness in nanoseconds,
/// and the number of tasks that woke.
pub(crate) fn wake_virtual(count: usize, seed: u64) -> (u64, usize) {
    struct Virtual(Cell<Instant>);
    struct Nobody;
    impl Unpark for Nobody {
        fn unpark(&self) {}
    }
    impl Clock for Virtual {
        fn now(&self) -> Instant {
            self.0.get()
        }
        fn wall(&self) -> Option<Duration> {
            None
        }
    }
    impl Platform for Virtual {
        fn park(&self, until: Option<Instant>) {
            let until = until.expect("tasks sleep, so there is a deadline");
            self.0.set(self.0.get().max(until));
        }
        fn unparker(&self) -> &'static dyn Unpark {
            &Nobody
        }
    }

    let platform: &Virtual = Box::leak(Box::new(Virtual(Cell::new(Instant::ZERO))));
    let executor = Executor::leak(platform);
    let result = Rc::new(Cell::new((0, 0)));
    let mut sequence = Sequence(seed);
    for _ in 0..count {
        let deadline = executor.now() + sequence.sleep();
        let result = result.clone();
        let task = async move {
            executor.sleep_until(deadline).await;
            let now = executor.now();
            assert!(now >= deadline, "woken too early");
            let (late, ended) = result.get();
            result.set((nanos(now - deadline).max(late), ended + 1));
        };
        drop(executor.spawn(task).expect("no limit is set"));
    }
    executor.run();
    result.get()
}

fn mirage(spin: Duration) -> &'static Executor {
    Executor::leak(platform(spin))
}

fn platform(spin: Duration) -> &'static HostPlatform {
    let mut config = HostPlatformConfig::default();
    config.spin = spin;
    HostPlatform::leak_with(config).expect("a process may have an eventfd")
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing from the system")
}

/// Room for `count` results, whose pages are in memory.
fn touched(count: usize) -> Vec<u64> {
    let mut results = vec![u64::MAX; count];
    results.clear();
    results
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
