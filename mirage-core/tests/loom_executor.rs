//! All interleavings of two threads around the executor's wakers and the event token, with loom.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p mirage-core --release --features alloc --test loom_executor`
//!
//! A lost wake-up shows as a deadlock, which loom reports.
#![cfg(loom)]

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use mirage_core::event::Event;
use mirage_core::executor::{Executor, Platform, Unpark};
use mirage_core::time::{Clock, Instant};

/// A platform that waits for its unparker alone.
struct Parker {
    unparker: &'static Unparker,
}

struct Unparker {
    unparked: Mutex<bool>,
    condition: Condvar,
}

impl Unpark for Unparker {
    fn unpark(&self) {
        *self.unparked.lock().unwrap() = true;
        self.condition.notify_one();
    }
}

impl Clock for Parker {
    fn now(&self) -> Instant {
        Instant::ZERO
    }

    fn wall(&self) -> Option<Duration> {
        None
    }
}

impl Platform for Parker {
    fn park(&self, until: Option<Instant>) {
        assert_eq!(until, None);
        let mut unparked = self.unparker.unparked.lock().unwrap();
        while !*unparked {
            unparked = self.unparker.condition.wait(unparked).unwrap();
        }
        *unparked = false;
    }

    fn unparker(&self) -> &'static dyn Unpark {
        self.unparker
    }
}

/// All interleavings with up to three preemptions, which is where the known kinds of defects are.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn executor() -> &'static Executor {
    let unparker = Box::leak(Box::new(Unparker {
        unparked: Mutex::new(false),
        condition: Condvar::new(),
    }));
    Executor::leak(Box::leak(Box::new(Parker { unparker })))
}

/// Gives a clone of the task's waker to `elsewhere` on another thread.
fn on_another_thread(
    waker: &Waker,
    elsewhere: impl FnOnce(Waker) + 'static,
) -> thread::JoinHandle<()> {
    let waker = waker.clone();
    thread::spawn(move || elsewhere(waker))
}

#[test]
fn a_wake_between_the_look_and_the_park_is_not_lost() {
    model(|| {
        let executor = executor();
        let done = Arc::new(AtomicBool::new(false));
        let mut thread = None;
        let task = executor
            .spawn(poll_fn(move |context| {
                if done.load(Ordering::Acquire) {
                    return Poll::Ready(thread.take());
                }
                if thread.is_none() {
                    let done = done.clone();
                    thread = Some(on_another_thread(context.waker(), move |waker| {
                        done.store(true, Ordering::Release);
                        waker.wake();
                    }));
                }
                Poll::Pending
            }))
            .unwrap();
        let thread = executor.run_until(task).unwrap().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn a_wake_of_the_outermost_future_between_the_look_and_the_park_is_not_lost() {
    model(|| {
        let executor = executor();
        let done = Arc::new(AtomicBool::new(false));
        let mut thread = None;
        executor.run_until(poll_fn(|context| {
            if done.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let done = done.clone();
            thread.get_or_insert_with(|| {
                on_another_thread(context.waker(), move |waker| {
                    done.store(true, Ordering::Release);
                    waker.wake_by_ref();
                })
            });
            Poll::Pending
        }));
        thread.unwrap().join().unwrap();
    });
}

#[test]
fn a_wake_may_race_with_the_end_of_its_task() {
    model(|| {
        let executor = executor();
        let polls = std::rc::Rc::new(Cell::new(0));
        let seen = polls.clone();
        let mut thread = None;
        let task = executor
            .spawn(poll_fn(move |context| {
                seen.set(seen.get() + 1);
                if seen.get() == 2 {
                    return Poll::Ready(thread.take());
                }
                thread = Some(on_another_thread(context.waker(), Waker::wake));
                // Does not wait for that.
                context.waker().wake_by_ref();
                Poll::Pending
            }))
            .unwrap();
        let thread = executor.run_until(task).unwrap().unwrap();
        thread.join().unwrap();
        // Its ticket, if the other thread got one, is taken, and its memory used again.
        executor.run_until_idle();
        let next = executor.spawn(async { 7 }).unwrap();
        assert_eq!(executor.run_until(next), Ok(7));
        assert_eq!(polls.get(), 2);
        assert_eq!(executor.task_count(), 0);
    });
}

#[test]
fn the_last_waker_may_be_dropped_on_another_thread() {
    model(|| {
        let executor = executor();
        let task = executor
            .spawn(poll_fn(|context| {
                Poll::Ready(on_another_thread(context.waker(), drop))
            }))
            .unwrap();
        let thread = executor.run_until(task).unwrap();
        // While the place is given back, or not yet.
        let next = executor.spawn(async { 7 }).unwrap();
        assert_eq!(executor.run_until(next), Ok(7));
        thread.join().unwrap();
        let next = executor.spawn(async { 8 }).unwrap();
        assert_eq!(executor.run_until(next), Ok(8));
    });
}

#[test]
fn two_threads_that_wake_one_task_are_both_seen() {
    model(|| {
        let executor = executor();
        let woken = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        let task = executor
            .spawn(poll_fn(move |context| {
                if threads.is_empty() {
                    for _ in 0..2 {
                        let woken = woken.clone();
                        threads.push(on_another_thread(context.waker(), move |waker| {
                            woken.fetch_add(1, Ordering::Relaxed);
                            waker.wake();
                        }));
                    }
                }
                // Relaxed: the wake-up that comes after makes it visible.
                if woken.load(Ordering::Relaxed) == 2 {
                    Poll::Ready(std::mem::take(&mut threads))
                } else {
                    Poll::Pending
                }
            }))
            .unwrap();
        for thread in executor.run_until(task).unwrap() {
            thread.join().unwrap();
        }
    });
}

#[test]
fn an_event_set_between_the_look_and_the_wait_is_not_lost() {
    model(|| {
        let executor = executor();
        let event: &Event = Box::leak(Box::new(Event::new()));
        let data = Arc::new(AtomicUsize::new(0));
        let written = data.clone();
        let thread = thread::spawn(move || {
            written.store(7, Ordering::Relaxed);
            event.set();
        });
        executor.run_until(event.wait());
        // What was written before is visible.
        assert_eq!(data.load(Ordering::Relaxed), 7);
        thread.join().unwrap();
    });
}

#[test]
fn events_of_two_threads_are_not_lost() {
    model(|| {
        let executor = executor();
        let event: &Event = Box::leak(Box::new(Event::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let count = count.clone();
                thread::spawn(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    event.set();
                })
            })
            .collect();
        executor.run_until(async {
            while count.load(Ordering::Relaxed) < 2 {
                event.wait().await;
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
