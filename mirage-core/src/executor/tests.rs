//! Tests of the executor under a clock that moves only when the executor parks.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::vec::Vec;
use std::{format, vec};

use core::future::{pending, poll_fn};

use super::*;
use crate::time::Clock;

struct Virtual {
    now: Cell<Instant>,
    unparker: &'static Unparker,
}

struct Unparker {
    unparked: AtomicUsize,
    tells_thread: bool,
}

impl Unpark for Unparker {
    fn unpark(&self) {
        self.unparked.fetch_add(1, Ordering::SeqCst);
    }

    fn current_thread(&self) -> Option<ThreadToken> {
        #[cfg(feature = "std")]
        if self.tells_thread {
            return ThreadToken::current();
        }
        let _ = self.tells_thread;
        None
    }
}

impl Clock for Virtual {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

impl Platform for Virtual {
    fn park(&self, until: Option<Instant>) {
        if self.unparker.unparked.swap(0, Ordering::SeqCst) == 0 {
            let until = until.expect("nobody will ever wake anything");
            self.now.set(self.now.get().max(until));
        }
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self.unparker
    }
}

fn with_platform(tells_thread: bool) -> (&'static Executor, &'static Virtual) {
    let platform: &Virtual = Box::leak(Box::new(Virtual {
        now: Cell::new(Instant::from_secs(1)),
        unparker: Box::leak(Box::new(Unparker {
            unparked: AtomicUsize::new(0),
            tells_thread,
        })),
    }));
    (Executor::leak(platform), platform)
}

fn new() -> &'static Executor {
    with_platform(true).0
}

