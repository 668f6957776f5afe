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

/// Needs real barriers between the store of an index and the load of the event: without them, one of many sleeps is for ever.
#[test]
#[cfg_attr(miri, ignore)]
fn two_threads_that_sleep_and_notify_answer_every_request() {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    const REQUESTS: u32 = 20_000;

    // Much longer than it takes; a lost notification fails instead of hanging.
    fn sleep(port: &Receiver<()>) {
        let woken = port.recv_timeout(Duration::from_secs(120));
        assert!(woken.is_ok(), "nobody notified");
    }

    let (mut front, back) = both(u32::MAX - 1_000);
    let (to_back, back_port): (Sender<()>, _) = channel();
    let (to_front, front_port): (Sender<()>, _) = channel();
    let back = ToThread(back);
    let thread = std::thread::spawn(move || {
        let mut back = back.into_inner();
        let mut answered = 0;
        while answered < REQUESTS {
            while let Some(request) = back.take_request().unwrap() {
                back.push(response(request.id)).unwrap();
                answered += 1;
                if back.publish() {
                    let _ = to_front.send(());
                }
            }
            if answered < REQUESTS && !back.final_check() {
                sleep(&back_port);
            }
        }
    });
    let (mut asked, mut received) = (0, 0);
    while received < REQUESTS {
        while asked < REQUESTS && front.push(request(asked as u16)).is_ok() {
            asked += 1;
            if front.publish() {
                let _ = to_back.send(());
            }
            // Few in flight, so that both sleep often.
            if front.in_flight() > asked % 3 {
                break;
            }
        }
        while let Some(response) = front.take_response().unwrap() {
            assert_eq!(response.id, received as u16);
            received += 1;
        }
        if front.in_flight() > 0 && !front.final_check() {
            sleep(&front_port);
        }
    }
    thread.join().unwrap();
}
