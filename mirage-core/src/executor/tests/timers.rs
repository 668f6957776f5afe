//! Timers: exact, in order, bounded.

use super::*;

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