/// A deterministic sequence (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Counts its drops.
struct Dropped(Rc<Cell<usize>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_task_gives_its_output() {
    let executor = new();
    let handle = executor.spawn(async { 42 }).unwrap();
    assert!(!handle.is_finished());
    assert_eq!(executor.run_until(handle), Ok(42));
    assert_eq!(executor.task_count(), 0);
}

#[test]
fn tasks_run_first_come_first_served() {
    for tells_thread in [true, false] {
        let executor = with_platform(tells_thread).0;
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..10 {
            let order = order.clone();
            let task = async move {
                for round in 0..3 {
                    order.borrow_mut().push((round, number));
                    yield_now().await;
                }
            };
            executor.spawn(task).unwrap().detach();
        }
        executor.run();
        let expected: Vec<_> = (0..3).flat_map(|r| (0..10).map(move |n| (r, n))).collect();
        assert_eq!(*order.borrow(), expected);
    }
}

#[test]
fn a_sleeper_wakes_exactly_at_its_deadline() {
    let executor = new();
    let mut random = Random(1);
    let woken = Rc::new(Cell::new(0));
    for _ in 0..10_000 {
        // All magnitudes, from nanoseconds to years.
        let distance = random.next() >> (6 + random.next() % 58);
        let deadline = executor.now() + Duration::from_nanos(distance);
        let woken = woken.clone();
        let task = async move {
            executor.sleep_until(deadline).await;
            assert_eq!(executor.now(), deadline);
            woken.set(woken.get() + 1);
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run();
    assert_eq!(woken.get(), 10_000);
    assert_eq!(executor.timer_count(), 0);
}

#[test]
fn a_timer_at_the_end_of_time_does_not_overflow() {
    let (executor, platform) = with_platform(true);
    let mut expected = Vec::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    for before in [0u64, 1, 8_191, 8_192, 8_193, 1 << 58] {
        for _ in 0..2 {
            let deadline = Instant::from_nanos(u64::MAX - before);
            expected.push(deadline);
            let seen = seen.clone();
            let task = async move {
                executor.sleep_until(deadline).await;
                seen.borrow_mut().push(executor.now());
            };
            executor.spawn(task).unwrap().detach();
        }
    }
    executor.run();
    expected.sort();
    assert_eq!(*seen.borrow(), expected);
    assert_eq!(platform.now(), Instant::FAR_FUTURE);
    // And timers still work there: ready at once.
    executor.run_until(executor.sleep(Duration::from_secs(1)));
}

#[test]
fn equal_deadlines_fire_in_order_of_registration() {
    let executor = new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let deadline = executor.now() + Duration::from_secs(5);
    for number in 0..1000 {
        let order = order.clone();
        let task = async move {
            // Later registrations find the wheel further on, so they take another way to the same deadline.
            let step = Duration::from_nanos(4_999_990 * number);
            executor.sleep_until(Instant::from_secs(1) + step).await;
            executor.sleep_until(deadline).await;
            order.borrow_mut().push(number);
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run();
    assert_eq!(*order.borrow(), (0..1000).collect::<Vec<_>>());
}

/// The queue against a sorted list, through registrations, cancellations, resets and jumps of the clock.
#[test]
fn timers_agree_with_a_sorted_list() {
    for seed in 0..20 {
        let (executor, platform) = with_platform(true);
        let mut random = Random(seed);
        let mut sleeps: Vec<Option<std::pin::Pin<Box<Sleep>>>> = Vec::new();
        // (deadline, order of registration, index)
        let mut model: Vec<(Instant, usize, usize)> = Vec::new();
        let mut registrations = 0;
        let poll = |sleep: &mut std::pin::Pin<Box<Sleep>>, index: usize| {
            // Notes who was woken, on this thread.
            struct Note(usize);
            impl Wake for Note {
                fn wake(self: Arc<Self>) {
                    NOTES.with_borrow_mut(|notes| notes.push(self.0));
                }
            }
            let waker = Waker::from(Arc::new(Note(index)));
            sleep.as_mut().poll(&mut Context::from_waker(&waker))
        };
        std::thread_local! {
            static NOTES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
        }
        for _ in 0..600 {
            match random.next() % 8 {
                0..=3 => {
                    let scale = random.next() % 40;
                    let deadline =
                        platform.now() + Duration::from_nanos(1 + (random.next() % (2 << scale)));
                    let mut sleep = Box::pin(executor.sleep_until(deadline));
                    let index = sleeps.len();
                    assert_eq!(poll(&mut sleep, index), Poll::Pending);
                    sleeps.push(Some(sleep));
                    model.push((deadline, registrations, index));
                    registrations += 1;
                }
                4 if !sleeps.is_empty() => {
                    let index = random.next() as usize % sleeps.len();
                    sleeps[index] = None;
                    model.retain(|entry| entry.2 != index);
                }
                5 if !sleeps.is_empty() => {
                    let index = random.next() as usize % sleeps.len();
                    if let Some(sleep) = &mut sleeps[index] {
                        let deadline =
                            platform.now() + Duration::from_nanos(1 + random.next() % (1 << 30));
                        sleep.as_mut().reset(deadline);
                        model.retain(|entry| entry.2 != index);
                        assert_eq!(poll(sleep, index), Poll::Pending);
                        model.push((deadline, registrations, index));
                        registrations += 1;
                    }
                }
                _ => {
                    model.sort();
                    assert_eq!(executor.next_deadline(), model.first().map(|entry| entry.0));
                    let look = executor.timers.next_look();
                    assert_eq!(look.is_some(), !model.is_empty());
                    if let (Some(look), Some(first)) = (look, model.first()) {
                        assert!(look <= first.0);
                    }
                    let jump = match random.next() % 4 {
                        0 => executor.next_deadline().unwrap_or(platform.now()),
                        1 => look.unwrap_or(platform.now()),
                        _ => platform.now() + Duration::from_nanos(random.next() % (1 << 32)),
                    };
                    platform.now.set(jump.max(platform.now()));
                    if random.next().is_multiple_of(2) {
                        executor.timers.set_now(platform.now());
                        while executor.timers.prepare(3) > 0 {}
                    }
                    executor.run_until_idle();
                    let due: Vec<usize> = model
                        .iter()
                        .filter(|entry| entry.0 <= platform.now())
                        .map(|entry| entry.2)
                        .collect();
                    model.retain(|entry| entry.0 > platform.now());
                    assert_eq!(NOTES.take(), due, "seed {seed}");
                    assert_eq!(executor.timer_count(), model.len());
                }
            }
        }
        drop(sleeps);
        assert_eq!(executor.timer_count(), 0);
        assert_eq!(executor.next_deadline(), None);
    }
}

#[test]
fn a_cancelled_timer_does_not_fire_or_wake() {
    let executor = new();
    let timed_out = executor.run_until(executor.timeout(Duration::from_secs(1), pending::<()>()));
    assert_eq!(timed_out, Err(Elapsed));
    let quick = executor.run_until(executor.timeout(Duration::from_secs(100), async { 7 }));
    assert_eq!(quick, Ok(7));
    assert_eq!(executor.timer_count(), 0);
    assert_eq!(executor.next_deadline(), None);
    assert_eq!(executor.counters().timers_fired, 1);
}

#[test]
fn a_sleep_whose_deadline_has_passed_is_ready_at_once() {
    let executor = new();
    executor.run_until(executor.sleep_until(Instant::ZERO));
    executor.run_until(executor.sleep(Duration::ZERO));
    assert_eq!(executor.counters().parks, 0);
}

#[test]
fn an_interval_does_not_drift_or_lose_a_tick() {
    let executor = new();
    executor.run_until(async {
        let start = executor.now();
        let mut interval = executor.interval(start, Duration::from_millis(10));
        for number in 0..5u32 {
            let expected = start + Duration::from_millis(10) * number;
            assert_eq!(interval.tick().await, expected);
            // Seen late once.
            if number == 1 {
                executor.sleep(Duration::from_millis(25)).await;
            }
        }
    });
}

#[test]
fn aborting_drops_the_future_and_wakes_the_joiner() {
    let executor = new();
    let drops = Rc::new(Cell::new(0));
    let dropped = Dropped(drops.clone());
    let handle = executor
        .spawn(async move {
            let _dropped = dropped;
            pending::<()>().await;
        })
        .unwrap();
    executor.run_until_idle();
    handle.abort();
    assert_eq!(drops.get(), 1);
    assert!(handle.is_finished());
    handle.abort();
    assert_eq!(executor.run_until(handle), Err(JoinError::Aborted));
    assert_eq!(executor.task_count(), 0);
}

#[test]
fn a_task_that_aborts_itself_ends_after_its_poll() {
    let executor = new();
    let slot: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let drops = Rc::new(Cell::new(0));
    let (own, dropped) = (slot.clone(), Dropped(drops.clone()));
    let handle = executor
        .spawn(async move {
            let _dropped = dropped;
            own.borrow().as_ref().unwrap().abort();
            assert_eq!(_dropped.0.get(), 0);
            pending::<()>().await;
        })
        .unwrap();
    *slot.borrow_mut() = Some(handle);
    executor.run();
    assert_eq!(drops.get(), 1);
    let handle = slot.borrow_mut().take().unwrap();
    assert_eq!(executor.run_until(handle), Err(JoinError::Aborted));
}

#[test]
fn a_detached_tasks_output_is_dropped_on_its_own() {
    let executor = new();
    let drops = Rc::new(Cell::new(0));
    let output = Dropped(drops.clone());
    executor.spawn(async move { output }).unwrap().detach();
    executor.run();
    assert_eq!(drops.get(), 1);
    // A handle dropped after the end, with the output still in the task.
    let output = Dropped(drops.clone());
    let handle = executor.spawn(async move { output }).unwrap();
    executor.run();
    assert_eq!(drops.get(), 1);
    drop(handle);
    assert_eq!(drops.get(), 2);
}

#[test]
fn a_task_woken_in_its_own_poll_and_finished_is_not_polled_again() {
    let executor = new();
    let handle = executor
        .spawn(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Ready(1)
        }))
        .unwrap();
    executor.run();
    executor.run_until_idle();
    assert_eq!(executor.counters().polls, 1 + 1, "once, and its ticket");
    assert_eq!(executor.run_until(handle), Ok(1));
}

#[test]
fn a_panic_ends_its_task_alone() {
    let executor = new();
    let drops = Rc::new(Cell::new(0));
    let dropped = Dropped(drops.clone());
    let bad = executor
        .spawn(async move {
            let _dropped = dropped;
            yield_now().await;
            panic!("on purpose");
        })
        .unwrap();
    let good = executor
        .spawn(async move {
            executor.sleep(Duration::from_secs(1)).await;
            5
        })
        .unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| executor.run())).is_err());
    assert_eq!(drops.get(), 1);
    assert_eq!(executor.run_until(bad), Err(JoinError::Panicked));
    assert_eq!(executor.run_until(good), Ok(5));
}

