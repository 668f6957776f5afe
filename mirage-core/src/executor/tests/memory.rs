//! Where tasks lie: arenas and the slab.

use super::*;

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
