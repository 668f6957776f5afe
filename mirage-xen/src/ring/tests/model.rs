//! The rings against the model of the macros, both sides at once, in any order; and two ends on two threads.

use super::macros::{BackMacros, FrontMacros, Shared};
use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    FrontPush(u16),
    FrontPublish,
    FrontTake,
    FrontCheck,
    BackTake,
    BackPush(u16),
    BackPublish,
    BackCheck,
}

fn step() -> impl Strategy<Value = (Step, u16)> {
    let step = prop_oneof![
        2 => any::<u16>().prop_map(Step::FrontPush),
        1 => Just(Step::FrontPublish),
        2 => Just(Step::FrontTake),
        1 => Just(Step::FrontCheck),
        2 => Just(Step::BackTake),
        2 => any::<u16>().prop_map(Step::BackPush),
        1 => Just(Step::BackPublish),
        1 => Just(Step::BackCheck),
    ];
    // Often once, sometimes so often that the ring is full.
    (
        step,
        prop_oneof![3 => Just(1), 2 => 2u16..40, 1 => 200u16..300],
    )
}

fn start() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        (0u32..600).prop_map(|below| u32::MAX - below),
        any::<u32>()
    ]
}

fn raw<const N: usize>(value: impl IntoBytes + Immutable) -> [u8; N] {
    value.as_bytes().try_into().unwrap()
}

proptest! {
    #[test]
    fn the_rings_do_what_the_macros_do(
        start in start(),
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let (mut front, mut back) = both(start);
        let page = peer(front.page());
        let mut shared = Shared::init(start);
        let mut front_model = FrontMacros::attach(start);
        let mut back_model = BackMacros::attach(start);
        for (step, times) in steps {
            for time in 0..times {
                match step {
                    Step::FrontPush(id) => {
                        let request = request(id.wrapping_add(time));
                        prop_assert_eq!(
                            front.push(request).is_ok(),
                            front_model.push(&mut shared, &raw(request))
                        );
                    }
                    Step::FrontPublish => prop_assert_eq!(
                        front.publish(),
                        front_model.push_and_check_notify(&mut shared)
                    ),
                    Step::FrontTake => prop_assert_eq!(
                        front.take_response().unwrap().map(raw),
                        front_model.take(&mut shared)
                    ),
                    Step::FrontCheck => prop_assert_eq!(
                        front.final_check(),
                        front_model.final_check(&mut shared)
                    ),
                    Step::BackTake => prop_assert_eq!(
                        back.take_request().unwrap().map(raw),
                        back_model.take(&mut shared)
                    ),
                    Step::BackPush(id) => {
                        let response = response(id.wrapping_sub(time));
                        prop_assert_eq!(
                            back.push(response).is_ok(),
                            back_model.push(&mut shared, raw(response))
                        );
                    }
                    Step::BackPublish => prop_assert_eq!(
                        back.publish(),
                        back_model.push_and_check_notify(&mut shared)
                    ),
                    Step::BackCheck => prop_assert_eq!(
                        back.final_check(),
                        back_model.final_check(&mut shared)
                    ),
                }
                prop_assert_eq!(front.free(), front_model.free_requests());
                prop_assert_eq!(front.unconsumed(), Ok(front_model.unconsumed(&shared)));
                prop_assert_eq!(back.unconsumed(), Ok(back_model.unconsumed(&shared)));
            }
            prop_assert_eq!(bytes(page), shared.bytes());
        }
    }

    /// Two ends that sleep when their final check finds nothing, and are woken by notifications alone: every request is
    /// answered, in whatever order they run.
    #[test]
    fn no_notification_is_lost(
        start in start(),
        turns in proptest::collection::vec((any::<bool>(), 1u16..30), 0..200),
    ) {
        let (mut front, mut back) = both(start);
        let (mut front_awake, mut back_awake) = (true, true);
        let (mut asked, mut answered, mut received) = (0u16, 0u16, 0u16);
        // At the end both run until both sleep.
        let last = [(true, 0), (false, 0)].into_iter().cycle().take(2_000);
        for (front_runs, count) in turns.into_iter().chain(last) {
            if front_runs && (front_awake || count > 0) {
                for _ in 0..count {
                    if front.push(request(asked)).is_ok() {
                        asked += 1;
                    }
                }
                back_awake |= front.publish();
                if front_awake {
                    while let Some(response) = front.take_response().unwrap() {
                        prop_assert_eq!(response.id, received);
                        received += 1;
                    }
                    front_awake = front.final_check();
                }
            }
            if !front_runs && back_awake {
                // At most so many in one go.
                let mut left = count.max(1);
                while let Some(request) = back.take_request().unwrap() {
                    prop_assert_eq!(request.id, answered);
                    back.push(response(answered)).unwrap();
                    answered += 1;
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
                front_awake |= back.publish();
                back_awake = back.final_check();
            }
        }
        prop_assert!(!front_awake && !back_awake);
        prop_assert_eq!((answered, received), (asked, asked));
    }
}

/// Moves one end to another thread.
struct ToThread<T>(T);

// SAFETY: the other end of the ring, on the thread that stays, reaches the page by atomics and volatile accesses, as
// another domain does, and what it holds besides is its own.
unsafe impl<T> Send for ToThread<T> {}

impl<T> ToThread<T> {
    fn into_inner(self) -> T {
        self.0
    }
}

/// One end publishes while the other makes its final check: one of them notices the other. Needs a real barrier on both
/// sides between the store of one index and the load of the other.
#[test]
#[cfg_attr(miri, ignore)]
fn of_a_publication_and_a_final_check_at_once_one_sees_the_other() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    const ROUNDS: u32 = 20_000;

    /// Where both threads meet, as closely as can be.
    fn meet(place: &AtomicU32, count: u32) {
        place.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0u32;
        while place.load(Ordering::Acquire) < count * 2 {
            looks += 1;
            if looks.is_multiple_of(500) {
                // Perhaps there is one processor alone.
                std::thread::yield_now();
            }
            core::hint::spin_loop();
        }
    }

    let (mut front, back) = both(u32::MAX - 1_000);
    let place = Arc::new(AtomicU32::new(0));
    let (checked, notified) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let back = ToThread(back);
    let there = (place.clone(), checked.clone(), notified.clone());
    let thread = std::thread::spawn(move || {
        let mut back = back.into_inner();
        let (place, checked, notified) = there;
        for round in 0..ROUNDS {
            meet(&place, round * 4 + 1);
            checked.store(back.final_check(), Ordering::Relaxed);
            meet(&place, round * 4 + 2);
            let request = back.take_request().unwrap().unwrap();
            back.push(response(request.id)).unwrap();
            meet(&place, round * 4 + 3);
            notified.store(back.publish(), Ordering::Relaxed);
            meet(&place, round * 4 + 4);
        }
    });
    let (mut back_sleeps, mut front_sleeps) = (0, 0);
    for round in 0..ROUNDS {
        front.push(request(round as u16)).unwrap();
        meet(&place, round * 4 + 1);
        let notify = front.publish();
        meet(&place, round * 4 + 2);
        back_sleeps += u32::from(!notify && !checked.load(Ordering::Relaxed));
        meet(&place, round * 4 + 3);
        let check = front.final_check();
        meet(&place, round * 4 + 4);
        front_sleeps += u32::from(!check && !notified.load(Ordering::Relaxed));
        assert!(front.take_response().unwrap().is_some());
    }
    thread.join().unwrap();
    assert_eq!(
        (back_sleeps, front_sleeps),
        (0, 0),
        "nobody would wake them"
    );
}