#[test]
fn a_waker_may_outlive_its_task_and_be_dropped_elsewhere() {
    let executor = new();
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    let keep = kept.clone();
    executor
        .spawn(poll_fn(move |context| {
            *keep.borrow_mut() = Some(context.waker().clone());
            Poll::Ready(())
        }))
        .unwrap()
        .detach();
    executor.run();
    let waker = kept.borrow_mut().take().unwrap();
    std::thread::spawn(move || {
        let another = waker.clone();
        waker.wake();
        another.wake_by_ref();
    })
    .join()
    .unwrap();
    executor.run_until_idle();
}

#[test]
fn a_timer_may_outlive_the_task_that_polled_it() {
    let executor = new();
    let place: Rc<RefCell<Option<core::pin::Pin<Box<Sleep>>>>> = Rc::default();
    let kept = place.clone();
    // In the task's future, then boxed outside of it: only the first goes with the task.
    let handle = executor
        .spawn(async move {
            let inside = executor.sleep(Duration::from_secs(9));
            let outside = Box::pin(executor.sleep(Duration::from_secs(1)));
            *kept.borrow_mut() = Some(outside);
            let outside = poll_fn(|context| {
                let mut kept = kept.borrow_mut();
                kept.as_mut().unwrap().as_mut().poll(context)
            });
            let mut both = (core::pin::pin!(inside), core::pin::pin!(outside));
            poll_fn(move |context| {
                let inside = both.0.as_mut().poll(context);
                let outside = both.1.as_mut().poll(context);
                assert!(inside.is_pending() && outside.is_pending());
                Poll::<()>::Pending
            })
            .await;
        })
        .unwrap();
    executor.run_until_idle();
    assert_eq!(executor.timer_count(), 2);
    handle.abort();
    drop(handle);
    assert_eq!((executor.task_count(), executor.timer_count()), (0, 1));
    // The task's memory is not used again while the timer may wake it.
    let other = executor.spawn(executor.sleep(Duration::from_secs(2)));
    executor.run();
    assert!(place.borrow().as_ref().unwrap().is_elapsed());
    assert_eq!(executor.run_until(other.unwrap()), Ok(()));
}

