//! Tests of the executor under a clock that moves only when the executor parks.

mod memory;
mod timers;

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

    /// 1970 began an hour before the clock.
    fn wall(&self) -> Option<Duration> {
        let since = self.now.get().saturating_duration_since(Instant::ZERO);
        Some(since + Duration::from_secs(3_600))
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
fn a_turn_is_one_moment_and_the_next_begins_later() {
    let (executor, platform) = with_platform(true);
    let tick = Duration::from_micros(1);
    let seen = executor.run_until(async {
        let mut seen = vec![];
        for _ in 0..2 {
            seen.push((executor.turn_time(), executor.now()));
            platform.now.set(platform.now.get() + tick);
            seen.push((executor.turn_time(), executor.now()));
            yield_now().await;
        }
        // A deadline that passes during the turn has come, though the turn doesn't know it.
        executor.sleep_until(executor.now()).await;
        seen.push((executor.turn_time(), executor.now()));
        seen
    });
    let begun = seen[0].1;
    let at = |ticks| begun + tick * ticks;
    let expected = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)].map(|(turn, now)| (at(turn), at(now)));
    assert_eq!(seen, expected);
    platform.now.set(at(5));
    assert_eq!(executor.turn_time(), at(5), "no turn is being taken");
}

#[test]
fn a_turn_looks_at_the_wall_clock_once() {
    let (executor, platform) = with_platform(true);
    let (clock, tick) = (TurnClock::new(executor), Duration::from_micros(1));
    executor.run_until(async {
        for _ in 0..2 {
            let seen = executor.turn_wall();
            assert_eq!((seen, clock.now()), (executor.wall(), executor.turn_time()));
            platform.now.set(platform.now.get() + tick);
            assert_eq!((executor.turn_wall(), clock.wall()), (seen, seen));
            assert_ne!(executor.wall(), seen);
            yield_now().await;
        }
    });
    platform.now.set(platform.now.get() + tick);
    assert_eq!(clock.wall(), executor.wall(), "no turn is being taken");
}

#[test]
fn until_idle_is_until_nothing_is_due_however_long_a_turn_took() {
    let (executor, platform) = with_platform(true);
    let start = executor.now();
    let slept = executor
        .spawn(executor.sleep(Duration::from_millis(1)))
        .unwrap();
    let busy = async move { platform.now.set(start + Duration::from_millis(5)) };
    executor.spawn(busy).unwrap().detach();
    executor.run_until_idle();
    assert!(slept.is_finished());
    assert_eq!(executor.next_deadline(), None);
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