#[test]
fn a_context_s_waker_may_be_used_by_other_threads_during_the_poll() {
    let executor = new();
    let mut polls = 0;
    let mut sleep = Box::pin(executor.sleep(Duration::from_secs(1)));
    let handle = executor
        .spawn(poll_fn(move |context| {
            polls += 1;
            let waker = context.waker();
            let kept = std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    waker.wake_by_ref();
                    waker.clone()
                });
                let _ = sleep.as_mut().poll(context);
                other.join().unwrap()
            });
            if polls < 4 {
                Poll::Pending
            } else {
                Poll::Ready(kept)
            }
        }))
        .unwrap();
    let waker = executor.run_until(handle).unwrap();
    std::thread::spawn(move || waker.wake()).join().unwrap();
    executor.run_until_idle();
    assert_eq!(executor.task_count(), 0);
}

#[test]
fn a_wake_from_another_thread_ends_the_park() {
    let (executor, platform) = with_platform(true);
    let polls = Rc::new(Cell::new(0));
    let seen = polls.clone();
    let handle = executor
        .spawn(poll_fn(move |context| {
            seen.set(seen.get() + 1);
            if seen.get() == 2 {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake()).join().unwrap();
            Poll::Pending
        }))
        .unwrap();
    assert_eq!(executor.run_until(handle), Ok(()));
    assert_eq!(polls.get(), 2);
    assert_eq!(executor.counters().remote_wakes, 1);
    assert_eq!(platform.unparker.unparked.load(Ordering::SeqCst), 1);
}

#[cfg(feature = "std")]
#[test]
fn a_wake_on_the_own_thread_takes_the_local_queue() {
    let (executor, platform) = with_platform(true);
    executor.spawn(yield_now()).unwrap().detach();
    executor.run();
    assert_eq!(executor.counters().remote_wakes, 0);
    assert_eq!(platform.unparker.unparked.load(Ordering::SeqCst), 0);
}

#[test]
fn full_is_an_error_and_counted() {
    let executor = new();
    executor.set_task_limit(2);
    let first = executor.spawn(pending::<()>()).unwrap();
    executor.spawn(pending::<()>()).unwrap().detach();
    let third = executor.spawn(async {}).map(drop);
    assert_eq!(third, Err(SpawnError::LimitReached));
    first.abort();
    executor.spawn(async {}).unwrap().detach();
    executor.shut_down();
    let refused = executor.spawn(async {}).map(drop);
    assert_eq!(refused, Err(SpawnError::ShutDown));
    let counters = executor.counters();
    assert_eq!((counters.spawned, counters.ended), (3, 3));
    assert_eq!((counters.refused_limit, counters.refused_shut_down), (1, 1));
}

#[test]
fn shutting_down_drops_all_futures_even_the_one_that_asks() {
    let executor = new();
    let drops = Rc::new(Cell::new(0));
    for number in 0..10 {
        let dropped = Dropped(drops.clone());
        let task = async move {
            let _dropped = dropped;
            if number == 5 {
                executor.shut_down();
                assert_eq!(_dropped.0.get(), 9);
            }
            pending::<()>().await;
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run();
    assert_eq!(drops.get(), 10);
    assert_eq!(executor.task_count(), 0);
}

#[test]
fn a_flood_of_ready_tasks_does_not_keep_timers_from_running() {
    let (executor, platform) = with_platform(true);
    executor.set_budget(4);
    for _ in 0..8 {
        let task = async {
            loop {
                yield_now().await;
            }
        };
        executor.spawn(task).unwrap().detach();
    }
    let sleeper = executor
        .spawn(executor.sleep(Duration::from_millis(1)))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(executor.turn(), Turn::Ready);
    }
    platform.now.set(platform.now() + Duration::from_millis(1));
    for _ in 0..4 {
        assert_eq!(executor.turn(), Turn::Ready);
    }
    assert!(sleeper.is_finished());
    executor.shut_down();
}

#[test]
fn a_scheduler_overrides_the_order() {
    struct UrgentFirst([ReadyQueue; 3]);
    impl Scheduler for UrgentFirst {
        fn push(&mut self, task: ReadyTask) {
            self.0[task.tag() as usize].push(task);
        }
        fn pop(&mut self) -> Option<ReadyTask> {
            self.0.iter().rev().find_map(ReadyQueue::pop)
        }
    }
    let executor = new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let spawn = |tag| {
        let order = order.clone();
        let task = async move {
            for _ in 0..2 {
                order.borrow_mut().push(tag);
                yield_now().await;
            }
        };
        executor.spawn_tagged(tag, task).unwrap().detach();
    };
    // Ready before the scheduler comes.
    spawn(1);
    spawn(0);
    executor.set_scheduler(Box::leak(Box::new(UrgentFirst(Default::default()))));
    spawn(2);
    spawn(1);
    executor.run();
    assert_eq!(*order.borrow(), vec![2, 2, 1, 1, 1, 1, 0, 0]);
    // Another one takes over what the first one holds.
    spawn(0);
    spawn(1);
    executor.set_scheduler(Box::leak(Box::new(ReadyQueue::new())));
    executor.run();
    assert_eq!(order.borrow()[8..], [1, 0, 1, 0]);
}

#[test]
fn a_task_that_a_scheduler_drops_sleeps_until_it_is_woken() {
    struct Refuse(bool, ReadyQueue);
    impl Scheduler for Refuse {
        fn push(&mut self, task: ReadyTask) {
            if !std::mem::replace(&mut self.0, false) {
                self.1.push(task);
            }
        }
        fn pop(&mut self) -> Option<ReadyTask> {
            self.1.pop()
        }
    }
    let executor = new();
    executor.set_scheduler(Box::leak(Box::new(Refuse(true, ReadyQueue::new()))));
    let handle = executor.spawn(async { 3 }).unwrap();
    executor.run_until_idle();
    assert!(!handle.is_finished());
    handle.abort();
    assert_eq!(executor.run_until(handle), Err(JoinError::Aborted));
}

#[test]
fn an_executor_is_not_run_by_its_own_task() {
    let executor = new();
    executor
        .spawn(async { executor.run_until_idle() })
        .unwrap()
        .detach();
    assert!(catch_unwind(AssertUnwindSafe(|| executor.run())).is_err());
    executor.run();
}

#[test]
fn another_executors_scheduler_can_not_poll_a_task_inside_its_own_poll() {
    // Hands what it's given to whoever asks; both executors use the same queue.
    struct Shared(Rc<ReadyQueue>);
    impl Scheduler for Shared {
        fn push(&mut self, task: ReadyTask) {
            self.0.push(task);
        }
        fn pop(&mut self) -> Option<ReadyTask> {
            self.0.pop()
        }
    }
    let queue = Rc::new(ReadyQueue::new());
    let (first, second) = (new(), new());
    for executor in [first, second] {
        executor.set_scheduler(Box::leak(Box::new(Shared(queue.clone()))));
    }
    let mut depth = 0;
    let task = poll_fn(move |context| {
        depth += 1;
        assert_eq!(depth % 2, 1, "entered twice");
        if depth == 1 {
            context.waker().wake_by_ref();
            second.run_until_idle();
        }
        depth += 1;
        if depth > 2 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let handle = first.spawn(task).unwrap();
    assert_eq!(first.run_until(handle), Ok(()));
}

#[test]
fn an_arena_is_full_with_an_error_and_takes_tasks_again() {
    static TASKS: TaskArena<1024> = TaskArena::new();
    static EXECUTOR: ExecutorMemory = ExecutorMemory::new();
    let platform = with_platform(true).1;
    let executor = Executor::new(&EXECUTOR, platform).unwrap();
    assert!(Executor::new(&EXECUTOR, platform).is_none());

    let mut handles = Vec::new();
    let error = loop {
        match executor.spawn_in(&TASKS, executor.sleep(Duration::from_secs(1))) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
    };
    assert_eq!(error, SpawnError::NoMemory);
    let capacity = handles.len();
    assert!(capacity >= 4, "{capacity}");
    let used = TASKS.used();
    for _ in 0..3 {
        executor.run();
        // As long as there's a handle, the place is taken.
        let refused = executor.spawn_in(&TASKS, executor.sleep(Duration::ZERO));
        assert_eq!(refused.map(drop), Err(SpawnError::NoMemory));
        handles.clear();
        for _ in 0..capacity {
            let sleep = executor.sleep(Duration::from_secs(1));
            handles.push(executor.spawn_in(&TASKS, sleep).unwrap());
        }
        assert_eq!(TASKS.used(), used);
    }
    executor.shut_down();
    assert!(format!("{TASKS:?}").contains("1024"));
}

#[test]
fn arena_tasks_keep_their_alignment() {
    #[repr(align(128))]
    struct Aligned(u8);
    static TASKS: TaskArena<4096> = TaskArena::new();
    let executor = new();
    for number in 0..6u8 {
        let aligned = Aligned(number);
        let task = async move {
            let aligned = aligned;
            yield_now().await;
            assert!(core::ptr::from_ref(&aligned).addr().is_multiple_of(128));
            aligned.0
        };
        let handle = executor.spawn_in(&TASKS, task).unwrap();
        executor.spawn_in(&TASKS, async {}).unwrap().detach();
        assert_eq!(executor.run_until(handle), Ok(number));
    }
}

#[test]
fn a_started_task_runs_up_to_its_first_wait_at_once() {
    let executor = new();
    let steps = Rc::new(Cell::new(0));
    let seen = steps.clone();
    let handle = executor
        .start(async move {
            seen.set(1);
            executor.sleep(Duration::from_secs(1)).await;
            seen.set(2);
            9
        })
        .unwrap();
    assert_eq!((steps.get(), executor.timer_count()), (1, 1));
    assert_eq!(executor.run_until(handle), Ok(9));
    assert_eq!(steps.get(), 2);

    // From inside a task, and to the end.
    let outer = executor
        .spawn(async move {
            let inner = executor.start(async { 1 }).unwrap();
            assert!(inner.is_finished());
            // Woken in its first poll: it's queued, and polled again.
            let again = executor.start(yield_now()).unwrap();
            assert!(!again.is_finished());
            again.await.unwrap();
            inner.await.unwrap()
        })
        .unwrap();
    assert_eq!(executor.run_until(outer), Ok(1));
    assert_eq!(executor.task_count(), 0);
}

#[test]
fn a_panic_in_the_first_poll_goes_to_the_one_who_started_the_task() {
    let executor = new();
    let drops = Rc::new(Cell::new(0));
    let dropped = Dropped(drops.clone());
    let started = catch_unwind(AssertUnwindSafe(|| {
        executor
            .start(async move {
                let _dropped = dropped;
                panic!("on purpose");
            })
            .map(drop)
    }));
    assert!(started.is_err());
    assert_eq!((drops.get(), executor.task_count()), (1, 0));
    let handle = executor.spawn(async { 2 }).unwrap();
    assert_eq!(executor.run_until(handle), Ok(2));
}

/// The places of all tasks, by the addresses that they see themselves at.
#[test]
fn a_place_is_used_again_wherever_it_was_given_back() {
    let executor = new();
    let place_of = |elsewhere: bool| {
        let task = poll_fn(move |context| {
            let here = context.waker().data().addr();
            let waker = context.waker().clone();
            if elsewhere {
                // Dropped last, after the task has ended.
                Poll::Ready((here, Some(waker)))
            } else {
                Poll::Ready((here, None))
            }
        });
        let handle = executor.spawn(task).unwrap();
        let (here, waker) = executor.run_until(handle).unwrap();
        let fresh_is_elsewhere = waker.is_none() || {
            let next = executor.spawn(poll_fn(|context| {
                Poll::Ready(context.waker().data().addr())
            }));
            executor.run_until(next.unwrap()).unwrap() != here
        };
        assert!(
            fresh_is_elsewhere,
            "a place was used while a waker was there"
        );
        std::thread::spawn(move || drop(waker)).join().unwrap();
        here
    };
    let mut places: Vec<usize> = (0..100).map(|number| place_of(number % 2 == 0)).collect();
    places.sort_unstable();
    places.dedup();
    assert!(places.len() <= 4, "{} places", places.len());
}

#[test]
fn a_busy_executor_moves_a_bounded_number_of_timers_in_one_turn() {
    // The clock goes on evenly, then jumps, as after a suspension; the executor is never idle.
    for step in [Duration::from_micros(200), Duration::from_secs(4)] {
        let (executor, platform) = with_platform(true);
        executor.set_budget(64);
        let mut random = Random(7);
        let woken = Rc::new(RefCell::new(Vec::new()));
        let start = executor.now();
        for _ in 0..20_000 {
            let distance = 1_000_000_000 + random.next() % 2_000_000_000;
            let (woken, deadline) = (woken.clone(), start + Duration::from_nanos(distance));
            let task = async move {
                executor.sleep_until(deadline).await;
                woken.borrow_mut().push((deadline, executor.now()));
            };
            executor.start(task).unwrap().detach();
        }
        let busy = async {
            loop {
                yield_now().await;
            }
        };
        executor.spawn(busy).unwrap().detach();
        let mut moved = 0;
        while executor.task_count() > 1 {
            assert_eq!(executor.turn(), Turn::Ready);
            let before = std::mem::replace(&mut moved, executor.counters().timers_moved);
            assert!(moved - before <= (MOVE_LIMIT + PREPARE_LIMIT) as u64);
            platform.now.set(platform.now() + step);
        }
        let woken = woken.borrow();
        assert!(woken.is_sorted_by_key(|(deadline, _)| *deadline));
        if step < Duration::from_secs(1) {
            // A timer fires in the turn in which it's due, and its task runs in the next.
            let late = woken.iter().map(|(deadline, now)| *now - *deadline).max();
            assert!(late.unwrap() <= step * 2, "{late:?}");
        }
        executor.shut_down();
    }
}

#[test]
fn a_platform_hears_of_memory_before_tasks_are_in_it() {
    #[derive(Default)]
    struct Listening(RefCell<Vec<core::ops::Range<usize>>>);
    impl Clock for Listening {
        fn now(&self) -> Instant {
            Instant::ZERO
        }
        fn wall(&self) -> Option<Duration> {
            None
        }
    }
    impl Platform for Listening {
        fn park(&self, _: Option<Instant>) {}
        fn unparker(&self) -> &'static dyn Unpark {
            new().platform.unparker()
        }
        fn advise_memory(&self, addresses: core::ops::Range<usize>) {
            self.0.borrow_mut().push(addresses);
        }
    }
    let platform: &Listening = Box::leak(Box::default());
    let executor = Executor::leak(platform);
    for _ in 0..1_000 {
        let task = poll_fn(|context| {
            let here = context.waker().data().addr();
            let told = platform.0.borrow();
            assert!(told.iter().any(|range| range.contains(&here)));
            Poll::Ready(())
        });
        executor.spawn(task).unwrap().detach();
    }
    executor.run_until_idle();
    assert_eq!(executor.task_count(), 0);
    // Each chunk is larger than the one before, and the places of those that have ended are used first.
    let told = platform.0.borrow().len();
    assert!((3..10).contains(&told), "{told}");
}

#[test]
fn futures_of_all_sizes_and_alignments_find_a_place() {
    #[repr(align(256))]
    struct Aligned<const SIZE: usize>([u8; SIZE]);
    fn check<const SIZE: usize>(executor: &'static Executor) {
        for _ in 0..3 {
            let value = Aligned([7; SIZE]);
            let task = async move {
                let value = value;
                yield_now().await;
                assert!(core::ptr::from_ref(&value).addr().is_multiple_of(256));
                value.0.iter().map(|&byte| usize::from(byte)).sum::<usize>()
            };
            let first = executor.spawn(task).unwrap();
            let second = executor.spawn(async { [1u8; SIZE] }).unwrap();
            assert_eq!(executor.run_until(first), Ok(7 * SIZE));
            assert_eq!(executor.run_until(second), Ok([1; SIZE]));
        }
    }
    let executor = new();
    check::<0>(executor);
    check::<100>(executor);
    check::<2_000>(executor);
    check::<5_000>(executor);
    check::<70_000>(executor);
    executor.shut_down();
}
